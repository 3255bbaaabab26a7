"""Rows of studies as CSV or JSON lines; `page.study.row` says what the columns are.

    with StudyTable(Path("reports.csv"), model=…) as table:    # new, or continued
        table.add(row)

Worklists of the page have one more column, `rank`, in front.
"""

import csv
import io
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from page.study.row import COLUMNS, StudyRow
from vlm.schema.atomic import write_atomically

SUFFIXES = (".csv", ".jsonl")
SEPARATOR = "; "
"""Between the values of a list in a cell of a CSV."""
MAX_ROW_BYTES = 2**20
_NOT_OURS = "is damaged, or has other columns than this version writes; repair or delete it, or give another --output"
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
    value = joined(value)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value


class StudyTable:
    """A file of rows, CSV or JSON lines by its suffix, that an interrupted program continues.

    Each row is in the file when `add` returns. An incomplete last row, which a killed program left, is removed.

    Raises:
        ValueError: the suffix is another one; the file has other columns, a damaged row, a study twice, or rows of
            another model; or another program writes to it.
    """

    def __init__(self, path: Path, *, model: str):
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"--output {path} is no table; give a name that ends in {' or '.join(SUFFIXES)}")
        self.path, self._is_csv = path, path.suffix.lower() == ".csv"
        self._end_of_row = (csv_line(["", model]) if self._is_csv else "}\n").encode()
        """An incomplete last row does not have it."""
        self._start = (csv_line(COLUMNS) if self._is_csv else '{"study": "').encode()
        self._lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise ValueError(f"another program writes to {path}; wait for it, or give another --output") from error
        try:
            self._file = path.open("ab+")
            self.rows = self._read()
            self._check_model(model)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "StudyTable":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def add(self, row: StudyRow) -> None:
        """Append a row.

        Raises:
            OSError: it cannot be written; names the file.
        """
        values = row.values()
        line = csv_line(values.values()) if self._is_csv else json_line(values)
        self._write(line)
        self.rows[row.study] = StoredRow.of(values)

    def remove(self, studies: Collection[str]) -> None:
        """Remove the rows of these studies; the other rows stay as they are, byte for byte.

        Raises:
            OSError: the table cannot be written; then it is unchanged.
        """
        self._file.seek(0)
        content = self._file.read()
        start = len(self._start) if self._is_csv else 0
        parts, removed = [content[:start]], set()
        self._file.seek(0)
        for values, end in (_csv_rows if self._is_csv else _json_rows)(self._file):
            is_removed = values["study"] in studies
            parts += [] if is_removed else [content[start:end]]
            removed |= {values["study"]} if is_removed else set()
            start = end
        write_atomically(self.path, b"".join(parts))
        self._file.close()
        self._file = self.path.open("ab+")
        for study in removed:
            del self.rows[study]

    def close(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()
        if self._lock.is_locked:
            Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()

    def _read(self) -> dict[str, "StoredRow"]:
        """The rows by study; leaves the file at the end of the last complete row."""
        self._file.seek(0)
        rows: dict[str, StoredRow] = {}
        end = 0
        for values, position in (_csv_rows if self._is_csv else _json_rows)(self._file):
            number = len(rows) + 1
            if values is None or list(values) != list(COLUMNS):
                raise ValueError(f"{self.path}, row {number}: {_NOT_OURS}")
            row = StoredRow.of(values)
            if values["study"] in rows:
                raise ValueError(f"{self.path}: has two rows of the study {values['study']!r}; delete one of them")
            rows[values["study"]], end = row, position
        self._file.seek(0)
        start = self._file.read(len(self._start))
        if start != self._start[: len(start)]:
            raise ValueError(f"{self.path}: {_NOT_OURS}")
        self._file.seek(end)
        rest = self._file.read(MAX_ROW_BYTES + 1)
        if len(rest) > MAX_ROW_BYTES or self._end_of_row in rest:
            raise ValueError(f"{self.path}: is damaged after row {len(rows)}; repair it, or give another --output")
        self._file.truncate(end)
        if self._is_csv and not end:
            self._write(csv_line(COLUMNS))
        return rows

    def _check_model(self, model: str) -> None:
        others = {row.model for row in self.rows.values()} - {model}
        if others:
            raise ValueError(
                f"{self.path} has rows of the model {min(others)!r}, and this is {model!r}; give another --output"
            )

    def _write(self, line: str) -> None:
        try:
            self._file.write(line.encode())
            self._file.flush()
        except OSError as error:  # a full disk does not say which file
            raise OSError(error.errno, error.strerror, str(self.path)) from error


def joined(value: Any) -> Any:
    """The cell of a list; other values as they are."""
    return SEPARATOR.join(value) if isinstance(value, list) else value


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredRow:
    """What is needed of a row that is in a table already."""

    state: str
    files: str
    """Joined by SEPARATOR."""
    exports: tuple[str, ...]
    images_hash: str
    model: str

    @classmethod
    def of(cls, values: dict[str, Any]) -> "StoredRow":
        """From values by column."""
        exports = values["exports"]
        return cls(
            state=values["state"],
            files=joined(values["files"]),
            exports=tuple(exports.split(SEPARATOR) if isinstance(exports, str) and exports else exports or ()),
            images_hash=values["images_hash"],
            model=values["model"],
        )


def _csv_rows(file: BinaryIO) -> Iterator[tuple[dict[str, Any] | None, int]]:
    """Each complete row after the header, and the position after it; None for a row with another number of cells."""
    position = 0

    def lines() -> Iterator[str]:
        nonlocal position
        for line in file:
            position += len(line)
            if not line.endswith(b"\n"):  # incomplete, and so is its row
                return
            yield line.decode(errors="replace")

    csv.field_size_limit(MAX_ROW_BYTES)
    reader = csv.reader(lines(), strict=True)
    header: list[str] | None = None
    try:
        for cells in reader:
            if header is None:
                header = cells
                if header != list(COLUMNS):
                    yield None, position
                continue
            is_whole = len(cells) == len(header)
            yield (dict(zip(header, map(cell_text, cells), strict=True)) if is_whole else None), position
    except csv.Error:  # the end of the file within quotes, or damage, which is then followed by other rows
        return


def _json_rows(file: BinaryIO) -> Iterator[tuple[dict[str, Any] | None, int]]:
    """Each complete line, and the position after it; None for a line that is no object."""
    position = 0
    for line in file:
        if not line.endswith(b"\n"):
            return
        position += len(line)
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        yield (values if isinstance(values, dict) else None), position
