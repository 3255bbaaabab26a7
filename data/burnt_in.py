"""Whether a picture seems to have text burnt in (a name, a date, an institution), beyond the usual side marker.

No reading of letters: rows of small bright shapes of like height on one line, as letters are and anatomy is not. A
warning, not a proof; docs/LOG.md says how often it is right.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

MIN_LETTERS = 5
"""In one row; side markers ("R", "L", "AP", "PORT") have fewer."""
_WORKING_SIDE = 1024
_LETTER_HEIGHTS = (6, 48)
"""In pixels at the working size."""
_CONTRAST = 60
"""Gray levels by which strokes stand out from what is around them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """A row of letter-like shapes: how many, and its place (left, top, right, bottom) in fractions of the picture."""

    num_letters: int
    box: tuple[float, float, float, float]


def burnt_in_text(image: Image.Image) -> str:
    """What in an 8-bit gray picture looks like text ("a row of 9 letters at the top left"); "" for nothing."""
    rows = [row for row in _rows(np.asarray(image)) if row.num_letters >= MIN_LETTERS]
    if not rows:
        return ""
    longest = max(rows, key=lambda row: row.num_letters)
    more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
    return f"a row of {longest.num_letters} letters{more} at the {_place(longest.box)}"


def _place(box: tuple[float, float, float, float]) -> str:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    vertical = "top" if y < 1 / 3 else "bottom" if y > 2 / 3 else "middle"
    horizontal = "left" if x < 1 / 3 else "right" if x > 2 / 3 else "center"
    return f"{vertical} {horizontal}"


def _rows(pixels: np.ndarray) -> list[_Row]:
    scale = min(1.0, _WORKING_SIDE / max(pixels.shape))
    if scale < 1:
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = pixels.shape
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (9, 9))
    strokes = cv2.morphologyEx(pixels, cv2.MORPH_TOPHAT, kernel)
    shapes = (strokes >= _CONTRAST).astype(np.uint8)
    # Most pictures have few shapes of the height of letters, which their outlines tell in a tenth of the time.
    outlines, _ = cv2.findContours(shapes, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    outlined = (cv2.boundingRect(outline)[3] for outline in outlines)
    if sum(_LETTER_HEIGHTS[0] <= height <= _LETTER_HEIGHTS[1] for height in outlined) < MIN_LETTERS:
        return []
    _, _, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(shapes, 8, cv2.CV_32S, cv2.CCL_BBDT)
    left, top, widths, heights, areas = (stats[1:, column] for column in range(5))
    density = areas / (widths * heights)
    letters = (heights >= _LETTER_HEIGHTS[0]) & (heights <= _LETTER_HEIGHTS[1]) & (widths <= 1.6 * heights)
    letters &= (density > 0.12) & (density < 0.95)
    boxes = np.stack([left, top, left + widths, top + heights], axis=1)[letters]
    return [
        _Row(
            num_letters=len(row),
            box=tuple(np.r_[row[:, :2].min(0), row[:, 2:].max(0)] / [width, height, width, height]),
        )
        for row in _group(boxes[np.argsort(boxes[:, 0])])
    ]


def _group(boxes: np.ndarray) -> list[np.ndarray]:
    """Boxes, sorted by their left edges, put into rows: like height, one line, no wide gap."""
    rows: list[list[np.ndarray]] = []
    for box in boxes:
        height = box[3] - box[1]
        for row in rows:
            last = row[-1]
            last_height = last[3] - last[1]
            close = -0.2 * height <= box[0] - last[2] <= 1.6 * max(height, last_height)
            aligned = abs(int(box[3]) - int(last[3])) <= 0.25 * max(height, last_height)
            alike = min(height, last_height) >= 0.6 * max(height, last_height)
            if close and aligned and alike:
                row.append(box)
                break
        else:
            rows.append([box])
    return [np.array(row) for row in rows if len(row) > 1]
