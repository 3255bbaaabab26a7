"""A study as its source names it: ids, paths and text, no pixels yet; or why it cannot be used.

A source yields raw_studies; worker processes make rows of them (`data.pipeline.row`).
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Protocol

import tyro

from data.images.read import ImageFormat, View, read_view
from data.study import MAX_SIDE, Study
from vlm.schema.findings import UNLABELED_STUDY
from vlm.schema.preprocessing import Preprocessing


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageOptions:
    """How every image is read, whatever the source."""

    max_side: int = MAX_SIDE
    """Longest side of a stored image in pixels; larger ones are shrunk, smaller ones kept."""
    allow_color: bool = False
    """Turn colored images to gray instead of rejecting them."""
    image_format: ImageFormat = "auto"
    """What images are stored as. auto: PNG where every gray value comes from a lossless file; else (after shrinking,
    or from a JPEG) JPEG of quality 95, which takes a quarter of the time and half the room."""
    find_burned_in_text: bool = True
    """Warn of images that seem to have text burned in; headers that say so are told of in any case."""
    preprocessing: Annotated[Preprocessing, tyro.conf.OmitArgPrefixes] = field(default_factory=Preprocessing)
    """Applied to every image, and saved with the data set."""

    def __post_init__(self):
        if not 32 <= self.max_side <= MAX_SIDE:
            raise ValueError(f"--max-side is {self.max_side}; it must lie between 32 and {MAX_SIDE}")


class RawStudy(Protocol):
    """What a source yields for a study; `study` is called in a worker process, so a raw study must be picklable."""

    study_id: str
    subject_id: str
    split: str

    @property
    def files(self) -> tuple[str, ...]: ...

    def study(self, options: ImageOptions) -> Study:
        """The study with its pixels; labels that are all UNLABELED will be read from its report. Raises ValueError,
        with the reason in words, when it must be rejected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileStudy(Study):
    """A study with the views that its images were read from, and the images that were left out of it."""

    views: tuple[View, ...] = ()
    is_preprocessed: bool = False
    """The images went through ImageOptions.preprocessing before they were stored."""
    rejected_images: tuple["Rejection", ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejection:
    """A study (or an image of a kept one) that was given and not kept. `split` is "" where it never had one."""

    study_id: str
    reason: str
    files: tuple[str, ...] = ()
    split: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourcePlan:
    """What a source has to give: how many studies, and one raw study (or rejection) for each, in order."""

    num_studies: int
    raw_studies: Iterator[RawStudy | Rejection]
    notes: tuple[str, ...] = ()
    """What the user should know before the work starts, a sentence each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanContext:
    """What `data.prepare` gives to a source's `plan`."""

    seed: int = 0
    split_fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    work: Path
    """A folder for what the source must keep while the data set is being made: nobody else may read it, it outlasts
    a kill (the same command again finds it as it was) and goes when the data set is done. It exists."""
    num_workers: int = 1
    """Processes the source may use; 1 starts none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RawFileStudy:
    """A study whose images are files below `image_root`.

    `view_positions` is empty where the source does not say (then DICOM headers are asked). `labels` of None are
    read from the report.
    """

    study_id: str
    subject_id: str
    split: str
    image_root: Path
    files: tuple[str, ...]
    contents: tuple[bytes | None, ...] = ()
    """The images themselves, where `files` are only their names; None for a path among them."""
    view_positions: tuple[str, ...] = ()
    indication: str = ""
    findings: str = ""
    impression: str = ""
    labels: tuple[int, ...] | None = None
    mesh_terms: tuple[str, ...] = ()
    source: str = ""
    license: str = ""

    def study(self, options: ImageOptions) -> FileStudy:
        views = tuple(
            read_view(
                content or path_below(self.image_root, file),
                max_side=options.max_side,
                allow_color=options.allow_color,
                name=file if content else "",
            )
            for file, content in itertools.zip_longest(self.files, self.contents)
        )
        return FileStudy(
            study_id=self.study_id,
            subject_id=self.subject_id,
            images=tuple(view.image for view in views),
            view_positions=self.view_positions or tuple(view.view_position for view in views),
            indication=self.indication,
            findings=self.findings,
            impression=self.impression,
            labels=self.labels or UNLABELED_STUDY,
            mesh_terms=self.mesh_terms,
            source=self.source,
            license=self.license,
            views=views,
        )


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
        raise ValueError(f"image path {file} leaves the image folder {root}; name a folder that holds all images")
    return path
