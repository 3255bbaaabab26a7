"""Read rows of tables: CSV (comma, semicolon or tab) or JSONL, gzipped or not, or Parquet; the content decides which.

Rows are read one by one. A row that cannot be read has an `error` instead of values, so that it can be counted and
listed; a file that cannot be read is a ValueError."""

import csv
import difflib
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any, TextIO

import pyarrow
import pyarrow.parquet

MAX_LINE_CHARACTERS = 2**20
BATCH_ROWS = 256
DELIMITERS = (",", ";", "\t")
_GZIP = b"\x1f\x8b"
_CUT_SHORT = (EOFError, gzip.BadGzipFile, zlib.error)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """The values of one row by column name; `number` counts from 1 without the header."""

    number: int
    values: dict[str, Any] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableFile:
    """A table in a file; its images are separate files."""

    path: Path
    license: str = ""

    def column_names(self) -> list[str]:
        return column_names(self.path)

    def rows(self) -> Iterator[Row]:
        return read_rows(self.path)

    def content(self, column: str, name: str) -> None:
        return None


def column_names(path: Path) -> list[str]:
    """The columns of a table; for JSONL, all keys that occur.

    Raises:
        ValueError: the file is missing, empty, or not a table.
    """
    kind = _kind(path)
    if kind == "parquet":
        return _parquet(path).schema_arrow.names
    if kind == "jsonl":
        return list(dict.fromkeys(key for row in read_rows(path) for key in row.values))
    with _open_text(path) as file:
        return _csv_header(path, _csv_reader(path, file))


def find_columns(
    table: object, available: list[str], *, requested: Mapping[str, str | None], usual: Mapping[str, Iterable[str]]
) -> dict[str, str]:
    """The column of each role: the requested one, or the first that has a usual name; roles without one are left out.

    Raises:
        ValueError: a requested column is not in the table. The message lists the columns and suggests the closest.
    """
    columns = {}
    for role, names in usual.items():
        column = requested.get(role)
        if column is None:
            column = next((name for name in names if name in available), None)
        elif column not in available:
            near = difflib.get_close_matches(column, available, n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            flag = f"--{role.replace('_', '-')}-column"
            raise ValueError(f"{table} has no column {column!r} ({flag}){hint} Its columns are {', '.join(available)}")
        if column:
            columns[role] = column
    return columns


def require_columns(path: Path, needed: Iterable[str]) -> None:
    """Raise ValueError if a published table lacks one of its columns."""
    available = column_names(path)
    if missing := [name for name in needed if name not in available]:
        raise ValueError(
            f"{path} lacks the column {', '.join(missing)}; it has {', '.join(available)}; download it again"
        )


def read_rows(path: Path) -> Iterator[Row]:
    """Every row, in order, in bounded memory.

    Raises:
        ValueError: the file is missing, empty, not a table, not UTF-8, or cut off; names the file and the line.
    """
    yield from {"parquet": _parquet_rows, "jsonl": _jsonl_rows, "csv": _csv_rows}[_kind(path)](path)


def _kind(path: Path) -> str:
    if not path.is_file():
        raise ValueError(f"{path} is not a file; name a table in CSV, JSONL or Parquet")
    try:
        with _open(path, "rb") as file:
            start = file.read(4096)
    except _CUT_SHORT as error:
        raise _cut_short(path, error) from error
    if not start.removeprefix(b"\xef\xbb\xbf").strip():
        raise ValueError(f"{path} is empty")
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f"{path} is UTF-16 text; save it as UTF-8")
    if b"\0" in start or start.startswith(b"PK"):
        raise ValueError(f"{path} is not CSV, JSONL or Parquet (an Excel file?); save it as CSV in UTF-8")
    first = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if first == b"[":
        raise ValueError(f"{path} is one JSON list; write JSONL, one object per line")
    return "jsonl" if first == b"{" else "csv"


