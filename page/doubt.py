"""Why a picture may be none that the model can read: pictures in, a sentence for each that is doubtful.

First what can be seen without a model, then how far the picture lies from those that the model was trained on, where
the checkpoint knows them (`vlm.uncertainty`).
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from page.picture import Picture
from vlm.generator import ReportGenerator

FLAT_LEVELS = 4.0
"""Standard deviation of the gray levels below which nothing can be seen."""
LONGEST_ASPECT = 3.5
WHITE_LEVEL, PAPER_SHARE, INK_LEVEL = 235, 0.6, 100
"""A page: so much of it is whiter than that, its median is white, and there is ink on it."""


def find_doubts(pictures: Sequence[Picture], generator: ReportGenerator) -> tuple[str, ...]:
    """The most telling reason for each picture that has one."""
    plain = [picture.warning or plain_doubt(picture.image, name=picture.name) for picture in pictures]
    unseen = [number for number, doubt in enumerate(plain) if not doubt]
    if generator.familiarity is None or not unseen:
        return tuple(filter(None, plain))
    features = generator.picture_features([pictures[number].image for number in unseen])
    for number, distance in zip(unseen, generator.familiarity.distances(features), strict=True):
        if distance > 1:
            plain[number] = (
                f"{pictures[number].name}: is unlike the pictures that the model was trained on. It lies "
                f"{distance:.1f} times as far from them as the limit, within which 99 of 100 pictures of their kind "
                "lie: it may show no chest, be turned or inverted, or come from another kind of patient or machine."
            )
    return tuple(filter(None, plain))


def mixed_studies(pictures: Sequence[Picture]) -> tuple[str, ...]:
    """One sentence where DICOM headers say that the pictures are not of one study; who they are of is not told."""
    studies = {
        picture.identifiers.study_instance_uid
        for picture in pictures
        if picture.identifiers and picture.identifiers.study_instance_uid
    }
    if len(studies) < 2:
        return ()
    return (f"The pictures are of {len(studies)} different DICOM studies, perhaps of different patients.",)


def plain_doubt(image: Image.Image, *, name: str) -> str:
    """Why this gray picture is no radiograph, by its pixels alone; empty where nothing speaks against it."""
    pixels = np.asarray(image)
    if pixels.std() < FLAT_LEVELS:
        return f"{name}: is blank, all in about one gray level."
    aspect = max(image.size) / min(image.size)
    if aspect > LONGEST_ASPECT:
        return f"{name}: is {aspect:.1f} times as long as it is wide; no view of the chest is."
    if (pixels >= WHITE_LEVEL).mean() > PAPER_SHARE and (pixels <= INK_LEVEL).any():
        return f"{name}: looks like a page or a drawing, dark on white; if it is a radiograph, invert it."
    return ""
