"""Join prepared data sets into one, split by split: train with train, validation with validation, test with test.

    python -m data.join --datasets runs/synthetic runs/kermany --out runs/both
    python -m data.join --datasets runs/synthetic runs/kermany --take-train 2000 all --out runs/smaller

Rows are copied unchanged, one at a time, so memory use does not grow with the data sets. All data sets must have the
same preprocessing. Nothing is written if two of them have the same study id, or if a patient would be in two splits.
A training study with an image that is also in the validation or test split of another data set is rejected, whatever
the study and the patient are called; `data.audit` finds copies within one data set. An interrupted join resumes when
the same command is run again.

`preparation.json` of the result contains the `preparation.json` of each part. Lists of rejected studies and warnings
stay in the parts.
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
from data.images.leakage import shared_rows, thumbnails_of
from data.pipeline.raw_study import Rejection
from data.pipeline.row import PreparedRow
from data.pipeline.writer import DatasetWriter
from data.prepare import STOPPED_MESSAGE, print_summary
from data.study import (
    FEATURES,
    IMAGE_COLUMNS,
    LATER_COLUMNS,
    PREPARATION_FILE,
    SPLITS,
    check_disjoint,
    load_studies,
    shared_preprocessing,
)
from vlm.schema.preprocessing import Preprocessing


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinOptions:
    """Data sets to join, and the folder of the result."""

    datasets: tuple[Path, ...]
    """Folders that `data.prepare` wrote. Their studies are joined in this order."""
    out: Path
    """Folder to write the joined data set to. It must be new or empty."""
    take_train: tuple[int | Literal["all"], ...] = ()
    """Number of training studies to take from each data set: a number or "all" for each. They are sampled with --seed;
    a smaller sample is part of a larger one. Default: all."""
    seed: int = 0
    """Random seed for --take-train."""
    overwrite: bool = False
    """Replace a data set that is already in --out."""

    def __post_init__(self):
        if len(self.datasets) < 2:
            raise ValueError(f"--datasets names {len(self.datasets)}; give at least two to join")
        if len({path.resolve() for path in self.datasets}) < len(self.datasets):
            raise ValueError("--datasets names one data set twice; name each data set once")
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
    """One of the data sets, with the rows to take from each split."""

    folder: Path
    splits: dict[str, datasets.Dataset]
    fingerprints: dict[str, str]
    """The fingerprint of each split, saved with it."""

    def ids(self, split: str, column: str) -> list[str]:
        return self.splits[split][column][:] if split in self.splits else []


@dataclass(frozen=True, kw_only=True, slots=True)
class RawJoinedStudy:
    """A row to copy, with the fields that the writer needs."""

    study_id: str
    subject_id: str
    split: str
    part: int
    row: int
    fingerprint: str
    files: tuple[str, ...] = ()
    images: tuple[()] = ()


def main(argv: list[str] | None = None) -> None:
    """Raises ValueError if the data sets cannot be joined."""
    options = tyro.cli(JoinOptions, args=argv, prog="python -m data.join", description=__doc__)
    console = Console()
    datasets.disable_progress_bars()
    for note in join(options, console):
        console.print(f"Note: {note}", highlight=False)


def join(options: JoinOptions, console: Console) -> list[str]:
    """Write the joined data set; returns notes for the user.

    Raises:
        ValueError: a folder is not a data set, preprocessing differs, or study ids or patients conflict.
    """
    takes = options.take_train or ("all",) * len(options.datasets)
    parts = [_open(folder, take, options.seed) for folder, take in zip(options.datasets, takes, strict=True)]
    preprocessing = shared_preprocessing(options.datasets)
    check_study_ids(parts)
    check_disjoint(
        {split: [subject for part in parts for subject in part.ids(split, "subject_id")] for split in SPLITS}
    )
    num_studies = sum(len(rows) for part in parts for rows in part.splits.values())
    saved_options = _saved_options(options, preprocessing)
    with DatasetWriter(options.out, options=saved_options, overwrite=options.overwrite) as writer:
        with console.status("Comparing training images with those of the other validation and test splits"):
            leaks = [find_leaks(part, parts) for part in parts]
        remaining = writer.remaining(_raw_studies(parts, leaks), num_studies=num_studies)
        for raw_study in track(remaining, "Joining", total=num_studies - writer.num_done, console=console):
            is_kept = isinstance(raw_study, RawJoinedStudy)
            writer.add(raw_study, PreparedRow(row=_row(parts[raw_study.part], raw_study)) if is_kept else raw_study)
        writer.finish()
    print_summary(writer, console)
    return _notes(parts, leaks)


def find_leaks(part: Part, parts: list[Part]) -> dict[int, str]:
    """The reason to reject each training study of a part that shows an image of a held-out split of another part, by
    row."""
    others = [other for other in parts if other is not part]
    held_out = [(other, split) for other in others for split in other.splits if split != "train"]
    if not held_out or not len(part.splits.get("train", ())):
        return {}
    thumbnails, reasons = thumbnails_of(part.splits["train"]), {}
    for other, split in held_out:
        for row in shared_rows(thumbnails, other.splits[split]):
            reasons.setdefault(row, f"shows an image that is also in the {split} split of {other.folder}")
    return reasons


def check_study_ids(parts: list[Part]) -> None:
    """Raises ValueError if two parts have a study id in common, or one has it twice."""
    folder_of: dict[str, Path] = {}
    for part in parts:
        for split in part.splits:
            for study_id in part.ids(split, "study_id"):
                if study_id in folder_of:
                    raise ValueError(
                        f"study id {study_id} is in {folder_of[study_id]} and again in {part.folder}; if it is the "
                        "same study, remove it from one of them, else prepare one of them again with other ids"
                    )
                folder_of[study_id] = part.folder


def _open(folder: Path, take: int | Literal["all"], seed: int) -> Part:
    splits = {split: rows for split, rows in load_studies(folder).items() if split in SPLITS}
    fingerprints = {split: rows._fingerprint for split, rows in splits.items()}
    for split, rows in splits.items():
        columns = [name for name in FEATURES if name in rows.column_names]
        rows = rows.select_columns(columns)
        for name in filter(columns.__contains__, IMAGE_COLUMNS):
            rows = rows.cast_column(name, datasets.List(datasets.Image(decode=False)))
        if split == "train" and take != "all":
            if take > len(rows):
                raise ValueError(f"--take-train {take}: the train split of {folder} has only {len(rows)} studies")
            rows = rows.select(np.sort(np.random.default_rng(seed).permutation(len(rows))[:take]))
        splits[split] = rows
    return Part(folder=folder, splits=splits, fingerprints=fingerprints)


def _saved_options(options: JoinOptions, preprocessing: Preprocessing) -> dict[str, Any]:
    """The options that determine the result; preprocessing is where `saved_preprocessing` reads it."""
    parts = [
        {"dataset": str(folder), "take_train": take, "preparation": _preparation(folder)}
        for folder, take in itertools.zip_longest(options.datasets, options.take_train, fillvalue="all")
    ]
    return {
        "source_name": "join",
        "source": {"parts": parts},
        "seed": options.seed,
        "image_options": {"preprocessing": dataclasses.asdict(preprocessing)},
    }


def _preparation(folder: Path) -> dict[str, Any] | None:
    path = folder / PREPARATION_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _raw_studies(parts: list[Part], leaks: list[dict[int, str]]) -> Iterator[RawJoinedStudy | Rejection]:
    for number, part in enumerate(parts):
        for split in filter(part.splits.__contains__, SPLITS):
            ids = zip(part.ids(split, "study_id"), part.ids(split, "subject_id"), strict=True)
            place = {"split": split, "part": number, "fingerprint": part.fingerprints[split]}
            for row, (study_id, subject_id) in enumerate(ids):
                if split == "train" and row in leaks[number]:
                    yield Rejection(study_id=study_id, split=split, reason=leaks[number][row])
                    continue
                yield RawJoinedStudy(study_id=study_id, subject_id=subject_id, row=row, **place)


def _row(part: Part, raw_study: RawJoinedStudy) -> dict[str, Any]:
    row = part.splits[raw_study.split][raw_study.row]
    if not all(image["bytes"] for image in [*row["images"], *row.get("prior_images", ())]):
        raise ValueError(f"study {raw_study.study_id} of {part.folder} names an image that is not in the data set")
    return LATER_COLUMNS | row


def _notes(parts: list[Part], leaks: list[dict[int, str]]) -> list[str]:
    sizes = [", ".join(f"{split} {len(rows)}" for split, rows in part.splits.items()) for part in parts]
    notes = [f"{part.folder}: {size}." for part, size in zip(parts, sizes, strict=True)]
    notes += [
        f"{len(reasons)} training studies of {part.folder} are left out, because the validation or test split of "
        "another data set has their images."
        for part, reasons in zip(parts, leaks, strict=True)
        if reasons
    ]
    subjects = ({subject for split in SPLITS for subject in part.ids(split, "subject_id")} for part in parts)
    num_parts = Counter(itertools.chain.from_iterable(subjects))
    shared = sum(number > 1 for number in num_parts.values())
    if shared:
        notes.append(f"{shared} patient ids are in more than one data set; each counts as one patient.")
    return notes


if __name__ == "__main__":
    run_main(main, mistakes=(ValueError, RuntimeError), stopped=STOPPED_MESSAGE)
