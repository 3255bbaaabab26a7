"""What the model says, as HTML. Every text that comes from a file, a visitor or the model is escaped.

The heatmaps of all findings are sent once, as small translucent pictures that lie on the X-ray; a radio button a
finding shows one of them, by style rules alone, so that looking through the findings asks nothing of the server.
"""

import base64
from collections.abc import Sequence
from html import escape
from io import BytesIO
from pathlib import Path

import cv2
import gradio as gr
import numpy as np
from PIL import Image

from page.picture import Picture
from vlm.calibration import Calibration
from vlm.findings import FINDINGS
from vlm.generator import StudyReport
from vlm.heatmap import heatmaps
from vlm.views import VIEW_KINDS, view_index

NOTICE = "Not a medical device. For research and teaching; no diagnosis or treatment may rest on it."
LAYER_SIDE = 256
"""Longest side of a heatmap in pixels; attention is far coarser than that."""
COLDEST_COLOR = 110
"""Where heat begins on the colour scale of 0..255."""
SET_OPACITY = "(percent) => { document.body.style.setProperty('--heat-opacity', percent / 100); }"

EMPTY_PICTURE = '<div class="empty picture-frame"><p>The picture will be shown here.</p></div>'
EMPTY_REPORT = (
    '<section class="card"><h2>Report</h2><p class="soft">Choose a picture and press “Write the report”, '
    "or click an example.</p></section>"
)
EXAMPLES_HEADING = '<p class="soft">Examples: click one to have its report written.</p>'
FOOTER = f'<footer class="notice" role="note">{NOTICE}</footer>'


def theme() -> gr.themes.Base:
    """Gradio's plainest look in the system's own fonts, with a button whose text stands out enough."""
    return gr.themes.Base(
        primary_hue="cyan",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        button_primary_background_fill="#0b7285",
        button_primary_background_fill_dark="#0b7285",
        button_primary_background_fill_hover="#095c6b",
        button_primary_background_fill_hover_dark="#095c6b",
        button_primary_text_color="white",
        slider_color="#0b7285",
        slider_color_dark="#4cc3d9",
    )


def style() -> str:
    """The page's style sheet, with a rule for each finding that shows its heatmap while it is chosen."""
    rules = [
        f"body:has(#choose-{index}:checked) .heat-{index} {{ opacity: var(--heat-opacity); }}"
        for index in range(len(FINDINGS))
    ]
    return Path(__file__).with_name("style.css").read_text(encoding="utf-8") + "\n".join(rules)


def header(checkpoint: str) -> str:
    return (
        '<header class="top"><h1>cxrscribe</h1>'
        "<p>Reads a chest X-ray, says which findings it sees and how sure it is, and writes the report.</p>"
        f'<p class="soft">Model: {escape(checkpoint)}</p></header>'
        f'<div class="notice" role="note"><strong>{NOTICE}</strong></div>'
    )


def picture(shown: Picture, layers: Sequence[Image.Image]) -> str:
    """The X-ray with a translucent layer for each finding, all of them hidden until chosen."""
    width, height = shown.image.size
    kind = VIEW_KINDS[view_index(shown.view_position)]
    view = "view position unknown" if kind == "unknown" else kind
    heat = "".join(
        f'<img class="heat heat-{index}" alt="" src="{_data_uri(layer, "webp", quality=80)}">'
        for index, layer in enumerate(layers)
    )
    warning = f'<p class="warning" role="alert">{escape(shown.warning)}</p>' if shown.warning else ""
    return (
        f'{warning}<figure class="picture-frame"><div class="stack" style="--ratio: {width} / {height}">'
        f'<img class="xray" alt="Chest X-ray, {view}: {escape(shown.name)}" '
        f'src="{_data_uri(shown.image, "webp", quality=95)}">{heat}</div>'
        f"<figcaption>{escape(shown.name)} · {view} · {width} × {height} pixels</figcaption></figure>"
    )


def heat_layers(attention_maps: np.ndarray, image_size: tuple[int, int], square: int) -> list[Image.Image]:
    """A colour picture for each finding, the more opaque the hotter.

    `attention_maps` are those of a StudyReport of one view; the layers have that view's aspect.
    """
    scale = LAYER_SIDE / max(image_size)
    size = (max(1, round(image_size[0] * scale)), max(1, round(image_size[1] * scale)))
    [heat] = heatmaps(attention_maps, [size], square)
    layers = []
    for degrees in heat.clip(0, 1):
        # The colour scale's dark end would look like shadows on the lungs.
        level = np.rint(COLDEST_COLOR + degrees * (255 - COLDEST_COLOR)).astype(np.uint8)
        color = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
        layers.append(Image.fromarray(np.dstack([color, np.rint(degrees * 255).astype(np.uint8)])))
    return layers


