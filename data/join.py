"""Joins prepared data sets into one, split by split: train to train, validation to validation, test to test.

    python -m data.join --datasets runs/synthetic runs/kermany --out runs/both
    python -m data.join --datasets runs/synthetic runs/kermany --take-train 2000 all --out runs/smaller

Rows go over as they are, images to the byte, one after the other: memory does not grow with the data sets. All must
have gone through the same preprocessing. A study id that two of them have, or a patient who would be in two splits, is
rejected before anything is written. A join that was killed goes on when the same command is given again.

Beside the rows there is a `preparation.json` with the parts, each with the one of its own; what a part once rejected or
warned of stays told in the part.
"""

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import datasets
import numpy as np
import tyro
from rich.console import Console
from rich.progress import track

from data.cli import run_main
from data.pipeline.raw_study import SourcePlan
from data.pipeline.row import PreparedRow
from data.pipeline.writer import DatasetWriter
from data.prepare import NO_ROOM, print_summary
from data.study import FEATURES, PREPARATION_FILE, SPLITS, check_disjoint, load_studies, saved_preprocessing


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinOptions:
    """Which data sets, and where to."""

    datasets: tuple[Path, ...]
    """Folders that `data.prepare` wrote; their studies follow each other in this order."""
    out: Path
    """Folder to write the joined data set to; it must not exist, or be empty."""
    take_train: tuple[int | Literal["all"], ...] = ()
    """For each data set, how many studies of its train split to take: a number, or "all". They are drawn by --seed, and
    a smaller number takes some of those that a larger one takes. By default all of all."""
    seed: int = 0
    """Decides which studies --take-train takes."""
    overwrite: bool = False
    """Replace a data set that is already in --out."""

    def __post_init__(self):
        if len(self.datasets) < 2:
            raise ValueError(f"--datasets names {len(self.datasets)}; give at least two to join")
        if len({path.resolve() for path in self.datasets}) < len(self.datasets):
            raise ValueError("--datasets names one data set twice; every study may be in the joined one once only")
        if self.take_train and len(self.take_train) != len(self.datasets):
            raise ValueError(
                f"--take-train has {len(self.take_train)} entries for {len(self.datasets)} data sets; give one each, a "
                'number or "all"'
            )
        for number in self.take_train:
            if number != "all" and number < 0:
                raise ValueError(f"--take-train is {number}; give 0 or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One of the data sets, with the rows to take of each split (all, where there is None)."""

    folder: Path
    splits: dict[str, datasets.Dataset]

    def ids(self, split: str, column: str) -> list[str]:
        return self.splits[split][column][:] if split in self.splits else []


@dataclass(frozen=True, kw_only=True, slots=True)
class RawJoinedStudy:
    """A row that is still to be copied: what the writer asks of a raw study."""

    study_id: str
    subject_id: str
    split: str
    part: int
    row: int
    files: tuple[str, ...] = ()


def main(argv: list[str] | None = None) -> None:
    """Raises ValueError when the data sets do not go together."""
    options = tyro.cli(JoinOptions, args=argv, prog="python -m data.join", description=__doc__)
    console = Console()
    datasets.disable_progress_bars()
    for note in join(options, console):
        console.print(f"Note: {note}", highlight=False)


def join(options: JoinOptions, console: Console) -> list[str]:
    """Writes the joined data set; returns what the user should know of it.

    Raises:
        ValueError: a folder is no data set, they differ in preprocessing, or their studies or patients clash.
    """
    takes = options.take_train or ("all",) * len(options.datasets)
    parts = [_open(folder, take, options.seed) for folder, take in zip(options.datasets, takes, strict=True)]
    preprocessing = _shared_preprocessing(options.datasets)
    check_study_ids(parts)
    check_disjoint(
        {split: [subject for part in parts for subject in part.ids(split, "subject_id")] for split in SPLITS}
    )
    num_studies = sum(len(rows) for part in parts for rows in part.splits.values())
    told = _told_options(options, preprocessing)
    with DatasetWriter(options.out, options=told, overwrite=options.overwrite) as writer:
        remaining = writer.remaining(_raw_studies(parts))
        left = num_studies - writer.num_done
        try:
            for raw_study in track(remaining, "Joining", total=left, console=console):
                writer.add(raw_study, PreparedRow(row=_row(parts[raw_study.part], raw_study)))
            writer.finish()
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise ValueError(writer.room_wanted(num_studies)) from error
    print_summary(writer, SourcePlan(num_studies=num_studies, raw_studies=iter(())), console)
    return _notes(parts)


def check_study_ids(parts: list[Part]) -> None:
    """Raises ValueError that names a study id found in two parts (or twice in one)."""
    folder_of: dict[str, Path] = {}
    for part in parts:
        for split in part.splits:
            for study_id in part.ids(split, "study_id"):
                if study_id in folder_of:
                    raise ValueError(
                        f"study id {study_id} is in {folder_of[study_id]} and again in {part.folder}; if it is one "
                        "study, leave it out of one of them, else prepare one of them again with ids of its own"
                    )
                folder_of[study_id] = part.folder


def _open(folder: Path, take: int | Literal["all"], seed: int) -> Part:
    splits = {split: rows for split, rows in load_studies(folder).items() if split in SPLITS}
    for split, rows in splits.items():
        columns = [name for name in FEATURES if name in rows.column_names]
        rows = rows.select_columns(columns).cast_column("images", datasets.List(datasets.Image(decode=False)))
        if split == "train" and take != "all":
            if take > len(rows):
                raise ValueError(f"--take-train {take}: the train split of {folder} has only {len(rows)} studies")
            rows = rows.select(np.sort(np.random.default_rng(seed).permutation(len(rows))[:take]))
        splits[split] = rows
    return Part(folder=folder, splits=splits)


def _shared_preprocessing(folders: tuple[Path, ...]) -> dict[str, Any]:
    first, *others = ((folder, saved_preprocessing(folder)) for folder in folders)
    for folder, preprocessing in others:
        if preprocessing != first[1]:
            raise ValueError(
                f"{folder} went through another preprocessing ({preprocessing}) than {first[0]} ({first[1]}); prepare "
                "both with the same switches"
            )
    return dataclasses.asdict(first[1])


def _told_options(options: JoinOptions, preprocessing: dict[str, Any]) -> dict[str, Any]:
    """What decides the outcome; with the place where `saved_preprocessing` looks."""
    parts = [
        {"dataset": str(folder), "take_train": take, "preparation": _preparation(folder)}
        for folder, take in itertools.zip_longest(options.datasets, options.take_train, fillvalue="all")
    ]
    return {
        "source_name": "join",
        "source": {"parts": parts},
        "seed": options.seed,
        "image_options": {"preprocessing": preprocessing},
    }


def _preparation(folder: Path) -> dict[str, Any] | None:
    path = folder / PREPARATION_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _raw_studies(parts: list[Part]) -> Iterator[RawJoinedStudy]:
    for number, part in enumerate(parts):
        for split in SPLITS:
            ids = zip(part.ids(split, "study_id"), part.ids(split, "subject_id"), strict=True)
            for row, (study_id, subject_id) in enumerate(ids):
                yield RawJoinedStudy(study_id=study_id, subject_id=subject_id, split=split, part=number, row=row)


def _row(part: Part, raw_study: RawJoinedStudy) -> dict[str, Any]:
    row = part.splits[raw_study.split][raw_study.row]
    if not all(image["bytes"] for image in row["images"]):
        raise ValueError(f"study {raw_study.study_id} of {part.folder} names an image that is not in the data set")
    return {"mesh_terms": []} | row


def _notes(parts: list[Part]) -> list[str]:
    notes = []
    for part in parts:
        counts = ", ".join(f"{split} {len(rows)}" for split, rows in part.splits.items())
        notes.append(f"{part.folder}: {counts}.")
    subjects = ({subject for split in SPLITS for subject in part.ids(split, "subject_id")} for part in parts)
    num_parts = Counter(itertools.chain.from_iterable(subjects))
    shared = sum(number > 1 for number in num_parts.values())
    if shared:
        notes.append(f"{shared} patients are in more than one of them, by their ids, and count as the same.")
    return notes


if __name__ == "__main__":
    run_main(main, mistakes=(ValueError, RuntimeError), stopped="stopped; the same command goes on where it was")
