"""Turn a raw study into a row of a data set: read and encode its images, clean its texts, label its report.

The result is a row with the columns of `data.study.FEATURES`, or a `Rejection`.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from data.images.burned_in import burned_in_text
from data.images.pixels import pixels_of
from data.images.read import View, stored_bytes
from data.pipeline.priors import read_prior
from data.pipeline.raw_study import FileStudy, ImageOptions, RawStudy, Rejection
from data.reports.clean import TextOptions, prepare_text
from data.reports.deidentify import has_report_word
from data.reports.labeler.changes import report_changes
from data.reports.labeler.labeler import label_report, label_sections
from data.reports.labeler.severity import report_severities
from data.reports.readability import reading_problems
from data.study import FindingBox, Study
from vlm.schema.findings import (
    BLANK,
    CHANGES,
    NEGATIVE,
    POSITIVE,
    UNCERTAIN,
    UNKNOWN_CHANGE,
    UNKNOWN_CHANGES,
    UNKNOWN_SEVERITIES,
    UNKNOWN_SEVERITY,
    UNLABELED,
    UNLABELED_STUDY,
    WITHOUT_CHANGE,
    WITHOUT_SEVERITY,
)
from vlm.schema.preprocessing import Preprocessing, content_box, preprocess

NAME_IS_REPORT_WORD = (
    "a name in its DICOM header is also a word of reports, so it is removed only beside another part of the name; read "
    "the report"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOptions:
    """How rows are built, for any source."""

    images: ImageOptions = field(default_factory=ImageOptions)
    text: TextOptions = field(default_factory=TextOptions)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageWarning:
    """What the user should check in a kept study; `view` is the number of the image in the study, from 1 (the images of
    its prior study follow), or 0 for the report."""

    text: str
    view: int

    @property
    def kind(self) -> str:
        """The text without the details of one image."""
        return self.text.split(" (")[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedRow:
    """A row with encoded images, and what to report about its preparation."""

    row: dict[str, Any]
    rejected_images: tuple[Rejection, ...] = ()
    warnings: tuple[ImageWarning, ...] = ()
    text_changes: Mapping[str, int] = field(default_factory=dict)
    reading_problems: tuple[str, ...] = ()


def build_row(raw_study: RawStudy, options: BuildOptions) -> PreparedRow | Rejection:
    try:
        study = raw_study.study(options.images)
        if not isinstance(study, FileStudy):
            study = FileStudy(**{column.name: getattr(study, column.name) for column in dataclasses.fields(Study)})
        study, prior_problem = read_prior(study, raw_study, options.images)
        warnings = report_warnings(study, options.text)
        warnings += (ImageWarning(text=prior_problem, view=0),) if prior_problem else ()
        study, text_changes = prepare_study_text(study, options.text)
        if not study.is_preprocessed:
            study = preprocess_study(study, options.images.preprocessing)
        row = {column.name: getattr(study, column.name) for column in dataclasses.fields(Study)}
        check_text(row)
    except ValueError as error:
        return Rejection.of(raw_study, str(error))
    except Exception as error:
        error.add_note(f"while study {raw_study.study_id} was prepared")
        raise
    row["images"] = _stored(study.images, study.views, options.images)
    row["prior_images"] = _stored(study.prior_images, study.prior_views, options.images)
    row["boxes"] = [dataclasses.asdict(box) for box in study.boxes]
    return PreparedRow(
        row=row,
        rejected_images=study.rejected_images,
        warnings=warnings + image_warnings(study.views + study.prior_views, options.images),
        text_changes=text_changes,
        reading_problems=reading_problems(study.findings, study.impression),
    )


def _stored(images: tuple[Image.Image, ...], views: tuple[View, ...], options: ImageOptions) -> list[dict[str, Any]]:
    """The image files of a row. `views` are those that the images were read from; empty if they were generated."""
    pairs = zip(images, views or (None,) * len(images), strict=True)
    return [{"bytes": stored_bytes(image, view, options.image_format), "path": None} for image, view in pairs]


def prepare_study_text(study: FileStudy, options: TextOptions) -> tuple[FileStudy, Mapping[str, int]]:
    """The study with cleaned and de-identified texts, labels, severities and changes since the prior study, and the
    number of changes to the texts by kind.

    Labels are read first, because a name that is removed can be a finding ("Effusion"), and a sentence
    about a prior study describes this image too ("unchanged effusion").
    """
    names = tuple(name for view in (*study.views, *study.prior_views) for name in view.identities)
    prior = prepare_text(indication=study.prior_report, findings="", impression="", options=options, names=names)
    texts = {"indication": study.indication, "findings": study.findings, "impression": study.impression}
    prepared = prepare_text(**texts, options=options, names=names)
    labels, label_source = study.labels, study.label_source
    if label_source == "report" and not (prepared.findings or prepared.impression):
        label_source = "none"
    elif label_source == "report":
        labels = label_sections(study.findings, study.impression)
    labeled = {"labels": labels, "label_source": label_source, "severities": _severities(study, labels)}
    labeled["changes"] = _changes(study, labels)
    prepared_texts = {name: getattr(prepared, name) for name in texts}
    study = dataclasses.replace(study, **labeled, **prepared_texts, prior_report=prior.indication)
    return study, Counter(prepared.counts) + Counter(prior.counts)


def _severities(study: FileStudy, labels: tuple[int, ...]) -> tuple[int, ...]:
    """The severities of the source, or else those of the report, for the findings that are present by the labels."""
    severities = study.severities
    if severities == UNKNOWN_SEVERITIES and (study.findings or study.impression):
        severities = report_severities(study.findings, study.impression)
    return tuple(
        severity if label in (POSITIVE, UNCERTAIN) and finding not in WITHOUT_SEVERITY else UNKNOWN_SEVERITY
        for finding, (severity, label) in enumerate(zip(severities, labels, strict=True))
    )


def _changes(study: FileStudy, labels: tuple[int, ...]) -> tuple[int, ...]:
    """The changes of the source, or else those that the report states, if there is a prior study.

    A finding with two stated changes, or with one that does not fit its label, is unknown. One that neither this report
    nor the prior's states is absent in both.
    """
    if study.changes != UNKNOWN_CHANGES or not study.prior_images or not (study.findings or study.impression):
        return study.changes
    stated = report_changes(study.findings, study.impression)
    prior_labels = label_report(study.prior_report) if study.prior_report.strip() else UNLABELED_STUDY
    return tuple(
        UNKNOWN_CHANGE if finding == WITHOUT_CHANGE else _change(*of_finding)
        for finding, of_finding in enumerate(zip(stated, labels, prior_labels, strict=True))
    )


def _change(stated: frozenset[int], label: int, prior_label: int) -> int:
    is_present = label in (POSITIVE, UNCERTAIN)
    if len(stated) == 1 and label != UNLABELED:
        [change] = stated
        return change if is_present != (CHANGES[change] == "resolved") else UNKNOWN_CHANGE
    is_absent = all(one in (NEGATIVE, BLANK) for one in (label, prior_label))
    return CHANGES.index("none") if is_absent and not stated else UNKNOWN_CHANGE


def report_warnings(study: FileStudy, options: TextOptions) -> tuple[ImageWarning, ...]:
    """A warning if the patient has a name that is also a word of findings, so that it stays in the report."""
    names = (name for view in study.views + study.prior_views for name in view.identities)
    if options.deidentify and any(map(has_report_word, names)):
        return (ImageWarning(text=NAME_IS_REPORT_WORD, view=0),)
    return ()


def image_warnings(views: tuple[View, ...], options: ImageOptions) -> tuple[ImageWarning, ...]:
    """The notes of the image reader, and burned-in text."""
    warnings = []
    for number, view in enumerate(views, start=1):
        texts = list(view.notes)
        if view.has_burned_in_text:
            texts.append("its DICOM header says that annotations are burned in")
        elif options.find_burned_in_text and (found := burned_in_text(view.image)):
            texts.append(f"seems to have text burned in ({found})")
        warnings += [ImageWarning(text=text, view=number) for text in texts]
    return tuple(warnings)


def check_text(row: Mapping[str, Any]) -> None:
    """Raises ValueError for a lone surrogate, which cannot be saved as UTF-8."""
    for name, value in row.items():
        if isinstance(value, str) and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise ValueError(f"{name} has an invalid character ({error.reason})") from error


def preprocess_study(study: Study, options: Preprocessing) -> Study:
    """The study with preprocessed images. Boxes are adapted to a cropped border, and dropped if nothing is left."""
    images, prior_images = (
        tuple(preprocess(image, options) for image in some) for some in (study.images, study.prior_images)
    )
    boxes = study.boxes
    if options.crop_border and boxes:
        crops = [(content_box(pixels_of(image)), image.size) for image in study.images]
        moved = [_move_box(box, *crops[box.view]) for box in boxes]
        boxes = tuple(box for box in moved if box.box[0] < box.box[2] and box.box[1] < box.box[3])
    return dataclasses.replace(study, images=images, prior_images=prior_images, boxes=boxes)


def _move_box(box: FindingBox, crop: tuple[int, int, int, int], size: tuple[int, int]) -> FindingBox:
    left, top, right, bottom = crop
    offset, extent = (left, top, left, top), (right - left, bottom - top) * 2
    fractions = zip(box.box, size * 2, offset, extent, strict=True)
    moved = tuple(min(1.0, max(0.0, (edge * side - start) / length)) for edge, side, start, length in fractions)
    return dataclasses.replace(box, box=moved)
