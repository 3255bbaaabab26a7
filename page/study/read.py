"""Reading one study: the one way by which page, API, command line and batch get a report, so that all get the same.

    *_, reading = read_files(generator, [Path("frontal.dcm"), Path("lateral.png")], indication="Cough.")
    print(reading.report.report)

Files in; a `Reading` that grows while the report is written out; the last of them is complete.

Why an image may be none that the model can read: images in, a sentence for each that is doubtful.

First what can be seen without a model, then how far the image lies from those that the model was trained on, where
the checkpoint knows them (`vlm.uncertainty`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from data.reports.labeler.labeler import label_report
from eval.checks.consistency import consistency
from eval.checks.contradictions import Contradiction
from eval.metrics.laterality import StatedSentence, stated_sentences
from page.study.files import UploadedImage, read_study_files
from vlm.generator import GenerationOptions, ReportGenerator, StudyReport
from vlm.schema.findings import BLANK, NUM_FINDINGS

FLAT_LEVELS = 4.0
"""Standard deviation of the gray levels below which nothing can be seen."""
LONGEST_ASPECT = 3.5
WHITE_LEVEL, PAPER_SHARE, INK_LEVEL = 235, 0.6, 100
"""A page: so much of it is whiter than that, its median is white, and there is ink on it."""


def find_doubts(images: Sequence[UploadedImage], generator: ReportGenerator) -> tuple[str, ...]:
    """The most telling reason for each image that has one."""
    plain = [image.warning or plain_doubt(image.image, name=image.name) for image in images]
    unseen = [number for number, doubt in enumerate(plain) if not doubt]
    if generator.ood_detector is None or not unseen:
        return tuple(filter(None, plain))
    features = generator.image_features([images[number].image for number in unseen])
    for number, distance in zip(unseen, generator.ood_detector.distances(features), strict=True):
        if distance > 1:
            plain[number] = (
                f"{images[number].name}: is unlike the images that the model was trained on. It lies "
                f"{distance:.1f} times as far from them as the limit, within which 99 of 100 images of their kind "
                "lie: it may show no chest, be turned or inverted, or come from another kind of patient or machine."
            )
    return tuple(filter(None, plain))


def mixed_studies(images: Sequence[UploadedImage]) -> tuple[str, ...]:
    """One sentence where DICOM headers say that the images are not of one study; who they are of is not told."""
    studies = {
        image.identifiers.study_instance_uid
        for image in images
        if image.identifiers and image.identifiers.study_instance_uid
    }
    if len(studies) < 2:
        return ()
    return (f"The images are of {len(studies)} different DICOM studies, perhaps of different patients.",)


def plain_doubt(image: Image.Image, *, name: str) -> str:
    """Why this gray image is no radiograph, by its pixels alone; empty where nothing speaks against it."""
    pixels = np.asarray(image)
    if pixels.std() < FLAT_LEVELS:
        return f"{name}: is blank, all in about one gray level."
    aspect = max(image.size) / min(image.size)
    if aspect > LONGEST_ASPECT:
        return f"{name}: is {aspect:.1f} times as long as it is wide; no view of the chest is."
    if (pixels >= WHITE_LEVEL).mean() > PAPER_SHARE and (pixels <= INK_LEVEL).any():
        return f"{name}: looks like a page or a drawing, dark on white; if it is a radiograph, invert it."
    return ""


MAX_INDICATION_CHARACTERS = 1000
WRITING = GenerationOptions(max_new_tokens=160)
UNSURE_WITHIN = 0.05
"""Six in ten calls as close to their threshold are right, and 19 in 20 of the others (docs/LOG.md)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What is known of a study so far; what stands below `is_done` only comes with the last one."""

    images: tuple[UploadedImage, ...]
    indication: str = ""
    doubts: tuple[str, ...] = ()
    """Why this may be no study for the model, a sentence each."""
    report: StudyReport | None = None
    """None where it is withheld: there are doubts, and nobody asked for it all the same."""
    only_classifies: bool = False
    """The model has learned no reports, so that of the study is empty."""
    is_done: bool = False
    sentences: tuple[StatedSentence, ...] = ()
    labels: tuple[int, ...] = (BLANK,) * NUM_FINDINGS
    """What the written report says of the findings, in CheXbert's codes."""
    disagrees: tuple[bool, ...] = (False,) * NUM_FINDINGS
    """Findings of which the report says another thing than the probability does; of those that the model knows."""
    unsure: tuple[bool, ...] = (False,) * NUM_FINDINGS
    """Of those, the ones whose probability lies within UNSURE_WITHIN of its threshold."""
    contradictions: tuple[Contradiction, ...] = ()
    prior_sentences: tuple[str, ...] = ()
    """Sentences that speak of a prior study, though none was given."""

    @property
    def is_withheld(self) -> bool:
        return self.is_done and self.report is None