def _open(path: Path, mode: str, **options: str) -> IO:
    with path.open("rb") as file:
        is_gzip = file.read(len(_GZIP)) == _GZIP
    return gzip.open(path, mode, **options) if is_gzip else path.open(mode, **options)


def _open_text(path: Path) -> TextIO:
    return _open(path, "rt", encoding="utf-8-sig", newline="")


def _cut_short(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} ends early or is damaged ({error}); download it again")


def _lines(path: Path, file: TextIO) -> Iterator[str]:
    try:
        for number, line in enumerate(iter(partial(file.readline, MAX_LINE_CHARACTERS), ""), start=1):
            if len(line) == MAX_LINE_CHARACTERS:
                limit = f"more than {MAX_LINE_CHARACTERS} characters"
                raise ValueError(f"{path}: line {number} has {limit}; is it a table?")
            yield line
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except _CUT_SHORT as error:
        raise _cut_short(path, error) from error


def _csv_reader(path: Path, file: TextIO):
    header = next(filter(str.strip, _lines(path, file)), "")
    file.seek(0)
    return csv.reader(_lines(path, file), delimiter=max(DELIMITERS, key=header.count), strict=True)


def _csv_header(path: Path, reader: Iterator[list[str]]) -> list[str]:
    names = [name.strip() for name in next(filter(None, reader), [])]
    named = list(filter(None, names))  # NIH's list of boxes has several columns without a name
    if not named:
        raise ValueError(f"{path} has no header; name its columns in the first line")
    name, count = Counter(named).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{path} has {count} columns named {name!r}; rename them")
    return names


def _csv_rows(path: Path) -> Iterator[Row]:
    with _open_text(path) as file:
        reader = _csv_reader(path, file)
        try:
            names = _csv_header(path, reader)
            for number, fields in enumerate(filter(None, reader), start=1):  # without empty lines
                if len(fields) == len(names):
                    yield Row(number=number, values=dict(zip(names, fields, strict=True)))
                else:
                    error = f"row {number} has {len(fields)} fields, the header has {len(names)}"
                    yield Row(number=number, error=error)
        except csv.Error as error:
            raise ValueError(f"{path}: line {reader.line_num} is not CSV ({error}); check its quotes") from error


def _jsonl_rows(path: Path) -> Iterator[Row]:
    with _open_text(path) as file:
        for number, line in enumerate(filter(str.strip, _lines(path, file)), start=1):
            try:
                values = json.loads(line)
            except (ValueError, RecursionError):  # ValueError also for a number with thousands of digits
                yield Row(number=number, error=f"row {number} is not JSON")
                continue
            if isinstance(values, dict):
                yield Row(number=number, values=values)
            else:
                yield Row(number=number, error=f"row {number} is JSON, but not an object")


def _parquet(path: Path) -> pyarrow.parquet.ParquetFile:
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} is damaged Parquet ({error}); download it again") from error


def _parquet_rows(path: Path) -> Iterator[Row]:
    number = 0
    try:
        for batch in _parquet(path).iter_batches(batch_size=BATCH_ROWS):
            for row in batch_rows(batch, number + 1, table=path.name):
                number = row.number
                yield row
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} is damaged Parquet after row {number} ({error}); download it again") from error


def batch_rows(batch: pyarrow.RecordBatch | pyarrow.Table, first: int, *, table: str) -> list[Row]:
    """The rows of a batch, numbered from `first`; a value that Python cannot hold, such as a time before the year 1, is
    the error of its row, which names the table."""
    try:
        return [Row(number=number, values=values) for number, values in enumerate(batch.to_pylist(), first)]
    except (OverflowError, ValueError):
        return [_batch_row(batch, row, first + row, table) for row in range(len(batch))]


def _batch_row(batch: pyarrow.RecordBatch | pyarrow.Table, row: int, number: int, table: str) -> Row:
    values = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            values[name] = column[row].as_py()
        except (OverflowError, ValueError) as error:
            message = f"row {number} of {table}: the value of {name!r} is out of range ({error})"
            return Row(number=number, error=message)
    return Row(number=number, values=values)
