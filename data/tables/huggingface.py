"""A Hugging Face data set as a table: a folder written by `save_to_disk`, a folder of Parquet files, or a hub id.

It may contain images. Then a cell has a name for each image, "train[17]" or "train[17][0]", and `content` returns its
bytes; everything else is read without loading them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.compute
from datasets.exceptions import DatasetGenerationError

from data.tables.rows import Row, batch_rows

BATCH_ROWS = 32
SPLIT_COLUMN = "split"
_IMAGE = re.compile(r"(\w+)\[(\d+)\](?:\[(\d+)\])?")
_FAILURES = (OSError, ValueError, TypeError, KeyError, DatasetGenerationError, pyarrow.ArrowException)
"""Errors that `datasets` raises for files that it cannot read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredTable:
    """All splits of a data set as one table. Several splits become a column "split" unless there is one."""

    splits: dict[str, datasets.Dataset]

    @property
    def license(self) -> str:
        return next((rows.info.license for rows in self.splits.values() if rows.info.license), "")

    def column_names(self) -> list[str]:
        names = dict.fromkeys(name for rows in self.splits.values() for name in rows.column_names)
        return list(names | dict.fromkeys([SPLIT_COLUMN] if len(self.splits) > 1 else []))

    def rows(self) -> Iterator[Row]:
        number = 0
        for split, rows in self.splits.items():
            images = [field.name for field in rows.data.schema if _holds_images(field.type)]
            words = {name: kind.names for name, kind in rows.features.items() if isinstance(kind, datasets.ClassLabel)}
            given = {SPLIT_COLUMN: split} if len(self.splits) > 1 else {}
            for start in range(0, len(rows), BATCH_ROWS):
                batch = rows.with_format("arrow")[start : start + BATCH_ROWS]
                cells = {name: _image_names(batch[name], split, start) for name in images}
                for index, row in enumerate(batch_rows(batch.drop_columns(images), number + 1, table=split)):
                    number, values = row.number, row.values
                    if row.error:
                        yield row
                        continue
                    for name, names in words.items():
                        values[name] = names[values[name]] if values[name] in range(len(names)) else None
                    yield Row(number=number, values=given | values | {name: cells[name][index] for name in images})

    def content(self, column: str, name: str) -> bytes | None:
        """The bytes of an image by its name; None if the name is a path."""
        match = _IMAGE.fullmatch(name)
        if match is None or match[1] not in self.splits:
            return None
        row = int(match[2])
        cell = self.splits[match[1]].with_format("arrow")[row : row + 1][column][0]
        return (cell[int(match[3])] if match[3] else cell)["bytes"].as_py()


def open_folder(folder: Path, *, work: Path) -> StoredTable:
    """The data set in a folder; converted files are written to `work`.

    Raises:
        ValueError: the folder has no data set, or a damaged one.
    """
    try:
        if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
            return _table(datasets.load_from_disk(str(folder)), name=folder)
        if next(folder.rglob("*.parquet"), None) is not None:
            return _table(datasets.load_dataset(str(folder), cache_dir=str(work)), name=folder)
    except _FAILURES as error:
        raise ValueError(f"{folder} is a damaged data set ({_reason(error)}); write or download it again") from error
    raise ValueError(
        f"{folder} is not a Hugging Face data set (it has no dataset_dict.json, state.json or Parquet files); name "
        "one, or a table in CSV, JSONL or Parquet"
    )


def open_hub(hub_id: str, *, config: str | None, revision: str | None) -> StoredTable:
    """A data set of the hub, downloaded unless it is in the cache.

    Raises:
        ValueError: it cannot be loaded; the message says why.
    """
    try:
        return _table(datasets.load_dataset(hub_id, config, revision=revision), name=hub_id)
    except _FAILURES as error:
        raise ValueError(f"--hub-id {hub_id} cannot be loaded: {_reason(error)}") from error


def _table(loaded: datasets.DatasetDict | datasets.Dataset, *, name: Path | str) -> StoredTable:
    splits = loaded if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}
    splits = {split: rows for split, rows in splits.items() if len(rows)}
    if not splits:
        raise ValueError(f"{name} has no rows")
    return StoredTable(splits=splits)


def _reason(error: Exception) -> str:
    return " ".join(str(error.__cause__ or error).split()) or type(error).__name__


def _holds_images(kind: pyarrow.DataType) -> bool:
    """Whether cells are images as `datasets` stores them (bytes and path), or lists of images."""
    if _is_list(kind):
        kind = kind.value_type
    return pyarrow.types.is_struct(kind) and {part.name for part in kind} == {"bytes", "path"}


def _is_list(kind: pyarrow.DataType) -> bool:
    return pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind) or pyarrow.types.is_fixed_size_list(kind)


def _image_names(cells: pyarrow.ChunkedArray, split: str, start: int) -> list[Any]:
    """The image name of each cell, or a list of names; the path if there are no bytes."""
    names = []
    for chunk in cells.chunks:
        is_list = _is_list(chunk.type)
        images = chunk.flatten() if is_list else chunk
        inside = pyarrow.compute.struct_field(images, "bytes").is_valid().to_pylist()
        stored = iter(zip(inside, pyarrow.compute.struct_field(images, "path").to_pylist(), strict=True))
        lengths = pyarrow.compute.list_value_length(chunk).to_pylist() if is_list else [1] * len(chunk)
        for length in lengths:
            cell = f"{split}[{start + len(names)}]"
            found = [next(stored) for _ in range(length or 0)]
            parts = [
                (f"{cell}[{view}]" if is_list else cell) if has_bytes else path
                for view, (has_bytes, path) in enumerate(found)
            ]
            names.append(parts if is_list else parts[0])
    return names
