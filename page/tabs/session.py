"""What the page remembers of one browser session: the images of a study and its reading.

Held only in the server's memory, and forgotten two hours after the last change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from page.study.edit import Edit
from page.study.prior import read_prior_files
from page.study.read import StudyReading
from page.study.upload import MAX_VIEWS, UploadedImage, read_study_files
from vlm.generator import ReportGenerator


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """`key` identifies this reading: parts of the page with another key belong to an earlier one."""

    images: tuple[UploadedImage, ...] = ()
    prior: tuple[UploadedImage, ...] = ()
    """The images of the prior study."""
    reading: StudyReading | None = None
    edit: Edit | None = None
    """How the reader left the report; the downloads contain it."""
    key: str = ""

    @property
    def is_read(self) -> bool:
        return self.reading is not None and self.reading.has_report


def add_images(session: Session, files: Sequence[Path], generator: ReportGenerator) -> Session:
    """Add the images of these files; after a study was read, they start a new one, without a prior study.

    Raises:
        ValueError: a file cannot be used, or there are too many images; gives the reason.
    """
    previous = Session() if session.reading is not None else session
    images = (*previous.images, *read_study_files(files, generator.config.preprocessing))
    if len(images) > MAX_VIEWS:
        raise ValueError(
            f"{len(images)} images are more than the {MAX_VIEWS} that one study may have; press “New study” first"
        )
    return Session(images=images, prior=previous.prior)


def add_prior_images(session: Session, files: Sequence[Path], generator: ReportGenerator) -> Session:
    """Add the images of these files to the prior study; the study is then to be read again.

    Raises:
        ValueError: a file cannot be used, or there are too many images; gives the reason.
    """
    prior = (*session.prior, *read_prior_files(files, generator.config.preprocessing))
    if len(prior) > MAX_VIEWS:
        raise ValueError(
            f"{len(prior)} images are more than the {MAX_VIEWS} that the prior study may have; press “Remove the prior "
            "study” first"
        )
    return Session(images=session.images, prior=prior)
