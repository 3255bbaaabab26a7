"""Occlusion sensitivity: how much the probability of a finding drops when a part of the image is covered.

A gray square slides over each view; the drop in probability is assigned to the covered positions (Zeiler and Fergus
2014, "Visualizing and Understanding Convolutional Networks", section 4.2). Unlike attention, it shows what the
prediction depends on, but it needs one run of the encoder for each position.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageStat

from vlm.inputs.image import letterbox, letterbox_geometry
from vlm.schema.findings import NUM_FINDINGS

STEPS = 12
"""Positions along a side of the square."""
COVER = 2.5
"""Side of the cover in steps; neighboring covers overlap."""
BATCH = 12
MIN_DROP = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class Occlusion:
    """Progress, and at the end `drops` [findings, views, STEPS, STEPS]: the mean drop in probability, -1..1, while a
    position was covered; 0 outside the image."""

    num_done: int
    num_places: int
    drops: np.ndarray | None = None


def occlude(generator: Any, images: Sequence[Image.Image], view_positions: Sequence[str]) -> Iterator[Occlusion]:
    """Cover every position of every view in turn; the last item has the result. The caller may stop early.

    Of the generator, a `vlm.generator.ReportGenerator`, only `config` and `classify` are used.
    """
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
        batch = places[start : start + BATCH]
        covered = [
            [
                Image.fromarray(_covered(square, row, column, fills[view]) if number == view else square)
                for number, square in enumerate(squares)
            ]
            for view, row, column in batch
        ]
        results = generator.classify(covered, view_positions=[view_positions] * len(batch))
        for (view, row, column), probabilities in zip(batch, results, strict=True):
            rows, columns = _span(row, STEPS), _span(column, STEPS)
            losses[:, view, rows, columns] += (np.array(whole) - np.array(probabilities))[:, None, None]
            counts[view, rows, columns] += 1
    drops = losses / np.maximum(counts, 1)
    yield Occlusion(num_done=len(places), num_places=len(places), drops=drops)


def occlusion_shares(drops: np.ndarray) -> np.ndarray:
    """Drops in probability, scaled to sum to 1 for each finding like attention; 0 if no drop reaches MIN_DROP."""
    losses = drops.clip(min=0) * (drops.max(axis=(1, 2, 3), keepdims=True) >= MIN_DROP)
    return losses / np.maximum(losses.sum(axis=(1, 2, 3), keepdims=True), 1e-12)


def _span(step: int, length: int) -> slice:
    """The covered part of a side of that length when the cover is centered on a step."""
    unit = length / STEPS
    center = (step + 0.5) * unit
    return slice(max(0, round(center - COVER * unit / 2)), min(length, round(center + COVER * unit / 2)))


def _covered(square: np.ndarray, row: int, column: int, fill: int) -> np.ndarray:
    covered = square.copy()
    covered[_span(row, len(square)), _span(column, len(square))] = fill
    return covered


def _shows_image(image_size: tuple[int, int], side: int, row: int, column: int) -> bool:
    """Whether the center of a position is in the image, not in the padding."""
    place = letterbox_geometry(image_size, side)
    x, y = (column + 0.5) / STEPS * side, (row + 0.5) / STEPS * side
    return place.left <= x < place.left + place.width and place.top <= y < place.top + place.height
