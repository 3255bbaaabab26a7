"""The verdict in words: do the reports depend on the image, and are they better than one sentence for all?"""

from dataclasses import dataclass
from typing import Literal

from eval.bootstrap import Estimate
from eval.scoring import METRICS, Scores, paired_difference

SLIGHT_DIFFERENCE = {"macro_f1": 0.1, "cider": 0.1, "macro_auroc": 0.05}
"""A difference below this may be beyond chance and still be of no use."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Whether the image is used, as a word and as a sentence; `differences` to the shuffled images, by metric."""

    grade: Literal["yes", "slightly", "no", "unknown"]
    sentence: str
    differences: dict[str, Estimate]


def image_verdict(model: Scores, shuffled: Scores | None, reason: str = "") -> Verdict:
    """Compares the model with itself on other patients' images: by macro-F1 of its reports, or their CIDEr where
    there are no labels; by AUROC of its probabilities where there are no reports to compare with, since a model that
    never learned to write is not judged by its writing.

    `reason` says why there is no shuffled control.
    """
    cannot_say = "Whether the reports depend on the image cannot be said"
    if shuffled is None:
        return Verdict(grade="unknown", sentence=f"{cannot_say}: {reason or 'no shuffled control'}.", differences={})
    differences = {metric: paired_difference(model, shuffled, metric) for metric in METRICS}
    subject = "reports" if model.num_with_reference else "finding probabilities"
    candidates = [metric for metric in SLIGHT_DIFFERENCE if model.num_with_reference or metric == "macro_auroc"]
    metric = next((metric for metric in candidates if differences[metric].value is not None), None)
    if metric is None:
        reason = "no study has both a report or labels to compare with and another patient's images"
        return Verdict(grade="unknown", sentence=f"{cannot_say}: {reason}.", differences=differences)
    difference = differences[metric]
    figures = (
        f"{METRICS[metric]} {number(model.metrics[metric].value)} against {number(shuffled.metrics[metric].value)} "
        f"with shuffled images; paired difference {with_interval(difference)}"
    )
    if difference.low <= 0:
        grade, claim = "no", f"There is no sign that the {subject} depend on the image"
        figures += ", which includes 0" if difference.high >= 0 else ", so other patients' images do better"
    elif difference.value < SLIGHT_DIFFERENCE[metric]:
        grade, claim = "slightly", f"The {subject} depend on the image, but only slightly"
    else:
        grade, claim = "yes", f"The {subject} depend on the image"
    return Verdict(grade=grade, sentence=f"{claim}: {figures}.", differences=differences)


def constant_verdict(model: Scores, constant: Scores | None) -> str:
    """Whether the model's text is closer to the references than one report for all."""
    if constant is None or model.metrics["cider"].value is None:
        return ""
    difference = paired_difference(model, constant, "cider")
    figures = (
        f"CIDEr {number(model.metrics['cider'].value)} against {with_interval(constant.metrics['cider'])}; "
        f"paired difference {with_interval(difference)}"
    )
    if difference.low > 0:
        return f"The text is closer to the references than one constant report: {figures}."
    return f"The text is not shown to be closer to the references than one constant report: {figures}."


def number(value: float | None) -> str:
    """Three decimals without the zero before the point; "–" for undefined."""
    if value is None:
        return "–"
    text = f"{value:.3f}"
    return text.replace("0.", ".", 1) if abs(float(text)) < 1 else text


def with_interval(estimate: Estimate) -> str:
    """ ".340 [.290, .390]"; "–" for undefined."""
    if estimate.value is None:
        return "–"
    if estimate.low is None:
        return number(estimate.value)
    return f"{number(estimate.value)} [{number(estimate.low)}, {number(estimate.high)}]"
