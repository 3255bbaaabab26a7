"""A study as the evaluation page shows it: images, findings and both reports, with marks for what agrees.

The words of a report that differ from the other report are marked as well, whatever the order of the sentences: each
sentence is compared with the most similar sentence of the other report. Case and punctuation do not count. This file
needs no torch; eval/report/heatmaps.py makes the heatmaps.
"""

import base64
import difflib
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from PIL import Image

from data.reports.labeler.labeler import label_report
from eval.metrics.errors import ReportErrors, report_errors
from eval.metrics.laterality import StatedSentence, stated_findings, stated_sentences
from eval.predictions.prediction import Prediction
from vlm.schema.findings import FINDINGS, UNLABELED

Box = tuple[float, float, float, float]
IMAGE_SIDE = 384
"""Longest side of an image on the page. Real X-rays take 7 kB each: 20 studies with all heatmaps take 1 MB."""
MAX_REPORT_CHARACTERS = 6_000
"""Maximum number of characters shown of a report; the longest of 3,365 Indiana reports has 1,500."""
MIN_SIMILARITY = 0.3
"""Dice coefficient of the words. A sentence that is less similar to every other has no counterpart: it all differs."""
_LETTERS = re.compile(r"[^\W_]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class HeatPanel:
    """The heatmap of one finding over its view; `boxes` as in data.study.FindingBox."""

    finding: int
    image: Image.Image
    boxes: tuple[Box, ...] = ()


Span = tuple[str, bool]
"""Consecutive words of a sentence, and whether they differ from its counterpart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PageStudy:
    """One study on the page: values for its template.

    `images` and `heatmaps`: source (a data URI), title, boxes as (left, top, width, height) in percent. `findings`:
    name, kind, probability of the classifier. `generated` and `reference`: sections as (heading, sentences), and
    num_left_out, the characters not shown; a sentence has spans, kind and findings. A kind is "agrees", "missed" (only
    in the reference), "extra" (only in the generated report), "unlabeled" (named, but the reference has no label for
    it) or "" (states no finding). `errors`: in plain words, the most harmful first, and their score; None without a
    reference. `group` is the heading above the study, `reason` why it was selected.
    """

    prediction: Prediction
    images: list[dict[str, Any]]
    heatmaps: list[dict[str, Any]]
    findings: list[dict[str, Any]]
    generated: dict[str, Any]
    reference: dict[str, Any]
    errors: ReportErrors | None
    group: str
    reason: str


def page_study(
    images: Sequence[Image.Image],
    prediction: Prediction,
    *,
    prior_images: Mapping[str, Image.Image] | None = None,
    heat_panels: Sequence[HeatPanel] = (),
    group: str = "",
    reason: str = "",
) -> PageStudy:
    """Prepare a study for the page; the truth is the labels of the study, or else its reference report.

    `prior_images` are those of the prior study by title.
    """
    labels = prediction.reference_labels
    if set(labels) == {UNLABELED} and prediction.reference:
        labels = tuple(label_report(prediction.reference))
    named, true = set(stated_findings(label_report(prediction.report))), set(stated_findings(labels))
    unlabeled = {index for index, label in enumerate(labels) if label == UNLABELED}
    generated, reference = (
        stated_sentences(report[:MAX_REPORT_CHARACTERS]) for report in (prediction.report, prediction.reference)
    )
    return PageStudy(
        prediction=prediction,
        images=[
            *({"source": _data_uri(image), "title": _view_name(prediction, view)} for view, image in enumerate(images)),
            *({"source": _data_uri(image), "title": title} for title, image in (prior_images or {}).items()),
        ],
        heatmaps=[_heatmap(panel) for panel in heat_panels],
        findings=[
            {
                "name": FINDINGS[index],
                "kind": _kind({index}, named & true, unlabeled, "missed" if index in true else "extra"),
                "probability": prediction.probabilities[index] if prediction.probabilities else None,
            }
            for index in sorted(named | true)
        ],
        generated={
            "sections": _marked(generated, reference, true, unlabeled, "extra"),
            "num_left_out": max(0, len(prediction.report) - MAX_REPORT_CHARACTERS),
        },
        reference={
            "sections": _marked(reference, generated, named, set(), "missed"),
            "num_left_out": max(0, len(prediction.reference) - MAX_REPORT_CHARACTERS),
        },
        errors=report_errors(prediction.report, prediction.reference) if prediction.reference else None,
        group=group,
        reason=reason,
    )


def _marked(
    sentences: list[StatedSentence],
    others: list[StatedSentence],
    agreeing: set[int],
    unlabeled: set[int],
    otherwise: str,
) -> list[tuple[str, list[dict[str, Any]]]]:
    differences = differing_spans([sentence.text for sentence in sentences], [other.text for other in others])
    sections: dict[str, list[dict[str, Any]]] = {}
    for sentence, spans in zip(sentences, differences, strict=True):
        kind = _kind(set(sentence.findings), agreeing, unlabeled, otherwise)
        findings = [FINDINGS[index] for index in sentence.findings]
        sections.setdefault(sentence.section, []).append({"spans": spans, "kind": kind, "findings": findings})
    return list(sections.items())


def _kind(findings: set[int], agreeing: set[int], unlabeled: set[int], otherwise: str) -> str:
    if not findings:
        return ""
    if findings - agreeing - unlabeled:
        return otherwise
    return "agrees" if findings & agreeing else "unlabeled"


def _view_name(prediction: Prediction, view: int) -> str:
    known = prediction.view_positions[view : view + 1]
    return known[0] if known and known[0] != "UNKNOWN" else f"view {view + 1}"


def _heatmap(panel: HeatPanel) -> dict[str, Any]:
    boxes = [
        (100 * left, 100 * top, 100 * (right - left), 100 * (bottom - top)) for left, top, right, bottom in panel.boxes
    ]
    return {"source": _data_uri(panel.image), "title": FINDINGS[panel.finding], "boxes": boxes}


def _data_uri(image: Image.Image) -> str:
    small = image.convert("RGB" if image.mode == "RGB" else "L")
    small.thumbnail((IMAGE_SIDE, IMAGE_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def differing_spans(sentences: Sequence[str], others: Sequence[str]) -> list[tuple[Span, ...]]:
    """Split each sentence into spans; joined by a space they give its words. Without `others` nothing differs."""
    counterparts = [_keys(other) for other in others]
    bags = [Counter(keys) for keys in counterparts]
    return [_spans(sentence, counterparts, bags) for sentence in sentences]


def _spans(sentence: str, counterparts: list[list[str]], bags: list[Counter]) -> tuple[Span, ...]:
    words, keys = sentence.split(), _keys(sentence)
    shared = [not counterparts or not key for key in keys]  # punctuation alone never differs
    if counterparts:
        bag = Counter(keys)
        similarity, best = max(
            (2 * (bag & other).total() / max(1, bag.total() + other.total()), -number)
            for number, other in enumerate(bags)
        )
        if similarity >= MIN_SIMILARITY:
            matcher = difflib.SequenceMatcher(a=keys, b=counterparts[-best], autojunk=False)
            for block in matcher.get_matching_blocks():
                shared[block.a : block.a + block.size] = [True] * block.size
    groups = groupby(zip(words, shared, strict=True), key=lambda pair: pair[1])
    return tuple((" ".join(word for word, _ in pairs), not is_shared) for is_shared, pairs in groups)


def _keys(sentence: str) -> list[str]:
    """What each word is compared by; "" for a word of punctuation only."""
    return ["".join(_LETTERS.findall(word)).casefold() for word in sentence.split()]
