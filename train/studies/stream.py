"""Studies in Parquet files that are read while a training runs. Nothing is copied to the disk, and few are in memory.

`ParquetRows` has the methods of `datasets.Dataset` that training uses. It reads a row group (some hundred studies) at
once and keeps the last few, so rows must be read nearly in order. `ParquetRows.shuffled` is such an order. It is known
before a study is read, so a resumed run continues within an epoch without reading the studies before. The shuffle
buffer of a `datasets.IterableDataset` cannot do that (docs/LOG.md).
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import datasets
import fsspec
import numpy as np
import pyarrow
import pyarrow.parquet
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from jaxtyping import Bool, Int

from data.study import FEATURES, IMAGE_COLUMNS, LATER_COLUMNS, PREPARATION_FILE, check_disjoint

WRITE = "python -m data.pipeline.parquet"
UNREADABLE = (OSError, ValueError, pyarrow.ArrowException)
BATCH_ROWS = 1000
_NUMBERED = re.compile(r"-(\d+)-of-(\d+)[^/]*\.parquet$")
"""The number of a file and the number of all files of its split, as `data.pipeline.parquet` and `push_to_hub` write
them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RowGroup:
    """A part of a Parquet file, which is read at once."""

    file: str
    """Path or URL."""
    number: int
    """In its file."""
    num_rows: int
    num_bytes: int
    """Of its columns, uncompressed."""
    file_bytes: int = 0
    """Size of its file."""


