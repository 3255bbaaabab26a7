"""A study as its source names it (ids, paths and text, no pixels yet), and its way to a row of a data set.

A source yields drafts; worker processes call `build_row` on each. What comes out is a row in the form of
`data.study.FEATURES` with its pictures as PNG, or a `Refusal` with the reason.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Protocol

import cv2
import numpy as np
import tyro
from PIL import Image

from data.images import is_dicom, read_bytes, read_image
from data.labeler import label_report
from data.study import MAX_SIDE, FindingBox, Study
from vlm.findings import UNLABELED_STUDY
from vlm.preprocess import Preprocessing, content_box, preprocess

UNKNOWN_VIEW = "UNKNOWN"

# The fastest of PNG's ways that also made the smallest files of noisy radiographs (9 ms for 1024 x 1024).
_PNG_OPTIONS = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
if hasattr(cv2, "IMWRITE_PNG_FILTER"):
    _PNG_OPTIONS += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageOptions:
    """How every picture is read, whatever the source."""

    max_side: int = MAX_SIDE
    """Longest side of a stored picture in pixels; larger ones are shrunk, smaller ones kept."""
    allow_colour: bool = False
    """Turn coloured pictures to gray instead of refusing them."""
    preprocessing: Annotated[Preprocessing, tyro.conf.OmitArgPrefixes] = field(default_factory=Preprocessing)
    """Applied to every picture, and saved with the data set."""

    def __post_init__(self):
        if not 32 <= self.max_side <= MAX_SIDE:
            raise ValueError(f"--max-side is {self.max_side}; it must lie between 32 and {MAX_SIDE}")


class Draft(Protocol):
    """What a source yields for a study; `study` is called in a worker process, so a draft must be picklable."""

    study_id: str
    subject_id: str
    split: str

    @property
    def files(self) -> tuple[str, ...]: ...

    def study(self, options: ImageOptions) -> Study:
        """The study with its pixels. Raises ValueError, with the reason in words, when it must be refused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A study that was given and not kept. `split` is "" where it never had one."""

    study_id: str
    reason: str
    files: tuple[str, ...] = ()
    split: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a source has to give: how many studies, and one draft (or refusal) for each, in order."""

    num_studies: int
    drafts: Iterator[Draft | Refusal]
    notes: tuple[str, ...] = ()
    """What the user should know before the work starts, a sentence each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Planning:
    """What `data.prepare` gives to a source's `plan`."""

    seed: int = 0
    split_fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    work: Path
    """A folder for what the source must keep while the data set is being made: nobody else may read it, it outlasts
    a kill (the same command again finds it as it was) and goes when the data set is done. It exists."""
    num_workers: int = 1
    """Processes the source may use; 1 starts none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileDraft:
    """A study whose pictures are files below `image_root`.

    `view_positions` is empty where the source does not say (then DICOM headers are asked). `labels` of None are
    read from the report.
    """

    study_id: str
    subject_id: str
    split: str
    image_root: Path
    files: tuple[str, ...]
    view_positions: tuple[str, ...] = ()
    indication: str = ""
    findings: str = ""
    impression: str = ""
    labels: tuple[int, ...] | None = None
    mesh: tuple[str, ...] = ()
    source: str = ""
    license: str = ""

    def study(self, options: ImageOptions) -> Study:
        views = [read_view(path_below(self.image_root, file), options) for file in self.files]
        study = Study(
            study_id=self.study_id,
            subject_id=self.subject_id,
            images=tuple(image for image, _ in views),
            view_positions=self.view_positions or tuple(position for _, position in views),
            indication=self.indication,
            findings=self.findings,
            impression=self.impression,
            mesh=self.mesh,
            source=self.source,
            license=self.license,
        )
        labels = self.labels
        if labels is None:
            labels = label_report(study.report) if study.report else UNLABELED_STUDY
        return dataclasses.replace(study, labels=labels)


def build_row(draft: Draft, options: ImageOptions) -> dict[str, Any] | Refusal:
    """The row of FEATURES that a draft becomes, or why it does not."""
    try:
        study = preprocess_study(draft.study(options), options.preprocessing)
    except ValueError as error:
        return Refusal(study_id=draft.study_id, split=draft.split, reason=str(error), files=draft.files)
    except Exception as error:
        error.add_note(f"while study {draft.study_id} was prepared")
        raise
    row = {column.name: getattr(study, column.name) for column in dataclasses.fields(study)}
    row["images"] = [{"bytes": encode_png(image), "path": None} for image in study.images]
    row["boxes"] = [dataclasses.asdict(box) for box in study.boxes]
    return row


def read_view(path: Path, options: ImageOptions) -> tuple[Image.Image, str]:
    """A picture with its view position, which only DICOM files know."""
    content = read_bytes(path)
    if is_dicom(content):
        from data.dicom import read_dicom  # late: see data.images

        dicom = read_dicom(content, max_side=options.max_side, name=str(path))
        return dicom.image, dicom.view_position
    image = read_image(content, max_side=options.max_side, allow_colour=options.allow_colour, name=str(path))
    return image, UNKNOWN_VIEW


def path_below(root: Path, file: str) -> Path:
    """`file` below `root`, links resolved.

    Raises:
        ValueError: it lies elsewhere ("..", an absolute path or a link out of the folder).
    """
    try:
        path = (root / file).resolve()
        inside = path.is_relative_to(root.resolve())
    except (OSError, ValueError) as error:
        raise ValueError(f"image path {file!r} is no path ({error})") from error
    if not inside:
        raise ValueError(f"image path {file} leaves the image folder {root}; name a folder that holds all pictures")
    return path


def preprocess_study(study: Study, options: Preprocessing) -> Study:
    """The study with its pictures preprocessed; boxes move with a cropped border, and go when nothing is left."""
    images = tuple(preprocess(image, options) for image in study.images)
    boxes = study.boxes
    if options.crop_border and boxes:
        crops = [(content_box(np.asarray(image)), image.size) for image in study.images]
        moved = [_move_box(box, *crops[box.view]) for box in boxes]
        boxes = tuple(box for box in moved if box.box[0] < box.box[2] and box.box[1] < box.box[3])
    return dataclasses.replace(study, images=images, boxes=boxes)


def encode_png(image: Image.Image) -> bytes:
    """An 8-bit gray picture as PNG; lossless, and nothing but pixels is in it."""
    return cv2.imencode(".png", np.asarray(image), _PNG_OPTIONS)[1].tobytes()


def _move_box(box: FindingBox, crop: tuple[int, int, int, int], size: tuple[int, int]) -> FindingBox:
    left, top, right, bottom = crop
    offset, extent = (left, top, left, top), (right - left, bottom - top) * 2
    fractions = zip(box.box, size * 2, offset, extent, strict=True)
    moved = tuple(min(1.0, max(0.0, (edge * side - start) / length)) for edge, side, start, length in fractions)
    return dataclasses.replace(box, box=moved)
