"""A study, its form on disk, and splits.

A study is one examination of a patient: one or more images (views), a report and labels. On disk a data set is a
`datasets.DatasetDict` (train, validation, test) saved with `save_to_disk`, one row per study. The images are stored in
the rows, so the folder can be moved.

Studies are split by subject: all studies of a patient are in one split. The order of subjects is a hash of seed and
subject id, so a split does not depend on the machine or on the order of the table.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
from PIL import Image

from vlm.schema.demographics import Demographics
from vlm.schema.findings import (
    CHANGE_CODES,
    LABEL_CODES,
    NUM_FINDINGS,
    SEVERITY_CODES,
    UNKNOWN_CHANGE,
    UNKNOWN_CHANGES,
    UNKNOWN_SEVERITIES,
    UNLABELED_STUDY,
    WITHOUT_CHANGE,
)
from vlm.schema.preprocessing import Preprocessing
from vlm.schema.report_format import compose_report
from vlm.schema.strict_json import from_dict

PREPARATION_FILE = "preparation.json"
"""The options that a data set was prepared with, in its folder."""

SPLITS = ("train", "validation", "test")
MAX_SIDE = 1024
"""Longest side of a stored image in pixels."""

FEATURES = datasets.Features(
    {
        "study_id": datasets.Value("string"),
        "subject_id": datasets.Value("string"),
        "images": datasets.List(datasets.Image()),
        "view_positions": datasets.List(datasets.Value("string")),
        "indication": datasets.Value("string"),
        "findings": datasets.Value("string"),
        "impression": datasets.Value("string"),
        "labels": datasets.List(datasets.Value("int8"), length=NUM_FINDINGS),
        "label_source": datasets.Value("string"),
        "severities": datasets.List(datasets.Value("int8"), length=NUM_FINDINGS),
        "boxes": datasets.List(
            {
                "finding": datasets.Value("int8"),
                "view": datasets.Value("int8"),
                "box": datasets.List(datasets.Value("float32"), length=4),
            }
        ),
        "mesh_terms": datasets.List(datasets.Value("string")),
        "sex": datasets.Value("string"),
        "age": datasets.Value("int16"),
        "manufacturer": datasets.Value("string"),
        "prior_images": datasets.List(datasets.Image()),
        "prior_view_positions": datasets.List(datasets.Value("string")),
        "prior_report": datasets.Value("string"),
        "prior_interval_days": datasets.Value("int32"),
        "changes": datasets.List(datasets.Value("int8"), length=NUM_FINDINGS),
        "source": datasets.Value("string"),
        "license": datasets.Value("string"),
    }
)
IMAGE_COLUMNS = ("images", "prior_images")
_OLD_COLUMNS = {"mesh": "mesh_terms"}
"""Column names before version 0.2.0. These data sets can still be read."""
REJECTED_FILE, OLD_REJECTED_FILE = "rejected.jsonl", "refused.jsonl"
"""List of rejected studies; the second is its name before version 0.2.0."""
WARNINGS_FILE = "warnings.jsonl"
"""List of what to check in kept studies."""
LATER_COLUMNS = {
    "mesh_terms": (), "label_source": "", "severities": UNKNOWN_SEVERITIES, "sex": "", "age": None, "manufacturer": "",
    "prior_images": (), "prior_view_positions": (), "prior_report": "", "prior_interval_days": None,
    "changes": UNKNOWN_CHANGES,
}  # fmt: skip
"""Columns that data sets of older versions lack, with the value for unknown. These data sets still load; training does
not need the columns."""
LABEL_SOURCES = ("source", "report", "none")


@dataclass(frozen=True, kw_only=True, slots=True)
class FindingBox:
    """Location of a finding: (left, top, right, bottom) as fractions 0..1 of the width and height of its view."""

    finding: int
    view: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """One examination. `images` are 8-bit gray, with a longest side of at most MAX_SIDE pixels. `labels` are the codes
    of CheXbert in the order of FINDINGS; UNLABELED means not labeled."""

    study_id: str
    subject_id: str
    images: tuple[Image.Image, ...]
    view_positions: tuple[str, ...]
    indication: str = ""
    findings: str = ""
    impression: str = ""
    labels: tuple[int, ...] = UNLABELED_STUDY
    label_source: str = "none"
    """"source": the labels come with the data; "report": our labeler read them from the report; "none": unlabeled."""
    severities: tuple[int, ...] = UNKNOWN_SEVERITIES
    """Severity of each finding, an index of SEVERITIES; UNKNOWN_SEVERITY if the finding is absent."""
    boxes: tuple[FindingBox, ...] = ()
    mesh_terms: tuple[str, ...] = ()
    """Findings indexed by humans, as the source writes them ("Opacity/lung/base/left", "normal"); often empty."""
    sex: str = ""
    """F, M, O (other) or "" (unknown)."""
    age: int | None = None
    """Years; 90 stands for 90 and above, as HIPAA demands of de-identified data. None: unknown."""
    manufacturer: str = ""
    """Manufacturer of the machine."""
    prior_images: tuple[Image.Image, ...] = ()
    """Images of one earlier study of the same patient, like `images`; empty if there is no prior study."""
    prior_view_positions: tuple[str, ...] = ()
    prior_report: str = ""
    """Report of the prior study, as `compose_report` writes it; "" if unknown."""
    prior_interval_days: int | None = None
    """Days from the prior study to this one; None if unknown."""
    changes: tuple[int, ...] = UNKNOWN_CHANGES
    """Change of each finding since the prior study, an index of CHANGES; UNKNOWN_CHANGE if unknown."""
    source: str = ""
    license: str = ""

    def __post_init__(self):
        if not self.images:
            raise ValueError(f"study {self.study_id}: has no image")
        if len(self.images) != len(self.view_positions):
            raise ValueError(
                f"study {self.study_id}: {len(self.images)} images but {len(self.view_positions)} view positions"
            )
        for name, known in (("labels", LABEL_CODES), ("severities", SEVERITY_CODES), ("changes", CHANGE_CODES)):
            codes = getattr(self, name)
            if len(codes) != NUM_FINDINGS or not set(codes) <= known:
                raise ValueError(
                    f"study {self.study_id}: {name} must be {NUM_FINDINGS} codes out of {sorted(known)}, got {codes}"
                )
        self._check_prior()
        Demographics(sex=self.sex, age=self.age)
        if self.label_source not in LABEL_SOURCES:
            raise ValueError(
                f"study {self.study_id}: label_source is {self.label_source!r}; it must be one of {LABEL_SOURCES}"
            )

    def _check_prior(self) -> None:
        if len(self.prior_images) != len(self.prior_view_positions):
            raise ValueError(
                f"study {self.study_id}: {len(self.prior_images)} prior images but "
                f"{len(self.prior_view_positions)} prior view positions"
            )
        if self.changes[WITHOUT_CHANGE] != UNKNOWN_CHANGE:
            raise ValueError(f"study {self.study_id}: the change of No Finding must be {UNKNOWN_CHANGE} (unknown)")
        if self.prior_interval_days is not None and self.prior_interval_days < 0:
            raise ValueError(
                f"study {self.study_id}: prior_interval_days is {self.prior_interval_days}; a prior study is earlier, "
                "so give 0 or more"
            )
        without_prior = ("", None, UNKNOWN_CHANGES)
        if not self.prior_images and (self.prior_report, self.prior_interval_days, self.changes) != without_prior:
            raise ValueError(
                f"study {self.study_id}: has a prior report, interval or changes, but no prior image; give the images "
                "of the prior study, or leave the rest out"
            )

    @property
    def report(self) -> str:
        """The text the model learns to write; "" for a study without a report."""
        return compose_report(findings=self.findings, impression=self.impression)


def load_studies(folder: Path | str) -> datasets.DatasetDict:
    """Load a data set that `data.prepare` wrote. Columns of older versions get their new names.

    Raises:
        ValueError: the folder is not a prepared data set, is damaged, or lacks a column.
    """
    folder = Path(folder)
    if not (folder / "dataset_dict.json").is_file():
        fix = "make one with `python -m data.prepare`"
        if next(folder.glob("*.parquet"), None):
            fix = "only train/finetune.py reads Parquet files, with --stream; give the data set that they were made of"
        raise ValueError(f"{folder} is not a prepared data set (it has no dataset_dict.json); {fix}")
    try:
        studies = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{folder} is damaged or incomplete ({error}); prepare or copy it again") from error
    for split, rows in studies.items():
        for old, name in _OLD_COLUMNS.items():
            if old in rows.column_names:
                studies[split] = rows = rows.rename_column(old, name)
        missing = [column for column in FEATURES if column not in {*rows.column_names, *LATER_COLUMNS}]
        if missing:
            raise ValueError(f"{folder}: split {split} lacks the columns {', '.join(missing)}; prepare it again")
    return studies


def without_images(studies: datasets.Dataset) -> datasets.Dataset:
    """The studies without the columns of images, which are decoded whenever a row is read."""
    return studies.remove_columns([name for name in IMAGE_COLUMNS if name in studies.column_names])


def with_columns(rows: datasets.Dataset, columns: Iterable[str]) -> datasets.Dataset:
    """The rows, with these columns of LATER_COLUMNS; where they are missing, their values are unknown."""
    for name in columns:
        if name not in rows.column_names:
            value = LATER_COLUMNS[name]
            value = list(value) if isinstance(value, tuple) else value
            rows = rows.add_column(name, [value] * len(rows), feature=FEATURES[name])
    return rows


def saved_preprocessing(folder: Path | str) -> Preprocessing:
    """How the images of a data set were preprocessed; no preprocessing if `data.prepare` did not write it.

    Raises:
        ValueError: its `preparation.json` does not say.
    """
    path = Path(folder) / PREPARATION_FILE
    if not path.is_file():
        return Preprocessing()
    try:
        options = json.loads(path.read_text(encoding="utf-8"))["options"]["image_options"]["preprocessing"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} does not say how images were preprocessed ({error}); prepare it again") from error
    return from_dict(options, Preprocessing, where=str(path))


def shared_preprocessing(folders: Sequence[Path | str]) -> Preprocessing:
    """The preprocessing of all these data sets.

    Raises:
        ValueError: they were preprocessed differently.
    """
    first, *others = ((folder, saved_preprocessing(folder)) for folder in folders)
    for folder, preprocessing in others:
        if preprocessing != first[1]:
            raise ValueError(
                f"{folder} was prepared with another preprocessing ({preprocessing}) than {first[0]} ({first[1]}); "
                "prepare both with the same options"
            )
    return first[1]


def rejected_file(folder: Path) -> Path:
    """The list of rejected studies of a prepared data set, under its present or its old name."""
    old = folder / OLD_REJECTED_FILE
    return old if old.is_file() else folder / REJECTED_FILE


def check_fractions(fractions: tuple[float, float, float]) -> None:
    """Raises ValueError unless there is one fraction for each split and they add up to 1."""
    if len(fractions) != len(SPLITS) or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(
            f"split fractions are {' '.join(f'{part:g}' for part in fractions)}; give {len(SPLITS)} numbers from 0 to "
            f"1 for {', '.join(SPLITS)} that add up to 1, for example 0.8 0.1 0.1"
        )


def split_subjects(subject_ids: Iterable[str], *, fractions: tuple[float, float, float], seed: int) -> dict[str, str]:
    """Assign each subject to a split. Sizes are as close to the fractions as possible. If there are enough subjects,
    each split with a fraction above 0 gets at least one."""
    check_fractions(fractions)
    ordered = sorted(set(subject_ids), key=lambda subject: (_position(subject, seed), subject))
    sizes = _sizes(len(ordered), fractions)
    names = [split for split, size in zip(SPLITS, sizes, strict=True) for _ in range(size)]
    return dict(zip(ordered, names, strict=True))


def sample_rows(total: int, number: int, *, seed: int = 0) -> np.ndarray:
    """Numbers of a random sample of rows, in order. A smaller sample with the same seed is a subset of a larger one."""
    return np.sort(np.random.default_rng(seed).permutation(total)[:number])


def fractions_without_test(fractions: tuple[float, float, float]) -> tuple[float, float, float]:
    """The fractions for train and validation alone, for a source that has a test split of its own.

    Raises:
        ValueError: they have no share.
    """
    train, validation, _ = fractions
    if not train + validation:
        raise ValueError(
            f"the source has a test split, and --split-fractions {fractions} has no share for the rest; give one, for "
            "example 0.9 0.1 0"
        )
    return (train / (train + validation), validation / (train + validation), 0.0)


def later_split(one: str, other: str) -> str:
    """The split that counts for a subject in two splits: test before validation before train before none (""). So no
    test patient is in the training data."""
    return max(one, other, key=("", *SPLITS).index)


def left_out(subject_id: str, split: str, kept: str) -> str:
    """The reason to reject a study of `split` if its patient is kept in the split `kept`; "" if both are the same."""
    if split in ("", kept):
        return ""
    return (
        f"patient {subject_id} is also in the split {kept}, and a patient may be in one split only; "
        f"this study of {split} is left out"
    )


def check_disjoint(subjects_by_split: Mapping[str, Iterable[str]]) -> None:
    """Raises ValueError if a subject is in two splits."""
    split_of = {}
    for split, subjects in subjects_by_split.items():
        for subject in set(subjects):
            other = split_of.setdefault(subject, split)
            if other != split:
                raise ValueError(
                    f"subject {subject} is in two splits, {other} and {split}; a patient may be in one split only, "
                    "so that no patient is used for both training and testing"
                )


def _position(subject: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}:{subject}".encode(), digest_size=8).digest()


def _sizes(total: int, fractions: tuple[float, float, float]) -> list[int]:
    exact = [total * part for part in fractions]
    sizes = [int(size + 1e-9) for size in exact]
    by_remainder = sorted(range(len(sizes)), key=lambda index: (sizes[index] - exact[index], index))
    for index in by_remainder[: total - sum(sizes)]:
        sizes[index] += 1
    for index, part in enumerate(fractions):
        largest = max(range(len(sizes)), key=sizes.__getitem__)
        if part > 0 and sizes[index] == 0 and sizes[largest] > 1:
            sizes[index], sizes[largest] = 1, sizes[largest] - 1
    return sizes