def findings(probabilities: Sequence[float], calibration: Calibration) -> str:
    """The 14 findings, those called present first, each with a button that shows its heatmap."""
    rows = list(enumerate(zip(probabilities, calibration.thresholds, strict=True)))
    rows.sort(key=lambda row: (row[1][0] < row[1][1], -row[1][0]))
    called = [index for index, (probability, threshold) in rows if probability >= threshold]
    # No Finding has no place in the picture; what it attends to says little to begin with.
    first = next((index for index in called if FINDINGS[index] != "No Finding"), None)
    if calibration.is_calibrated:
        note = (
            f"Probabilities are calibrated on {calibration.num_studies} validation studies of the kind it was trained "
            "on; on other pictures they may be far off."
        )
    else:
        note = "Probabilities are not calibrated: read them as a ranking, not as chances."
    return (
        '<section class="card"><h2>Findings</h2>'
        f'<p class="soft">Choose one to see where the model looked. It is called present from its threshold on, '
        f"the tick on its bar. {note}</p>"
        '<fieldset class="findings"><legend class="unseen">Heatmap shown on the picture</legend>'
        '<div class="finding heads" aria-hidden="true"><span></span><span>Finding</span><span>Probability</span>'
        "<span>Threshold</span><span>Called</span></div>"
        + "".join(_finding(index, *values, is_chosen=index == first) for index, values in rows)
        + '<label class="finding"><input type="radio" name="heatmap" id="choose-none"'
        f"{'' if first is not None else ' checked'}><span>No heatmap</span></label></fieldset>"
        '<p class="soft">A heatmap marks where the model looked for a finding more than elsewhere, brightest where '
        "most: not why, and not how likely the finding is.</p></section>"
    )


def report(written: StudyReport, *, is_done: bool) -> str:
    """The two sections, with a cursor where the model is writing."""
    now_writing = None if is_done else "Impression" if written.impression else "Findings"
    sections = [("Findings", written.findings), ("Impression", written.impression)]
    body = "".join(
        f'<h3>{title}</h3><p class="text">{escape(text if is_done else _without_started_heading(text))}'
        f"{'<span class=cursor></span>' if title == now_writing else ''}</p>"
        for title, text in sections
        if text or title == now_writing
    )
    if is_done and not written.report:
        body = '<p class="soft">The model wrote nothing.</p>'
    elif is_done and written.is_truncated:
        body += '<p class="warning">The report reached its longest length and breaks off here.</p>'
    return (
        f'<section class="card" aria-busy="{"false" if is_done else "true"}"><h2>Report '
        f'<span class="badge">machine-written draft</span></h2><div aria-live="polite">{body}</div></section>'
    )


def refusal(message: str) -> str:
    """Why there is no report; the page goes on."""
    return (
        '<section class="card"><h2>Report</h2><div class="refusal" role="alert"><strong>No report.</strong> '
        f"{escape(message)}</div></section>"
    )


def _finding(index: int, probability: float, threshold: float, *, is_chosen: bool) -> str:
    called = probability >= threshold
    return (
        f'<label class="finding {"called" if called else ""}"><input type="radio" name="heatmap" id="choose-{index}"'
        f'{" checked" if is_chosen else ""}><span class="name">{FINDINGS[index]}</span>'
        f'<span class="bar" aria-hidden="true"><i style="width: {probability:.1%}"></i>'
        f'<b style="left: {threshold:.1%}"></b></span>'
        f'<span class="number"><span class="unseen">probability </span>{_percent(probability)}</span>'
        f'<span class="number threshold"><span class="unseen">threshold </span>{threshold:.0%}</span>'
        f'<span class="call"><span class="unseen">called present: </span>{"yes" if called else "no"}</span></label>'
    )


def _percent(probability: float) -> str:
    """Rounded, but never to certainty."""
    if probability < 0.005:
        return "&lt;1%"
    return "&gt;99%" if probability >= 0.995 else f"{probability:.0%}"


def _without_started_heading(text: str) -> str:
    """Without a last word that may become "Impression:": it would show at the end of the findings for a moment."""
    start, _, last = text.rpartition(" ")
    is_heading = bool(last) and any(heading.startswith(last) for heading in ("Findings", "Impression"))
    return start if is_heading else text


def _data_uri(image: Image.Image, format: str, *, quality: int) -> str:
    """The picture inside the page itself: as a file it would have an address that others could try."""
    buffer = BytesIO()
    image.save(buffer, format, quality=quality)
    return f"data:image/{format};base64,{base64.b64encode(buffer.getvalue()).decode()}"
