"""Do the reports and the classifier use each view? The model and its view controls, on the studies with both views.

The controls give the model another patient's lateral (or frontal) views beside its own frontal (or lateral) ones, or
only one kind of view. Studies with one kind of view are left out: all systems have the same report for them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from data.reports.labeler.labeler import label_report
from eval.metrics.bootstrap import Estimate, estimates
from eval.metrics.clinical import is_positive
from eval.predictions.prediction import Prediction
from eval.scoring.scores import METRICS, Scores, paired_difference, score_systems
from eval.scoring.verdict import graded
from vlm.schema.findings import BOTH_VIEWS, views_shown
from vlm.schema.number_format import format_number, format_percent_interval

VIEW_CONTROLS = "another lateral", "another frontal", "no lateral", "no frontal"
"""The model with the lateral or frontal views of another patient, and without its lateral or frontal views."""
KINDS = "lateral", "frontal"
VIEW_METRICS = ("macro_f1", "macro_auroc", "cider")
VIEW_RATES = {
    "other_findings": "reports that state other findings than with the study's own views",
    "probability_change": "mean change of a finding's probability",
}
"""How much the other views change, for better or worse."""
_BASES = {"reports": ("macro_f1", "cider"), "finding probabilities": ("macro_auroc",)}
"""The metrics that tell whether a view is used; the first that is defined counts."""


def views_document(systems: Mapping[str, Sequence[Prediction]], scoring: Mapping[str, Any]) -> dict[str, Any] | None:
    """The part `views` of metrics.json; None without view controls. `systems` holds the model and all controls on the
    same studies, `scoring` the options of `score_systems`."""
    names = [name for name in VIEW_CONTROLS if name in systems]
    counted = [number for number, one in enumerate(systems["model"]) if views_shown(one.view_positions) == BOTH_VIEWS]
    if not names or not counted:
        return None
    given = {name: [systems[name][number] for number in counted] for name in ("model", *names)}
    scores = score_systems(given, **scoring)
    verdicts = {kind: _verdict(scores, kind) for kind in KINDS if f"another {kind}" in scores}
    document = {
        "num_studies": len(counted),
        "num_patients": len(set(scores["model"].subject_ids)),
        "descriptions": VIEW_RATES,
        "grades": {kind: grade for kind, (grade, _) in verdicts.items()},
        "systems": {name: _system(scores, given, name, scoring) for name in given},
    }
    facts = [*(sentence for _, sentence in verdicts.values()), *_facts(document)]
    return document | {"facts": facts}


def _system(
    scores: Mapping[str, Scores],
    given: Mapping[str, Sequence[Prediction]],
    name: str,
    scoring: Mapping[str, Any],
) -> dict[str, Any]:
    """The scores of a system; for a control also the paired differences (model - control) and VIEW_RATES."""
    model = scores["model"]
    metrics = {metric: asdict(scores[name].metrics[metric]) for metric in VIEW_METRICS}
    if name == "model":
        return {"metrics": metrics}
    differences = {metric: asdict(paired_difference(model, scores[name], metric)) for metric in VIEW_METRICS}
    by_study = _rates_by_study(given["model"], given[name], model.statistics.uncertain_is_positive)

    def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {rate: weights @ values / weights.sum(axis=1) for rate, values in by_study.items()}

    rates = estimates(statistic, model.subject_ids, scoring["num_resamples"], scoring["seed"])
    return {"metrics": metrics, "differences": differences, "rates": {name: asdict(rates[name]) for name in rates}}


def _rates_by_study(
    own: Sequence[Prediction], others: Sequence[Prediction], uncertain_is_positive: bool
) -> dict[str, np.ndarray]:
    """VIEW_RATES of each study [studies]; a rate is left out if the model writes no reports or has no probabilities."""
    rates = {}
    if any(one.report.strip() for one in own):
        stated, other = (
            is_positive(np.array([label_report(one.report) for one in some]), uncertain_is_positive)
            for some in (own, others)
        )
        rates["other_findings"] = (stated != other).any(axis=1).astype(float)
    if all(one.probabilities is not None for one in (*own, *others)):
        before, after = (np.array([one.probabilities for one in some]) for some in (own, others))
        rates["probability_change"] = np.abs(before - after).mean(axis=1)
    return rates


def _verdict(scores: Mapping[str, Scores], kind: str) -> tuple[str, str]:
    """The grade of the reports (of the classifier, without reports) and the sentences on both."""
    model, control = scores["model"], scores[f"another {kind}"]
    found = list(_claims(model, control, kind))
    if not found:
        return "unknown", f"It is unknown whether the {kind} view is used: no study has a report or labels."
    studies = f"On the {len(model.study_ids)} studies with a frontal and a lateral view: "
    return found[0][0], studies + " ".join(sentence for _, sentence in found)


def _claims(model: Scores, control: Scores, kind: str) -> Iterator[tuple[str, str]]:
    """Grade and sentence for the reports and for the probabilities, if they can be scored."""
    for subject, metrics in _BASES.items():
        differences = {metric: paired_difference(model, control, metric) for metric in metrics}
        known = [metric for metric in metrics if differences[metric].low is not None]
        if known and (subject != "reports" or model.num_with_reference):
            metric, difference = known[0], differences[known[0]]
            use = "use" if subject == "reports" else "depend on"
            grade, claim, note = graded(f"{subject} {use} the {kind} view", difference, metric, f"{kind} views")
            own, other = (format_number(one.metrics[metric].value) for one in (model, control))
            figures = f"{_title(metric)} {own} against {other} with another patient's {kind} view"
            yield grade, f"{claim}: {figures}; paired difference {difference}{note}."


def _facts(document: Mapping[str, Any]) -> Iterator[str]:
    """Whether a second view makes the reports better, and how much another patient's view changes."""
    for kind, other in zip(KINDS, reversed(KINDS), strict=True):
        gains = document["systems"].get(f"no {kind}", {}).get("differences", {})
        known = [metric for metric in VIEW_METRICS[:2] if _has_interval(gains, metric)]
        if known:
            subject = "reports" if known[0] == "macro_f1" else "finding probabilities"
            claim = f"the {kind} view makes the {subject} better than the {other} view alone"
            claim = claim.capitalize() if gains[known[0]]["low"] > 0 else f"There is no sign that {claim}"
            figures = " and ".join(f"{_title(metric)} {Estimate(**gains[metric])}" for metric in known)
            yield f"{claim}: differences {figures}."
    for kind in KINDS:
        rates = document["systems"].get(f"another {kind}", {}).get("rates", {})
        changes = []
        if _has_interval(rates, "other_findings"):
            share = format_percent_interval(*(rates["other_findings"][end] for end in ("value", "low", "high")))
            changes.append(f"{share} of the reports state other findings")
        if _has_interval(rates, "probability_change"):
            changes.append(f"a probability changes by {Estimate(**rates['probability_change'])} on average")
        if changes:
            yield f"With another patient's {kind} view, {' and '.join(changes)}."


def _has_interval(values: Mapping[str, Any], name: str) -> bool:
    return name in values and values[name]["low"] is not None


def _title(metric: str) -> str:
    return METRICS[metric].partition(" (")[0]
