"""What a reader can take away of a study: a `StudyRecord` and the name of a format in, a file out.

    file = take_away(record, "pdf")                    # file.name, file.content, file.media_type
    path.write_bytes(take_away(record, "sr", include_identity=True).content)

The names of the files tell nobody who they are about. Libraries are loaded when their format is first asked for.
"""

from dataclasses import dataclass

from page.export.text import export_json, export_text
from page.study.record import StudyRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportFormat:
    """A format by the name that a visitor reads, and what its files are called."""

    label: str
    ending: str
    media_type: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedFile:
    """A file that is ready to be handed over."""

    name: str
    content: bytes
    media_type: str


FORMATS = {
    "text": ExportFormat(label="Text", ending=".txt", media_type="text/plain; charset=utf-8"),
    "json": ExportFormat(label="JSON", ending=".json", media_type="application/json"),
    "pdf": ExportFormat(label="PDF with heatmaps", ending=".pdf", media_type="application/pdf"),
    "fhir": ExportFormat(label="FHIR R5 report", ending=".fhir.json", media_type="application/fhir+json"),
    "sr": ExportFormat(label="DICOM structured report", ending=".sr.dcm", media_type="application/dicom"),
}
IDENTITY_NOTE = (
    "Without identity, file names and patient are left out, and names, dates and numbers in the texts become ___. The "
    "structured report and FHIR still hold the UIDs of the DICOM study that they refer to: whoever has the archive can "
    "look the patient up by them. Letters that are part of an image stay in the PDF either way."
)
"""What to tell whoever is asked."""


def take_away(record: StudyRecord, format: str, *, include_identity: bool = False) -> ExportedFile:
    """The record in one of FORMATS; with file names and the patient of the DICOM header only if asked.

    Raises:
        ValueError: the format is not known, or cannot be made of this study; says why.
    """
    if format not in FORMATS:
        raise ValueError(f"there is no export {format!r}; choose one of {', '.join(FORMATS)}")
    content = _content(record, format, include_identity)
    return ExportedFile(
        name=record.file_stem + FORMATS[format].ending,
        content=content.encode() if isinstance(content, str) else content,
        media_type=FORMATS[format].media_type,
    )


def _content(record: StudyRecord, format: str, include_identity: bool) -> str | bytes:
    if format == "text":
        return export_text(record, include_identity=include_identity)
    if format == "json":
        return export_json(record, include_identity=include_identity)
    if format == "pdf":
        from page.export.pdf import export_pdf

        return export_pdf(record, include_identity=include_identity)
    if format == "fhir":
        from page.export.fhir import export_fhir

        return export_fhir(record, include_identity=include_identity)
    from page.export.sr import export_sr

    return export_sr(record, include_identity=include_identity)