class ParquetRows:
    """Rows of Parquet files, numbered in the order of the files.

    `buffer`: rows among which `shuffled` shuffles. `ahead`: so many rows of this order may be read in any order. The
    row groups of `buffer` + `ahead` rows are kept in memory, and up to two more.
    """

    def __init__(
        self,
        groups: Sequence[RowGroup],
        column_names: Sequence[str],
        *,
        buffer: int = 0,
        ahead: int = 0,
        as_tables: bool = False,
    ):
        self.groups, self.column_names = list(groups), list(column_names)
        self.buffer, self.ahead, self.as_tables = buffer, ahead, as_tables
        self._features = datasets.Features({name: FEATURES[name] for name in self.column_names})
        self.sizes = np.array([group.num_rows for group in groups], dtype=int)
        self._ends = np.cumsum(self.sizes)
        self._max_rows = buffer + ahead + int(self.sizes.max(initial=0))
        self._tables: dict[int, pyarrow.Table] = {}
        """The row groups in memory, the first one read first."""

    def __len__(self) -> int:
        return int(self.sizes.sum())

    def __getitem__(self, key: int | str) -> Any:
        """A row, or all values of a column."""
        if isinstance(key, str):
            return [value for batch in self.select_columns([key]).iter(BATCH_ROWS) for value in batch[key]]
        if not 0 <= key < len(self):
            raise IndexError(f"row {key} of {len(self)}")
        group = int(np.searchsorted(self._ends, key, side="right"))
        row = self._table(group).slice(key - int(self._ends[group] - self.sizes[group]), 1)
        return row if self.as_tables else self._features.decode_example(row.to_pylist()[0])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.iter(BATCH_ROWS):
            for values in zip(*batch.values(), strict=True):
                yield dict(zip(batch, values, strict=True))

    def iter(self, batch_size: int) -> Iterator[dict[str, list[Any]]]:
        """All rows in order, as columns of at most `batch_size` rows. Only these columns are read, and no image is
        decoded."""
        for group in self.groups:
            table = self._read(group)
            for start in range(0, len(table), batch_size):
                yield table.slice(start, batch_size).to_pydict()

    def select_columns(self, names: Sequence[str]) -> "ParquetRows":
        return self._like(names, as_tables=self.as_tables)

    def remove_columns(self, names: Sequence[str]) -> "ParquetRows":
        return self.select_columns([name for name in self.column_names if name not in names])

    def with_format(self, kind: str) -> "ParquetRows":
        """With "arrow", a row is a table of one row, and images are not decoded."""
        return self._like(self.column_names, as_tables=kind == "arrow")

    def shuffled(
        self, rng: np.random.Generator, *, kept: Bool[np.ndarray, " rows"] | None = None, num_parts: int = 1
    ) -> Int[np.ndarray, " kept_rows"]:
        """The numbers of the rows in a random order in which each row group is read about once: the row groups in
        random order, their rows moved by less than `buffer`. `kept`: whether each row is in the order.

        With `num_parts`, [part::num_parts] is the order of one of several processes: each reads other row groups.
        """
        starts = self._ends - self.sizes
        groups = [np.arange(starts[group], self._ends[group]) for group in rng.permutation(len(self.sizes))]
        rows = np.concatenate([np.zeros(0, dtype=int), *groups])
        rows = rows if kept is None else rows[kept[rows]]
        order = np.empty_like(rows)
        for number, part in enumerate(np.array_split(rows, num_parts)):
            moved = np.arange(len(part)) + rng.uniform(0, max(1, self.buffer), len(part))
            order[number::num_parts] = part[np.argsort(moved)]
        return order

    def describe_memory(self) -> str:
        """How many rows are kept, and their size."""
        kept = min(self._max_rows + int(self.sizes.max(initial=0)), len(self))
        mib = sum(group.num_bytes for group in self.groups) / max(1, len(self)) * kept / 2**20
        return f"up to {kept:,} studies ({mib:,.0f} MiB)"

    def _like(self, names: Sequence[str], *, as_tables: bool) -> "ParquetRows":
        return ParquetRows(self.groups, names, buffer=self.buffer, ahead=self.ahead, as_tables=as_tables)

    def _table(self, group: int) -> pyarrow.Table:
        if group not in self._tables:
            num_rows = sum(self.sizes[one] for one in (group, *self._tables))
            for oldest in list(self._tables):
                if num_rows - self.sizes[oldest] < self._max_rows:
                    break
                num_rows -= self.sizes[oldest]
                del self._tables[oldest]
            self._tables[group] = self._read(self.groups[group])
        return self._tables[group]

    def _read(self, group: RowGroup) -> pyarrow.Table:
        try:
            with _open_file(group.file) as file:
                parquet = pyarrow.parquet.ParquetFile(file, pre_buffer=True)
                table = parquet.read_row_group(group.number, columns=self.column_names, use_threads=False)
        except UNREADABLE as error:
            raise ValueError(
                f"{group.file} can no longer be read ({error}); check the file or the network, then give --resume"
            ) from error
        for name in filter(self.column_names.__contains__, IMAGE_COLUMNS):
            if any(chunk.flatten().field("bytes").null_count for chunk in table[name].chunks):
                raise ValueError(
                    f"{group.file} names an image that is not in the file; write the files with `{WRITE}`, which "
                    "stores the images in them"
                )
        for name in self.column_names:
            if table[name].null_count and LATER_COLUMNS.get(name, "") is not None:
                raise ValueError(f"{group.file}: the column {name} has an empty cell; write the files with `{WRITE}`")
        return table


Rows = datasets.Dataset | ParquetRows


def open_stream(dataset: str) -> dict[str, ParquetRows]:
    """The splits of a folder or hub repository of Parquet files. Only the footers of the files are read.

    Raises:
        ValueError: there are no such files, one is damaged or missing or there twice, or a column is missing or has
            another type.
    """
    try:
        files_of = datasets.load_dataset_builder(dataset).config.data_files or {}
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"--dataset {dataset} is neither a folder of Parquet files nor a data set of the hub ({reason}); write the "
            f"files of a prepared data set with `{WRITE}`"
        ) from error
    if not all(file.endswith(".parquet") for files in files_of.values() for file in files):
        raise ValueError(
            f"--dataset {dataset} has no Parquet files, which --stream needs: write them with `{WRITE}`, or leave "
            "--stream out"
        )
    for split, files in files_of.items():
        _check_all_there(f"--dataset {dataset}", str(split), files)
    return {str(split): _open_files(files) for split, files in files_of.items()}


