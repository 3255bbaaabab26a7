"""The verdict in words: do the reports depend on the image and on the prior study? Is one constant report as good?

With a model, the control shows the model another patient's images, so the verdict is about the image. With a file of
predictions only, each patient gets the report written for another patient. Then the verdict is about the patient,
because the indication or other text may have decided as well as the image.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from eval.metrics.bootstrap import Estimate
from eval.metrics.clinical import f1_scores
from eval.metrics.laterality import LATERALITY_SCORES
from eval.scoring.scores import METRICS, Scores, paired_difference
from vlm.schema.findings import FINDING_INDEX, POSITIVE
from vlm.schema.number_format import format_number, format_percent_interval

SHUFFLED_IMAGES, SHUFFLED_REPORTS = "shuffled images", "shuffled reports"
PRIOR_CONTROLS = "another prior", "own prior", "no prior"
"""The model with the prior study of another patient, with the study as its own prior, and without a prior."""
SLIGHT_DIFFERENCE = {"macro_f1": 0.1, "cider": 0.1, "macro_auroc": 0.05, "temporal_f1": 0.1, "change_accuracy": 0.1}
"""A smaller difference can be significant and still be of no practical use."""
FEW_DIFFERENT = 0.05
"""Fewer distinct reports per study than this are reported first, if the references are more varied."""
SAME = 0.005
"""Scores closer than this are reported as equal."""

Grade = Literal["yes", "slightly", "no", "unknown"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Whether the image (or the patient) matters; `differences` to the shuffled control."""

    grade: Grade
    sentence: str
    differences: dict[str, Estimate]


def image_verdict(model: Scores, shuffled: Scores | None, reason: str = "") -> Verdict:
    """Compare the model with itself on other patients' images.

    The verdict uses macro-F1 of the reports, or CIDEr if there are no labels, or AUROC if there are no reference
    reports. `reason` says why there is no shuffled control.
    """
    subject = "reports" if model.num_with_reference else "finding probabilities"
    differences = {} if shuffled is None else _differences(model, shuffled)
    candidates = ("macro_f1", "cider", "macro_auroc") if model.num_with_reference else ("macro_auroc",)
    known = [metric for metric in candidates if shuffled is not None and differences[metric].low is not None]
    if not known:
        if shuffled is not None:
            reason = "no study has both a report or labels to compare with and another patient's images"
        return _unknown("image", reason or "no shuffled control", differences)
    metric = known[0]
    difference = differences[metric]
    figures = f"{_compared(model, shuffled, metric)} with shuffled images; paired difference {difference}"
    grade, claim, note = graded(f"{subject} depend on the image", difference, metric, "images")
    return Verdict(grade=grade, sentence=f"{claim}: {figures}{note}.", differences=differences)


def graded(claim: str, difference: Estimate, metric: str, others: str) -> tuple[Grade, str, str]:
    """The grade of a paired difference with an interval, the claim ("reports depend on the image") as a sentence that
    fits it, and a note if there is no gain. `others`: what the control takes from other patients."""
    if difference.low <= 0:
        reason = ", which includes 0" if difference.high >= 0 else f", so other patients' {others} do better"
        return "no", f"There is no sign that the {claim}", reason
    is_slight = difference.value < SLIGHT_DIFFERENCE[metric]
    return ("slightly", f"The {claim}, but only slightly", "") if is_slight else ("yes", f"The {claim}", "")


def report_verdict(model: Scores, shuffled: Scores | None, reason: str = "") -> Verdict:
    """Compare reports with the same reports assigned to other patients, by macro-F1 of the findings and by CIDEr.

    `reason` says why there are no shuffled reports.
    """
    if shuffled is None:
        return _unknown("patient", reason, {})
    differences = _differences(model, shuffled)
    known = [metric for metric in ("macro_f1", "cider") if differences[metric].low is not None]
    if not known:
        reason = "no study has both a reference and another patient's report, or all are of one patient"
        return _unknown("patient", reason, differences)
    significant = [metric for metric in known if differences[metric].low > 0]
    metric = known[0]
    grade, claim = "no", "There is no sign that the reports depend on the patient"
    if significant and significant[0] != metric:
        grade, claim = "slightly", "The wording depends on the patient, but there is no sign that the findings do"
    elif significant:
        is_large = differences[metric].value >= SLIGHT_DIFFERENCE[metric]
        grade = "yes" if is_large else "slightly"
        claim = "The reports depend on the patient" + ("" if is_large else ", but only slightly")
    figures = " and ".join(
        f"{_compared(model, shuffled, metric)} (paired difference {differences[metric]})"
        for metric in dict.fromkeys([metric, *significant])
    )
    sentence = f"{_with_variety(model, claim)}: {figures} when each patient gets the report written for another."
    return Verdict(grade=grade, sentence=sentence, differences=differences)


