"""Charts of the HTML page as inline SVG: points with intervals, bars, ROC curves, reliability curves.

Positions in strips are percentages, so that a strip fills any width and its marks keep their size. Colors are classes
of the stylesheet, which has light, dark and print modes. Every chart has a title; charts without their values as text
on the page also have a description.
"""

import math
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

from markupsafe import Markup

STRIP_HEIGHT = 18
SQUARE, EDGE = 150, 22  # size of a curve chart and of the margin for axis labels, in SVG units
NUM_TICKS = 4
_NICE_ENDS = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)


Estimate = Mapping[str, float | None]
"""An estimate as JSON: value, low and high."""


def axis_end(values: Sequence[float]) -> float:
    """The end of an axis from 0: a round number that is at least as large as all values."""
    highest = max(values, default=0.0)
    if highest <= _NICE_ENDS[-1]:
        return next(end for end in _NICE_ENDS if highest <= end)
    step = 10 ** math.floor(math.log10(highest)) / 2
    return math.ceil(highest / step) * step


def point_strip(
    marks: Sequence[tuple[str, Estimate]], *, end: float, title: str, band: tuple[float, float] | None = None
) -> Markup:
    """Estimates with intervals on an axis from 0 to `end`, each with its tone, a class of the stylesheet.

    `band` is a shaded interval to compare with.
    """
    svg = _strip("points", title)
    if band is not None:
        _span(svg, *band, end, y=0, height=STRIP_HEIGHT, kind="band")
    for tick in range(NUM_TICKS + 1):
        place = _percent(tick / NUM_TICKS)
        _add(svg, "line", x1=place, x2=place, y1=0, y2=STRIP_HEIGHT, kind="grid")
    for tone, mark in marks:
        if mark["low"] is not None:
            _span(svg, mark["low"], mark["high"], end, y=STRIP_HEIGHT / 2 - 2, height=4, kind=f"interval {tone}")
        _add(svg, "circle", cx=_percent(mark["value"] / end), cy=STRIP_HEIGHT / 2, r=5.5, kind=f"point {tone}")
    return _markup(svg)


def axis_strip(end: float) -> Markup:
    """The axis labels below strips with the same `end`."""
    svg = ElementTree.Element("svg", {"class": "strip axis", "height": "16", "aria-hidden": "true"})
    for tick in range(NUM_TICKS + 1):
        text = _add(svg, "text", x=_percent(tick / NUM_TICKS), y=12, kind="")
        text.set("text-anchor", "middle")
        text.text = f"{end * tick / NUM_TICKS:.3g}"
    return _markup(svg)


def bar_strip(bar: Estimate, *, title: str, tick: float | None = None) -> Markup:
    """A bar from 0 to 1 with its interval as a line; `tick` marks the value of a control."""
    svg = _strip("bars", title)
    _span(svg, 0, 1, 1, y=1, height=STRIP_HEIGHT - 2, kind="track")
    _span(svg, 0, bar["value"], 1, y=1, height=STRIP_HEIGHT - 2, kind="bar")
    if bar["low"] is not None:
        _span(svg, bar["low"], bar["high"], 1, y=STRIP_HEIGHT / 2 - 1, height=2, kind="whisker")
    if tick is not None:
        _add(svg, "line", x1=_percent(tick), x2=_percent(tick), y1=-2, y2=STRIP_HEIGHT + 2, kind="tick")
    return _markup(svg)


def roc_chart(
    points: Sequence[tuple[float, float]],
    *,
    title: str,
    description: str,
    chosen: tuple[float, float] | None = None,
) -> Markup:
    """True positive rate by false positive rate; the diagonal is chance. `chosen` is the point of the thresholds."""
    svg = _square(title, description, "false positive rate", "true positive rate")
    path = " ".join(f"{_x(false):.1f},{_y(true):.1f}" for false, true in points)
    _add(svg, "polyline", points=path, kind="curve")
    if chosen is not None:
        _add(svg, "circle", cx=f"{_x(chosen[0]):.1f}", cy=f"{_y(chosen[1]):.1f}", r="4", kind="point chosen")
    return _markup(svg)


def reliability_chart(bins: Sequence[Mapping[str, float]], *, title: str, description: str) -> Markup:
    """Observed share by predicted probability; the diagonal is perfect calibration.

    Each bin is a dot; its area grows with the number of studies."""
    svg = _square(title, description, "predicted", "observed")
    largest = max((one["num_studies"] for one in bins), default=1)
    places = [(_x(one["mean_probability"]), _y(one["observed"]), one["num_studies"]) for one in bins]
    _add(svg, "polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places), kind="curve thin")
    for x, y, num_studies in places:
        radius = 1.5 + 5 * math.sqrt(num_studies / largest)
        _add(svg, "circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=f"{radius:.1f}", kind="point model")
    return _markup(svg)


def _square(title: str, description: str, across: str, up: str) -> ElementTree.Element:
    svg = ElementTree.Element("svg", {"class": "square", "viewBox": f"0 0 {SQUARE} {SQUARE}", "role": "img"})
    ElementTree.SubElement(svg, "title").text = title
    ElementTree.SubElement(svg, "desc").text = description
    _add(svg, "rect", x=_x(0), y=_y(1), width=_x(1) - _x(0), height=_y(0) - _y(1), kind="track")
    _add(svg, "line", x1=_x(0), y1=_y(0), x2=_x(1), y2=_y(1), kind="diagonal")
    for value, label in ((0, "0"), (1, "1")):
        _text(svg, _x(value), SQUARE - EDGE + 11, label, "middle")
        _text(svg, EDGE - 5, _y(value) + 3, label, "end")
    _text(svg, _x(0.5), SQUARE - EDGE + 11, across, "middle")
    _text(svg, 0, 0, up, "middle").set("transform", f"translate({EDGE - 6} {_y(0.5):.1f}) rotate(-90)")
    return svg


def _x(value: float) -> float:
    return EDGE + value * (SQUARE - EDGE - 5)


def _y(value: float) -> float:
    return SQUARE - EDGE - value * (SQUARE - EDGE - 5)


def _strip(kind: str, title: str) -> ElementTree.Element:
    svg = ElementTree.Element("svg", {"class": f"strip {kind}", "height": str(STRIP_HEIGHT), "role": "img"})
    ElementTree.SubElement(svg, "title").text = title
    return svg


def _span(svg: ElementTree.Element, low: float, high: float, end: float, *, y: float, height: float, kind: str):
    start, width = _percent(low / end), _percent(max(high - low, 0.004 * end) / end)
    _add(svg, "rect", x=start, width=width, y=y, height=height, rx=min(2, height / 2), kind=kind)


def _text(svg: ElementTree.Element, x: float, y: float, text: str, anchor: str) -> ElementTree.Element:
    element = _add(svg, "text", x=f"{x:.1f}", y=f"{y:.1f}", kind="")
    element.set("text-anchor", anchor)
    element.text = text
    return element


def _add(svg: ElementTree.Element, name: str, *, kind: str, **attributes) -> ElementTree.Element:
    named = {key: str(value) for key, value in attributes.items()}
    return ElementTree.SubElement(svg, name, named | ({"class": kind} if kind else {}))


def _percent(share: float) -> str:
    return f"{100 * min(max(share, 0), 1):.2f}%"


def _markup(svg: ElementTree.Element) -> Markup:
    """Safe, because ElementTree escapes all text and attributes."""
    return Markup(ElementTree.tostring(svg, encoding="unicode"))
