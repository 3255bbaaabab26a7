"""The verdict in words: do the reports depend on the patient, and are they better than one sentence for all?

With a model at hand, the control shows it other patients' images: then the verdict is about the image. From a file of
predictions alone, each patient gets the report written for another: then it is about the patient, since an indication
or another text may have decided as well as the image.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from eval.metrics.bootstrap import Estimate
from eval.metrics.clinical import f1_scores
from eval.metrics.laterality import SIDE_SCORES
from eval.scoring.scores import METRICS, Scores, paired_difference
from vlm.schema.findings import FINDING_INDEX, POSITIVE

SHUFFLED_IMAGES, SHUFFLED_REPORTS = "shuffled images", "shuffled reports"
SLIGHT_DIFFERENCE = {"macro_f1": 0.1, "cider": 0.1, "macro_auroc": 0.05}
"""A difference below this may be beyond chance and still be of no use."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Whether the image (or the patient) matters, as a word and as a sentence; `differences` to the control named by
    `basis`, by metric."""

    grade: Literal["yes", "slightly", "no", "unknown"]
    sentence: str
    differences: dict[str, Estimate]
    basis: str = SHUFFLED_IMAGES


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
    metric = next((metric for metric in candidates if differences[metric].low is not None), None)
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


def report_verdict(model: Scores, shuffled: Scores | None, reason: str = "") -> Verdict:
    """Compares somebody's reports with the same reports given to other patients: by macro-F1 of the findings they name,
    then by CIDEr of their wording.

    `reason` says why there are no shuffled reports.
    """
    cannot_say = "Whether the reports depend on the patient cannot be said"
    if shuffled is None:
        return Verdict(grade="unknown", sentence=f"{cannot_say}: {reason}.", differences={}, basis=SHUFFLED_REPORTS)
    differences = {metric: paired_difference(model, shuffled, metric) for metric in METRICS}
    known = [metric for metric in ("macro_f1", "cider") if differences[metric].low is not None]
    if not known:
        reason = "no study has both a reference and another patient's report, or all are of one patient"
        sentence = f"{cannot_say}: {reason}."
        return Verdict(grade="unknown", sentence=sentence, differences=differences, basis=SHUFFLED_REPORTS)
    depends = [metric for metric in known if differences[metric].low > 0]
    grade, claim = "no", "There is no sign that the reports depend on the patient"
    metric = known[0]
    if depends and depends[0] != metric:
        grade, claim = "slightly", "The wording depends on the patient, but the findings named are not shown to"
    elif depends:
        large = differences[metric].value >= SLIGHT_DIFFERENCE[metric]
        grade = "yes" if large else "slightly"
        claim = "The reports depend on the patient" + ("" if large else ", but only slightly")
    figures = " and ".join(
        f"{METRICS[metric]} {number(model.metrics[metric].value)} against {number(shuffled.metrics[metric].value)} "
        f"(paired difference {with_interval(differences[metric])})"
        for metric in dict.fromkeys([metric, *depends])
    )
    figures += " when each patient gets the report written for another"
    return Verdict(
        grade=grade, sentence=f"{_variety(model, claim)}: {figures}.", differences=differences, basis=SHUFFLED_REPORTS
    )


FEW_DIFFERENT = 0.05
"""Fewer different reports than this for each study, where the references differ more, are said first."""


def _variety(model: Scores, claim: str) -> str:
    """The claim, after the number of different reports where there are conspicuously few."""
    num_patients, num_reports = len(set(model.subject_ids)), model.num_distinct_reports
    own_variety = model.reference_distinct_ratio or 0.0
    if num_patients < 2:
        return claim
    if num_reports == 1:
        return f"One and the same report for all {num_patients} patients"
    if model.distinct_ratio > min(FEW_DIFFERENT, own_variety / 2):
        return claim
    return f"Only {num_reports} different reports for {num_patients} patients. {claim}"


def constant_facts(model: Scores, constants: Mapping[str, Scores]) -> tuple[str, ...]:
    """What a reader must know beside the verdict: how many reports differ, and metric by metric whether the system is
    better than one report for all. `constants` holds, by metric, the control that is best at it."""
    num_patients = len(set(model.subject_ids))
    references = f" (the references: {model.num_distinct_references})" if model.num_with_reference else ""
    different = "different reports" if model.num_distinct_reports > 1 else "report"
    patients = "patients" if num_patients > 1 else "patient"
    facts = [f"{model.num_distinct_reports} {different} for {num_patients} {patients}{references}."]
    facts += _no_finding_fact(model)
    for metric, constant in constants.items():
        facts += _comparison(model, constant, metric, "one report for everybody")
    return tuple(facts)


def baseline_facts(model: Scores, baseline: Scores | None) -> tuple[str, ...]:
    """What the model gained over the checkpoint it is held against: in findings, their sides, and the wording."""
    if baseline is None:
        return ()
    compared = ("macro_f1", SIDE_SCORES[0], "cider")
    return tuple(fact for metric in compared for fact in _comparison(model, baseline, metric, f"the {baseline.name}"))


def _comparison(model: Scores, other: Scores, metric: str, name: str) -> list[str]:
    """No sentence where one of the two has no such figure."""
    difference = paired_difference(model, other, metric)
    if difference.low is None:
        return []
    word = "Better than" if difference.low > 0 else "Worse than" if difference.high < 0 else "No better than"
    return [
        f"{word} {name} in {METRICS[metric]}: {with_interval(model.metrics[metric])} against "
        f"{number(other.metrics[metric].value)}, paired difference {with_interval(difference)}."
    ]


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


def beaten_by(model: Scores, others: Mapping[str, Scores]) -> str:
    """Which others are better than the model beyond chance in the findings named or in the wording, a sentence each; ""
    where none is. That the image matters is little if copying a similar study's report does better."""
    told = []
    for metric in ("macro_f1", "cider"):
        for name, scores in others.items():
            difference = paired_difference(model, scores, metric)
            if difference.high is not None and difference.high < 0:
                told.append(
                    f"The {name} does better than the model in {METRICS[metric]}: "
                    f"{number(scores.metrics[metric].value)} against {number(model.metrics[metric].value)}, paired "
                    f"difference {with_interval(difference)}."
                )
    return " ".join(told)


