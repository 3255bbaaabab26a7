"""What the page remembers of one browser session: the images of a study and its reading.

Held only in the server's memory, and forgotten two hours after the last change.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from page.study.read import StudyReading, read_study
from page.study.upload import MAX_VIEWS, VIEW_CHOICES, UploadedImage, read_study_files
from vlm.generator import GenerationOptions, ReportGenerator

LEAVE_OUT = "leave out"
SESSION_VIEWS = (*VIEW_CHOICES, LEAVE_OUT)


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """`key` identifies this reading: parts of the page with another key belong to an earlier one."""

    images: tuple[UploadedImage, ...] = ()
    reading: StudyReading | None = None
    key: str = ""

    @property
    def is_read(self) -> bool:
        return self.reading is not None and self.reading.has_report


def add_images(session: Session, files: Sequence[Path], generator: ReportGenerator) -> Session:
    """Add the images of these files; after a study was read, they start a new one.

    Raises:
        ValueError: a file cannot be used, or there are too many images; gives the reason.
    """
    previous = () if session.reading is not None else session.images
    images = (*previous, *read_study_files(files, generator.config.preprocessing))
    if len(images) > MAX_VIEWS:
        raise ValueError(
            f"{len(images)} images are more than the {MAX_VIEWS} that one study may have; press “New study” first"
        )
    return Session(images=images)


def read_session(
    session: Session,
    generator: ReportGenerator,
    *,
    views: Sequence[str],
    indication: str,
    options: GenerationOptions,
    write_anyway: bool = False,
) -> Iterator[Session]:
    """The session while its report is written; `views` has one of SESSION_VIEWS per image, extra views are ignored.

    Raises:
        ValueError: there is nothing to read, or the input is too long for the model; gives the reason.
    """
    if not session.images:
        raise ValueError("No image yet: choose a file or click an example first.")
    images = [image.with_view(view) for image, view in zip(session.images, views, strict=False) if view != LEAVE_OUT]
    session = replace(session, key=uuid4().hex[:12])
    for reading in read_study(generator, images, indication=indication, options=options, write_anyway=write_anyway):
        yield replace(session, reading=reading)
