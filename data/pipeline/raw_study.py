"""A study as its source describes it, before its images are read: ids, file names and texts; or why it is rejected.

A source yields raw studies. Worker processes turn them into rows (`data.pipeline.row`).
"""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Annotated, Protocol

import tyro

from data.images.read import ImageFormat, View, read_view
from data.study import MAX_SIDE, FindingBox, Study
from vlm.schema.demographics import NOTHING_KNOWN, Demographics
from vlm.schema.findings import UNLABELED_STUDY
from vlm.schema.preprocessing import Preprocessing


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageOptions:
    """Images: size, file format and preprocessing."""

    max_side: int = MAX_SIDE
    """Longest side of a stored image in pixels. Larger images are scaled down, smaller ones are kept as they are."""
    allow_color: bool = False
    """Convert color images to gray instead of rejecting them."""
    image_format: ImageFormat = "auto"
    """File format of the stored images. "auto" uses PNG for images from lossless files, and JPEG of quality 95 for
    images that were scaled down or come from a JPEG file."""
    find_burned_in_text: bool = True
    """Search the pixels for burned-in text and warn about it. Warnings from DICOM headers are always on."""
    preprocessing: Annotated[Preprocessing, tyro.conf.OmitArgPrefixes] = field(default_factory=Preprocessing)

    def __post_init__(self):
        if not 32 <= self.max_side <= MAX_SIDE:
            raise ValueError(f"--max-side is {self.max_side}; it must be between 32 and {MAX_SIDE}")


class RawStudy(Protocol):
    """What a source yields for a study. It must be picklable, because `study` runs in a worker process."""

    study_id: str
    subject_id: str
    split: str

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the images, for messages and rejected.jsonl."""

    @property
    def images(self) -> tuple[Path | bytes, ...]:
        """Image files, or their contents; empty if the images are generated."""

    def study(self, options: ImageOptions) -> Study:
        """The study with its pixels. `label_source` is "report" if its labels are still to be read from its report.

        Raises:
            ValueError: the study must be rejected; the message is the reason.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class FileStudy(Study):
    """A study with the views that its images were read from."""

    views: tuple[View, ...] = ()
    prior_views: tuple[View, ...] = ()
    is_preprocessed: bool = False
    """The images were preprocessed with ImageOptions.preprocessing before they were stored in the source."""
    rejected_images: tuple["Rejection", ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejection:
    """A study (or one image of a kept study) that is not kept. `split` is "" if it has none."""

    study_id: str
    reason: str
    files: tuple[str, ...] = ()
    split: str = ""

    @classmethod
    def of(cls, raw_study: RawStudy, reason: str) -> "Rejection":
        return cls(study_id=raw_study.study_id, split=raw_study.split, reason=reason, files=raw_study.files)


@dataclass(frozen=True, kw_only=True, slots=True)
class SourcePlan:
    """What a source provides: one raw study or rejection for each of `num_studies`, in order."""

    num_studies: int
    raw_studies: Iterator[RawStudy | Rejection]
    notes: tuple[str, ...] = ()
    """Sentences to show to the user before the work starts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanContext:
    """What `data.prepare` passes to the `plan` method of a source."""

    seed: int = 0
    split_fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    work: Path
    """An existing folder for files that the source needs during the run. Only the user can read it. A resumed run
    finds its content unchanged; it is deleted when the data set is complete."""
    num_workers: int = 1
    """Number of processes the source may use; 1 starts none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RawFileStudy:
    """A study whose images are files below `image_root`."""

    study_id: str
    subject_id: str
    split: str
    image_root: Path
    files: tuple[str, ...]
    contents: tuple[bytes | None, ...] = field(default=(), repr=False)
    """The images themselves if `files` are only names; None for an image that is a file."""
    paths: tuple[str, ...] = ()
    """Paths of the images below `image_root` if `files` are only names for messages."""
    view_positions: tuple[str, ...] = ()
    """If empty, they are read from DICOM headers."""
    indication: str = ""
    findings: str = ""
    impression: str = ""
    labels: tuple[int, ...] | None = None
    """None: to be read from the report. UNLABELED_STUDY: the source labels studies, but not this one."""
    mesh_terms: tuple[str, ...] = ()
    boxes: tuple[FindingBox, ...] = ()
    demographics: Demographics = NOTHING_KNOWN
    """What is unknown here is read from DICOM headers."""
    prior: "RawPrior | None" = None
    """The prior study, if there is one."""
    source: str = ""
    license: str = ""

    @property
    def images(self) -> tuple[Path | bytes, ...]:
        named = itertools.zip_longest(self.paths or self.files, self.contents)
        return tuple(content or self.image_root / file for file, content in named)

    def study(self, options: ImageOptions) -> FileStudy:
        views = []
        for file, path, image in zip(self.files, self.paths or self.files, self.images, strict=True):
            name = file if isinstance(image, bytes) or self.paths else ""
            source = image if isinstance(image, bytes) else path_below(self.image_root, path, name=name)
            views.append(read_view(source, max_side=options.max_side, allow_color=options.allow_color, name=name))
        return self.with_views(tuple(views))

    def with_views(self, views: tuple[View, ...], rejected_images: tuple[Rejection, ...] = ()) -> FileStudy:
        """The study with these images."""
        label_source = "report" if self.labels is None else "none" if self.labels == UNLABELED_STUDY else "source"
        demographics = reduce(Demographics.or_else, (view.demographics for view in views), self.demographics)
        copied = ("indication", "findings", "impression", "mesh_terms", "boxes", "source", "license")
        return FileStudy(
            **{name: getattr(self, name) for name in ("study_id", "subject_id", *copied)},
            images=tuple(view.image for view in views),
            view_positions=self.view_positions or tuple(view.view_position for view in views),
            labels=UNLABELED_STUDY if self.labels is None else self.labels,
            label_source=label_source,
            **dataclasses.asdict(demographics),
            views=views,
            rejected_images=rejected_images,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RawPrior:
    """The prior study of a study, or why it was rejected. It has no prior study itself."""

    raw_study: RawFileStudy | Rejection
    interval_days: int | None


def source_digest(previous: str, raw_study: RawStudy | Rejection) -> str:
    """A digest of this raw study and all before it: ids, texts, labels and views, with the size and modification time
    of each image file. An interrupted run resumes only if it is unchanged."""
    digest = hashlib.sha256(f"{previous} {raw_study!r}".encode(errors="backslashreplace"))
    prior = getattr(raw_study, "prior", None)
    for one in (raw_study, prior and prior.raw_study):
        for image in getattr(one, "images", ()):
            digest.update(image if isinstance(image, bytes) else _file_version(image))
    return digest.hexdigest()[:32]


def _file_version(path: Path) -> bytes:
    try:
        status = path.stat()
    except (OSError, ValueError):  # rejected later, with the reason
        return b"absent"
    return f"{status.st_size} {status.st_mtime_ns}".encode()


def path_below(root: Path, file: str, *, name: str = "") -> Path:
    """The resolved path of `file` below `root`; messages use `name` if the path must not be shown.

    Raises:
        ValueError: the path leads out of the folder ("..", an absolute path or a link).
    """
    try:
        path = (root / file).resolve()
        inside = path.is_relative_to(root.resolve())
    except (OSError, ValueError) as error:
        reason = "" if name else f" ({error})"
        raise ValueError(f"image path {name or repr(file)} is not a valid path{reason}") from error
    if not inside:
        hint = f"leaves the image folder {root}; name a folder that holds all images"
        raise ValueError(f"image path {name or file} {hint}")
    return path
