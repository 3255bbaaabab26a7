"""Files of reports in common formats, recognized by content and read as rows of named columns.

- CSV or TSV, JSONL, Parquet: one object per row (`data.tables.rows`);
- JSON: a list of objects or texts; an object from ids to texts or objects (ReXrank); R2Gen's annotation.json, an object
  from splits to lists; COCO's annotations and results (pycocoevalcap): an image is a study, a caption a report;
- CSV of one column without a header (R2Gen's res.csv and gts.csv), or a JSON list of texts: studies are identified by
  position only.

A row that cannot be read has an `error`; a file that cannot be read is a ValueError.
"""

import csv
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.tables.rows import DELIMITERS, Row, column_names, read_rows

MAX_FILE_BYTES = 2**28
"""256 MiB, about 200,000 reports."""
POSITION = "position"
"""Column with the row number, if a file has no study ids."""
ID, TEXT = "study_id", "report"
_COCO = frozenset({"image_id", "caption"})
_SPLITS = frozenset({"train", "val", "valid", "validation", "test"})


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportFile:
    """`rows` reads the file again each time; `format` is shown to the user."""

    path: Path
    format: str
    columns: tuple[str, ...]
    rows: Callable[[], Iterator[Row]]


def open_report_file(path: Path, known_columns: frozenset[str]) -> ReportFile:
    """Open a file and find its format and columns. `known_columns` (lower case) distinguish a header from a report.

    Raises:
        ValueError: the file is missing, empty, too large, or has an unknown format.
    """
    if not path.is_file():
        raise ValueError(f"{path} is not a file; give one in CSV, JSONL, JSON or Parquet")
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{path} has {size:,} bytes; the limit is {MAX_FILE_BYTES:,}: score it in parts")
    with path.open("rb") as file:
        start = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    if start[:1] == b"[" or (start[:1] == b"{" and not _is_jsonl(path, known_columns)):
        return _json_file(path)
    is_text = start[:1] not in (b"{", b"") and start[:4] != b"PAR1" and b"\0" not in start
    if is_text and _is_headerless(path, known_columns):
        format = "CSV of one column without a header (as R2Gen writes)"
        return ReportFile(path=path, format=format, columns=(POSITION, TEXT), rows=lambda: _headerless_rows(path))
    columns = tuple(column_names(path))
    format = {b"{": "JSONL", b"P": "Parquet" if start[:4] == b"PAR1" else "CSV"}.get(start[:1], "CSV")
    return ReportFile(path=path, format=format, columns=columns, rows=lambda: read_rows(path))


def file_hash(path: Path) -> str:
    """Hash of the content, 16 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:16]


def _is_jsonl(path: Path, known_columns: frozenset[str]) -> bool:
    """Whether a file that starts with a JSON object is JSONL and not one JSON object."""
    with path.open("rb") as file:
        lines = (line for line in iter(lambda: file.readline(2**20), b"") if line.strip())
        first, second = (_object(next(lines, b"")) for _ in range(2))
    # A first line that is broken does not decide.
    return second is not None or bool({str(key).lower() for key in first or ()} & known_columns)


def _object(line: bytes) -> dict | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _json_file(path: Path) -> ReportFile:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); it may be cut off") from error
    format, rows = _json_rows(path, content)
    columns = tuple(dict.fromkeys(name for row in rows for name in row.values))
    return ReportFile(path=path, format=format, columns=columns, rows=lambda: iter(rows))


def _json_rows(path: Path, content: Any) -> tuple[str, list[Row]]:
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        return "COCO annotations (pycocoevalcap's)", _numbered(_coco_rows(content))
    if isinstance(content, list) and content:
        if all(isinstance(item, dict) and item.keys() >= _COCO for item in content):
            return "COCO results (pycocoevalcap's)", _numbered(_coco_rows({"annotations": content}))
        if all(isinstance(item, str) for item in content):
            texts = [{POSITION: number, TEXT: text} for number, text in enumerate(content, start=1)]
            return "JSON list of texts", _numbered(texts)
        return _named("JSON list", content), _numbered(content)
    if isinstance(content, dict) and content:
        values = list(content.values())
        if set(content) <= _SPLITS and all(isinstance(items, list) for items in values):
            items = [
                item | {"split": split} if isinstance(item, dict) else item
                for split, items in content.items()
                for item in items
            ]
            return "annotation.json (R2Gen's)", _numbered(items)
        if all(isinstance(value, dict) for value in values):
            items = [{ID: key} | value for key, value in content.items()]
            return _named("JSON object from ids to studies", items), _numbered(items)
        if all(isinstance(value, str | list | None) for value in values):
            return "JSON object from ids to texts", _numbered([{ID: key, TEXT: text} for key, text in content.items()])
    raise ValueError(
        f"{path} is JSON, but contains no reports; give a list of objects, or an object from study ids to reports"
    )


def _coco_rows(content: dict[str, Any]) -> list:
    """A row for each caption, and an empty one for each image without a caption."""
    items = content["annotations"]
    rows = [
        {ID: item["image_id"], TEXT: item["caption"]} if isinstance(item, dict) and item.keys() >= _COCO else None
        for item in items
    ]
    captioned = {str(row[ID]) for row in rows if row is not None}
    images = content.get("images") if isinstance(content.get("images"), list) else []
    bare = [image["id"] for image in images if isinstance(image, dict) and "id" in image]
    return [*rows, *({ID: name, TEXT: ""} for name in bare if str(name) not in captioned)]


def _named(format: str, items: list) -> str:
    return (
        f"ReXrank's {format}"
        if any("model_prediction" in item for item in items[:100] if isinstance(item, dict))
        else format
    )


def _numbered(items: list) -> list[Row]:
    return [
        Row(number=number, values=item)
        if isinstance(item, dict)
        else Row(number=number, error=f"entry {number} is a {type(item).__name__}, not an object")
        for number, item in enumerate(items, start=1)
    ]


def _is_headerless(path: Path, known_columns: frozenset[str]) -> bool:
    """Whether the first line of a CSV is one report, so that the file has one column and no header."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            line = file.readline(2**20)
    except UnicodeDecodeError:
        return False  # `read_rows` reports the error
    for delimiter in DELIMITERS:
        if {name.strip(' \r\n"').lower() for name in line.split(delimiter)} & known_columns:
            return False
    fields = next(csv.reader([line]), [])
    return len(fields) == 1 and " " in fields[0].strip()


def _headerless_rows(path: Path) -> Iterator[Row]:
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, fields in enumerate(csv.reader(file, strict=True), start=1):
                if len(fields) > 1:
                    error = f"row {number} has {len(fields)} fields, the first has 1"
                    yield Row(number=number, error=error)
                else:
                    yield Row(number=number, values={POSITION: number, TEXT: fields[0] if fields else ""})
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except csv.Error as error:
        raise ValueError(f"{path}: row {number + 1} is not CSV ({error}); look at its quotes") from error
