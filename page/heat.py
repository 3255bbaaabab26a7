"""Heat over the pictures: attention over patches in, a style sheet out that lays it on the views while it is chosen.

Every map is sent once, as a small translucent picture in a rule of its own; which one shows is a matter of which radio
button is chosen, so looking through findings and sentences asks nothing of the server.
"""

import base64
from collections.abc import Sequence
from io import BytesIO

import cv2
import numpy as np
from PIL import Image

from vlm.explain.attention import heatmaps

LAYER_SIDE = 256
"""Longest side of a heatmap in pixels; attention is far coarser than that."""
COLDEST_COLOR = 110
"""Where heat begins on the colour scale of 0..255."""
SET_OPACITY = "(percent) => { document.body.style.setProperty('--heat-opacity', percent / 100); }"


def heat_rules(
    kind: str, maps: np.ndarray, image_sizes: Sequence[tuple[int, int]], square: int, *, method: str = ""
) -> str:
    """A rule for each map and view: it shows while #choose-`kind`-number is chosen, and #method-`method` with it.

    `maps` are [items, views, rows, columns], each item's with the sum 1; a map of zeros has no rule.
    """
    sizes = [_layer_size(size) for size in image_sizes]
    heat = heatmaps(maps, sizes, square)
    also = f":has(#method-{method}:checked)" if method else ""
    rules = []
    for item, views in enumerate(zip(*heat, strict=True)):
        for view, degrees in enumerate(views):
            if degrees.max() > 0:
                address = data_address(heat_layer(degrees), "webp", quality=80)
                chosen = f"body:has(#choose-{kind}-{item}:checked){also}"
                rules.append(f"{chosen} .heat-{view} {{ background-image: url({address}); }}")
    return "\n".join(rules)


def heat_layer(degrees: np.ndarray) -> Image.Image:
    """Heat 0..1 [height, width] as colour, the more opaque the hotter."""
    degrees = degrees.clip(0, 1)
    # The colour scale's dark end would look like shadows on the lungs.
    level = np.rint(COLDEST_COLOR + degrees * (255 - COLDEST_COLOR)).astype(np.uint8)
    color = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    return Image.fromarray(np.dstack([color, np.rint(degrees * 255).astype(np.uint8)]))


def data_address(image: Image.Image, format: str, *, quality: int) -> str:
    """The picture inside the page itself: as a file it would have an address that others could try."""
    buffer = BytesIO()
    image.save(buffer, format, quality=quality)
    return f"data:image/{format};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _layer_size(size: tuple[int, int]) -> tuple[int, int]:
    scale = LAYER_SIDE / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
