"""A study: the views of one examination with what is known of them, and its form on disk.

On disk a data set is a `datasets.DatasetDict` (train, validation, test), one row a study, saved with
`save_to_disk`; the pixels are inside, so the folder can be moved.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import datasets
from PIL import Image

from vlm.schema.findings import LABEL_CODES, NUM_FINDINGS, UNLABELED_STUDY
from vlm.schema.preprocessing import Preprocessing
from vlm.schema.report_format import compose_report
from vlm.schema.strict_json import from_dict

PREPARATION_FILE = "preparation.json"
"""In the folder of a data set: the options it was made with."""

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
        "boxes": datasets.List(
            {
                "finding": datasets.Value("int8"),
                "view": datasets.Value("int8"),
                "box": datasets.List(datasets.Value("float32"), length=4),
            }
        ),
        "mesh": datasets.List(datasets.Value("string")),
        "source": datasets.Value("string"),
        "license": datasets.Value("string"),
    }
)
_LATER_COLUMNS = {"mesh"}
"""Nothing that is learned or scored needs them: a data set prepared before there were any still loads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FindingBox:
    """Where a finding lies: (left, top, right, bottom) as fractions 0..1 of its view's width and height."""

    finding: int
    view: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """One examination. `images` are 8-bit gray with the longest side at most MAX_SIDE; `labels` are
    CheXbert's codes in the order of FINDINGS, UNLABELED where nobody looked."""

    study_id: str
    subject_id: str
    images: tuple[Image.Image, ...]
    view_positions: tuple[str, ...]
    indication: str = ""
    findings: str = ""
    impression: str = ""
    labels: tuple[int, ...] = UNLABELED_STUDY
    boxes: tuple[FindingBox, ...] = ()
    mesh: tuple[str, ...] = ()
    """What human indexers found, where the source has it, in its words: "Opacity/lung/base/left", "normal"."""
    source: str = ""
    license: str = ""

    def __post_init__(self):
        if not self.images:
            raise ValueError(f"study {self.study_id}: has no image")
        if len(self.images) != len(self.view_positions):
            raise ValueError(
                f"study {self.study_id}: {len(self.images)} images but {len(self.view_positions)} view positions"
            )
        if len(self.labels) != NUM_FINDINGS or not set(self.labels) <= LABEL_CODES:
            raise ValueError(
                f"study {self.study_id}: labels must be {NUM_FINDINGS} codes out of {sorted(LABEL_CODES)}, "
                f"got {self.labels}"
            )

    @property
    def report(self) -> str:
        """The text the model learns to write; "" for a study without a report."""
        return compose_report(findings=self.findings, impression=self.impression)


def load_studies(folder: Path | str) -> datasets.DatasetDict:
    """The data set that `data.prepare` wrote to `folder`.

    Raises:
        ValueError: the folder is not such a data set, is damaged, or lacks a column; says which.
    """
    folder = Path(folder)
    if not (folder / "dataset_dict.json").is_file():
        raise ValueError(
            f"{folder} is not a prepared data set (no dataset_dict.json in it); make one with `python -m data.prepare`"
        )
    try:
        studies = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{folder} is damaged or cut short ({error}); prepare or copy it again") from error
    for split, rows in studies.items():
        missing = [column for column in FEATURES if column not in {*rows.column_names, *_LATER_COLUMNS}]
        if missing:
            raise ValueError(f"{folder}: split {split} lacks the columns {', '.join(missing)}; prepare it again")
    return studies


def saved_preprocessing(folder: Path | str) -> Preprocessing:
    """What the pictures of a data set went through; nothing, for one that `data.prepare` did not make.

    Raises:
        ValueError: its `preparation.json` does not say; names it.
    """
    path = Path(folder) / PREPARATION_FILE
    if not path.is_file():
        return Preprocessing()
    try:
        switches = json.loads(path.read_text(encoding="utf-8"))["options"]["image_options"]["preprocessing"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} does not say how pictures were preprocessed ({error}); prepare it again") from error
    return from_dict(switches, Preprocessing, where=str(path))
