"""Read the files of predictions and references: all entries, a record of what was read, and the options for columns."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from eval.predictions.columns import KNOWN_COLUMNS, Columns, find_columns
from eval.predictions.entries import ReportEntry, read_entries
from eval.predictions.files import ReportFile, file_hash, open_report_file
from vlm.schema.findings import FINDINGS

MAX_CHARACTERS = 2**29
"""Maximum characters of all reports of a file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportTable:
    """The entries of a file, and a record of what was read."""

    file: ReportFile
    entries: list[ReportEntry]
    record: dict[str, Any]


def read_table(
    path: Path,
    role: Literal["prediction", "reference"],
    named: Mapping[str, str],
    *,
    split: str = "",
    annotation_split: str = "test",
    is_only_file: bool = False,
) -> ReportTable:
    """Read all reports of a file.

    `named` holds the columns chosen by the user, by role; `split` keeps one split (default for R2Gen's annotation.json:
    `annotation_split`); `is_only_file`: predictions and references are in the same file.

    Raises:
        ValueError: the file, its columns or a number cannot be read; names file and row.
    """
    file = open_report_file(path, KNOWN_COLUMNS | {name.lower() for name in named.values()})
    columns = find_columns(
        file,
        role,
        named,
        reads_labels=role == "reference" or is_only_file,
        reads_probabilities=role == "prediction",
    )
    split = split or (annotation_split if file.format.startswith("annotation") else "")
    entries, num_characters = [], 0
    for entry in read_entries(_of_split(file, columns, split) if split else file, columns):
        num_characters += len(entry.report)
        if num_characters > MAX_CHARACTERS:
            raise ValueError(f"{path}: more than {MAX_CHARACTERS:,} characters of reports; score it in parts")
        entries.append(entry)
    if not entries:
        raise ValueError(f"{path} has no reports" + (f" in split {split!r}" if split else ""))
    record = {
        "path": str(path),
        "hash": file_hash(path),
        "format": file.format,
        "split": split or None,
        "num_rows": len(entries),
        "study_id_column": columns["study_id"],
        "report_column": columns["text"] or "+".join(filter(None, (columns["findings"], columns["impression"]))),
    }
    return ReportTable(file=file, entries=_with_complete_probabilities(path, entries), record=record)


def _of_split(file: ReportFile, columns: Columns, split: str) -> ReportFile:
    """The file, restricted to one split."""
    if columns["split"] is None:
        raise ValueError(f"{file.path} has no column 'split', so no split can be chosen")
    splits = {str(row.values.get(columns["split"])) for row in file.rows() if not row.error}
    if split not in splits:
        raise ValueError(
            f"{file.path} has no split {split!r}; choose --reference-split from {', '.join(sorted(splits))}"
        )

    def rows():
        return (row for row in file.rows() if row.error or str(row.values.get(columns["split"])) == split)

    return ReportFile(path=file.path, format=file.format, columns=file.columns, rows=rows)


def _with_complete_probabilities(path: Path, entries: list[ReportEntry]) -> list[ReportEntry]:
    """Check that each probability is given for all studies or for none; if all are missing, set them to None."""
    given = [entry for entry in entries if entry.probabilities is not None]
    if not given:
        return entries
    is_missing = np.isnan([entry.probabilities for entry in given])
    if is_missing.all():
        return [replace(entry, probabilities=None) for entry in entries]
    partly = is_missing & ~is_missing.all(axis=0)
    if partly.any():
        row, finding = np.argwhere(partly)[0]
        raise ValueError(
            f"{path}, row {given[row].number} (study {given[row].study_id}): probability of {FINDINGS[finding]} is "
            f"missing or NaN, as {is_missing[:, finding].sum()} of {len(given)} are; give it for all studies or none"
        )
    return entries


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnOptions:
    """Names of columns; by default, common names are recognized."""

    prediction_id_column: str = ""
    """Column of study ids in the predictions."""
    report_column: str = ""
    """Column of reports in the predictions."""
    reference_id_column: str = ""
    """Column of study ids in the references."""
    reference_column: str = ""
    """Column of reports in the references; by default, findings and impression are joined."""
    subject_column: str = ""
    """Column of patient ids; without it, each study counts as its own patient."""
    source_column: str = ""
    """Column with the source of a study, for figures by source."""
    view_column: str = ""
    """Column with the view or views, for figures by view."""


def read_files(
    predictions: Path, references: Path | None, columns: ColumnOptions, reference_split: str = ""
) -> tuple[ReportTable, ReportTable]:
    """Read predictions and references; one file can contain both."""
    shared = {
        "subject_id": columns.subject_column,
        "source": columns.source_column,
        "view": columns.view_column,
    }
    is_only_file = references is None
    truth_id = columns.reference_id_column or (columns.prediction_id_column if is_only_file else "")
    named = {"study_id": truth_id, "text": columns.reference_column, **shared}
    truths = read_table(references or predictions, "reference", named, split=reference_split, is_only_file=is_only_file)
    # Patients, sources and views may be in either file.
    own = {name: column for name, column in shared.items() if column and is_only_file}
    named = {"study_id": columns.prediction_id_column, "text": columns.report_column, **own}
    split = reference_split if is_only_file else ""
    given = read_table(predictions, "prediction", named, split=split, is_only_file=is_only_file)
    if is_only_file and given.record["report_column"] == truths.record["report_column"]:
        raise ValueError(
            f"{predictions} has one report per study (column {given.record['report_column']!r}); give a second file "
            "with the references, or the two columns with --report-column and --reference-column"
        )
    return given, truths
