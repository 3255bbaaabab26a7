"""Warnings about images that the model may not be able to read, before a report is written: by the DICOM header, the
pixels, and the out-of-distribution (OOD) check of the checkpoint (`vlm.uncertainty`)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from PIL import Image

from page.study.upload import UploadedImage
from vlm.generator import ReportGenerator
from vlm.schema.findings import LATERAL_ONLY, is_lateral, views_shown
from vlm.uncertainty import describe_distance

MIN_GRAY_STD = 4.0
"""An image with a lower standard deviation of its gray levels is blank."""
MAX_ASPECT_RATIO = 3.5
WHITE_LEVEL, PAPER_SHARE, INK_LEVEL = 235, 0.6, 100
"""An image is a page of paper if more than PAPER_SHARE of its pixels are white and some are as dark as ink."""
LATERAL_STUDY = (
    "The study has only lateral views. The model needs a frontal view for most findings, so its probabilities and its "
    "report may be wrong. Give the frontal view, alone or with these, or correct the view position of an image."
)
LATERAL_PRIOR = (
    "The prior study has only lateral views. Changes are judged on a frontal view of each study, so they may be wrong. "
    "Add a frontal view of the prior study, or leave the prior study out."
)
LOOKS_LATERAL = (
    "This image looks like a lateral view, but it is read as a frontal one, so the report may name the wrong side. If "
    'it is lateral, choose the view position "lateral"; if it is frontal, turn it upright.'
)
LOOKS_FRONTAL = (
    "This image looks like a frontal view, but it is read as a lateral one. If it is frontal, choose the view position "
    '"PA" or "AP".'
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageChecks:
    """`warnings`: why the model may not be able to read the images. `ood_distance`: the largest distance of its images
    from those of the training, in multiples of the limit; None if no image was compared with them."""

    warnings: tuple[str, ...] = ()
    ood_distance: float | None = None


def check_images(studies: Sequence[Sequence[UploadedImage]], generator: ReportGenerator) -> list[ImageChecks]:
    """The checks of the images of each study: header first, then pixels, then OOD check; one warning an image."""
    images = [image for study in studies for image in study]
    warnings = [image.warning or pixel_warning(image.image, name=image.name) for image in images]
    distances: list[float | None] = [None] * len(images)
    unchecked = [number for number, warning in enumerate(warnings) if not warning]
    if generator.ood_detector is not None and unchecked:
        features = generator.image_features([images[number].image for number in unchecked])
        detector = generator.ood_detector
        checks = (detector.distances, detector.looks_lateral, detector.looks_frontal, detector.looks_mirrored)
        for number, *found in zip(unchecked, *(check(features) for check in checks), strict=True):
            distances[number] = float(found[0])
            if problem := _ood_problem(*found, is_read_lateral=is_lateral(images[number].view_position)):
                warnings[number] = f"{images[number].name}: {problem}"
    checked = iter(zip(warnings, distances, strict=True))
    return [_study_checks(list(islice(checked, len(study)))) for study in studies]


def _study_checks(checked: Sequence[tuple[str, float | None]]) -> ImageChecks:
    distances = [distance for _, distance in checked if distance is not None and math.isfinite(distance)]
    return ImageChecks(
        warnings=tuple(warning for warning, _ in checked if warning),
        ood_distance=max(distances, default=None),
    )


def _ood_problem(
    distance: float, looks_lateral: bool, looks_frontal: bool, looks_mirrored: bool, *, is_read_lateral: bool
) -> str:
    """Why an image is out of distribution, or read as the wrong view; empty if it is neither."""
    problems = []
    if not distance <= 1:  # nor a number
        problems.append(
            "This image looks different from the images the model was trained on. Its distance from them is "
            f"{describe_distance(distance)}; 99% of the training images are within the limit. It may not show a chest, "
            "be rotated or inverted, or come from another kind of patient or machine."
        )
    if looks_frontal and is_read_lateral:
        problems.append(LOOKS_FRONTAL)
    elif looks_lateral and not is_read_lateral:
        problems.append(LOOKS_LATERAL)
    elif looks_mirrored and not is_read_lateral and not problems:
        problems.append(
            "This image looks mirrored, so left and right may be swapped. Check the side marker and the heart. 99% of "
            "the training images do not look like this."
        )
    return " ".join(problems)


def study_warnings(images: Sequence[UploadedImage], *, is_prior: bool = False) -> tuple[str, ...]:
    """Why the images may not be one study that the model can read; the patients are not named."""
    subject = "The images of the prior study" if is_prior else "The images"
    only_lateral = views_shown(image.view_position for image in images) == LATERAL_ONLY
    return (
        *_mixed_study_warnings(images, subject),
        *([LATERAL_PRIOR if is_prior else LATERAL_STUDY] if only_lateral else []),
    )


def _mixed_study_warnings(images: Sequence[UploadedImage], subject: str) -> tuple[str, ...]:
    """A warning if the DICOM headers name more than one patient, birth date or study."""
    headers = [image.identifiers for image in images if image.identifiers]
    if len(patients := {header.patient_id for header in headers} - {""}) > 1:
        return (f"{subject} belong to {len(patients)} patients by their DICOM headers.",)
    if len(dates := {header.patient_birth_date for header in headers} - {""}) > 1:
        return (f"{subject} have {len(dates)} birth dates by their DICOM headers, possibly of different patients.",)
    if len(studies := {header.study_instance_uid for header in headers} - {""}) > 1:
        return (f"{subject} belong to {len(studies)} different DICOM studies, possibly of different patients.",)
    return ()


def pixel_warning(image: Image.Image, *, name: str) -> str:
    """Why the pixels of this gray image do not look like a radiograph; empty if they do."""
    pixels = np.asarray(image)
    if pixels.std() < MIN_GRAY_STD:
        return f"{name}: The image is blank; all pixels have about the same gray level."
    aspect = max(image.size) / min(image.size)
    if aspect > MAX_ASPECT_RATIO:
        return f"{name}: The image is {aspect:.1f} times as long as it is wide; a chest X-ray is not."
    if (pixels >= WHITE_LEVEL).mean() > PAPER_SHARE and (pixels <= INK_LEVEL).any():
        return f"{name}: The image looks like a page or a drawing, dark on white. If it is a radiograph, invert it."
    return ""
