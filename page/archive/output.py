"""The folder of reports that an archive run writes: Parquet files of rows, which an interrupted run continues.

    with ReportFolder(Path("reports"), record, rows_per_file=500) as reports:
        reports.add(table)          # rows of studies that are there already are dropped
    reports.counts(ids)

Only the program that started the run writes here. A file is complete when it has its name, so after a kill each study
has one row or none. `_run.json` says what determines the rows; a run with other settings is rejected.
"""

import time
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pyarrow
import pyarrow.compute
import pyarrow.parquet
from filelock import FileLock, Timeout

from page.study.row import COLUMNS, StudyRow
from vlm.schema.atomic import PARTIAL, atomic_file, write_json
from vlm.schema.strict_json import read_json

RUN_FILE = "_run.json"
WRITE_SECONDS = 60.0
"""Rows that wait longer are written, even if a file is not full."""
_KINDS = {str: pyarrow.string(), list: pyarrow.list_(pyarrow.string()), float: pyarrow.float64()}
SCHEMA = pyarrow.schema([(name, _KINDS[kind]) for name, kind in COLUMNS.items()])


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """What determines the row of a study, besides its images and its indication."""

    model: str
    """Name and hash, as in the column `model`."""
    program_version: str
    max_new_tokens: int
    write_anyway: bool
    include_identity: bool
    structured: bool
    num_candidates: int = 1


def rows_table(rows: Iterable[StudyRow]) -> pyarrow.Table:
    """Rows with the columns and types of SCHEMA."""
    return pyarrow.Table.from_pylist([row.values() for row in rows], schema=SCHEMA)


class ReportFolder:
    """Created or continued. `done` holds the studies that have a row.

    Raises:
        ValueError: it holds another run or a damaged file, or another program writes to it.
    """

    def __init__(self, folder: Path, record: RunRecord, *, rows_per_file: int):
        self.folder, self._rows_per_file = folder, rows_per_file
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / ".lock", timeout=0)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise ValueError(f"another program writes to {folder}; wait for it, or give another --output") from error
        try:
            self._claim(record)
            for leftover in folder.glob(f"part-*{PARTIAL}"):
                leftover.unlink()
            self.done = set(self._column("study").to_pylist())
        except BaseException:
            self._lock.release()
            raise
        self._waiting: list[pyarrow.Table] = []
        self._written_at = time.monotonic()

    def __enter__(self) -> "ReportFolder":
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self._write()
        finally:
            self._lock.release()

    def add(self, rows: pyarrow.Table) -> int:
        """Keep rows, and write them when a file is full; returns the number of studies that had no row before."""
        rows = rows.select(SCHEMA.names).cast(SCHEMA)
        new = []
        for study in rows["study"].to_pylist():
            new.append(study not in self.done)
            self.done.add(study)
        self._waiting.append(rows.filter(pyarrow.array(new, pyarrow.bool_())))
        is_old = time.monotonic() - self._written_at > WRITE_SECONDS
        if is_old or sum(map(len, self._waiting)) >= self._rows_per_file:
            self._write()
        return sum(new)

    def counts(self, ids: Collection[str]) -> Counter[str]:
        """Rows by state, counted in the files, of the studies with these ids.

        Raises:
            RuntimeError: a study has no row, or two.
        """
        rows = pyarrow.table({name: self._column(name) for name in ("study", "state")})
        wanted = rows.filter(pyarrow.compute.is_in(rows["study"], pyarrow.array(list(ids), pyarrow.string())))
        if len(wanted) != len(ids) or pyarrow.compute.count_distinct(wanted["study"]).as_py() != len(ids):
            raise RuntimeError(f"{self.folder}: {len(ids)} studies have {len(wanted)} rows")  # pragma: no cover
        return Counter(wanted["state"].to_pylist())

    def _claim(self, record: RunRecord) -> None:
        path = self.folder / RUN_FILE
        if not path.exists():
            if self._parts():
                raise ValueError(f"{self.folder} has Parquet files but no {RUN_FILE}; give another --output")
            write_json(path, asdict(record))
            return
        saved = read_json(path, RunRecord)
        names = [field.name for field in fields(RunRecord)]
        differences = [
            f"{name} {getattr(saved, name)} (requested: {getattr(record, name)})"
            for name in names
            if getattr(saved, name) != getattr(record, name)
        ]
        if differences:
            raise ValueError(f"{self.folder} holds another run: {'; '.join(differences)}; give another --output")

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("*.parquet"))

    def _column(self, name: str) -> pyarrow.ChunkedArray:
        chunks = [pyarrow.chunked_array([], pyarrow.string())]
        for part in self._parts():
            try:
                chunks.append(pyarrow.parquet.read_table(part, columns=[name], partitioning=None)[name])
            except (pyarrow.ArrowException, KeyError, OSError) as error:
                raise ValueError(f"{part} is damaged ({error}); delete it, and its studies are read again") from error
        return pyarrow.chunked_array([chunk for column in chunks for chunk in column.chunks], pyarrow.string())

    def _write(self) -> None:
        self._written_at = time.monotonic()
        rows = pyarrow.concat_tables([SCHEMA.empty_table(), *self._waiting])
        self._waiting = []
        if len(rows):
            numbers = [int(part.stem.removeprefix("part-")) for part in self.folder.glob("part-*.parquet")]
            with atomic_file(self.folder / f"part-{max(numbers, default=0) + 1:06}.parquet") as partial:
                pyarrow.parquet.write_table(rows, partial)