def _check_all_there(name: str, split: str, files: Sequence[str]) -> None:
    """Raises ValueError unless each file is there once, by the numbers in their names; files without are not checked.

    A copy that was interrupted would train on fewer studies, and a second copy would count studies twice.
    """
    found = [_NUMBERED.search(file) for file in files]
    if not any(found):
        return
    total = max(int(match[2]) for match in found if match)
    numbers = sorted(int(match[1]) if match and int(match[2]) == total else -1 for match in found)
    if numbers != list(range(total)):
        missing = sorted({*range(total)} - {*numbers})
        raise ValueError(
            f"{name}: the split {split} has {len(files)} files, which are not the {total} of their names"
            + (f" (number {missing[0]:05d} is missing)" if missing else "")
            + "; copy them again, and keep no other Parquet file in the folder or its subfolders"
        )


def _open_file(path: str) -> IO[bytes]:
    """A file of which only the parts that are read are fetched, without reading ahead."""
    system, name = fsspec.core.url_to_fs(path)
    return system.open(name, cache_type="none")


def _open_files(files: Sequence[str]) -> ParquetRows:
    groups, schema = [], None
    for path in files:
        try:
            with _open_file(path) as file:
                parquet = pyarrow.parquet.ParquetFile(file)
                metadata, found, file_bytes = parquet.metadata, parquet.schema_arrow, file.seek(0, os.SEEK_END)
        except UNREADABLE as error:
            raise ValueError(f"{path} is damaged or no Parquet file ({error}); write or copy it again") from error
        schema = schema or found
        _check_columns(path, found, schema)
        parts = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        groups += [
            RowGroup(
                file=path,
                number=number,
                num_rows=part.num_rows,
                num_bytes=part.total_byte_size,
                file_bytes=file_bytes,
            )
            for number, part in enumerate(parts)
            if part.num_rows
        ]
    return ParquetRows(groups, [name for name in FEATURES if name in schema.names])


def _check_columns(path: str, found: pyarrow.Schema, first: pyarrow.Schema) -> None:
    """Raises ValueError if a column is missing here or in the first file, or has another type than in a prepared data
    set."""
    for field in FEATURES.arrow_schema:
        is_there = field.name in found.names
        if is_there != (field.name in first.names) or not (is_there or field.name in LATER_COLUMNS):
            raise ValueError(f"{path} lacks the column {field.name}; write all files with `{WRITE}`")
        if is_there and found.field(field.name).type != field.type:
            raise ValueError(
                f"{path}: the column {field.name} has the type {found.field(field.name).type} instead of {field.type}; "
                f"write the files with `{WRITE}`"
            )


def preparation_folder(dataset: str) -> Path | None:
    """The folder with the preparation.json of the files; None if they have none."""
    if Path(dataset).is_dir():
        path = Path(dataset) / PREPARATION_FILE
        return path.parent if path.is_file() else None
    try:
        return Path(hf_hub_download(dataset, PREPARATION_FILE, repo_type="dataset")).parent
    except EntryNotFoundError:
        return None


def check_patients(dataset: str, studies: Mapping[str, ParquetRows]) -> None:
    """Raises ValueError if a patient is in two splits. The patients of the train split are not held in memory."""
    held_out = {split: set(rows["subject_id"]) for split, rows in studies.items() if split != "train"}
    known = set().union(*held_out.values())
    learned = (row["subject_id"] for row in studies["train"].select_columns(["subject_id"]))
    shared = {subject for subject in learned if subject in known}
    try:
        check_disjoint({"train": shared} | held_out)
    except ValueError as error:
        raise ValueError(f"--dataset {dataset}: {error}") from error
