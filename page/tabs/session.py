"""What the page remembers of one visitor: the images of a study, what was read in them, and what can be taken away.

Held in the server's memory and nowhere else, and forgotten two hours after it last changed.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from page.cards.report import MAX_MAPPED
from page.export.formats import take_away
from page.study.files import MAX_VIEWS, VIEW_CHOICES, UploadedImage, read_study_files
from page.study.read import Reading, read_files, read_study
from page.study.record import ModelIdentity, StudyRecord, study_record
from vlm.generator import GenerationOptions, ReportGenerator

LEAVE_OUT = "leave out"
VIEWS_OF_VISITORS = (*VIEW_CHOICES, LEAVE_OUT)


@dataclass(frozen=True, kw_only=True, slots=True)
class Visit:
    """`key` is of this reading alone: parts of the page that bear another are of an earlier one."""

    images: tuple[UploadedImage, ...] = ()
    reading: Reading | None = None
    read_at: datetime | None = None
    key: str = ""

    @property
    def is_read(self) -> bool:
        return self.reading is not None and self.reading.is_done and not self.reading.is_withheld


def take_in(visit: Visit, files: Sequence[Path], generator: ReportGenerator) -> Visit:
    """With the images of these files beside those that are there; once a study was read, they are of a new one.

    Raises:
        ValueError: a file cannot be used, or there are too many images; says which and why.
    """
    before = () if visit.reading is not None else visit.images
    images = (*before, *read_study_files(files, generator.config.preprocessing))
    if len(images) > MAX_VIEWS:
        raise ValueError(
            f"{len(images)} images are more than the {MAX_VIEWS} that one study may have; press “New study” first"
        )
    return Visit(images=images)


def read_visit(
    visit: Visit,
    generator: ReportGenerator,
    *,
    views: Sequence[str],
    indication: str,
    options: GenerationOptions,
    write_anyway: bool = False,
) -> Iterator[Visit]:
    """The visit as its report is written; `views` are choices of VIEWS_OF_VISITORS for the images, more are ignored.

    Raises:
        ValueError: there is nothing to read, or the model cannot take it; says why.
    """
    if not visit.images:
        raise ValueError("No image yet: choose a file or click an example first.")
    images = [image.viewed_as(view) for image, view in zip(visit.images, views, strict=False) if view != LEAVE_OUT]
    visit = replace(visit, key=uuid4().hex[:12], read_at=datetime.now(UTC))
    for reading in read_study(generator, images, indication=indication, options=options, write_anyway=write_anyway):
        yield replace(visit, reading=reading)


def sentence_maps(visit: Visit, generator: ReportGenerator) -> np.ndarray:
    """Where the sentences of a finished report come from; see `ReportGenerator.sentence_maps`."""
    reading = visit.reading
    return generator.sentence_maps(
        reading.report.report,
        [sentence.text for sentence in reading.sentences[:MAX_MAPPED]],
        [image.image for image in reading.images],
        view_positions=[image.view_position for image in reading.images],
        indication=reading.indication,
    )


def record_of(visit: Visit, generator: ReportGenerator, model: ModelIdentity) -> StudyRecord:
    """The study as it is taken away.

    Raises:
        ValueError: no report is finished.
    """
    if not visit.is_read:
        raise ValueError("There is no finished report yet: have one written first.")
    return study_record(visit.reading, generator, model, read_at=visit.read_at)


def answer(
    files: Sequence[str] | None,
    views: str,
    indication: str,
    write_anyway: bool,
    generator: ReportGenerator,
    model: ModelIdentity,
    options: GenerationOptions,
) -> dict[str, Any]:
    """What a program gets: the report as one text, and all that the JSON export holds; `views` are parted by commas.

    Raises:
        ValueError: something of it cannot be used; says what and why.
    """
    positions = [view.strip() for view in views.split(",") if view.strip()]
    paths = [Path(file) for file in files or ()]
    *_, reading = read_files(
        generator, paths, views=positions, indication=indication, options=options, write_anyway=write_anyway
    )
    told = {"report": "", "is_withheld": reading.is_withheld, "doubts": list(reading.doubts)}
    if reading.is_withheld:
        return told
    record = study_record(reading, generator, model, read_at=datetime.now(UTC))
    return told | {"report": reading.report.report} | json.loads(take_away(record, "json").content)
