"""The list of Parquet files that a run with `--stream` reads: saved when it starts, and compared when it resumes.

A resumed run continues in the order of the studies, so other files under the same names would give it other studies.
Sizes and numbers of rows are those of the footers, which are read anyway. No study is read, so other files of exactly
the same size are not noticed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path, PurePosixPath

from train.studies.stream import ParquetRows
from vlm.schema.atomic import write_json
from vlm.schema.strict_json import read_json

STREAM_FILES = "stream_files.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamFile:
    """A Parquet file."""

    name: str
    """Without its folder: that of the hub has the commit in it, which also changes for other reasons."""
    num_rows: int
    num_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamFiles:
    """The files of the splits that a training reads, in their order."""

    train: tuple[StreamFile, ...]
    validation: tuple[StreamFile, ...]


def check_same_files(folder: Path, splits: Mapping[str, ParquetRows]) -> None:
    """Save the list of the files in the folder of the run or, if the folder has one, compare it.

    Raises:
        ValueError: a file is another than at the start of the run; names the first one.
    """
    path = folder / STREAM_FILES
    files = StreamFiles(train=_list_files(splits["train"]), validation=_list_files(splits["validation"]))
    if not path.is_file():
        write_json(path, asdict(files))
        return
    saved = read_json(path, StreamFiles)
    for split in ("train", "validation"):
        _check_split(path, split, getattr(saved, split), getattr(files, split))


def _list_files(rows: ParquetRows) -> tuple[StreamFile, ...]:
    num_rows: dict[tuple[str, int], int] = {}
    for group in rows.groups:
        file = (group.file, group.file_bytes)
        num_rows[file] = num_rows.get(file, 0) + group.num_rows
    return tuple(
        StreamFile(name=PurePosixPath(name).name, num_rows=count, num_bytes=num_bytes)
        for (name, num_bytes), count in num_rows.items()
    )


def _check_split(path: Path, split: str, saved: Sequence[StreamFile], given: Sequence[StreamFile]) -> None:
    for old, new in zip_longest(saved, given):
        if old != new:
            raise ValueError(
                f"--resume: the Parquet files of the {split} split are not those of the run ({path}): it began with "
                f"{_describe(old)}, and --dataset has {_describe(new)} instead; copy the files of the run back, or "
                "start a new run in another folder"
            )


def _describe(file: StreamFile | None) -> str:
    return f"{file.name} ({file.num_rows:,} studies, {file.num_bytes:,} bytes)" if file else "no further file"
