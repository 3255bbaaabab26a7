"""The studies of a run: one or more prepared data sets, checked for leakage between train and held-out splits.

In fine-tuning, only the train split of `--extra-dataset` (for example corrections) is used. Validation stays with
`--dataset`, so that it shows whether the model forgets what it learned there.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
from jaxtyping import Int

from data.images.leakage import find_leakage
from data.study import (
    FEATURES,
    check_disjoint,
    load_studies,
    rejected_file,
    sample_rows,
    saved_preprocessing,
    shared_preprocessing,
    with_columns,
)
from train.options import FinetuneOptions
from train.studies.dataset import STEPS_PER_POOL
from train.studies.stream import ParquetRows, Rows, check_patients, open_stream, preparation_folder
from vlm.schema.findings import UNNAMED_SEVERITY
from vlm.schema.preprocessing import Preprocessing
from vlm.schema.report_format import compose_report

CHUNK = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStudies:
    """Studies of a fine-tuning run. `splits` has each study once; in `learned`, the training studies are repeated."""

    splits: Mapping[str, Rows]
    learned: Rows
    preprocessing: Preprocessing
    notes: tuple[str, ...] = ()
    """Sentences for the user."""


def load_pretraining_studies(folders: Sequence[str]) -> datasets.DatasetDict:
    """Load the train and validation studies of all folders.

    Raises:
        ValueError: a folder is no data set, lacks a split, or does not fit the others; names it.
    """
    loaded = {folder: load_studies(folder) for folder in folders}
    for folder, studies in loaded.items():
        _check_splits(f"--datasets {folder}", studies)
    shared_preprocessing(folders)
    for (name, studies), (other_name, others) in itertools.permutations(loaded.items(), 2):
        for split, rows in others.items():
            if split != "train":
                held_out = {f"{split} of {other_name}": rows["subject_id"][:]}
                check_disjoint({f"train of {name}": studies["train"]["subject_id"][:]} | held_out)
    columns = ("study_id", "images", "view_positions", "indication", "findings", "impression", "source", "license")
    return datasets.DatasetDict(
        {
            split: datasets.concatenate_datasets([rows[split].select_columns(columns) for rows in loaded.values()])
            for split in ("train", "validation")
        }
    )


def load_run_studies(options: FinetuneOptions) -> RunStudies:
    """Load the studies of a fine-tuning run.

    Raises:
        ValueError: there are no training or no validation studies, or the two data sets do not fit together.
    """
    if options.studies.stream:
        return _stream_studies(options)
    chosen, studies = options.studies, load_studies(options.dataset)
    _check_splits(f"--dataset {options.dataset}", studies)
    train, notes = studies["train"], ()
    if chosen.num_studies:
        train = _sample(train, options)
    numbers = [*range(len(train))] * chosen.repeats
    if chosen.extra_dataset is not None:
        extra, notes = _extra_studies(options, studies)
        numbers += [*range(len(train), len(train) + len(extra))] * chosen.extra_repeats
        columns = [name for name in FEATURES if name in {*train.column_names, *extra.column_names}]
        parts = [with_columns(rows, columns).select_columns(columns) for rows in (train, extra)]
        train = datasets.concatenate_datasets(parts)
    if chosen.prior == "only" and "prior_view_positions" in train.column_names:
        has_prior = [bool(views) for views in train["prior_view_positions"]]
        numbers = [number for number in numbers if has_prior[number]]
    return RunStudies(
        splits=datasets.DatasetDict({**studies, "train": train}),
        learned=train if numbers == [*range(len(train))] else train.select(numbers),
        preprocessing=saved_preprocessing(options.dataset),
        notes=notes,
    )


def _stream_studies(options: FinetuneOptions) -> RunStudies:
    """The studies of --dataset with --stream: of the train split, the buffer and the pools of `plan_epoch` are kept."""
    studies = open_stream(options.dataset)
    _check_splits(f"--dataset {options.dataset}", studies)
    check_patients(options.dataset, studies)
    sizes = options.optimization
    train = ParquetRows(
        studies["train"].groups,
        studies["train"].column_names,
        buffer=options.studies.shuffle_buffer,
        ahead=STEPS_PER_POOL * sizes.batch_size * sizes.gradient_accumulation_steps,
    )
    notes = [f"--stream: each process and loader worker holds {train.describe_memory()} in memory."]
    folder = preparation_folder(options.dataset)
    if folder is None:
        notes.append(f"{options.dataset} has no preparation.json; its images count as not preprocessed.")
    return RunStudies(
        splits={**studies, "train": train},
        learned=train,
        preprocessing=Preprocessing() if folder is None else saved_preprocessing(folder),
        notes=tuple(notes),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class StudySizes:
    """What a model and its batches need to know of all training studies."""

    lengths: Int[np.ndarray, " studies"]
    """Characters of each report; 0: no report."""
    num_views: int
    """The most views of a study."""
    num_prior_views: int
    """The most views of a prior study; 0: no study has one."""
    knows_severities: bool


def measure(rows: Rows) -> StudySizes:
    """The sizes of all studies. No image is read."""
    names = ("findings", "impression", "view_positions", "prior_view_positions", "severities")
    lengths, num_views, num_prior_views, knows_severities = [], 0, 0, False
    for batch in rows.select_columns([name for name in names if name in rows.column_names]).iter(CHUNK):
        texts = zip(batch["findings"], batch["impression"], strict=True)
        lengths += [len(compose_report(findings=findings, impression=impression)) for findings, impression in texts]
        num_views = max(num_views, *map(len, batch["view_positions"]))
        if "prior_images" in rows.column_names:
            num_prior_views = max(num_prior_views, *map(len, batch["prior_view_positions"]))
        knows_severities |= any(max(row) > UNNAMED_SEVERITY for row in batch.get("severities", ()))
    return StudySizes(
        lengths=np.array(lengths),
        num_views=num_views,
        num_prior_views=num_prior_views,
        knows_severities=knows_severities,
    )


def _check_splits(name: str, studies: Mapping[str, Rows]) -> None:
    for split in ("train", "validation"):
        if not len(studies.get(split, ())):
            raise ValueError(f"{name} has no studies in its {split} split; prepare it with some (--split-fractions)")


def count_rejected(folder: str) -> int:
    """Number of studies in the rejected.jsonl of a data set."""
    path = rejected_file(Path(folder))
    return sum(1 for line in path.read_bytes().splitlines() if line.strip()) if path.is_file() else 0


def _sample(train: datasets.Dataset, options: FinetuneOptions) -> datasets.Dataset:
    num_studies = options.studies.num_studies
    if num_studies > len(train):
        raise ValueError(
            f"--num-studies {num_studies}: the train split of {options.dataset} has only {len(train)}; give at most "
            "this number, or leave it out for all"
        )
    return train.select(sample_rows(len(train), num_studies, seed=options.run.seed))


def _extra_studies(options: FinetuneOptions, studies: datasets.DatasetDict) -> tuple[datasets.Dataset, tuple[str, ...]]:
    """The train split of --extra-dataset, without studies that leak from the held-out splits of `studies`."""
    folder = options.studies.extra_dataset
    name = f"--extra-dataset {folder}"
    loaded = load_studies(folder)
    extra = loaded.get("train", ())
    if not len(extra):
        raise ValueError(f"{name} has no studies in its train split; prepare it with --split-fractions 1 0 0")
    shared_preprocessing([options.dataset, folder])
    held_out = {split: rows for split, rows in studies.items() if split != "train"}
    try:
        subjects = {split: rows["subject_id"][:] for split, rows in held_out.items()}
        check_disjoint({f"train of {folder}": extra["subject_id"][:]} | subjects)
    except ValueError as error:
        raise ValueError(f"{name} does not fit --dataset {options.dataset}: {error}") from error
    leaking = set(find_leakage(extra, held_out.values()))
    kept = [number for number in range(len(extra)) if number not in leaking]
    if not kept:
        raise ValueError(
            f"{name}: all {len(extra)} studies show images of the validation or test split of --dataset "
            f"{options.dataset}, which must not be learned; give other studies"
        )
    notes = [f"{name}: trains on {len(kept)} studies, {options.studies.extra_repeats} times per epoch."]
    if leaking:
        notes.append(
            f"{name}: leaves out {len(leaking)} of {len(extra)} studies, which show images of the validation or test "
            "split of --dataset."
        )
    unused = sum(len(rows) for split, rows in loaded.items() if split != "train")
    if unused:
        notes.append(f"{name}: does not use {unused} studies outside its train split.")
    return extra.select(kept), tuple(notes)