SAME = 0.005
"""Scores nearer than this are printed as equal."""


def side_facts(model: Scores, shuffled: Scores | None) -> tuple[str, ...]:
    """On which side the findings are put that have one; a report may name the right findings and guess their sides."""
    agreement, reversal = (model.metrics[score] for score in SIDE_SCORES)
    if agreement.value is None:
        return ()
    num_asked = int(model.statistics.additive["sides"][:, 0].sum())
    told = (
        f"Of {num_asked:,} findings stated whose reference names a side, {with_interval(agreement)} are put on that "
        f"side and {with_interval(reversal)} on the opposite one"
    )
    if shuffled is not None and (control := shuffled.metrics[SIDE_SCORES[0]]).value is not None:
        told += f"; with {shuffled.name} {with_interval(control)} on the true side"
    if reversal.low is not None and agreement.low <= reversal.high:
        told += ": which side is written may be a guess"
    return (f"{told}.",)


def _no_finding_fact(model: Scores) -> list[str]:
    """What saying "no finding" of everybody would get, where findings are scored."""
    statistics, own = model.statistics, model.metrics["macro_f1"].value
    always = np.zeros_like(statistics.labels)
    always[:, FINDING_INDEX["No Finding"]] = POSITIVE
    scores = f1_scores(always, statistics.labels, statistics.uncertain_is_positive)
    if own is None or scores.macro_f1 is None:
        return []
    figures = f"macro-F1 {number(scores.macro_f1)}, micro-F1 {number(scores.micro_f1)}"
    if abs(own - scores.macro_f1) < SAME:
        return [f"The findings named get no more than saying “no finding” of everybody would: {figures}."]
    return [f"Saying “no finding” of everybody would get {figures}."]


def number(value: float | None) -> str:
    """Three decimals without the zero before the point; "–" for undefined."""
    if value is None:
        return "–"
    text = f"{round(value, 3) or 0.0:.3f}"  # never -0.000
    return text.replace("0.", ".", 1) if abs(float(text)) < 1 else text


def with_interval(estimate: Estimate) -> str:
    """ ".340 [.290, .390]"; "–" for undefined."""
    if estimate.value is None:
        return "–"
    if estimate.low is None:
        return number(estimate.value)
    return f"{number(estimate.value)} [{number(estimate.low)}, {number(estimate.high)}]"
