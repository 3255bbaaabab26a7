"""Export a study in one of FORMATS.

    file = export(record, "pdf")                    # file.name, file.content, file.media_type
    path.write_bytes(export(record, "sr", include_identity=True).content)

File names do not identify the patient. The library of a format is loaded when the format is first used.
"""

from dataclasses import dataclass

from page.export.text import export_json, export_text
from page.study.record import StudyRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedFile:
    """A file that is ready to download."""

    name: str
    content: bytes
    media_type: str


FORMATS = {
    "text": ("Text", ".txt", "text/plain; charset=utf-8"),
    "json": ("JSON", ".json", "application/json"),
    "pdf": ("PDF with heatmaps", ".pdf", "application/pdf"),
    "fhir": ("FHIR R5 report", ".fhir.json", "application/fhir+json"),
    "sr": ("DICOM structured report", ".sr.dcm", "application/dicom"),
}
"""Name of each format on the page, and suffix and type of its files."""
IDENTITY_NOTE = (
    "Without identity, file names and patient data are removed, and names, dates and numbers in the texts become ___. "
    "The structured report and FHIR still contain the UIDs of the DICOM study: someone with access to the archive can "
    "use them to find the patient. Text that is part of an image stays in the PDF in both cases, and the name of the "
    "reader who checked the report in every format."
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
    _, suffix, media_type = FORMATS[format]
    content = write(record, include_identity=include_identity)
    content = content.encode() if isinstance(content, str) else content
    return ExportedFile(name=record.file_stem + suffix, content=content, media_type=media_type)
