"""The images of a study as HTML with viewing tools (viewer.js), and their heatmaps as a style sheet.

Each heatmap is sent once, as a small translucent image in its own CSS rule. The selected radio button decides which one
is visible, so browsing findings and sentences needs no request to the server.
"""

import base64
from collections.abc import Sequence
from io import BytesIO

import cv2
import numpy as np
from PIL import Image

from data.corrections.correction import image_hash
from page.cards.layout import render
from page.study.upload import UploadedImage
from vlm.explain.attention import heatmaps

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


def image_cards(images: Sequence[UploadedImage]) -> str:
    """All views, next to each other if there is space. File names are shown as text."""
    return render(
        "images",
        images=images,
        keys=[f"{number}-{image_hash(upload.image)[:16]}" for number, upload in enumerate(images)],
        urls=[data_url(upload.image, quality=95) for upload in images],
    )
