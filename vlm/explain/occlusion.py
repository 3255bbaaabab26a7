"""Occlusion sensitivity: how much less likely a finding becomes when a part of the image is covered.

A gray square slides over each view; what a finding's probability loses is charged to the patches under it (Zeiler and
Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2). Unlike attention it says what the
answer depends on, at the price of one run of the encoder for each place.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image, ImageStat

from vlm.config import ReportModelConfig
from vlm.inputs.image import letterbox, letterbox_geometry
from vlm.schema.findings import NUM_FINDINGS

STEPS = 12
"""Places along the square's side."""
COVER = 2.5
"""Side of the cover in steps, so that neighbouring places overlap."""
BATCH = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Occlusion:
    """Progress, and at the end `drops` [findings, views, STEPS, STEPS]: the mean loss of probability, -1..1, where the
    square was covered; 0 outside the image."""

    num_done: int
    num_places: int
    drops: np.ndarray | None = None


@runtime_checkable
class Classifier(Protocol):
    """What occlusion asks; `vlm.generator.ReportGenerator` is one."""

    config: ReportModelConfig

    def classify(
        self, studies: Sequence[Sequence[Image.Image]], *, view_positions: Sequence[Sequence[str]]
    ) -> np.ndarray: ...


def occlude(generator: Classifier, images: Sequence[Image.Image], view_positions: Sequence[str]) -> Iterator[Occlusion]:
    """Covers every place of every view in turn; the last item holds the result. Who stops early pays no more."""
    side = generator.config.image.size
    squares = [letterbox(image, side) for image in images]
    places = [
        (view, row, column)
        for view, image in enumerate(images)
        for row in range(STEPS)
        for column in range(STEPS)
        if _shows_image(image.size, side, row, column)
    ]
    fills = [round(ImageStat.Stat(image.convert("L")).mean[0]) for image in images]
    [whole] = generator.classify([list(map(Image.fromarray, squares))], view_positions=[view_positions])
    losses = np.zeros((NUM_FINDINGS, len(images), STEPS, STEPS), dtype=np.float32)
    counts = np.zeros((len(images), STEPS, STEPS), dtype=np.float32)
    for start in range(0, len(places), BATCH):
        yield Occlusion(num_done=start, num_places=len(places))
        some = places[start : start + BATCH]
        covered = [
            [
                Image.fromarray(_covered(square, row, column, fills[view]) if number == view else square)
                for number, square in enumerate(squares)
            ]
            for view, row, column in some
        ]
        seen = generator.classify(covered, view_positions=[view_positions] * len(some))
        for (view, row, column), probabilities in zip(some, seen, strict=True):
            rows, columns = _span(row, STEPS, STEPS), _span(column, STEPS, STEPS)
            losses[:, view, rows, columns] += (np.array(whole) - np.array(probabilities))[:, None, None]
            counts[view, rows, columns] += 1
    drops = losses / np.maximum(counts, 1)
    yield Occlusion(num_done=len(places), num_places=len(places), drops=drops)


def occlusion_shares(drops: np.ndarray, *, least: float = 0.02) -> np.ndarray:
    """Losses of probability as shares that sum to 1 for each finding, as attention does, to be drawn alike; 0 where a
    finding loses less than `least` anywhere."""
    losses = drops.clip(min=0) * (drops.max(axis=(1, 2, 3), keepdims=True) >= least)
    return losses / np.maximum(losses.sum(axis=(1, 2, 3), keepdims=True), 1e-12)


def _span(step: int, num_steps: int, length: int) -> slice:
    """What the cover hides of a side of that length when it is centred on a step."""
    unit = length / num_steps
    center = (step + 0.5) * unit
    return slice(max(0, round(center - COVER * unit / 2)), min(length, round(center + COVER * unit / 2)))


def _covered(square: np.ndarray, row: int, column: int, fill: int) -> np.ndarray:
    covered = square.copy()
    covered[_span(row, STEPS, len(square)), _span(column, STEPS, len(square))] = fill
    return covered


def _shows_image(image_size: tuple[int, int], side: int, row: int, column: int) -> bool:
    """Whether the middle of a place lies in the image and not in the margin that makes it square."""
    place = letterbox_geometry(image_size, side)
    x, y = (column + 0.5) / STEPS * side, (row + 0.5) / STEPS * side
    return place.left <= x < place.left + place.width and place.top <= y < place.top + place.height
