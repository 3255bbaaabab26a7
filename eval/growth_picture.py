"""Growth as a picture: macro-F1 and CIDEr over the number of training studies, with intervals, beside the report of the
nearest training study.

The same records give the same file to the byte.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from eval.controls import NEAREST
from eval.results_experiments import MADE_UP, Record, metrics_of

PANELS = {"macro_f1": "macro-F1 (14) of the reports", "cider": "CIDEr of the reports"}
COLORS = ("#0b7285", "#d9480f", "#6741d9", "#2b8a3e")


def draw_growth(records: Sequence[Record], path: Path) -> None:
    """Writes an SVG: a line a size, its 95 % interval as a band, and dashed the nearest neighbour by the same model's
    features."""
    figure = Figure(figsize=(10, 4.2), layout="constrained", facecolor="white")
    lines = _lines(records)
    for axes, (metric, title) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        for (name, line), color in zip(lines.items(), COLORS * len(lines), strict=False):
            _draw(axes, line, metric, "model", name, color)
            _draw(axes, line, metric, NEAREST, f"{name}: nearest training study", color)
        _finish(axes, title, sorted({record["about"]["num_studies"] for record in records}))
    figure.axes[0].legend(frameon=False, fontsize=8)
    with matplotlib.rc_context({"svg.hashsalt": "growth", "svg.fonttype": "none"}):
        FigureCanvasSVG(figure).print_svg(str(path), metadata={"Date": None})


def _lines(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Records of one size in order of their number of studies, by the size's name."""
    several = len({record["about"]["encoder"] for record in records}) > 1
    lines: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: (record["about"]["decoder"], record["about"]["num_studies"])):
        about = record["about"]
        name = f"GPT-2 {about['decoder']}" + f", {about['encoder']}" * several
        lines.setdefault(name, []).append(record)
    return lines


def _draw(axes: Axes, line: Sequence[Record], metric: str, system: str, label: str, color: str) -> None:
    points = [
        (record["about"]["num_studies"], metrics_of(record, MADE_UP, system)[metric])
        for record in line
        if metric in metrics_of(record, MADE_UP, system)
    ]
    if not points:
        return
    numbers = [number for number, _ in points]
    values, lows, highs = ([estimate[end] for _, estimate in points] for end in ("value", "low", "high"))
    is_model = system == "model"
    axes.plot(numbers, values, "o-" if is_model else ".--", color=color, label=label, alpha=1.0 if is_model else 0.6)
    if is_model and None not in lows:
        axes.fill_between(numbers, lows, highs, color=color, alpha=0.18, linewidth=0)


def _finish(axes: Axes, title: str, numbers: Sequence[int]) -> None:
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel("training studies", fontsize=9)
    axes.set_xscale("log")
    axes.set_xticks(numbers, [f"{number:,}" for number in numbers], fontsize=8)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="y", labelsize=8)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
