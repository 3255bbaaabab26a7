"""The images of a study as HTML with viewing tools (viewer.js), and their heatmaps as a style sheet.

Each heatmap is sent once, as a small translucent image in its own CSS rule. The selected radio button decides which one
is visible, so browsing findings and sentences needs no request to the server.

Images of a prior study stand beside those of the study and have no heatmap: a heatmap shows where the model looked in
the study, and the difference of two heatmaps would be no evidence of change.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import cv2
import numpy as np
from PIL import Image

from data.corrections.correction import image_hash
from page.cards.layout import render
from page.study.upload import UploadedImage
from vlm.explain.attention import heatmaps
from vlm.schema.findings import is_lateral

MAX_LAYER_SIDE = 256
"""Longest side of a heatmap in pixels; attention maps are much coarser."""
MIN_COLOR = 110
"""Where heat begins on the color scale from 0 to 255."""


def heat_rules(
    kind: str, maps: np.ndarray, image_sizes: Sequence[tuple[int, int]], square: int, *, method: str = ""
) -> str:
    """A CSS rule for each map and view: visible while #choose-`kind`-number (and #method-`method`) is checked.

    `maps` are [items, views, rows, columns]; each item sums to 1. A map of zeros has no rule.
    """
    sizes = [tuple(max(1, round(side * MAX_LAYER_SIDE / max(size))) for side in size) for size in image_sizes]
    heat = heatmaps(maps, sizes, square)
    with_method = f":has(#method-{method}:checked)" if method else ""
    rules = []
    for item, views in enumerate(zip(*heat, strict=True)):
        for view, values in enumerate(views):
            if values.max() > 0:
                url = data_url(_heat_layer(values), quality=80)
                selector = f"body:has(#choose-{kind}-{item}:checked){with_method} .heat-{view}"
                rules.append(f"{selector} {{ background-image: url({url}); }}")
    return "\n".join(rules)


def _heat_layer(heat: np.ndarray) -> Image.Image:
    """Heat from 0 to 1 [height, width] as color; higher values are more opaque."""
    heat = heat.clip(0, 1)
    # The dark end of the color scale would look like shadows on the lungs.
    level = np.rint(MIN_COLOR + heat * (255 - MIN_COLOR)).astype(np.uint8)
    color = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    return Image.fromarray(np.dstack([color, np.rint(heat * 255).astype(np.uint8)]))


def data_url(image: Image.Image, *, quality: int) -> str:
    """The image inside the page itself: a file would have a URL that others could guess."""
    buffer = BytesIO()
    image.save(buffer, "webp", quality=quality)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFigure:
    """One image on the page. `key` identifies it for viewer.js, `url` holds the image. `study` is "current" or "prior",
    and `row` its place, if there is a prior study."""

    upload: UploadedImage
    key: str
    url: str
    heat: int | None = None
    """Number of its heatmap."""
    study: str = ""
    row: int = 0


def image_cards(images: Sequence[UploadedImage], prior: Sequence[UploadedImage] = ()) -> str:
    """All views, next to each other if there is space. With a prior study, each row has a view of the study and the
    same view of the prior study. File names are shown as text."""
    rows = _rows(images, prior)
    row_of = {place: number for number, row in enumerate(rows, start=1) for place in row}
    figures = [
        ImageFigure(
            upload=upload,
            key=f"{'prior-' if is_prior else ''}{number}-{image_hash(upload.image)[:16]}",
            url=data_url(upload.image, quality=95),
            heat=None if is_prior else number,
            study=("prior" if is_prior else "current") if prior else "",
            row=row_of[is_prior, number],
        )
        for is_prior, uploads in ((False, images), (True, prior))
        for number, upload in enumerate(uploads)
    ]
    figures.sort(key=lambda figure: figure.row)  # stable: the image of the study first
    return render("images", figures=figures, is_compared=bool(prior))


def _rows(images: Sequence[UploadedImage], prior: Sequence[UploadedImage]) -> list[list[tuple[bool, int]]]:
    """For each row, (False, number) of an image, then (True, number) of the prior image of the same kind, if there is
    one."""
    left = list(range(len(prior)))
    rows = []
    for number, image in enumerate(images):
        same = [other for other in left if _is_lateral(prior[other]) == _is_lateral(image)][:1]
        left = [other for other in left if other not in same]
        rows.append([(False, number), *((True, other) for other in same)])
    return rows + [[(True, other)] for other in left]


def _is_lateral(image: UploadedImage) -> bool:
    return is_lateral(image.view_position)
