"""The studies of a run: what is learned, what is validated on; and a second data set that is learned beside the first.

The second (`--extra-dataset`, corrections say) lends its train split alone: the checkpoint is still chosen on what the
first holds out, so that learning the one is seen not to forget the other.

Which studies show an image that is held out, whatever they are called: what is tested must not be learned.

Images are compared small, so that one that was stored as JPEG, shrunk, or saved again is still told.

The studies of a pretraining run: the train and the validation splits of several prepared data sets, put together.
"""

import itertools
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import datasets
import numpy as np
from PIL import Image

from data.study import FEATURES, check_disjoint, load_studies, rejected_file, shared_preprocessing
from train.options import FinetuneOptions

THUMBNAIL_SIDE = 32
SAME_LEVELS = 2.0
"""Images whose thumbnails differ by less than this many gray levels on average are the same one (docs/LOG.md)."""
CHUNK = 256


def studies_with_images_of(rows: datasets.Dataset, held_out: Iterable[datasets.Dataset]) -> list[int]:
    """The numbers of the rows with an image that is also in one of the data sets."""
    numbers, thumbnails = _thumbnails(rows)
    found = np.zeros(len(thumbnails), dtype=bool)
    for other in held_out:
        for start in range(0, len(other), CHUNK):
            _, others = _thumbnails(other.select(range(start, min(start + CHUNK, len(other)))))
            for thumbnail in others:
                found |= np.abs(thumbnails - thumbnail).mean(axis=1) < SAME_LEVELS
    return sorted({number for number, is_found in zip(numbers, found, strict=True) if is_found})


def _thumbnails(rows: datasets.Dataset) -> tuple[list[int], np.ndarray]:
    """A thumbnail an image, [images, pixels], and the number of the row that each is of."""
    with ThreadPoolExecutor() as pool:
        studies = list(
            pool.map(lambda number: [_thumbnail(image) for image in rows[number]["images"]], range(len(rows)))
        )
    numbers = [number for number, thumbnails in enumerate(studies) for _ in thumbnails]
    flat = [thumbnail for thumbnails in studies for thumbnail in thumbnails]
    return numbers, np.array(flat, dtype=np.float32).reshape(len(flat), THUMBNAIL_SIDE**2)


def _thumbnail(image: Image.Image) -> np.ndarray:
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    return cv2.resize(np.asarray(image.convert("L")), side, interpolation=cv2.INTER_AREA).astype(np.float32).ravel()


COLUMNS = ("study_id", "images", "view_positions", "indication", "findings", "impression", "source", "license")


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainingStudies:
    """`splits` has train and validation."""

    splits: datasets.DatasetDict
    num_rejected: int
    """Studies that `data.prepare` could not use, as the data sets' rejected.jsonl say."""


def load_pretraining_studies(folders: Sequence[str]) -> PretrainingStudies:
    """The studies of all folders.

    Raises:
        ValueError: a folder is no data set or lacks a split, or the data sets do not go together; says which.
    """
    loaded = {folder: load_studies(folder) for folder in folders}
    for folder, studies in loaded.items():
        for split in ("train", "validation"):
            if not len(studies.get(split, ())):
                raise ValueError(
                    f"--datasets {folder} has no studies in its {split} split; prepare it with some (--split-fractions)"
                )
    shared_preprocessing(folders)
    _check_subjects(loaded)
    return PretrainingStudies(
        splits=datasets.DatasetDict(
            {
                split: datasets.concatenate_datasets(
                    [studies[split].select_columns(list(COLUMNS)) for studies in loaded.values()]
                )
                for split in ("train", "validation")
            }
        ),
        num_rejected=sum(_num_rejected(folder) for folder in folders),
    )


def _check_subjects(loaded: dict[str, datasets.DatasetDict]) -> None:
    """What one data set holds out must not be learned from another."""
    for (name, studies), (other_name, others) in itertools.permutations(loaded.items(), 2):
        held_out = {f"{split} of {other_name}": rows["subject_id"][:] for split, rows in others.items()}
        del held_out[f"train of {other_name}"]
        for split, subjects in held_out.items():
            check_disjoint({f"train of {name}": studies["train"]["subject_id"][:], split: subjects})


