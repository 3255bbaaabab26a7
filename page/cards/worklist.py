"""A worklist as files and as HTML: rows in; CSV, JSON lines, or a table to look at out.

Columns of the CSV and keys of the JSON lines: rank, study, files, state (read, doubted, rejected), reason,
study_instance_uid, view_positions, any_finding, most_probable, called, expected_errors, findings, impression, report, a
probability for each of the 14 findings, model.
"""

import csv
import io
import json
from collections.abc import Sequence
from html import escape

from page.study.worklist import DOUBTED, READ, REJECTED, WorklistRow
from vlm.schema.findings import FINDINGS

MAX_SHOWN = 200
"""Rows on the page; the files have all."""
STATES = {READ: "", DOUBTED: "doubted", REJECTED: "not read"}
EMPTY = '<p class="soft">The worklist will be shown here.</p>'
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def worklist_csv(rows: Sequence[WorklistRow], *, model: str) -> str:
    """As spreadsheets read it. A text that they would run as a formula gets an apostrophe before it."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(_record(None, 0, model))
    for rank, row in enumerate(rows, start=1):
        writer.writerow([_cell(value) for value in _record(row, rank, model).values()])
    return file.getvalue()


def worklist_jsonl(rows: Sequence[WorklistRow], *, model: str) -> str:
    return "".join(
        json.dumps(_record(row, rank, model), ensure_ascii=False) + "\n" for rank, row in enumerate(rows, start=1)
    )


def worklist_html(rows: Sequence[WorklistRow], *, finding: str = "") -> str:
    """The first rows; `finding` is the one they are sorted by, "" for any."""
    if not rows:
        return EMPTY
    body = "".join(_html_row(rank, row, finding) for rank, row in enumerate(rows[:MAX_SHOWN], start=1))
    more = ""
    if len(rows) > MAX_SHOWN:
        more = f'<p class="soft">{len(rows) - MAX_SHOWN} more rows are in the files.</p>'
    return (
        '<div class="worklist" role="region" aria-label="Worklist" tabindex="0"><table>'
        f'<thead><tr><th scope="col">#</th><th scope="col">Study</th><th scope="col">{finding or "Any finding"}</th>'
        '<th scope="col">Called present</th><th scope="col">Report</th></tr></thead>'
        f"<tbody>{body}</tbody></table></div>{more}"
    )


def percent(probability: float) -> str:
    """Rounded, but never to certainty."""
    if probability < 0.005:
        return "<1%"
    return ">99%" if probability >= 0.995 else f"{probability:.0%}"


def _record(row: WorklistRow | None, rank: int, model: str) -> dict:
    """A row by its columns; of None, the columns alone."""
    row = row or WorklistRow(study="", files=(), state="")
    any_finding = row.any_finding
    return {
        "rank": rank,
        "study": row.study,
        "files": list(row.files),
        "state": row.state,
        "reason": row.reason,
        "study_instance_uid": row.study_uid,
        "view_positions": list(row.view_positions),
        "any_finding": None if any_finding is None else round(any_finding, 6),
        "most_probable": row.most_probable,
        "called": list(row.called),
        "expected_errors": None if row.expected_errors is None else round(row.expected_errors, 2),
        "findings": row.findings,
        "impression": row.impression,
        "report": row.report,
        **{
            finding: round(row.probabilities[finding], 6) if finding in row.probabilities else None
            for finding in FINDINGS
        },
        "model": model,
    }


def _cell(value: object) -> object:
    if isinstance(value, list):
        value = "; ".join(value)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value


def _html_row(rank: int, row: WorklistRow, finding: str) -> str:
    views = ", ".join(view for view in row.view_positions if view != "UNKNOWN")
    views = views or f"{len(row.files)} file{'s' if len(row.files) > 1 else ''}"
    study = f'<th scope="row">{escape(row.study)}<span class="soft">{escape(views)}</span></th>'
    reason = f'<span class="mark">{STATES[row.state] or "⚠"}</span> {escape(row.reason)}' if row.reason else ""
    if row.state != READ:
        return f'<tr class="{row.state}"><td>{rank}</td>{study}<td colspan="3">{reason}</td></tr>'
    shown = finding or row.most_probable
    probability = row.probabilities.get(shown)
    named = "" if finding else f'<span class="soft">{shown}</span>'
    called = ", ".join(f"{name} {percent(row.probabilities[name])}" for name in row.called)
    summary = row.impression or row.findings or "Nothing was written."
    whole = f"<details><summary>whole report</summary>{escape(row.report)}</details>" if row.report != summary else ""
    return (
        f'<tr><td>{rank}</td>{study}<td class="number">{_bar(probability)}{named}</td>'
        f"<td>{escape(called) or '–'}</td><td>{reason}<p>{escape(summary)}</p>{whole}</td></tr>"
    )


def _bar(probability: float | None) -> str:
    if probability is None:
        return "unknown to the model"
    width = f'<span class="bar" aria-hidden="true"><i style="width: {probability:.1%}"></i></span>'
    return width + escape(percent(probability))
