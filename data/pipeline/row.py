"""From a raw study to a row of a data set: images read and encoded, text put in order, labels where there are none.

What comes out is in the form of `data.study.FEATURES`, with what is to be told of its making; or a `Rejection`.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from data.images.burned_in import burned_in_text
from data.images.read import View, stored_bytes
from data.pipeline.raw_study import FileStudy, ImageOptions, RawStudy, Rejection
from data.reports.clean import TextOptions, prepare_text
from data.reports.labeler.labeler import label_report
from data.study import FindingBox, Study
from vlm.schema.findings import UNLABELED_STUDY
from vlm.schema.preprocessing import Preprocessing, content_box, preprocess


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOptions:
    """How rows are made, whatever the source."""

    images: ImageOptions = field(default_factory=ImageOptions)
    text: TextOptions = field(default_factory=TextOptions)


@dataclass(frozen=True, kw_only=True, slots=True)
class Warned:
    """What somebody should look at in a kept study; `view` is the image's number in the study, from 1."""

    text: str
    view: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedRow:
    """A row of FEATURES, its images encoded, with what is to be told of its making."""

    row: dict[str, Any]
    rejected_images: tuple[Rejection, ...] = ()
    warnings: tuple[Warned, ...] = ()
    text_changes: Mapping[str, int] = field(default_factory=dict)


def build_row(raw_study: RawStudy, options: BuildOptions) -> PreparedRow | Rejection:
    """The row that a raw study becomes, or why it does not."""
    try:
        study = raw_study.study(options.images)
        views = study.views if isinstance(study, FileStudy) else (None,) * len(study.images)
        study, text_changes = with_prepared_text(study, options.text)
        if not (isinstance(study, FileStudy) and study.is_preprocessed):
            study = preprocess_study(study, options.images.preprocessing)
        row = {column.name: getattr(study, column.name) for column in dataclasses.fields(Study)}
        check_text(row)
    except ValueError as error:
        return Rejection(study_id=raw_study.study_id, split=raw_study.split, reason=str(error), files=raw_study.files)
    except Exception as error:
        error.add_note(f"while study {raw_study.study_id} was prepared")
        raise
    row["images"] = [
        {"bytes": stored_bytes(image, view, options.images.image_format), "path": None}
        for image, view in zip(study.images, views, strict=True)
    ]
    row["boxes"] = [dataclasses.asdict(box) for box in study.boxes]
    return PreparedRow(
        row=row,
        rejected_images=study.rejected_images if isinstance(study, FileStudy) else (),
        warnings=burned_in_warnings(views, options.images),
        text_changes=text_changes,
    )


def with_prepared_text(study: Study, options: TextOptions) -> tuple[Study, Mapping[str, int]]:
    """The study with its text de-identified and put in order, with labels from its report where it has none, and how
    often each kind of change was made."""
    names = tuple(name for view in study.views for name in view.identities) if isinstance(study, FileStudy) else ()
    texts = {"indication": study.indication, "findings": study.findings, "impression": study.impression}
    prepared = prepare_text(**texts, options=options, names=names)
    labels = study.labels
    if labels == UNLABELED_STUDY and study.report:
        labels_text = prepared
        if options.drop_prior_sentences:
            # Such sentences speak of this image too: "unchanged effusion" is an effusion.
            labels_text = prepare_text(
                **texts, options=dataclasses.replace(options, drop_prior_sentences=False), names=names
            )
        labels = tuple(label_report(f"{labels_text.findings} {labels_text.impression}"))
    prepared_texts = {name: getattr(prepared, name) for name in texts}
    return dataclasses.replace(study, labels=labels, **prepared_texts), prepared.counts


def burned_in_warnings(views: tuple[View | None, ...], options: ImageOptions) -> tuple[Warned, ...]:
    warnings = []
    for number, view in enumerate(views, start=1):
        if view is None:
            continue
        if view.has_burned_in_text:
            warnings.append(Warned(text="its DICOM header says that annotations are burned in", view=number))
        elif options.find_burned_in_text and (seen := burned_in_text(view.image)):
            warnings.append(Warned(text=f"seems to have text burned in ({seen})", view=number))
    return tuple(warnings)


def check_text(row: Mapping[str, Any]) -> None:
    """Raises ValueError for half a character, which no file can hold as UTF-8."""
    for name, value in row.items():
        if isinstance(value, str) and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise ValueError(f"{name} holds a character that is no text ({error.reason})") from error


def preprocess_study(study: Study, options: Preprocessing) -> Study:
    """The study with its images preprocessed; boxes move with a cropped border, and go when nothing is left."""
    images = tuple(preprocess(image, options) for image in study.images)
    boxes = study.boxes
    if options.crop_border and boxes:
        crops = [(content_box(np.asarray(image)), image.size) for image in study.images]
        moved = [_move_box(box, *crops[box.view]) for box in boxes]
        boxes = tuple(box for box in moved if box.box[0] < box.box[2] and box.box[1] < box.box[3])
    return dataclasses.replace(study, images=images, boxes=boxes)


def _move_box(box: FindingBox, crop: tuple[int, int, int, int], size: tuple[int, int]) -> FindingBox:
    left, top, right, bottom = crop
    offset, extent = (left, top, left, top), (right - left, bottom - top) * 2
    fractions = zip(box.box, size * 2, offset, extent, strict=True)
    moved = tuple(min(1.0, max(0.0, (edge * side - start) / length)) for edge, side, start, length in fractions)
    return dataclasses.replace(box, box=moved)
