"""Read a table of reports without images, for archives of images without reports: rows in; texts and the ids of their
studies out."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data.reports.plain_text import is_placeholder, plain_text
from data.reports.sections import split_sections
from data.tables.labels import is_blank
from data.tables.rows import column_names, find_columns, read_rows

_USUAL_COLUMNS = {
    "accession": ("accession_number", "accession", "AccessionNumber"),
    "study_uid": ("study_instance_uid", "study_uid", "StudyInstanceUID"),
    "patient_id": ("patient_id", "PatientID"),
    "report": ("report", "text"),
    "indication": ("indication",),
    "findings": ("findings",),
    "impression": ("impression",),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportRow:
    """The report of a row; `error` says why the row cannot be used."""

    number: int
    accession_number: str = ""
    study_uid: str = ""
    patient_id: str = ""
    indication: str = ""
    findings: str = ""
    impression: str = ""
    error: str = ""


def find_report_columns(table: Path, requested: dict[str, str | None]) -> dict[str, str]:
    """The column of each role: the requested one, or one with a usual name.

    Raises:
        ValueError: a requested column is missing, or there is no column of ids, or none with text.
    """
    available = column_names(table)
    columns = find_columns(table, available, requested=requested, usual=_USUAL_COLUMNS)
    if not columns.keys() & {"accession", "study_uid"}:
        raise ValueError(
            f"{table} has neither a column of accession numbers nor one of study UIDs; name it with --accession-column "
            f"or --study-uid-column. Its columns are {', '.join(available)}"
        )
    if not columns.keys() & {"report", "findings", "impression"}:
        raise ValueError(
            f"{table} has no column with reports; name it with --report-column (or --findings-column, "
            f"--impression-column). Its columns are {', '.join(available)}"
        )
    return columns


def read_reports(table: Path, columns: dict[str, str]) -> Iterator[ReportRow]:
    """Every row of the table. A whole report is split into sections if the row has no sections."""
    for row in read_rows(table):
        texts = {role: _text(row.values.get(column)) for role, column in columns.items()}
        if row.error or not (texts.get("accession") or texts.get("study_uid")):
            yield ReportRow(number=row.number, error=row.error or f"row {row.number} names no study")
            continue
        sections = {name: texts.get(name, "") for name in ("indication", "findings", "impression")}
        has_sections = not all(is_placeholder(sections[name]) for name in ("findings", "impression"))
        if texts.get("report") and not has_sections:
            split = split_sections(texts["report"])
            sections["findings"], sections["impression"] = split.findings, split.impression
            sections["indication"] = sections["indication"] or split.indication
        yield ReportRow(
            number=row.number,
            accession_number=texts.get("accession", ""),
            study_uid=texts.get("study_uid", ""),
            patient_id=texts.get("patient_id", ""),
            **sections,
        )


def _text(value: object) -> str:
    return "" if is_blank(value) or isinstance(value, list | dict) else plain_text(str(value)).strip()
