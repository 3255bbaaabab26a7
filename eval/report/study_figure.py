"""One study as a PNG: the X-ray, heatmaps of its findings, the probabilities, and both reports.

A finding has the same color in the title of its heatmap, its bar and the sentences that state it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image

from eval.metrics.laterality import StatedSentence
from eval.report.study import HeatPanel
from vlm.schema.atomic import atomic_file
from vlm.schema.findings import FINDINGS, NEGATIVE, NUM_FINDINGS, POSITIVE, UNCERTAIN, UNLABELED
from vlm.schema.number_format import format_probability

BACKGROUND, TEXT_COLOR, MUTED, TRACK = "#0d1317", "#e7edf2", "#8d9ba8", "#25313a"
FINDING_COLORS = ("#4cc3d9", "#f2a65a", "#c792ea")
OTHER_COLOR = "#d8c36a"
WIDTH, HEIGHT, MARGIN = 16.0, 8.2, 0.4  # inches, at 100 pixels each
PANEL, GAP = 2.75, 0.12
TEXT_TOP, TEXT_BOTTOM = 3.6, 0.6
STATES = {POSITIVE: "present", UNCERTAIN: "uncertain", NEGATIVE: "absent", UNLABELED: "not labeled"}

Word = tuple[str, str, bool]
"""(text, color, bold); the text "\\n" ends a section."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyFigure:
    """The content of the figure; `named` are the labels of the generated report, `labels` the truth."""

    title: str
    footer: str
    image: Image.Image
    panels: tuple[HeatPanel, ...]
    probabilities: tuple[float, ...]
    thresholds: tuple[float, ...]
    labels: tuple[int, ...]
    named: tuple[int, ...]
    generated: tuple[StatedSentence, ...]
    reference: tuple[StatedSentence, ...]
    prior: Image.Image | None = None
    """An image of the prior study, drawn beside the image, with its title and the changes since then."""
    prior_title: str = ""
    true_changes: tuple[str, ...] = ()
    """The change of each finding since the prior study; "" if it is unknown. Empty without a prior study."""
    stated_changes: tuple[str, ...] = ()
    """The changes that the generated report states of each finding."""
    probable_changes: tuple[str, ...] = ()
    """The most probable change of each finding by the classifier."""


def draw_study(study: StudyFigure, path: Path) -> None:
    """Write the figure as a PNG of 1600 x 820 pixels."""
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=100, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    colors = {panel.finding: color for panel, color in zip(study.panels, FINDING_COLORS, strict=False)}
    _write(figure, MARGIN, HEIGHT - 0.42, study.title, size=16, weight="bold")
    first = 0
    if study.prior is not None:
        _draw_image(figure, 0, study.prior, "Prior X-ray", study.prior_title, MUTED)
        first = 1
    _draw_image(figure, first, study.image, "X-ray", "", TEXT_COLOR)
    for column, panel in enumerate(study.panels, start=first + 1):
        _draw_heatmap(figure, column, panel, study, colors[panel.finding])
    _draw_probabilities(figure, study, colors)
    middle = WIDTH / 2
    for left, heading, sentences, missing in (
        (MARGIN, "Generated report", study.generated, "The model generated no text."),
        (middle + GAP, "Reference report", study.reference, "This study has no report."),
    ):
        _write(figure, left, TEXT_TOP, heading, size=13, weight="bold")
        words = _words(sentences, colors) or [(word, MUTED, False) for word in missing.split()]
        _draw_text(figure, words, left, TEXT_TOP - 0.38, middle - MARGIN - GAP)
    _write(figure, MARGIN, 0.22, study.footer, size=9.5, color=MUTED)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as partial:
        figure.savefig(partial, format="png", facecolor=BACKGROUND)


def _draw_heatmap(figure: Figure, column: int, panel: HeatPanel, study: StudyFigure, color: str) -> None:
    finding = panel.finding
    named = "named" if study.named[finding] in (POSITIVE, UNCERTAIN) else "not named"
    title = f"{FINDINGS[finding]}  {format_probability(study.probabilities[finding])}"
    subtitle = f"{named} in the report; truth: {STATES.get(study.labels[finding], 'absent')}"
    if study.stated_changes and study.true_changes[finding]:
        stated = study.stated_changes[finding] or "no change"
        subtitle = f"report: {stated}; truth: {study.true_changes[finding]}"
    axes = _draw_image(figure, column, panel.image, title, subtitle, color)
    width, height = panel.image.size
    style = {"fill": False, "edgecolor": "white", "linewidth": 1.4, "linestyle": (0, (4, 3))}
    for left, top, right, bottom in panel.boxes:
        corner = (left * width, top * height)
        axes.add_patch(Rectangle(corner, (right - left) * width, (bottom - top) * height, **style))


def _draw_image(figure: Figure, column: int, image: Image.Image, title: str, subtitle: str, color: str) -> Axes:
    left, bottom = MARGIN + column * (PANEL + GAP), HEIGHT - 1.3 - PANEL
    axes = figure.add_axes((left / WIDTH, bottom / HEIGHT, PANEL / WIDTH, PANEL / HEIGHT), facecolor="black")
    # The image keeps its shape inside a square panel, so that all panels are aligned.
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="bilinear", aspect="equal")
    longest = max(image.size)
    axes.set_xlim(image.width / 2 - longest / 2 - 0.5, image.width / 2 + longest / 2 - 0.5)
    axes.set_ylim(image.height / 2 + longest / 2 - 0.5, image.height / 2 - longest / 2 - 0.5)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    _write(figure, left, HEIGHT - 0.98, title, size=12, weight="bold", color=color)
    _write(figure, left, HEIGHT - 1.2, subtitle, size=9, color=MUTED)
    return axes


