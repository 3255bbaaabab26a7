"""Find text that is burned into an image (a name, a date, an institution), beyond the usual laterality marker.

The detector does not read letters. It looks for rows of small bright shapes of similar height on one line; anatomy does
not form such rows. The result is a warning, not a proof; docs/LOG.md has its precision.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from data.images.pixels import pixels_of

MIN_LETTERS = 5
"""Letters in one row; markers ("R", "L", "AP", "PORT") have fewer."""
_SMALLEST_SIDE, _LARGEST_SIDE = 768, 1024
"""The longest side of resized images is between these values."""
_LETTER_HEIGHTS = (6, 48)
_WIDEST, _LEAST_FILLED, _LEAST_AREA = 1.6, 0.15, 8
_KERNEL = cv2.getStructuringElement(cv2.MORPH_RECT, (11, 11))
"""It must be wider than the stroke of a letter."""
_CONTRASTS = (60, 30)
"""Contrast of strokes in gray levels. The higher threshold separates small letters; the lower one finds white letters
on a bright shoulder."""
_MOST_MARKED = 0.1
"""Fraction of the image. More bright pixels are noise or print, and sorting their shapes would take seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """A row of letter-like shapes; `box` is (left, top, right, bottom) in fractions of the image."""

    num_letters: int
    box: tuple[float, float, float, float]


def burned_in_text(image: Image.Image) -> str:
    """Describe what looks like text in an 8-bit gray image ("a row of 9 letters at the top left"); "" for nothing."""
    rows = [row for row in _rows(pixels_of(image)) if row.num_letters >= MIN_LETTERS]
    if not rows:
        return ""
    longest = max(rows, key=lambda row: row.num_letters)
    return f"a row of {longest.num_letters} letters at the {_place(longest.box)}"


def _place(box: tuple[float, float, float, float]) -> str:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    vertical = "top" if y < 1 / 3 else "bottom" if y > 2 / 3 else "middle"
    horizontal = "left" if x < 1 / 3 else "right" if x > 2 / 3 else "center"
    return f"{vertical} {horizontal}"


def _rows(pixels: np.ndarray) -> list[_Row]:
    height, width = pixels.shape
    scale = min(_LARGEST_SIDE / max(pixels.shape), max(1.0, _SMALLEST_SIDE / max(pixels.shape)))
    if scale != 1:
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=interpolation)
        height, width = pixels.shape
    strokes = cv2.morphologyEx(pixels, cv2.MORPH_TOPHAT, _KERNEL)
    extent = [width, height, width, height]
    return [
        _Row(num_letters=len(row), box=tuple(np.r_[row[:, :2].min(0), row[:, 2:].max(0)] / extent))
        for contrast in _CONTRASTS
        for row in _group(_letters(cv2.threshold(strokes, contrast - 1, 1, cv2.THRESH_BINARY)[1]))
    ]


def _letters(mask: np.ndarray) -> np.ndarray:
    """Boxes (left, top, right, bottom) of the shapes with the size and density of letters, sorted from the left."""
    if cv2.countNonZero(mask) > _MOST_MARKED * mask.size:
        return np.empty((0, 4), dtype=int)
    # Outlines are found five times faster than labeled components, and only some of them have the height of a letter.
    outlines, nesting = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    boxes = []
    for number, outline in enumerate(outlines):
        left, top, width, height = cv2.boundingRect(outline)
        if not _LETTER_HEIGHTS[0] <= height <= _LETTER_HEIGHTS[1] or width > _WIDEST * height:
            continue
        _, _, hole, shape = nesting[0][number]
        area = 0 if shape >= 0 else _num_inside(outline) + len(outline)
        while area and hole >= 0:
            area -= _num_inside(outlines[hole])
            hole = nesting[0][hole][0]
        if area >= _LEAST_AREA and area / (width * height) > _LEAST_FILLED:
            boxes.append((left, top, left + width, top + height))
    found = np.array(boxes, dtype=int).reshape(-1, 4)
    return found[np.lexsort((found[:, 1], found[:, 0]))]


def _num_inside(outline: np.ndarray) -> float:
    """The number of pixels within an outline of neighboring pixels, without the outline (Pick's theorem)."""
    return cv2.contourArea(outline) - len(outline) / 2 + 1


def _group(boxes: np.ndarray) -> list[np.ndarray]:
    """Group boxes, sorted by their left edge, into rows: similar height, one line, no wide gap."""
    rows: list[list[list[int]]] = []
    for box in boxes.tolist():
        left, top, _, bottom = box
        for row in reversed(rows):
            _, last_top, last_right, last_bottom = row[-1]
            height, last_height = bottom - top, last_bottom - last_top
            larger = max(height, last_height)
            if (
                -0.3 * larger <= left - last_right <= 1.6 * larger
                and min(abs(bottom - last_bottom), abs(top + bottom - last_top - last_bottom) / 2) <= 0.2 * larger
                and min(height, last_height) >= 0.6 * larger
            ):
                row.append(box)
                break
        else:
            rows.append([box])
    return [np.array(row) for row in rows if len(row) > 1]
