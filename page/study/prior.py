"""The prior study, with which a study is compared: its images, its report, and how long before it was taken.

    prior = prior_study(read_prior_files([Path("before.dcm")]), report="The lungs are clear.")
    *_, reading = read_study(generator, images, prior=prior)

PREFIX stands before the names of its images, so that messages and warnings tell them from those of the study.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from data.corrections.correction import image_hash
from data.images.dicom.identifiers import DicomIdentifiers
from data.images.pixels import ImageRejected
from data.reports.sections import split_sections
from page.study.plain_text import plain_line, plain_text
from page.study.upload import UploadedImage, read_study_files
from vlm.inputs.batch import Prior
from vlm.schema.preprocessing import Preprocessing
from vlm.schema.report_format import compose_report

MAX_REPORT_CHARACTERS = 10_000
"""Maximum length of the report of a prior study. The model reads its first 128 tokens."""
MAX_REPORT_BYTES = 4 * MAX_REPORT_CHARACTERS
"""Size of its longest file in UTF-8."""
PREFIX = "prior "
MAX_DAYS = 36_525


@dataclass(frozen=True, kw_only=True, slots=True)
class PriorStudy:
    """One earlier study of the same patient."""

    images: tuple[UploadedImage, ...]
    report: str = field(default="", repr=False)
    """As `compose_report` writes it, without identity removed; "" if it is unknown."""
    interval_days: int | None = None
    """Days from this study to the one that is read; None: unknown."""
    notes: tuple[str, ...] = ()
    """What is odd about the interval or the patient, one sentence each."""

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID of its first DICOM image; "" without one."""
        uids = (image.identifiers.study_instance_uid for image in self.images if image.identifiers)
        return next(filter(None, uids), "")

    @property
    def identifiers(self) -> DicomIdentifiers | None:
        """Those of its first DICOM image."""
        return next(filter(None, (image.identifiers for image in self.images)), None)

    @property
    def interval_text(self) -> str:
        """The time between the studies in words; "" if it is unknown."""
        if self.interval_days is None:
            return ""
        days = {0: "on the same day", 1: "1 day earlier"}
        return days.get(self.interval_days, f"{self.interval_days} days earlier")

    @property
    def for_model(self) -> Prior:
        return Prior(
            images=[image.image for image in self.images],
            view_positions=[image.view_position for image in self.images],
            report=self.report,
            interval_days=self.interval_days,
        )


def read_prior_files(files: Sequence[Path], preprocessing: Preprocessing | None = None) -> list[UploadedImage]:
    """The images of the prior study in these files; see `page.study.upload.read_study_files`.

    Raises:
        ImageRejected: a file cannot be used, or there are too many; gives the name and the reason.
    """
    try:
        return [as_prior(image) for image in read_study_files(files, preprocessing)]
    except ImageRejected as rejected:
        raise ImageRejected(f"{PREFIX}{rejected}") from rejected


def as_prior(image: UploadedImage) -> UploadedImage:
    """The image with PREFIX before its name, also in its warning and its notes, which begin with the name."""
    notes = tuple(PREFIX + note for note in image.notes)
    return replace(image, name=PREFIX + image.name, warning=image.warning and PREFIX + image.warning, notes=notes)


def prior_study(
    images: Sequence[UploadedImage], *, report: str = "", interval_days: int | None = None
) -> PriorStudy | None:
    """The prior study of these images; None without images. `report` is free text, with or without headings.

    Raises:
        ValueError: there is a report or an interval without images, the report is too long, or the interval is no
            number of days from 0 to MAX_DAYS.
    """
    if len(report) > MAX_REPORT_CHARACTERS:
        raise ValueError(
            f"the report of the prior study has {len(report)} characters; shorten it to {MAX_REPORT_CHARACTERS} at most"
        )
    if interval_days is not None and not 0 <= interval_days <= MAX_DAYS:
        raise ValueError(f"the prior study is {interval_days} days earlier; give 0 to {MAX_DAYS} days")
    if not images:
        if report.strip() or interval_days is not None:
            raise ValueError("the prior study has a report or an interval, but no image; add its images, or clear both")
        return None
    return PriorStudy(images=tuple(images), report=_report(report), interval_days=interval_days)


def _report(text: str) -> str:
    """The findings and the impression, as the model learned to read them; all of the text if it has neither."""
    text = plain_text(text)
    sections = split_sections(text)
    report = compose_report(findings=plain_line(sections.findings), impression=plain_line(sections.impression))
    return report or compose_report(findings=plain_line(text))


def compared_with(prior: PriorStudy, images: Sequence[UploadedImage]) -> PriorStudy:
    """The prior study with its interval to the study of these images, by the DICOM headers if it is not given. If both
    are known and differ, the given interval stays, and a note names both.

    Raises:
        ValueError: it is the same study, one of another patient, or a later one.
    """
    uids = _values(images, "study_instance_uid") & _values(prior.images, "study_instance_uid")
    if uids or {image_hash(image.image) for image in images} & {image_hash(image.image) for image in prior.images}:
        raise ValueError("the prior study is the study itself, or shares an image with it; give an earlier study")
    notes = _patient_notes(images, prior.images)
    dates = [min(_values(study, "study_date"), default="") for study in (images, prior.images)]
    if not all(dates):
        return replace(prior, notes=notes)
    current, earlier = (datetime.strptime(date, "%Y%m%d") for date in dates)
    if earlier > current:
        days = (earlier - current).days
        raise ValueError(
            f"the prior study was taken {days} days after the study by the dates of the DICOM headers; exchange them"
        )
    if earlier == current and _is_later_on_the_day(prior.images, images):
        raise ValueError(
            "the prior study was taken on the day of the study, but later by the times of the DICOM headers; exchange "
            "them"
        )
    by_dates = replace(prior, interval_days=(current - earlier).days, notes=notes)
    if prior.interval_days in (None, by_dates.interval_days):
        return by_dates
    note = (
        f"The prior study was taken {prior.interval_text} as given, but {by_dates.interval_text} by the dates of the "
        "DICOM headers. The given interval is used; check it, and that this is the right prior study."
    )
    return replace(prior, notes=(*notes, note))


def _patient_notes(images: Sequence[UploadedImage], prior_images: Sequence[UploadedImage]) -> tuple[str, ...]:
    """A note if both studies have the same patient ID, but another birth date: two hospitals may give the same ID.

    Raises:
        ValueError: the patient IDs differ, or without them the birth dates.
    """
    for attribute, words in (("patient_id", "patient IDs"), ("patient_birth_date", "birth dates")):
        current, earlier = _values(images, attribute), _values(prior_images, attribute)
        if not (current and earlier) or current == earlier:
            continue
        if attribute == "patient_birth_date" and _values(images, "patient_id") and _values(prior_images, "patient_id"):
            return (
                "The prior study has the same patient ID but another birth date in its DICOM headers; check that it is "
                "of the same patient.",
            )
        raise ValueError(
            f"the prior study belongs to another patient by the {words} of the DICOM headers; give an earlier study of "
            "the same patient, or leave the prior study out"
        )
    return ()


def _is_later_on_the_day(images: Sequence[UploadedImage], others: Sequence[UploadedImage]) -> bool:
    """Whether images were taken after others of the same day, as exactly as both times are known."""
    time, other = (min(_values(study, "study_time"), default="") for study in (images, others))
    length = min(len(time), len(other))
    return time[:length] > other[:length]


def _values(images: Sequence[UploadedImage], attribute: str) -> set[str]:
    return {getattr(image.identifiers, attribute) for image in images if image.identifiers} - {""}
