"""Read one study: the page, the API, the command line and the worklist all get their reports from here.

    *_, reading = read_files(generator, [Path("frontal.dcm"), Path("lateral.png")], indication="Cough.")
    print(reading.report.report)

Yields a `StudyReading` for each new token of the report; the last one is complete. Before that, each image is checked
for signs that the model cannot read it (`page.study.image_warnings`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from data.reports.labeler.labeler import label_report
from eval.checks.candidates import generate_reports
from eval.checks.consistency import consistency
from eval.checks.contradictions import Contradiction
from eval.metrics.laterality import StatedSentence, stated_sentences
from page.study.image_warnings import check_images, study_warnings
from page.study.prior import PriorStudy, compared_with
from page.study.upload import UploadedImage, read_study_files
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.inputs.batch import Prior
from vlm.schema.findings import BLANK, NUM_FINDINGS, is_lateral
from vlm.schema.study_report import StudyReport
from vlm.uncertainty import Calibration

MAX_INDICATION_CHARACTERS = 1000
MAX_CANDIDATES = 16
"""Maximum number of reports of which one is chosen; the decoder needs so many times the memory."""
DEFAULT_GENERATION = GenerationOptions(num_candidates=8)
"""The best of 8 reports names a wrong side less often than one report alone (docs/RESULTS.md)."""
LOW_CONFIDENCE_MARGIN = 0.05
"""60% of the predictions this close to their threshold are right, and 95% of the others (docs/LOG.md)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyReading:
    """What is known about a study so far; the fields below `is_done` are only set in the last one."""

    images: tuple[UploadedImage, ...]
    prior: PriorStudy | None = None
    """The study that it is compared with."""
    read_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    indication: str = ""
    image_warnings: tuple[str, ...] = ()
    """Why the model may not be able to read the study, one sentence each."""
    ood_distance: float | None = None
    """See `page.study.image_warnings.ImageChecks`."""
    ood_not_checked: str = ""
    """Why nobody checked whether the images resemble those of the training; "" if that was checked."""
    report: StudyReport | None = None
    """None if the report is blocked: there are image warnings, and the user did not ask for the report anyway."""
    calibration: Calibration = field(default_factory=Calibration)
    """Of the model, at the operating point that decides which findings are predicted positive."""
    only_classifies: bool = False
    """The model was not trained on reports, so the report is empty."""
    is_done: bool = False
    sentences: tuple[StatedSentence, ...] = ()
    labels: tuple[int, ...] = (BLANK,) * NUM_FINDINGS
    """CheXbert labels of the written report."""
    disagrees: tuple[bool, ...] = (False,) * NUM_FINDINGS
    """Findings for which the report and the probability disagree."""
    low_confidence: tuple[bool, ...] = (False,) * NUM_FINDINGS
    """Findings with a probability within LOW_CONFIDENCE_MARGIN of the threshold."""
    contradictions: tuple[Contradiction, ...] = ()
    prior_sentences: tuple[str, ...] = ()
    """Sentences that mention a prior study."""

    @property
    def invented_sentences(self) -> tuple[str, ...]:
        """Sentences that mention a prior study, although none was given."""
        return self.prior_sentences if self.prior is None else ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the images, what is odd about the interval to the prior study, which of several frontal
        views are compared with it, and whether the out-of-distribution check is missing; one sentence each."""
        unchecked = f"Not checked whether the images resemble those of the training: {self.ood_not_checked}."
        prior_images = self.prior.images if self.prior else ()
        done = [note for image in (*self.images, *prior_images) for note in image.notes]
        if prior_images:
            compared = [*_compared_note(self.images, "the study"), *_compared_note(prior_images, "the prior study")]
            done += [*self.prior.notes, *compared]
        return (*done, *([unchecked] if self.ood_not_checked else []))

    @property
    def is_blocked(self) -> bool:
        return self.is_done and self.report is None

    @property
    def has_report(self) -> bool:
        """The report is finished."""
        return self.is_done and self.report is not None


def read_files(
    generator: ReportGenerator, files: Sequence[Path], *, views: Sequence[str] = (), **settings
) -> Iterator[StudyReading]:
    """Read the study in these files (images, or a zip of them); see `choose_views` and `read_study`.

    Raises:
        ValueError: a file cannot be used, or the number of `views` is wrong; gives the reason.
    """
    images = read_study_files(files, generator.config.preprocessing)
    return read_study(generator, choose_views(images, views), **settings)


def choose_views(images: Sequence[UploadedImage], views: Sequence[str]) -> list[UploadedImage]:
    """The images with view positions of VIEW_CHOICES: none, one for all, or one per image.

    Raises:
        ValueError: another number of views, or an unknown view.
    """
    views = list(views) or ["auto"]
    if len(views) not in (1, len(images)):
        raise ValueError(f"{len(views)} view positions for {len(images)} images; give one per image, or one for all")
    views = views * len(images) if len(views) == 1 else views
    return [image.with_view(view) for image, view in zip(images, views, strict=True)]


def check_num_candidates(number: float, name: str = "--num-candidates") -> None:
    """Raises ValueError unless so many reports can be chosen from."""
    if not 1 <= number <= MAX_CANDIDATES:
        raise ValueError(f"{name} is {number}; give 1 to {MAX_CANDIDATES}")


def read_study(
    generator: ReportGenerator,
    images: Sequence[UploadedImage],
    *,
    indication: str = "",
    prior: PriorStudy | None = None,
    options: GenerationOptions = DEFAULT_GENERATION,
    write_anyway: bool = False,
) -> Iterator[StudyReading]:
    """Read one study; if there are image warnings, the report is only written with `write_anyway`. Images of the prior
    study have the same checks.

    Of several candidates (`options.num_candidates`), only the chosen one is shown, after the findings.

    Raises:
        ValueError: there is no image, the indication is too long, the input is too long for the model, the prior study
            does not fit, or the model was trained without prior studies.
    """
    generator = generator.encoding_once()  # for the checks, the findings and the report
    [reading] = _begin(generator, [StudyInput(images=images, indication=indication, prior=prior)])
    if reading.image_warnings and not write_anyway:
        yield replace(reading, is_done=True)
        return
    for report in _write(generator, reading, options):
        reading = replace(reading, report=report)
        yield reading
    yield complete(reading)


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyInput:
    """What the model is given of one study."""

    images: Sequence[UploadedImage]
    indication: str = ""
    prior: PriorStudy | None = None

    def __post_init__(self):
        if not self.images:
            raise ValueError("No image is left to read: choose a file, or include an image again.")
        if len(self.indication) > MAX_INDICATION_CHARACTERS:
            raise ValueError(
                f"the indication has {len(self.indication)} characters; shorten it to {MAX_INDICATION_CHARACTERS} at "
                "most"
            )


def read_studies(
    generator: ReportGenerator,
    studies: Sequence[StudyInput],
    *,
    options: GenerationOptions = DEFAULT_GENERATION,
    write_anyway: bool = False,
) -> list[StudyReading]:
    """The complete readings of several studies, as one batch of the model; otherwise like `read_study`.

    Raises:
        ValueError: an input is too long for the model.
    """
    generator = generator.encoding_once()  # for the checks and the reports
    readings = _begin(generator, studies)
    to_write = [number for number, reading in enumerate(readings) if write_anyway or not reading.image_warnings]
    reports = []
    if to_write:
        reports = generate_reports(
            generator,
            [[image.image for image in readings[number].images] for number in to_write],
            view_positions=[[image.view_position for image in readings[number].images] for number in to_write],
            indications=[readings[number].indication for number in to_write],
            priors=[_model_prior(readings[number]) for number in to_write],
            options=options,
        )
    readings = [replace(reading, is_done=True) for reading in readings]
    for number, report in zip(to_write, reports, strict=True):
        readings[number] = complete(replace(readings[number], report=report))
    return readings


def _begin(generator: ReportGenerator, studies: Sequence[StudyInput]) -> list[StudyReading]:
    """The readings before a report is written."""
    priors = [study.prior and compared_with(study.prior, study.images) for study in studies]
    if any(priors):
        check_reads_priors(generator)
    checks = check_images([study.images for study in studies], generator)
    prior_checks = check_images([prior.images if prior else () for prior in priors], generator)
    return [
        StudyReading(
            images=tuple(study.images),
            prior=prior,
            indication=study.indication.strip(),
            image_warnings=(
                *check.warnings,
                *study_warnings(study.images),
                *prior_check.warnings,
                *study_warnings(prior.images if prior else (), is_prior=True),
            ),
            ood_distance=check.ood_distance,
            calibration=generator.calibration,
            only_classifies=not generator.writes_reports,
            ood_not_checked=generator.ood_not_checked,
        )
        for study, prior, check, prior_check in zip(studies, priors, checks, prior_checks, strict=True)
    ]


def check_reads_priors(generator: ReportGenerator) -> None:
    """Raises ValueError if the model was trained without prior studies."""
    if not generator.reads_priors:
        raise ValueError(
            f"{generator.name} was trained without prior studies and cannot compare; leave the prior study out, or use "
            "another checkpoint"
        )


def _model_prior(reading: StudyReading) -> Prior | None:
    return reading.prior.for_model if reading.prior else None


def _write(generator: ReportGenerator, reading: StudyReading, options: GenerationOptions) -> Iterator[StudyReport]:
    """The report after each token; with several candidates, the findings without a report, then the chosen report."""
    images = [image.image for image in reading.images]
    views = [image.view_position for image in reading.images]
    one = replace(options, num_candidates=1)
    prior = _model_prior(reading)
    growing = generator.stream(images, view_positions=views, indication=reading.indication, prior=prior, options=one)
    if options.num_candidates == 1:
        yield from growing
        return
    yield next(growing)
    inputs = {"view_positions": [views], "indications": [reading.indication], "priors": [prior]}
    yield from generate_reports(generator, [images], options=options, **inputs)


def complete(reading: StudyReading) -> StudyReading:
    """Compare the finished report with itself and with the probabilities.

    Findings without training labels are not compared: their probabilities mean nothing.
    """
    text, thresholds = reading.report.report, reading.calibration.thresholds
    probabilities = np.where(reading.calibration.is_known, [reading.report.finding_probabilities], np.nan)
    found = consistency([text], [text], probabilities, thresholds)
    return replace(
        reading,
        is_done=True,
        sentences=tuple(stated_sentences(text)),
        labels=tuple(label_report(text)) if text.strip() else (BLANK,) * NUM_FINDINGS,
        disagrees=tuple((found.report_only[0] | found.classifier_only[0]).tolist()),
        low_confidence=tuple((np.abs(probabilities[0] - thresholds) < LOW_CONFIDENCE_MARGIN).tolist()),
        contradictions=found.contradictions[0],
        prior_sentences=found.prior_sentences[0],
    )


def _compared_note(images: Sequence[UploadedImage], study: str) -> tuple[str, ...]:
    """Which of several frontal views the change head compares (`vlm.layers.finding_change`)."""
    frontal = [image.name for image in images if not is_lateral(image.view_position)]
    if len(frontal) < 2:
        return ()
    return (f"{frontal[0]}: Changes are judged on this image, the first of {len(frontal)} frontal views of {study}.",)
