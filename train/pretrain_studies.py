"""The studies of a pretraining run: the train and the validation splits of several prepared data sets, put together."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets

from data.study import check_disjoint, load_studies, saved_preprocessing

COLUMNS = ("study_id", "images", "view_positions", "indication", "findings", "impression", "source", "license")


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainingStudies:
    """`splits` has train and validation."""

    splits: datasets.DatasetDict
    num_refused: int
    """Studies that `data.prepare` could not use, as the data sets' refused.jsonl say."""


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
    _check_preprocessing(folders)
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
        num_refused=sum(_num_refused(folder) for folder in folders),
    )


def _check_preprocessing(folders: Sequence[str]) -> None:
    first, *others = [(folder, saved_preprocessing(folder)) for folder in folders]
    for folder, preprocessing in others:
        if preprocessing != first[1]:
            raise ValueError(
                f"--datasets {folder} went through another preprocessing ({preprocessing}) than {first[0]} "
                f"({first[1]}); prepare both with the same switches"
            )


def _check_subjects(loaded: dict[str, datasets.DatasetDict]) -> None:
    """What one data set holds out must not be learned from another."""
    for (name, studies), (other_name, others) in itertools.permutations(loaded.items(), 2):
        held_out = {f"{split} of {other_name}": rows["subject_id"][:] for split, rows in others.items()}
        del held_out[f"train of {other_name}"]
        for split, subjects in held_out.items():
            check_disjoint({f"train of {name}": studies["train"]["subject_id"][:], split: subjects})


def _num_refused(folder: str) -> int:
    path = Path(folder) / "refused.jsonl"
    if not path.is_file():
        return 0
    with path.open("rb") as lines:
        return sum(1 for line in lines if line.strip())
