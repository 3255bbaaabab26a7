"""The pictures of a study as HTML: each with the heat that is laid over it and with tools to look at it (viewer.js)."""

import hashlib
from collections.abc import Sequence
from html import escape

from page.heat import data_address
from page.picture import Picture
from vlm.schema.findings import VIEW_KINDS, view_index

EMPTY = '<div class="empty views"><p>The pictures will be shown here.</p></div>'
_KEYS = "Keys: plus and minus zoom, arrows move, i inverts, [ ] and , . set the window, 0 resets, f fills the screen"
_BUTTONS = (
    ("data-act", "out", "−", "Zoom out"),
    ("data-act", "in", "+", "Zoom in"),
    ("data-toggle", "inverted", "◐", "Invert"),
    ("data-toggle", "windowing", "☼", "Dragging sets window and level"),
    ("data-act", "full", "⤢", "Fill the screen"),
    ("data-act", "reset", "↺", "Reset"),
)


def figures(pictures: Sequence[Picture]) -> str:
    """All views, side by side where there is room. File names are shown, as text."""
    if not pictures:
        return EMPTY
    return f'<div class="views">{"".join(_figure(number, one) for number, one in enumerate(pictures))}</div>'


def view_name(picture: Picture) -> str:
    kind = VIEW_KINDS[view_index(picture.view_position)]
    return "view position unknown" if kind == "unknown" else kind


def _figure(number: int, shown: Picture) -> str:
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
        f'<div class="pane" tabindex="0" role="group" aria-label="Picture {number + 1}, {view}. {_KEYS}.">'
        f'<div class="zoomed"><img class="xray" alt="Chest X-ray, {view}: {name}" draggable="false" '
        f'src="{data_address(shown.image, "webp", quality=95)}"><div class="heat heat-{number}"></div></div></div>'
        f'<div class="tools" role="toolbar" aria-label="Tools for picture {number + 1}">{tools}'
        '<details class="window"><summary>Window</summary>'
        '<label>Level <input type="range" data-slider="level" min="0" max="100" value="50"></label>'
        '<label>Width <input type="range" data-slider="width" min="2" max="100" value="100"></label></details>'
        '<span class="said" aria-live="polite"></span></div>'
        f"<figcaption>{name} · {view} · {width} × {height} pixels</figcaption></figure>"
    )
