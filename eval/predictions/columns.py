"""The role of each column in a file of reports: chosen by the user, or recognized by common names."""

import difflib
import re
from collections.abc import Mapping
from typing import Any

from data.tables.labels import columns_of_findings
from eval.predictions.files import POSITION, ReportFile

ROW_NUMBERS = (POSITION, "unnamed: 0", "")
"""Columns that number the rows: our own for files without study ids, and the index that pandas writes."""
NAMES = {
    "study_id": ("study_id", "id", "uid", "dicom_id", "image_id", "accession", "study", *ROW_NUMBERS),
    "prediction": (
        "model_prediction", "report", "prediction", "predicted_report", "generated_report", "generated", "hypothesis",
        "candidate", "output", "pred", "res", "caption", "report impression", "text", "0",
    ),
    "reference": (
        "reference", "reference_report", "ground_truth", "gt", "gts", "target", "original_report", "report", "reports",
        "caption", "report impression", "text", "0",
    ),
    "findings": ("section_findings", "findings"),
    "impression": ("section_impression", "impression"),
    "subject_id": ("subject_id", "patient_id", "patient", "subject"),
    "source": ("source", "dataset"),
    "view": ("view_positions", "view_position", "view", "projection", "frontal_lateral"),
    "split": ("split",),
    "labels": ("reference_labels", "labels"),
    "probabilities": ("probabilities", "finding_probabilities"),
}  # fmt: skip
"""Default column names by role, most specific first."""
KNOWN_COLUMNS = frozenset(name for names in NAMES.values() for name in names if len(name) > 1)
_PROBABILITY = re.compile(r"(?:prob(?:ability)?|p)[ _.:-]+(?=\S)", re.IGNORECASE)


Columns = dict[str, Any]
"""The column of each role, or None. "labels" and "probabilities" map findings to columns, or "" to one column with all
14 values."""


def find_columns(
    file: ReportFile, role: str, named: Mapping[str, str], *, reads_labels: bool, reads_probabilities: bool
) -> Columns:
    """Find the columns of a file of predictions (`role` "prediction") or references ("reference").

    `named` holds the columns chosen by the user. Columns named after findings are labels if labels are read, else
    probabilities.

    Raises:
        ValueError: a chosen column is missing, two columns are of the same finding, or there is no column of study ids
            or reports.
    """
    here = {column.strip().lower(): column for column in file.columns}

    def find(what: str, key: str = "") -> str | None:
        if wanted := named.get(what):
            if wanted not in file.columns:
                near = difflib.get_close_matches(wanted, file.columns, n=1)
                suggestion = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"{file.path} has no column {wanted!r}, only {_listed(file)}{suggestion}")
            return wanted
        return next((here[name] for name in NAMES[key or what] if name in here), None)

    columns: Columns = {name: find(name) for name in ("study_id", "subject_id", "source", "view", "split")}
    columns["text"] = find("text", role)
    for section in ("findings", "impression"):
        columns[section] = find(section) if columns["text"] is None else None
    columns["labels"] = _finding_columns(file, NAMES["labels"], bare=True) if reads_labels else {}
    columns["probabilities"] = _probability_columns(file, bare=not reads_labels) if reads_probabilities else {}
    flag = {"prediction": "--report-column", "reference": "--reference-column"}[role]
    if columns["study_id"] is None:
        raise ValueError(
            f"{file.path}: no column of study ids was recognized; give --{role}-id-column, one of {_listed(file)}"
        )
    if not any(columns[name] for name in ("text", "findings", "impression")):
        raise ValueError(f"{file.path}: no column with the {role} was recognized; give {flag}, one of {_listed(file)}")
    return columns


def study_id_column(file: ReportFile) -> str:
    """The column of study ids with a common name.

    Raises:
        ValueError: there is none.
    """
    here = {column.strip().lower(): column for column in file.columns}
    found = next((here[name] for name in NAMES["study_id"] if name in here), None)
    if found is None:
        raise ValueError(f"{file.path}: no column of study ids was recognized among {_listed(file)}; name it study_id")
    return found


def _finding_columns(file: ReportFile, whole: tuple[str, ...], *, bare: bool) -> dict[str, str]:
    """One column with all 14 values, or columns named after findings."""
    for column in file.columns:
        if column.strip().lower() in whole:
            return {"": column}
    return columns_of_findings(file.path, zip(file.columns, file.columns, strict=True)) if bare else {}


def _probability_columns(file: ReportFile, *, bare: bool) -> dict[str, str]:
    """`_finding_columns` that also accepts the prefixes of "probability_Edema", "prob Edema" and "p_Edema"."""
    prefixed = [
        (_PROBABILITY.sub("", column, count=1), column) for column in file.columns if _PROBABILITY.match(column)
    ]
    return columns_of_findings(file.path, prefixed) or _finding_columns(file, NAMES["probabilities"], bare=bare)


def _listed(file: ReportFile) -> str:
    return ", ".join(map(repr, file.columns[:20])) + (" …" if len(file.columns) > 20 else "")