def _num_rejected(folder: str) -> int:
    path = rejected_file(Path(folder))
    if not path.is_file():
        return 0
    with path.open("rb") as lines:
        return sum(1 for line in lines if line.strip())


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStudies:
    """`splits` has every study once; `learned` is its train split with each study as often as an epoch has it."""

    splits: datasets.DatasetDict
    learned: datasets.Dataset
    notes: tuple[str, ...] = ()
    """What to tell the user, a sentence each."""


def load_run_studies(options: FinetuneOptions) -> RunStudies:
    """The studies that the options name.

    Raises:
        ValueError: there are none to learn or to validate on, or the two data sets do not go together.
    """
    studies = load_studies(options.dataset)
    for split in ("train", "validation"):
        if split not in studies or not len(studies[split]):
            raise ValueError(
                f"--dataset {options.dataset} has no studies in its {split} split; prepare it with some "
                "(--split-fractions)"
            )
    if options.num_studies:
        studies = datasets.DatasetDict({**studies, "train": _some(studies["train"], options)})
    own = [*range(len(studies["train"]))] * options.repeats
    if options.extra_dataset is None:
        return RunStudies(
            splits=studies, learned=studies["train"].select(own) if options.repeats > 1 else studies["train"]
        )
    extra, notes = _extra_studies(options, studies)
    columns = [name for name in FEATURES if name in studies["train"].column_names and name in extra.column_names]
    num_own = len(studies["train"])
    train = datasets.concatenate_datasets([rows.select_columns(columns) for rows in (studies["train"], extra)])
    numbers = [*own, *[*range(num_own, len(train))] * options.extra_repeats]
    return RunStudies(
        splits=datasets.DatasetDict({**studies, "train": train}), learned=train.select(numbers), notes=notes
    )


def _some(train: datasets.Dataset, options: FinetuneOptions) -> datasets.Dataset:
    """As many studies as asked, in the data set's order. The seed alone decides who comes in before whom."""
    if options.num_studies > len(train):
        raise ValueError(
            f"--num-studies {options.num_studies}: the train split of {options.dataset} has only {len(train)}; give at "
            "most so many, or leave it out for all"
        )
    drawn = np.random.default_rng(options.seed).permutation(len(train))[: options.num_studies]
    return train.select(np.sort(drawn))


def _extra_studies(options: FinetuneOptions, studies: datasets.DatasetDict) -> tuple[datasets.Dataset, tuple[str, ...]]:
    """The train split of --extra-dataset, without what `studies` hold out."""
    name = f"--extra-dataset {options.extra_dataset}"
    loaded = load_studies(options.extra_dataset)
    extra = loaded.get("train", ())
    if not len(extra):
        raise ValueError(f"{name} has no studies in its train split; prepare it with --split-fractions 1 0 0")
    shared_preprocessing([options.dataset, options.extra_dataset])
    held_out = {split: rows for split, rows in studies.items() if split != "train"}
    try:
        subjects = {split: rows["subject_id"][:] for split, rows in held_out.items()}
        check_disjoint({f"train of {options.extra_dataset}": extra["subject_id"][:]} | subjects)
    except ValueError as error:
        raise ValueError(f"{name} beside --dataset {options.dataset}: {error}") from error
    seen = set(studies_with_images_of(extra, held_out.values()))
    kept = [number for number in range(len(extra)) if number not in seen]
    notes = [f"{name}: learned {len(kept)}, each {options.extra_repeats} times an epoch."]
    if seen:
        notes.append(
            f"{name}: not learned {len(seen)} of {len(extra)}, which show images that --dataset holds out for "
            "validation or test."
        )
    unused = sum(len(rows) for split, rows in loaded.items() if split != "train")
    if unused:
        notes.append(f"{name}: not used {unused}, which lie outside its train split.")
    if not kept:
        raise ValueError(
            f"{name}: all {len(extra)} studies show images that --dataset {options.dataset} holds out for "
            "validation or test; correct others, for what is tested must not be learned"
        )
    return extra.select(kept), tuple(notes)
