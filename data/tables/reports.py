"""A table of reports without images, for archives that hold images without reports: rows in, texts with the
numbers they are joined by out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data.reports.sections import split_sections
from data.tables.labels import is_blank
from data.tables.rows import column_names, no_such_column, read_rows

_USUAL_COLUMNS = {
    "accession": ("accession_number", "accession", "AccessionNumber"),
    "study_uid": ("study_instance_uid", "study_uid", "StudyInstanceUID"),
    "report": ("report", "text"),
    "indication": ("indication",),
    "findings": ("findings",),
    "impression": ("impression",),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportRow:
    """A row by its number; `error` says why it cannot be used."""

    number: int
    accession_number: str = ""
    study_uid: str = ""
    indication: str = ""
    findings: str = ""
    impression: str = ""
    error: str = ""


def find_columns(table: Path, asked: dict[str, str | None]) -> dict[str, str]:
    """The column of each role: the one asked for, or one that is called as usual.

    Raises:
        ValueError: a column that was asked for is absent; or none to join by, or none with text.
    """
    there = column_names(table)
    columns = {}
    for role, usual in _USUAL_COLUMNS.items():
        name = asked.get(role)
        if name is not None and name not in there:
            raise no_such_column(table, name, f"--{role.replace('_', '-')}-column", there)
        columns.update((role, column) for column in (name,) if column)
        columns.update((role, column) for column in usual[::-1] if name is None and column in there)
    if not columns.keys() & {"accession", "study_uid"}:
        raise ValueError(
            f"{table} has neither a column of accession numbers nor of study UIDs; name one by --accession-column or "
            f"--study-uid-column. Its columns are {', '.join(there)}"
        )
    if not columns.keys() & {"report", "findings", "impression"}:
        raise ValueError(
            f"{table} has no column with reports; name one by --report-column (or --findings-column, "
            f"--impression-column). Its columns are {', '.join(there)}"
        )
    return columns


def read_reports(table: Path, columns: dict[str, str]) -> Iterator[ReportRow]:
    """Every row of the table; a whole report is split into its sections where a row has none of its own."""
    for row in read_rows(table):
        texts = {role: _text(row.values.get(column)) for role, column in columns.items()}
        if row.error or not (texts.get("accession") or texts.get("study_uid")):
            yield ReportRow(number=row.number, error=row.error or f"row {row.number} names no study")
            continue
        sections = {name: texts.get(name, "") for name in ("indication", "findings", "impression")}
        if texts.get("report") and not sections["findings"] and not sections["impression"]:
            split = split_sections(texts["report"])
            sections["findings"], sections["impression"] = split.findings, split.impression
            sections["indication"] = sections["indication"] or split.indication
        yield ReportRow(
            number=row.number,
            accession_number=texts.get("accession", ""),
            study_uid=texts.get("study_uid", ""),
            **sections,
        )


def _text(value: object) -> str:
    return "" if is_blank(value) or isinstance(value, list | dict) else str(value).strip()