def read_files(
    generator: ReportGenerator, files: Sequence[Path], *, views: Sequence[str] = (), **settings
) -> Iterator[Reading]:
    """Reads the study in these files (images, or a zip of them); `views` names a choice of VIEW_CHOICES for each
    image, or for all at once, or none. `settings` as of `read_study`.

    Raises:
        ValueError: a file cannot be used, or `views` is of another length; says which and why.
    """
    images = read_study_files(files, generator.config.preprocessing)
    return read_study(generator, choose_views(images, views), **settings)


def choose_views(images: Sequence[UploadedImage], views: Sequence[str]) -> list[UploadedImage]:
    """The images seen from the chosen positions: none, one for all, or one each.

    Raises:
        ValueError: there are more or fewer, or one is not known.
    """
    views = list(views) or ["auto"]
    if len(views) not in (1, len(images)):
        raise ValueError(f"{len(views)} view positions for {len(images)} images; give one each, or one for all")
    views = views * len(images) if len(views) == 1 else views
    return [image.viewed_as(view) for image, view in zip(images, views, strict=True)]


def read_study(
    generator: ReportGenerator,
    images: Sequence[UploadedImage],
    *,
    indication: str = "",
    options: GenerationOptions = WRITING,
    write_anyway: bool = False,
) -> Iterator[Reading]:
    """Reads one study; where there are doubts about it, the report is only written with `write_anyway`.

    Raises:
        ValueError: no image, an indication that is too long, or more of both than the model can take.
    """
    if not images:
        raise ValueError("No image is left to read: choose a file, or take one in again.")
    if len(indication) > MAX_INDICATION_CHARACTERS:
        raise ValueError(
            f"the indication has {len(indication)} characters; shorten it to {MAX_INDICATION_CHARACTERS} at most"
        )
    doubts = find_doubts(images, generator) + mixed_studies(images)
    reading = Reading(
        images=tuple(images),
        indication=indication.strip(),
        doubts=doubts,
        only_classifies=not generator.writes_reports,
    )
    if doubts and not write_anyway:
        yield replace(reading, is_done=True)
        return
    for report in generator.stream(
        [image.image for image in images],
        view_positions=[image.view_position for image in images],
        indication=reading.indication,
        options=options,
    ):
        reading = replace(reading, report=report)
        yield reading
    yield complete(reading, generator.thresholds, generator.calibration.is_known)


def complete(
    reading: Reading, thresholds: Sequence[float], is_known: Sequence[bool] = (True,) * NUM_FINDINGS
) -> Reading:
    """With what the finished report says, held against itself and against the probabilities.

    Those of findings of which nobody told the model (`is_known`) mean nothing, and nothing is held against them.
    """
    text = reading.report.report
    probabilities = np.where(is_known, [reading.report.finding_probabilities], np.nan)
    found = consistency([text], [text], probabilities, thresholds)
    return replace(
        reading,
        is_done=True,
        sentences=tuple(stated_sentences(text)),
        labels=tuple(label_report(text)) if text.strip() else (BLANK,) * NUM_FINDINGS,
        disagrees=tuple((found.report_only[0] | found.classifier_only[0]).tolist()),
        unsure=tuple((np.abs(probabilities[0] - thresholds) < UNSURE_WITHIN).tolist()),
        contradictions=found.contradictions[0],
        prior_sentences=found.prior_sentences[0],
    )
