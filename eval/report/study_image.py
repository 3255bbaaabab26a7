"""One study as an image: the X-ray, where the model sees its findings, how sure it is, and both reports.

A finding has one color throughout: its heatmap's title, its bar and the sentences that state it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image

from eval.metrics.laterality import StatedSentence
from eval.report.study import HeatPanel
from vlm.schema.findings import FINDINGS, NEGATIVE, NUM_FINDINGS, POSITIVE, UNCERTAIN, UNLABELED

GROUND, INK, SOFT, TRACK = "#0d1317", "#e7edf2", "#8d9ba8", "#25313a"
FINDING_COLORS = ("#4cc3d9", "#f2a65a", "#c792ea")
OTHER_COLOR = "#d8c36a"
WIDTH, HEIGHT, MARGIN = 16.0, 8.2, 0.4  # inches, at 100 pixels each
PANEL, GAP = 2.75, 0.12
TEXT_TOP, TEXT_BOTTOM = 3.6, 0.6
STATES = {POSITIVE: "present", UNCERTAIN: "uncertain", NEGATIVE: "absent", UNLABELED: "not labelled"}


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyImage:
    """All that is drawn; `named` are the codes read from the generated report, `labels` the truth."""

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


def draw_study(study: StudyImage, path: Path):
    """Writes the image, 1600 x 820 pixels, as PNG."""
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=100, facecolor=GROUND)
    FigureCanvasAgg(figure)
    colors = {panel.finding: color for panel, color in zip(study.panels, FINDING_COLORS, strict=False)}
    _write(figure, MARGIN, HEIGHT - 0.42, study.title, size=16, weight="bold")
    _panel(figure, 0, study.image, "X-ray", "", INK)
    for column, panel in enumerate(study.panels, start=1):
        name = f"{FINDINGS[panel.finding]}  {study.probabilities[panel.finding]:.0%}"
        axes = _panel(figure, column, panel.image, name, _standing(study, panel.finding), colors[panel.finding])
        for left, top, right, bottom in panel.boxes:
            width, height = panel.image.size
            corner, size = (left * width, top * height), ((right - left) * width, (bottom - top) * height)
            axes.add_patch(
                Rectangle(corner, *size, fill=False, edgecolor="white", linewidth=1.4, linestyle=(0, (4, 3)))
            )
    _probability_bars(figure, study, colors)
    middle = WIDTH / 2
    for left, heading, sentences, missing in (
        (MARGIN, "Generated report", study.generated, "The model wrote nothing."),
        (middle + GAP, "True report", study.reference, "This study has no report."),
    ):
        _write(figure, left, TEXT_TOP, heading, size=13, weight="bold")
        words = _words(sentences, colors) or [(word, SOFT, False) for word in missing.split()]
        _flow(figure, words, left, TEXT_TOP - 0.38, middle - MARGIN - GAP)
    _write(figure, MARGIN, 0.22, study.footer, size=9.5, color=SOFT)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", facecolor=GROUND)


def _standing(study: StudyImage, finding: int) -> str:
    named = "named" if study.named[finding] in (POSITIVE, UNCERTAIN) else "not named"
    return f"{named} in the report; truth: {STATES.get(study.labels[finding], 'absent')}"


def _panel(figure: Figure, column: int, image: Image.Image, title: str, subtitle: str, color: str):
    left, bottom = MARGIN + column * (PANEL + GAP), HEIGHT - 1.3 - PANEL
    axes = figure.add_axes((left / WIDTH, bottom / HEIGHT, PANEL / WIDTH, PANEL / HEIGHT), facecolor="black")
    # Shown in its own shape inside a square panel, so that every panel stands on the same line.
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="bilinear", aspect="equal")
    longest = max(image.size)
    axes.set_xlim(image.width / 2 - longest / 2 - 0.5, image.width / 2 + longest / 2 - 0.5)
    axes.set_ylim(image.height / 2 + longest / 2 - 0.5, image.height / 2 - longest / 2 - 0.5)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    _write(figure, left, HEIGHT - 0.98, title, size=12, weight="bold", color=color)
    _write(figure, left, HEIGHT - 1.2, subtitle, size=9, color=SOFT)
    return axes


def _probability_bars(figure: Figure, study: StudyImage, colors: dict[int, str]):
    """Probability of each finding with its threshold; true findings have a dot before their name."""
    left = MARGIN + (1 + len(study.panels)) * (PANEL + GAP) + 2.15
    width, bottom = WIDTH - MARGIN - 0.35 - left, HEIGHT - 1.3 - PANEL
    axes = figure.add_axes((left / WIDTH, bottom / HEIGHT, width / WIDTH, PANEL / HEIGHT), facecolor=GROUND)
    rows = np.arange(NUM_FINDINGS)
    axes.barh(rows, [1] * NUM_FINDINGS, height=0.62, color=TRACK)
    axes.barh(rows, study.probabilities, height=0.62, color=[colors.get(row, "#5f7280") for row in rows])
    axes.vlines(study.thresholds, rows - 0.42, rows + 0.42, color=INK, linewidth=1.5)
    for row, finding in enumerate(FINDINGS):
        is_true = study.labels[row] in (POSITIVE, UNCERTAIN)
        name = f"{finding}  {'●' if is_true else '○'}"
        beside = {"textcoords": "offset points", "va": "center"}
        axes.annotate(name, (0, row), (-6, 0), ha="right", fontsize=9.5, color=INK if is_true else SOFT, **beside)
        axes.annotate(f"{study.probabilities[row]:.0%}", (1, row), (5, 0), fontsize=9, color=SOFT, **beside)
    axes.set(xlim=(0, 1), ylim=(NUM_FINDINGS - 0.5, -0.5), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    _write(figure, left - 1.85, HEIGHT - 0.98, "Probability of each finding", size=12, weight="bold")
    _write(figure, left - 1.85, HEIGHT - 1.2, "● true   | threshold", size=9, color=SOFT)


def _words(sentences: Sequence[StatedSentence], colors: dict[int, str]) -> list[tuple[str, str, bool]]:
    """(word, color, bold); the word "\\n" ends a section. A sentence takes the color of a finding it states."""
    words, section = [], None
    for sentence in sentences:
        if sentence.section != section:
            words += [("\n", INK, False)] * (section is not None) + [(f"{sentence.section}:", SOFT, True)]
            section = sentence.section
        shown = [colors[finding] for finding in sentence.findings if finding in colors]
        color = shown[0] if shown else OTHER_COLOR if sentence.findings else INK
        words += [(_drawable(word), color, bool(sentence.findings)) for word in sentence.text.split()]
    return words


def _flow(figure: Figure, words: list[tuple[str, str, bool]], left: float, top: float, width: float):
    """Sets words in lines, in the largest type that fits; what does not fit even in the smallest ends in "…"."""
    widths = {(word, bold): _text_width(figure, word, bold) for word, _, bold in [*words, ("n", INK, False)]}
    for size in (14, 13, 12, 11, 10, 9):
        line = size * 1.5 / 72
        placed = _lines(words, width, lambda word, bold, size=size: widths[word, bold] * size)
        num_fitting = int((top - TEXT_BOTTOM) / line) + 1
        if placed[-1][0] < num_fitting:
            break
    for row, x, (word, color, bold) in placed:
        if row >= num_fitting:
            _write(figure, left, TEXT_BOTTOM - 0.12, "…", size=size, color=SOFT)
            break
        _write(figure, left + x, top - row * line, word, size=size, color=color, weight="bold" if bold else "normal")


def _lines(words, width: float, measure: Callable[[str, bool], float]) -> list[tuple[int, float, tuple]]:
    """(line, offset, word) of each word; "\\n" leaves a line free."""
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
    """The text with what the font cannot draw, such as control characters, replaced by "�"."""
    font = get_font(findfont("DejaVu Sans"))
    return "".join(character if font.get_char_index(ord(character)) else "�" for character in text)


def _text_width(figure: Figure, word: str, bold: bool) -> float:
    """Inches for each point of type size."""
    text = Text(0, 0, word, fontsize=20, fontweight="bold" if bold else "normal", parse_math=False, figure=figure)
    return text.get_window_extent(figure.canvas.get_renderer()).width / figure.dpi / 20


def _write(figure: Figure, x: float, y: float, text: str, *, size: float, weight: str = "normal", color: str = INK):
    # parse_math off: a "$" in a report is a dollar, not the start of a formula.
    figure.text(
        x / WIDTH,
        y / HEIGHT,
        _drawable(text),
        fontsize=size,
        fontweight=weight,
        color=color,
        va="baseline",
        parse_math=False,
    )