def prior_verdict(model: Scores, another: Scores | None, reason: str = "") -> Verdict:
    """Compare the model with itself with the prior studies of other patients: by temporal F1 of the reports, or by the
    accuracy of the change head if no reference compares. `reason` says why there is no such control.
    """
    metrics = {"temporal_f1": "reports use", "change_accuracy": "change probabilities depend on"}
    differences = {} if another is None else {metric: paired_difference(model, another, metric) for metric in metrics}
    known = [metric for metric, difference in differences.items() if difference.low is not None]
    if not known:
        reason = reason or "no study with a prior has a report or labels that compare with it"
        sentence = f"It is unknown whether the reports use the prior study: {reason}."
        return Verdict(grade="unknown", sentence=sentence, differences=differences)
    metric, difference = known[0], differences[known[0]]
    figures = (
        f"{METRICS[metric].partition(' (')[0]} {_value(model, metric)} against {_value(another, metric)} with another "
        f"patient's prior; paired difference {difference}"
    )
    grade, claim, note = graded(f"{metrics[metric]} the prior study", difference, metric, "priors")
    return Verdict(grade=grade, sentence=f"{claim}: {figures}{note}.", differences=differences)


def prior_facts(rates: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> tuple[str, ...]:
    """What the reports say with the study as its own prior, and without a prior. `rates`: PRIOR_RATES by system."""

    def percent(system: str, rate: str) -> str:
        found = rates.get(system, {}).get(rate, {"value": None})
        return "" if found["value"] is None else format_percent_interval(found["value"], found["low"], found["high"])

    _, own, none = PRIOR_CONTROLS
    facts = []
    if unchanged := percent(own, "unchanged_share"):
        facts.append(
            f"With the study as its own prior, {unchanged} of the stated changes are “unchanged”; with the real prior, "
            f"{percent('model', 'unchanged_share') or 'no change is stated'}."
        )
    if mentions := percent(none, "mention_rate"):
        facts.append(
            f"Without a prior study, {mentions} of the reports mention one or state a change; with it, "
            f"{percent('model', 'mention_rate')}."
        )
    return tuple(facts)


def constant_verdict(model: Scores, constant: Scores | None) -> str:
    """Whether the model's text is closer to the references than one constant report."""
    if constant is None or model.metrics["cider"].value is None:
        return ""
    difference = paired_difference(model, constant, "cider")
    claim = "is" if difference.low is not None and difference.low > 0 else "is not shown to be"
    return (
        f"The text {claim} closer to the references than one constant report: "
        f"CIDEr {_value(model, 'cider')} against {constant.metrics['cider']}; paired difference {difference}."
    )


def constant_facts(model: Scores, constants: Mapping[str, Scores]) -> tuple[str, ...]:
    """Facts beside the verdict: the number of distinct reports, and a comparison with one constant report per metric.

    `constants` holds the best constant control by metric.
    """
    num_patients = len(set(model.subject_ids))
    references = f" (the references: {model.num_distinct_references})" if model.num_with_reference else ""
    reports = "different reports" if model.num_distinct_reports > 1 else "report"
    patients = "patients" if num_patients > 1 else "patient"
    facts = [f"{model.num_distinct_reports} {reports} for {num_patients} {patients}{references}."]
    facts += _no_finding_fact(model)
    for metric, constant in constants.items():
        facts += _comparison(model, constant, metric, "one constant report")
    return tuple(facts)


def baseline_facts(model: Scores, baseline: Scores | None) -> tuple[str, ...]:
    """How the model compares with the baseline checkpoint in findings, laterality and wording."""
    if baseline is None:
        return ()
    compared = ("macro_f1", LATERALITY_SCORES[0], "cider")
    return tuple(fact for metric in compared for fact in _comparison(model, baseline, metric, f"the {baseline.name}"))


def laterality_facts(model: Scores, shuffled: Scores | None) -> tuple[str, ...]:
    """Laterality of the stated findings: a report can name the right findings and guess left or right."""
    agreement, reversal = (model.metrics[score] for score in LATERALITY_SCORES)
    if agreement.value is None:
        return ()
    num_scored = int(model.statistics.additive["laterality"][:, 0].sum())
    fact = (
        f"Laterality (left or right) of {num_scored:,} stated findings: {agreement} agree with the reference and "
        f"{reversal} are reversed"
    )
    if shuffled is not None and (control := shuffled.metrics[LATERALITY_SCORES[0]]).value is not None:
        fact += f"; with {shuffled.name} {control} agree"
    if reversal.low is not None and agreement.low <= reversal.high:
        fact += "; left and right may be guesses"
    return (f"{fact}.",)


def severity_facts(model: Scores, shuffled: Scores | None) -> tuple[str, ...]:
    """Severity of the stated findings: a report can name the right findings and guess how severe they are."""
    agreement = model.metrics["severity_agreement"]
    if agreement.value is None:
        return ()
    num_scored = int(model.statistics.additive["severity_agreement"][:, 0].sum())
    fact = f"Severity (small, moderate or large) of {num_scored:,} findings: {agreement} agree with the reference"
    if shuffled is not None and (control := shuffled.metrics["severity_agreement"]).value is not None:
        fact += f"; with {shuffled.name} {control} agree"
        if None not in (agreement.low, control.high) and agreement.low <= control.high:
            fact += "; the severities may be guesses"
    return (f"{fact}.",)


def outperformed_by(model: Scores, others: Mapping[str, Scores]) -> str:
    """One sentence for each system that is significantly better than the model in findings or wording; "" if none.

    A model that uses the image is of little use if copying the report of a similar study scores higher.
    """
    sentences = []
    for metric in ("macro_f1", "cider"):
        for name, scores in others.items():
            difference = paired_difference(model, scores, metric)
            if difference.high is not None and difference.high < 0:
                sentences.append(
                    f"The {name} does better than the model in {METRICS[metric]}: {_value(scores, metric)} against "
                    f"{_value(model, metric)}, paired difference {difference}."
                )
    return " ".join(sentences)


def _differences(model: Scores, other: Scores) -> dict[str, Estimate]:
    return {metric: paired_difference(model, other, metric) for metric in METRICS}


def _unknown(decider: str, reason: str, differences: dict[str, Estimate]) -> Verdict:
    sentence = f"It is unknown whether the reports depend on the {decider}: {reason}."
    return Verdict(grade="unknown", sentence=sentence, differences=differences)


def _value(scores: Scores, metric: str) -> str:
    return format_number(scores.metrics[metric].value)


def _compared(model: Scores, other: Scores, metric: str) -> str:
    return f"{METRICS[metric]} {_value(model, metric)} against {_value(other, metric)}"


def _with_variety(model: Scores, claim: str) -> str:
    """The claim; the number of distinct reports comes first if it is very low."""
    num_patients, num_reports = len(set(model.subject_ids)), model.num_distinct_reports
    if num_patients < 2:
        return claim
    if num_reports == 1:
        return f"The same report for all {num_patients} patients"
    if model.distinct_ratio > min(FEW_DIFFERENT, (model.reference_distinct_ratio or 0.0) / 2):
        return claim
    return f"Only {num_reports} different reports for {num_patients} patients. {claim}"


def _comparison(model: Scores, other: Scores, metric: str, name: str) -> list[str]:
    """One sentence, or none if the metric is undefined for one of the two."""
    difference = paired_difference(model, other, metric)
    if difference.low is None:
        return []
    word = "Better than" if difference.low > 0 else "Worse than" if difference.high < 0 else "No better than"
    return [
        f"{word} {name} in {METRICS[metric]}: {model.metrics[metric]} against {_value(other, metric)}, "
        f"paired difference {difference}."
    ]


def _no_finding_fact(model: Scores) -> list[str]:
    """The scores of reporting "no finding" for every patient, if findings are scored."""
    statistics, own = model.statistics, model.metrics["macro_f1"].value
    always = np.zeros_like(statistics.labels)
    always[:, FINDING_INDEX["No Finding"]] = POSITIVE
    scores = f1_scores(always, statistics.labels, statistics.uncertain_is_positive)
    if own is None or scores["macro_f1"] is None:
        return []
    figures = f"macro-F1 {format_number(scores['macro_f1'])}, micro-F1 {format_number(scores['micro_f1'])}"
    if abs(own - scores["macro_f1"]) < SAME:
        return [f"The findings score no higher than reporting “no finding” for every patient: {figures}."]
    return [f"Reporting “no finding” for every patient would score {figures}."]
