"""A study as the evaluation's page shows it: pictures, findings and both reports, marked by what agrees."""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from PIL import Image

from eval.heat_panel import HeatPanel
from eval.predictions import Prediction
from eval.sentences import StatedSentence, stated_findings, stated_sentences
from eval.text_difference import Span, differing_spans
from vlm.schema.findings import FINDINGS, UNLABELED

PICTURE_SIDE = 384
"""Longest side of a picture on the page. Real X-rays take 7 kB each: 20 studies with all their heatmaps, 1 MB."""
MAX_REPORT_CHARACTERS = 6_000
"""Of each report; the longest of 3,365 Indiana reports has 1,500."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """`source` is a data URI; `boxes` are (left, top, width, height) in percent."""

    source: str
    title: str
    boxes: tuple[tuple[float, float, float, float], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class MarkedFinding:
    """`kind` as in MarkedSentence, never ""; `probability` is the classifier's."""

    name: str
    kind: str
    probability: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class MarkedSentence:
    """`kind` is "agrees", "missed" (only in the truth), "extra" (only in the generated report), "unlabelled" (named,
    and nobody looked for it) or "" (states no finding)."""

    spans: tuple[Span, ...]
    kind: str
    findings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class MarkedReport:
    """Sections in their order, each a heading with its sentences; none where the report is empty. `num_left_out` counts
    characters too many for the page."""

    sections: tuple[tuple[str, tuple[MarkedSentence, ...]], ...]
    num_left_out: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PageStudy:
    """One study as the page shows it. `group` is the heading that it stands under, `reason` why it was chosen."""

    prediction: Prediction
    pictures: tuple[Picture, ...]
    heatmaps: tuple[Picture, ...]
    findings: tuple[MarkedFinding, ...]
    generated: MarkedReport
    reference: MarkedReport
    group: str
    reason: str


def page_study(
    images: Sequence[Image.Image],
    prediction: Prediction,
    label_report: Callable[[str], Sequence[int]],
    *,
    heat_panels: Sequence[HeatPanel] = (),
    group: str = "",
    reason: str = "",
) -> PageStudy:
    """What the page needs of a study; the truth is the study's labels, or else its reference report."""
    labels = prediction.reference_labels
    if set(labels) == {UNLABELED} and prediction.reference:
        labels = tuple(label_report(prediction.reference))
    named, true = set(stated_findings(label_report(prediction.report))), set(stated_findings(labels))
    unlabelled = {index for index, label in enumerate(labels) if label == UNLABELED}
    generated, generated_left_out = _sentences(prediction.report, label_report)
    reference, reference_left_out = _sentences(prediction.reference, label_report)
    return PageStudy(
        prediction=prediction,
        pictures=tuple(
            Picture(source=_data_uri(image), title=_view_name(prediction, view)) for view, image in enumerate(images)
        ),
        heatmaps=tuple(_heatmap(panel) for panel in heat_panels),
        findings=tuple(
            MarkedFinding(
                name=FINDINGS[index],
                kind=_kind({index}, named & true, unlabelled, "missed" if index in true else "extra"),
                probability=prediction.probabilities[index] if prediction.probabilities else None,
            )
            for index in sorted(named | true)
        ),
        generated=MarkedReport(
            sections=_marked(generated, reference, true, unlabelled, "extra"), num_left_out=generated_left_out
        ),
        reference=MarkedReport(
            sections=_marked(reference, generated, named, set(), "missed"), num_left_out=reference_left_out
        ),
        group=group,
        reason=reason,
    )


def _sentences(report: str, label_report) -> tuple[list[StatedSentence], int]:
    return stated_sentences(report[:MAX_REPORT_CHARACTERS], label_report), max(0, len(report) - MAX_REPORT_CHARACTERS)


def _marked(
    sentences: list[StatedSentence], others: list[StatedSentence], agreeing: set[int], unknown: set[int], otherwise: str
) -> tuple[tuple[str, tuple[MarkedSentence, ...]], ...]:
    differences = differing_spans([sentence.text for sentence in sentences], [other.text for other in others])
    pairs = zip(sentences, differences, strict=True)
    return tuple(
        (
            section,
            tuple(
                MarkedSentence(
                    spans=spans,
                    kind=_kind(set(sentence.findings), agreeing, unknown, otherwise),
                    findings=tuple(FINDINGS[index] for index in sentence.findings),
                )
                for sentence, spans in group
            ),
        )
        for section, group in groupby(pairs, key=lambda pair: pair[0].section)
    )


def _kind(findings: set[int], agreeing: set[int], unknown: set[int], otherwise: str) -> str:
    if not findings:
        return ""
    if findings - agreeing - unknown:
        return otherwise
    return "agrees" if findings & agreeing else "unlabelled"


def _view_name(prediction: Prediction, view: int) -> str:
    known = prediction.view_positions[view : view + 1]
    return known[0] if known and known[0] != "UNKNOWN" else f"view {view + 1}"


def _heatmap(panel: HeatPanel) -> Picture:
    return Picture(
        source=_data_uri(panel.picture),
        title=FINDINGS[panel.finding],
        boxes=tuple(
            (100 * left, 100 * top, 100 * (right - left), 100 * (bottom - top))
            for left, top, right, bottom in panel.boxes
        ),
    )


def _data_uri(image: Image.Image) -> str:
    picture = image.convert("RGB" if image.mode == "RGB" else "L")
    picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
