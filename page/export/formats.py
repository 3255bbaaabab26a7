"""Export a study in one of FORMATS.

    file = export(record, "pdf")                    # file.name, file.content, file.media_type
    path.write_bytes(export(record, "sr", include_identity=True).content)

File names do not identify the patient. The library of a format is loaded when the format is first used.
"""

from dataclasses import dataclass

from page.export.text import export_json, export_text
from page.study.record import StudyRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportFormat:
    """Name of a format on the page, and suffix and type of its files."""

    label: str
    suffix: str
    media_type: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedFile:
    """A file that is ready to download."""

    name: str
    content: bytes
    media_type: str


FORMATS = {
    "text": ExportFormat(label="Text", suffix=".txt", media_type="text/plain; charset=utf-8"),
    "json": ExportFormat(label="JSON", suffix=".json", media_type="application/json"),
    "pdf": ExportFormat(label="PDF with heatmaps", suffix=".pdf", media_type="application/pdf"),
    "fhir": ExportFormat(label="FHIR R5 report", suffix=".fhir.json", media_type="application/fhir+json"),
    "sr": ExportFormat(label="DICOM structured report", suffix=".sr.dcm", media_type="application/dicom"),
}
IDENTITY_NOTE = (
    "Without identity, file names and patient data are removed, and names, dates and numbers in the texts become ___. "
    "The structured report and FHIR still contain the UIDs of the DICOM study: someone with access to the archive can "
    "use them to find the patient. Text that is part of an image stays in the PDF in both cases."
)


def export(record: StudyRecord, format: str, *, include_identity: bool = False) -> ExportedFile:
    """The record as a file; file names and the patient data of the DICOM header only with `include_identity`.

    Raises:
        ValueError: the format is unknown, or not possible for this study; gives the reason.
    """
    if format not in FORMATS:
        raise ValueError(f"there is no export format {format!r}; choose one of {', '.join(FORMATS)}")
    if format == "pdf":
        from page.export.pdf import export_pdf as write
    elif format == "fhir":
        from page.export.fhir import export_fhir as write
    elif format == "sr":
        from page.export.sr import export_sr as write
    else:
        write = {"text": export_text, "json": export_json}[format]
    content = write(record, include_identity=include_identity)
    return ExportedFile(
        name=record.file_stem + FORMATS[format].suffix,
        content=content.encode() if isinstance(content, str) else content,
        media_type=FORMATS[format].media_type,
    )
