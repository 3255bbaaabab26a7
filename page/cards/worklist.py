"""A worklist as CSV, JSON lines, or an HTML table.

Columns of the CSV and keys of the JSON lines: rank, study, files, state (read, blocked, rejected), reason,
study_instance_uid, view_positions, any_finding, most_probable, predicted_positive, expected_errors, findings,
impression, report, one probability for each of the 14 findings, model.
"""

import csv
import io
import json
from collections.abc import Sequence

from page.cards.layout import render
from page.study.worklist import WorklistRow
from vlm.schema.findings import FINDINGS

MAX_SHOWN = 200
"""Maximum number of rows on the page; the files have all."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def worklist_csv(rows: Sequence[WorklistRow], *, model: str) -> str:
    """For spreadsheets: a text that they would run as a formula gets a leading apostrophe."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(_record(WorklistRow(study="", files=(), state=""), 0, model))
    for rank, row in enumerate(rows, start=1):
        writer.writerow([_cell(value) for value in _record(row, rank, model).values()])
    return file.getvalue()


def worklist_jsonl(rows: Sequence[WorklistRow], *, model: str) -> str:
    return "".join(
        json.dumps(_record(row, rank, model), ensure_ascii=False) + "\n" for rank, row in enumerate(rows, start=1)
    )


def worklist_html(rows: Sequence[WorklistRow], *, finding: str = "") -> str:
    """The first MAX_SHOWN rows; `finding` is the one they are sorted by, "" for any."""
    return render("worklist", rows=rows[:MAX_SHOWN], num_more=len(rows) - MAX_SHOWN, finding=finding)


def _record(row: WorklistRow, rank: int, model: str) -> dict:
    """The row by column name."""
    return {
        "rank": rank,
        "study": row.study,
        "files": list(row.files),
        "state": row.state,
        "reason": row.reason,
        "study_instance_uid": row.study_uid,
        "view_positions": list(row.view_positions),
        "any_finding": _rounded(row.any_finding),
        "most_probable": row.most_probable,
        "predicted_positive": list(row.predicted_positive),
        "expected_errors": _rounded(row.expected_errors, 2),
        "findings": row.findings,
        "impression": row.impression,
        "report": row.report,
        **{finding: _rounded(row.probabilities.get(finding)) for finding in FINDINGS},
        "model": model,
    }


def _rounded(value: float | None, decimals: int = 6) -> float | None:
    return None if value is None else round(value, decimals)


def _cell(value: object) -> object:
    if isinstance(value, list):
        value = "; ".join(value)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value