def _draw_probabilities(figure: Figure, study: StudyFigure, colors: dict[int, str]) -> None:
    """A bar for each finding with its threshold; a filled dot marks the true findings."""
    num_images = 1 + len(study.panels) + (study.prior is not None)
    left = MARGIN + num_images * (PANEL + GAP) + 2.15
    width, bottom = WIDTH - MARGIN - 0.35 - left, HEIGHT - 1.3 - PANEL
    axes = figure.add_axes((left / WIDTH, bottom / HEIGHT, width / WIDTH, PANEL / HEIGHT), facecolor=BACKGROUND)
    rows = np.arange(NUM_FINDINGS)
    axes.barh(rows, [1] * NUM_FINDINGS, height=0.62, color=TRACK)
    axes.barh(rows, study.probabilities, height=0.62, color=[colors.get(row, "#5f7280") for row in rows])
    axes.vlines(study.thresholds, rows - 0.42, rows + 0.42, color=TEXT_COLOR, linewidth=1.5)
    style = {"textcoords": "offset points", "va": "center"}
    for row, finding in enumerate(FINDINGS):
        is_true = study.labels[row] in (POSITIVE, UNCERTAIN)
        name, color = f"{finding}  {'●' if is_true else '○'}", TEXT_COLOR if is_true else MUTED
        axes.annotate(name, (0, row), (-6, 0), ha="right", fontsize=9.5, color=color, **style)
        percent = format_probability(study.probabilities[row])
        axes.annotate(percent, (1, row), (5, 0), fontsize=9, color=MUTED, **style)
    axes.set(xlim=(0, 1), ylim=(NUM_FINDINGS - 0.5, -0.5), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    _write(figure, left - 1.85, HEIGHT - 0.98, "Probability of each finding", size=12, weight="bold")
    _write(figure, left - 1.85, HEIGHT - 1.2, "● true   | threshold", size=9, color=MUTED)


def _words(sentences: Sequence[StatedSentence], colors: dict[int, str]) -> list[Word]:
    """The words to draw. A sentence has the color of a finding that it states."""
    words, section = [], None
    for sentence in sentences:
        if sentence.section != section:
            words += [("\n", TEXT_COLOR, False)] * (section is not None) + [(f"{sentence.section}:", MUTED, True)]
            section = sentence.section
        shown = [colors[finding] for finding in sentence.findings if finding in colors]
        color = shown[0] if shown else OTHER_COLOR if sentence.findings else TEXT_COLOR
        words += [(_drawable(word), color, bool(sentence.findings)) for word in sentence.text.split()]
    return words


def _draw_text(figure: Figure, words: Sequence[Word], left: float, top: float, width: float) -> None:
    """Draw the words in lines, in the largest type that fits; text too long for the smallest type ends in "…"."""
    widths = {(word, bold): _text_width(figure, word, bold) for word, _, bold in [*words, ("n", TEXT_COLOR, False)]}
    for size in (14, 13, 12, 11, 10, 9):
        line = size * 1.5 / 72
        placed = _lines(words, width, lambda word, bold, size=size: widths[word, bold] * size)
        num_fitting = int((top - TEXT_BOTTOM) / line) + 1
        if placed[-1][0] < num_fitting:
            break
    for row, x, (word, color, bold) in placed:
        if row >= num_fitting:
            _write(figure, left, TEXT_BOTTOM - 0.12, "…", size=size, color=MUTED)
            break
        _write(figure, left + x, top - row * line, word, size=size, color=color, weight="bold" if bold else "normal")


def _lines(words: Sequence[Word], width: float, measure: Callable[[str, bool], float]) -> list[tuple[int, float, Word]]:
    """(line, offset, word) of each word; the end of a section leaves one line empty."""
    placed, row, x = [], 0, 0.0
    for word in words:
        if word[0] == "\n":
            row, x = row + 2, 0.0
            continue
        length = measure(word[0], word[2])
        if x > 0 and x + length > width:
            row, x = row + 1, 0.0
        placed.append((row, x, word))
        x += length + measure("n", False) * 0.55
    return placed


def _drawable(text: str) -> str:
    """Replace what the font cannot draw, such as control characters, by "�"."""
    font = get_font(findfont("DejaVu Sans"))
    return "".join(character if font.get_char_index(ord(character)) else "�" for character in text)


def _text_width(figure: Figure, word: str, bold: bool) -> float:
    """The width in inches for each point of type size."""
    text = Text(0, 0, word, fontsize=20, fontweight="bold" if bold else "normal", parse_math=False, figure=figure)
    return text.get_window_extent(figure.canvas.get_renderer()).width / figure.dpi / 20


def _write(
    figure: Figure, x: float, y: float, text: str, *, size: float, weight: str = "normal", color: str = TEXT_COLOR
) -> None:
    # parse_math is off because "$" in a report is a dollar sign, not the start of a formula.
    style = {"fontsize": size, "fontweight": weight, "color": color, "va": "baseline", "parse_math": False}
    figure.text(x / WIDTH, y / HEIGHT, _drawable(text), **style)
