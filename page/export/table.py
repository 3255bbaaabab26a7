"""Rows of studies as CSV or JSON lines; `page.study.row` says what the columns are.

Worklists of the page have one more column, `rank`, in front.
"""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from page.study.row import COLUMNS, StudyRow

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def worklist_csv(rows: Sequence[StudyRow]) -> str:
    """A worklist with its header."""
    ranked = ([rank, *row.values().values()] for rank, row in enumerate(rows, start=1))
    return "".join(map(csv_line, [["rank", *COLUMNS], *ranked]))


def worklist_jsonl(rows: Sequence[StudyRow]) -> str:
    return "".join(json_line({"rank": rank, **row.values()}) for rank, row in enumerate(rows, start=1))


def csv_line(values: Iterable[Any]) -> str:
    """For spreadsheets: a text that they would run as a formula gets a leading apostrophe."""
    line = io.StringIO(newline="")
    csv.writer(line).writerow([_cell(value) for value in values])
    return line.getvalue()


def json_line(values: dict[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n"


def cell_text(cell: str) -> str:
    """The text of a cell as it was before `csv_line`."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        value = "; ".join(value)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value
