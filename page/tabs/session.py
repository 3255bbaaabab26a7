"""What the page remembers of one browser session: the images of a study and its reading.

Held only in the server's memory, and forgotten two hours after the last change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from page.study.edit import Edit
from page.study.read import StudyReading
from page.study.upload import MAX_VIEWS, UploadedImage, read_study_files
from vlm.generator import ReportGenerator


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """`key` identifies this reading: parts of the page with another key belong to an earlier one."""

    images: tuple[UploadedImage, ...] = ()
    reading: StudyReading | None = None
    edit: Edit | None = None
    """How the reader left the report; the downloads contain it."""
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
