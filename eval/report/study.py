"""A study as the evaluation's page shows it: images, findings and both reports, marked by what agrees.

Heatmaps of a study's findings, each over the view where the finding's attention has its peak.

Importing this loads no torch: the page of scores without a model has the type, and nothing to draw with it.

Which words of a report the other one does not have, whatever order the two tell things in.

Each sentence is held against that sentence of the other report which is most like it; the words that the two do not
share differ. Case and punctuation do not count.
"""

import base64
import difflib
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from PIL import Image

from data.reports.labeler.labeler import label_report
from eval.metrics.laterality import StatedSentence, stated_findings, stated_sentences
from eval.predictions.prediction import Prediction
from vlm.schema.findings import FINDINGS, UNLABELED

MAX_PANELS = 3

WORST, BEST, BY_LOT = "Worst", "Best", "Drawn by lot"


@dataclass(frozen=True, kw_only=True, slots=True)
class HeatPanel:
    """One finding's heatmap laid over its view; `boxes` as in data.study.FindingBox."""

    finding: int
    image: Image.Image
    boxes: tuple[tuple[float, float, float, float], ...] = ()


def findings_to_show(labels: Sequence[int], named: Sequence[int], probabilities: Sequence[float]) -> list[int]:
    """Up to three findings: true and named first, then missed, then named without being true; else the likeliest."""
    true, said = set(stated_findings(labels)), set(stated_findings(named))
    ranked = sorted(range(len(FINDINGS)), key=lambda finding: -probabilities[finding])
    order = [finding for group in (true & said, true - said, said - true) for finding in ranked if finding in group]
    likeliest = [finding for finding in ranked if FINDINGS[finding] != "No Finding"][:1]
    return order[:MAX_PANELS] or likeliest


def heat_panels(
    findings: Sequence[int],
    images: Sequence[Image.Image],
    attention_maps: np.ndarray,
    heatmaps: Sequence[np.ndarray],
    boxes: Sequence[dict[str, Any]],
) -> tuple[HeatPanel, ...]:
    """`attention_maps` [14, views, rows, columns] and `heatmaps` (a view each) as the generator gives them; `boxes` as
    a row of the data set holds them."""
    from vlm.explain.attention import overlay_heatmap  # loads torch

    panels = []
    for finding in findings:
        view = int(attention_maps[finding].max(axis=(1, 2)).argmax())
        inside = (tuple(box["box"]) for box in boxes if box["finding"] == finding and box["view"] == view)
        image = overlay_heatmap(images[view], heatmaps[view][finding])
        panels.append(HeatPanel(finding=finding, image=image, boxes=tuple(inside)))
    return tuple(panels)


LEAST_LIKENESS = 0.3
"""A sentence less like every other than this (Dice coefficient of the words) has no counterpart: all of it differs."""

_LETTERS = re.compile(r"[^\W_]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Consecutive words of a sentence that all differ from its counterpart, or all do not."""

    text: str
    differs: bool


def differing_spans(sentences: Sequence[str], others: Sequence[str]) -> list[tuple[Span, ...]]:
    """Each sentence in spans; joined by a space they are the sentence's words. Without `others` nothing differs."""
    counterparts = [_keys(other) for other in others]
    bags = [Counter(keys) for keys in counterparts]
    return [_spans(sentence, counterparts, bags) for sentence in sentences]


def _spans(sentence: str, counterparts: list[list[str]], bags: list[Counter]) -> tuple[Span, ...]:
    words, keys = sentence.split(), _keys(sentence)
    shared = [not counterparts or not key for key in keys]  # punctuation alone never differs
    if counterparts:
        bag = Counter(keys)
        likeness, best = max(
            (2 * (bag & other).total() / max(1, bag.total() + other.total()), -number)
            for number, other in enumerate(bags)
        )
        if likeness >= LEAST_LIKENESS:
            matcher = difflib.SequenceMatcher(a=keys, b=counterparts[-best], autojunk=False)
            for block in matcher.get_matching_blocks():
                shared[block.a : block.a + block.size] = [True] * block.size
    spans: list[Span] = []
    for word, is_shared in zip(words, shared, strict=True):
        if spans and spans[-1].differs != is_shared:
            spans[-1] = Span(text=f"{spans[-1].text} {word}", differs=not is_shared)
        else:
            spans.append(Span(text=word, differs=not is_shared))
    return tuple(spans)


def _keys(sentence: str) -> list[str]:
    """What each word is compared by; "" for punctuation that stands alone."""
    return ["".join(_LETTERS.findall(word)).casefold() for word in sentence.split()]


IMAGE_SIDE = 384
"""Longest side of an image on the page. Real X-rays take 7 kB each: 20 studies with all their heatmaps, 1 MB."""
MAX_REPORT_CHARACTERS = 6_000
"""Of each report; the longest of 3,365 Indiana reports has 1,500."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddedImage:
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
    """One study as the page shows it. `group` is WORST, BEST or BY_LOT, `reason` says why the study was chosen."""

    prediction: Prediction
    images: tuple[EmbeddedImage, ...]
    heatmaps: tuple[EmbeddedImage, ...]
    findings: tuple[MarkedFinding, ...]
    generated: MarkedReport
    reference: MarkedReport
    group: str
    reason: str


def page_study(
    images: Sequence[Image.Image],
    prediction: Prediction,
    *,
    heat_panels: Sequence[HeatPanel] = (),
    group: str = "",
    reason: str = "",
) -> PageStudy:
    """What the page needs of a study; the truth is the study's labels, or else its reference report."""
    labels = prediction.reference_labels
    if set(labels) == {UNLABELED} and prediction.reference:
        labels = label_report(prediction.reference)
    named, true = set(stated_findings(label_report(prediction.report))), set(stated_findings(labels))
    unlabelled = {index for index, label in enumerate(labels) if label == UNLABELED}
    generated, generated_left_out = _sentences(prediction.report)
    reference, reference_left_out = _sentences(prediction.reference)
    return PageStudy(
        prediction=prediction,
        images=tuple(
            EmbeddedImage(source=_data_uri(image), title=_view_name(prediction, view))
            for view, image in enumerate(images)
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


def _sentences(report: str) -> tuple[list[StatedSentence], int]:
    return stated_sentences(report[:MAX_REPORT_CHARACTERS]), max(0, len(report) - MAX_REPORT_CHARACTERS)


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


def _heatmap(panel: HeatPanel) -> EmbeddedImage:
    return EmbeddedImage(
        source=_data_uri(panel.image),
        title=FINDINGS[panel.finding],
        boxes=tuple(
            (100 * left, 100 * top, 100 * (right - left), 100 * (bottom - top))
            for left, top, right, bottom in panel.boxes
        ),
    )


def _data_uri(image: Image.Image) -> str:
    small = image.convert("RGB" if image.mode == "RGB" else "L")
    small.thumbnail((IMAGE_SIDE, IMAGE_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
