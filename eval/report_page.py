"""`report.html`: the evaluation as a page of its own, which opens offline and prints.

Made from the content of `metrics.json` and a few studies; styles and pictures are inside the file, and every
text is escaped.
"""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from eval.bootstrap import Estimate
from eval.predictions import Prediction
from eval.scoring import METRICS
from eval.sentences import stated_findings, stated_sentences
from eval.verdict import number, with_interval
from vlm.findings import FINDINGS, UNLABELED

TEMPLATE = "report_page.html.j2"
PICTURE_SIDE = 448
COMPARED = {
    "macro_f1": "are the findings of this patient named?",
    "cider": "is it worded as this patient's report is?",
    "bleu_4": "overlap of phrases; a constant sentence does well here",
}
"""Metrics drawn against the controls, and what each asks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Marked:
    """A sentence or the name of a finding. `kind` is "agrees", "missed" (only in the truth), "extra" (only in the
    generated report), "unlabelled" (named, and nobody looked for it) or "" (states no finding)."""

    text: str
    kind: str
    section: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class PageStudy:
    """One study as the page shows it."""

    prediction: Prediction
    pictures: tuple[str, ...]
    findings: tuple[Marked, ...]
    generated: tuple[Marked, ...]
    reference: tuple[Marked, ...]


def page_study(
    images: Sequence[Image.Image], prediction: Prediction, label_report: Callable[[str], Sequence[int]]
) -> PageStudy:
    """What the page needs of a study; the truth is the study's labels."""
    named = set(stated_findings(label_report(prediction.report)))
    true = set(stated_findings(prediction.reference_labels))
    unlabelled = {index for index, label in enumerate(prediction.reference_labels) if label == UNLABELED}

    def marked(report: str, agreeing: set[int], unknown: set[int], otherwise: str) -> tuple[Marked, ...]:
        return tuple(
            Marked(
                text=sentence.text,
                section=sentence.section,
                kind=_kind(set(sentence.findings), agreeing, unknown, otherwise),
            )
            for sentence in stated_sentences(report, label_report)
        )

    return PageStudy(
        prediction=prediction,
        pictures=tuple(_data_uri(image) for image in images),
        findings=tuple(
            Marked(
                text=FINDINGS[index],
                kind=_kind({index}, named & true, unlabelled, "missed" if index in true else "extra"),
            )
            for index in sorted(named | true)
        ),
        generated=marked(prediction.report, true, unlabelled, "extra"),
        reference=marked(prediction.reference, named, set(), "missed"),
    )


def _kind(findings: set[int], agreeing: set[int], unknown: set[int], otherwise: str) -> str:
    if not findings:
        return ""
    if findings - agreeing - unknown:
        return otherwise
    return "agrees" if findings & agreeing else "unlabelled"


def render_page(document: dict[str, Any], studies: Sequence[PageStudy]) -> str:
    """The page as one string of HTML; `document` is that of `eval.metrics_file.metrics_document`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "with_interval": lambda estimate: with_interval(Estimate(**estimate)),
    }
    claim, _, figures = document["verdict"]["image"].partition(": ")
    return environment.get_template(TEMPLATE).render(
        document=document,
        claim=claim,
        figures=figures,
        comparisons=[_comparison(document, metric) for metric in COMPARED],
        metrics=METRICS,
        findings=_finding_bars(document),
        studies=studies,
    )


def _comparison(document: dict[str, Any], metric: str) -> dict[str, Any]:
    """Each system's value and interval, in percent of the axis."""
    estimates = {name: system["metrics"][metric] for name, system in document["systems"].items()}
    highest = max((estimate["high"] or 0 for estimate in estimates.values()), default=0)
    end = max(highest * 1.08, 1e-9) if metric in ("cider", "bleu_4") else 1.0
    return {
        "title": METRICS[metric],
        "question": COMPARED[metric],
        "end": end,
        "rows": [
            {"name": name, "estimate": estimate}
            | {key: None if value is None else 100 * value / end for key, value in estimate.items()}
            for name, estimate in estimates.items()
        ],
    }


def _finding_bars(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The model's F1 of each finding, with that of the shuffled images where they were tried."""
    systems = document["systems"]
    shuffled = systems.get("shuffled images", {}).get("per_finding", [None] * len(FINDINGS))
    return [
        finding | {"shuffled": control and control["f1"]["value"]}
        for finding, control in zip(systems["model"]["per_finding"], shuffled, strict=True)
    ]


def _data_uri(image: Image.Image) -> str:
    picture = image.convert("L")
    picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
