"""Heat over the images: attention over patches in, a style sheet out that lays it on the views while it is chosen.

Every map is sent once, as a small translucent image in a rule of its own; which one shows is a matter of which radio
button is chosen, so looking through findings and sentences asks nothing of the server.

The images of a study as HTML: each with the heat that is laid over it and with tools to look at it (viewer.js).
"""

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from io import BytesIO

import cv2
import numpy as np
from PIL import Image

from page.study.files import UploadedImage
from vlm.explain.attention import heatmaps
from vlm.schema.findings import VIEW_KINDS, view_index

LAYER_SIDE = 256
"""Longest side of a heatmap in pixels; attention is far coarser than that."""
COLDEST_COLOR = 110
"""Where heat begins on the color scale of 0..255."""
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
    """Heat 0..1 [height, width] as color, the more opaque the hotter."""
    degrees = degrees.clip(0, 1)
    # The color scale's dark end would look like shadows on the lungs.
    level = np.rint(COLDEST_COLOR + degrees * (255 - COLDEST_COLOR)).astype(np.uint8)
    color = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    return Image.fromarray(np.dstack([color, np.rint(degrees * 255).astype(np.uint8)]))


def data_address(image: Image.Image, format: str, *, quality: int) -> str:
    """The image inside the page itself: as a file it would have an address that others could try."""
    buffer = BytesIO()
    image.save(buffer, format, quality=quality)
    return f"data:image/{format};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _layer_size(size: tuple[int, int]) -> tuple[int, int]:
    scale = LAYER_SIDE / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


EMPTY = '<div class="empty views"><p>The images will be shown here.</p></div>'
_KEYS = "Keys: plus and minus zoom, arrows move, i inverts, [ ] and , . set the window, 0 resets, f fills the screen"
_BUTTONS = (
    ("data-act", "out", "−", "Zoom out"),
    ("data-act", "in", "+", "Zoom in"),
    ("data-toggle", "inverted", "◐", "Invert"),
    ("data-toggle", "windowing", "☼", "Dragging sets window and level"),
    ("data-act", "full", "⤢", "Fill the screen"),
    ("data-act", "reset", "↺", "Reset"),
)


def figures(images: Sequence[UploadedImage]) -> str:
    """All views, side by side where there is room. File names are shown, as text."""
    if not images:
        return EMPTY
    return f'<div class="views">{"".join(_figure(number, one) for number, one in enumerate(images))}</div>'


def view_name(image: UploadedImage) -> str:
    kind = VIEW_KINDS[view_index(image.view_position)]
    return "view position unknown" if kind == "unknown" else kind


def _figure(number: int, shown: UploadedImage) -> str:
    width, height = shown.image.size
    name, view = escape(shown.name), view_name(shown)
    key = f"{number}-{hashlib.sha256(shown.image.tobytes()).hexdigest()[:16]}"
    tools = "".join(
        f'<button type="button" {attribute}="{value}" title="{title}" aria-label="{title}"'
        f"{' aria-pressed=false' if attribute == 'data-toggle' else ''}>{sign}</button>"
        for attribute, value, sign, title in _BUTTONS
    )
    ramps = "".join(f'<feFunc{channel} class="ramp" type="linear" slope="1" intercept="0"/>' for channel in "RGB")
    return (
        f'<figure class="view" data-key="{key}" style="--ratio: {width} / {height}">'
        f'<svg width="0" height="0" aria-hidden="true"><filter id="window-{number}" '
        f'color-interpolation-filters="sRGB"><feComponentTransfer>{ramps}</feComponentTransfer></filter></svg>'
        f'<div class="pane" tabindex="0" role="group" aria-label="Image {number + 1}, {view}. {_KEYS}.">'
        f'<div class="zoomed"><img class="xray" alt="Chest X-ray, {view}: {name}" draggable="false" '
        f'src="{data_address(shown.image, "webp", quality=95)}"><div class="heat heat-{number}"></div></div></div>'
        f'<div class="tools" role="toolbar" aria-label="Tools for image {number + 1}">{tools}'
        '<details class="window"><summary>Window</summary>'
        '<label>Level <input type="range" data-slider="level" min="0" max="100" value="50"></label>'
        '<label>Width <input type="range" data-slider="width" min="2" max="100" value="100"></label></details>'
        '<span class="said" aria-live="polite"></span></div>'
        f"<figcaption>{name} · {view} · {width} × {height} pixels</figcaption></figure>"
    )
