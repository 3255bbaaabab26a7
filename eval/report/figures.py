"""Charts and tables of the HTML page, made from the content of metrics.json (layout: eval/report/document.py).

Each function returns what a template needs, or None (or nothing) if the document has no data for it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eval.report.charts import Estimate, axis_end, axis_strip, bar_strip, point_strip, reliability_chart, roc_chart
from eval.scoring.scores import METRICS
from eval.scoring.verdict import PRIOR_CONTROLS
from eval.scoring.views import VIEW_CONTROLS
from vlm.schema.number_format import format_interval, format_number, format_percent, format_percent_interval

Document = dict[str, Any]

COMPARED = {
    "macro_f1": "Does the report name the findings of this patient?",
    "temporal_f1": "Does the report say what changed since the prior study?",
    "macro_auroc": "Does the classifier separate patients with a finding from patients without it?",
    "cider": "Is the wording close to the report of this patient?",
    "bleu_4": "Overlap of phrases. A constant sentence has a high score.",
}
"""Metrics that are drawn with the controls, and the question that each one answers."""
FINDINGS_NAMED, PROBABILITIES, WORDS = (
    "Findings in the reports",
    "Probabilities of the classifier",
    "Text of the reports",
)
LOWER_IS_BETTER = frozenset({"error_harm", "macro_brier", "macro_calibration_error", "pooled_calibration_error"})
_OF_PROBABILITIES = ("auroc", "average_precision", "brier", "calibration", "accuracy", "sensitivity", "specificity")
_OF_PRIORS = re.compile("temporal|change")
_OF_FINDINGS = ("f1", "precision", "recall", "state", "error")
FINDING_COLUMNS = {
    "precision": "precision",
    "recall": "recall",
    "auroc": "AUROC",
    "average_precision": "average precision",
    "brier": "Brier score",
    "calibration_error": "calibration error",
    "accuracy": "accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}
_UNDEFINED = {"value": None, "low": None, "high": None}
GROUNDING_TONES = ("model", "control", "other")
"""Colors of the model, the image center and the most frequent location, in the order of the document."""


def model_of(document: Document) -> dict[str, Any]:
    return next(iter(document["systems"].values()))


def outperformed_by(document: Document) -> str:
    """Sentences on controls that do better than the model; before version 0.2.0 the key was "beaten"."""
    verdict = document["verdict"]
    return verdict.get("outperformed_by", verdict.get("beaten", ""))


def estimate_text(estimate: Estimate, formatter: Callable[..., str] = format_interval) -> str:
    """An estimate with its interval, as ".340 [.290, .390]"; "–" if undefined."""
    return formatter(estimate["value"], estimate.get("low"), estimate.get("high"))


def is_defined(scores: Mapping[str, Any], metric: str) -> bool:
    return scores.get(metric, _UNDEFINED)["value"] is not None


def compared_metrics(document: Document) -> list[str]:
    """The metrics to draw: first the one in the verdict, then text metrics."""
    defined = [metric for metric in COMPARED if is_defined(model_of(document)["metrics"], metric)]
    first = [*(metric for metric in defined if METRICS[metric] in document["verdict"]["image"]), *defined][:1]
    others = ("temporal_f1", "cider", "bleu_4") if document.get("prior") else ("cider", "bleu_4")
    return [*first, *(metric for metric in defined if metric in others and metric not in first)]


def compare_systems(document: Document, metric: str) -> dict[str, Any]:
    """The model and the controls that the metric is compared with, as points on one axis."""
    rows = [
        (name, "", system["metrics"].get(metric, _UNDEFINED))
        for name, system in document["systems"].items()
        if _is_control_of(name, metric)
    ]
    return _forest(METRICS[metric], COMPARED.get(metric, ""), rows, has_model=True)


def score_groups(document: Document) -> list[dict[str, Any]]:
    """Groups of table rows: a row for each metric that any system has, a cell for each system."""
    names, systems = list(document["systems"]), list(document["systems"].values())
    groups: dict[str, list[dict[str, Any]]] = {title: [] for title in (FINDINGS_NAMED, PROBABILITIES, WORDS)}

    def add(metric: str, title: str, estimates: Sequence[Estimate]) -> None:
        if any(estimate["value"] is not None for estimate in estimates):
            groups[_group_of(metric)].append(_row(metric, title, names, estimates))

    for metric, title in METRICS.items():
        add(metric, title, [system["metrics"].get(metric, _UNDEFINED) for system in systems])
        if metric == "macro_f1":
            others = [system["other_convention"]["macro_f1"] for system in systems]
            add(metric, f"{title}, {document['other_convention']}", others)
    ratios = [{"estimate": _UNDEFINED | {"value": one["distinct_ratio"]}, "reached": False} for one in systems]
    groups[WORDS].append({"title": "different reports / studies", "cells": ratios})
    return [{"title": title, "rows": rows} for title, rows in groups.items() if rows]


def undefined_metrics(document: Document) -> list[str]:
    """Metrics that no system has; if a whole group is undefined, only the name of the group. Those of prior studies are
    not missed where no study has one."""
    systems = document["systems"].values()
    expected = [metric for metric in METRICS if document.get("prior") or not _OF_PRIORS.search(metric)]
    undefined = [metric for metric in expected if not any(is_defined(system["metrics"], metric) for system in systems)]
    whole = set(map(_group_of, undefined)) - {_group_of(metric) for metric in expected if metric not in undefined}
    names = [f"all of “{_group_of(one)}”" if _group_of(one) in whole else METRICS[one] for one in undefined]
    return list(dict.fromkeys(names))


def finding_bars(document: Document, control: str) -> list[dict[str, Any]]:
    """The F1 of each finding as a bar, with the F1 of a control as a tick."""
    ticks = [finding["f1"]["value"] for finding in document["systems"].get(control, {}).get("per_finding", [])]
    bars = []
    for index, finding in enumerate(model_of(document)["per_finding"]):
        f1 = finding["f1"]
        if f1["value"] is not None:
            title = f"F1 of {finding['finding']}: {estimate_text(f1)}; in {finding['support']} studies"
            tick = ticks[index] if ticks else None
            bars.append(finding | {"strip": bar_strip(f1, title=title, tick=tick)})
    return bars


def finding_table(document: Document) -> dict[str, Any]:
    """All other scores of each finding with a positive case, without columns that are undefined for all."""
    findings = [finding for finding in model_of(document)["per_finding"] if finding["support"]]
    titles = {
        key: title for key, title in FINDING_COLUMNS.items() if any(is_defined(finding, key) for finding in findings)
    }
    rows = [finding | {key: finding.get(key, _UNDEFINED) for key in titles} for finding in findings]
    return {"titles": titles, "rows": rows}


def curve_pairs(document: Document) -> list[dict[str, Any]]:
    """The ROC curve and the reliability curve of each finding that has them."""
    findings = {finding["finding"]: finding for finding in model_of(document)["per_finding"]}
    pairs = []
    for name, curve in document.get("curves", {}).items():
        auroc = findings[name]["auroc"]
        if auroc["value"] is None or not curve["roc"]:
            continue
        bins = ", ".join(
            f"{one['mean_probability']:.0%} predicted {one['observed']:.0%} observed" for one in curve["reliability"]
        )
        area = f"Area under the curve {estimate_text(auroc)}"
        chosen, rates = _chosen_point(findings[name])
        pairs.append(
            {
                "finding": name,
                "caption": f"AUROC {estimate_text(auroc)}; {findings[name]['support']} studies{rates}",
                "roc": roc_chart(curve["roc"], title=f"ROC curve of {name}", description=area + rates, chosen=chosen),
                "reliability": reliability_chart(
                    curve["reliability"], title=f"Reliability of {name}", description=bins
                ),
            }
        )
    return pairs


def _chosen_point(finding: Mapping[str, Any]) -> tuple[tuple[float, float] | None, str]:
    """The place of the thresholds on the ROC curve, and both rates in words; None and "" if there are no thresholds."""
    sensitivity, specificity = (finding.get(name, _UNDEFINED)["value"] for name in ("sensitivity", "specificity"))
    if sensitivity is None or specificity is None:
        return None, ""
    words = f"; sensitivity {format_number(sensitivity)}, specificity {format_number(specificity)} at its threshold"
    return (1 - specificity, sensitivity), words


def group_panels(document: Document) -> list[dict[str, Any]]:
    """The model by view, source, report length and subgroup: a panel each, of macro-F1 or the first metric defined."""
    panels = []
    subgroups = {column: one["groups"] for column, one in document.get("subgroups", {}).items()}
    for title, groups in (document.get("by_group", {}) | subgroups).items():
        metrics = [metric for metric in COMPARED if any(is_defined(group["metrics"], metric) for group in groups)]
        if metrics and len(groups) > 1:
            rows = [
                (group["group"], f"{group['num_studies']} studies", group["metrics"].get(metrics[0], _UNDEFINED))
                for group in groups
            ]
            panels.append(_forest(f"{METRICS[metrics[0]]} by {title}", "", rows, has_model=False))
    return panels


def consistency_table(document: Document, max_examples: int) -> dict[str, Any] | None:
    """Rates with those of the reference reports, the findings with most disagreement, and the first examples."""
    found = document.get("consistency")
    if not found:
        return None
    references = found.get("references")
    disagreements = [one for one in found["per_finding"] if one["report_only"] + one["classifier_only"]]
    disagreements.sort(key=lambda one: -(one["report_only"] + one["classifier_only"]) / one["num_compared"])
    return {
        "rows": [
            {
                "title": title[0].upper() + title[1:],
                "model": _rate_text(found["rates"][name], name),
                "reference": _rate_text(references[name], name) if references else "",
            }
            for name, title in found["descriptions"].items()
            if found["rates"][name]["value"] is not None
        ],
        "references": bool(references),
        "disagreements": disagreements[:3],
        "contradictions": found["contradictions"][:max_examples],
        "prior_sentences": found["prior_sentences"][:max_examples],
    }


def error_table(document: Document) -> dict[str, Any] | None:
    """Errors per report by kind, the most frequent first: the model with intervals, the controls without."""
    systems = document["systems"]
    by_kind = {name: {one["kind"]: one for one in system.get("errors", [])} for name, system in systems.items()}
    own, *others = by_kind.values()
    rows = [
        {
            "title": kind,
            "model": estimate_text(own[kind]["rate"]),
            "controls": [format_number(other[kind]["rate"]["value"]) if kind in other else "–" for other in others],
        }
        for kind in sorted(own, key=lambda kind: -own[kind]["num_errors"])
        if any(kinds[kind]["num_errors"] for kinds in by_kind.values() if kind in kinds)
    ]
    return {"rows": rows, "systems": list(systems)} if rows else None


def prior_panel(document: Document) -> dict[str, Any] | None:
    """What changed since the prior study: scores of the model by change, and what other prior studies do."""
    prior = document.get("prior")
    if not prior:
        return None
    scores = {
        "temporal_f1": "temporal F1",
        "change_accuracy": "change accuracy of the classifier",
    }
    rates = {name: text[0].upper() + text[1:] for name, text in prior["descriptions"].items()}
    systems = [
        [name]
        + [estimate_text(document["systems"][name]["metrics"][score]) for score in scores]
        + [estimate_text(found[rate], format_percent_interval) for rate in rates]
        for name, found in prior["systems"].items()
    ]
    columns = {"precision": "precision", "recall": "recall", "f1": "F1", "accuracy": "classifier"}
    changes = [
        [change["state"], str(change["support"]), str(change["num_stated"])]
        + [estimate_text(change[column]) for column in columns]
        for change in model_of(document)["changes"]
    ]
    return {
        "sentence": document["verdict"]["prior"],
        "num_studies": prior["num_studies"],
        "system_titles": ["", *scores.values(), *rates.values()],
        "systems": systems,
        "change_titles": ["change", "in references", "in reports", *columns.values()],
        "changes": changes,
    }


def view_panel(document: Document) -> dict[str, Any] | None:
    """The model with other or fewer views, on the studies with a frontal and a lateral view."""
    views = document.get("views")
    if not views:
        return None
    rows = []
    for name, system in views["systems"].items():
        differences, rates = system.get("differences", {}), system.get("rates", {})
        cells = list(map(estimate_text, system["metrics"].values()))
        cells += [estimate_text(differences.get(metric, _UNDEFINED)) for metric in ("macro_f1", "macro_auroc")]
        cells += [
            estimate_text(rates.get("other_findings", _UNDEFINED), format_percent_interval),
            estimate_text(rates.get("probability_change", _UNDEFINED)),
        ]
        rows.append([name, *cells])
    titles = [METRICS[metric].partition(" (")[0] for metric in views["systems"]["model"]["metrics"]]
    return {
        "num_studies": views["num_studies"],
        "facts": views["facts"],
        "titles": ["", *titles, "difference in macro-F1", "in AUROC", *views["descriptions"].values()],
        "rows": rows,
    }


def _rate_text(estimate: Estimate, name: str) -> str:
    """Format a rate in percent, but the length ratio as a number, because it is not a share."""
    return estimate_text(estimate, format_interval if name == "length_ratio" else format_percent_interval)


def grounding_panel(document: Document) -> dict[str, Any] | None:
    """The pointing game: a row for all findings, and one for each finding with boxes."""
    played = document.get("grounding")
    if not played:
        return None
    model = played["systems"][0]
    rows = [
        _grounding_row(
            "All findings", played["num_scored"], played["all"], format_percent(played["all"][model]["value"])
        )
    ]
    for one in played["per_finding"]:
        if one["num_scored"]:
            hits = f"{one['num_hits'][model]} of {one['num_scored']}"
            rows.append(_grounding_row(one["finding"], one["num_scored"], one["share"], hits))
    differences = []
    for name, estimate in played["differences"].items():
        if estimate["low"] is not None:
            value, low, high = (f"{100 * estimate[key]:+.1f}" for key in ("value", "low", "high"))
            differences.append(f"{value} points compared with the {name} [{low}, {high}]")
    return {
        "legend": list(zip(GROUNDING_TONES, played["systems"], strict=False)),
        "rows": rows,
        "axis": axis_strip(1.0),
        "differences": "; ".join(differences).replace("-", "−"),
        "note": played["note"][0].upper() + played["note"][1:],
    }


def _grounding_row(name: str, num_scored: int, shares: dict[str, Estimate], hits: str) -> dict[str, Any]:
    marks = [
        # Only the model gets an interval: three on one line could not be distinguished.
        (tone, share if tone == "model" else share | {"low": None})
        for tone, share in reversed(list(zip(GROUNDING_TONES, shares.values(), strict=False)))
        if share["value"] is not None
    ]
    values = "; ".join(f"{system} {estimate_text(share)}" for system, share in shares.items())
    return {
        "name": name,
        "hits": hits,
        "strip": point_strip(marks, end=1.0, title=f"{name}, {num_scored} cases: {values}"),
    }


def _forest(title: str, question: str, rows: Sequence[tuple[str, str, Estimate]], *, has_model: bool) -> dict[str, Any]:
    """Rows of (name, note, estimate) on one axis; if the first is the model, its interval is a band behind all."""
    first = rows[0][2]
    band = (first["low"], first["high"]) if has_model and first["low"] is not None else None
    end = axis_end([one[key] for _, _, one in rows for key in ("value", "high") if one[key] is not None])

    def strip(name: str, estimate: Estimate, tone: str):
        return point_strip(
            [(tone, estimate)], end=end, title=f"{title} of {name}: {estimate_text(estimate)}", band=band
        )

    return {
        "title": title,
        "question": question,
        "axis": axis_strip(end),
        "rows": [
            {
                "name": name,
                "note": note,
                "estimate": estimate,
                "is_model": has_model and index == 0,
                "strip": estimate["value"] is not None
                and strip(name, estimate, "model" if index == 0 or not has_model else "control"),
            }
            for index, (name, note, estimate) in enumerate(rows)
        ],
    }


def _group_of(metric: str) -> str:
    if any(part in metric for part in _OF_PROBABILITIES):
        return PROBABILITIES
    return FINDINGS_NAMED if any(part in metric for part in _OF_FINDINGS) else WORDS


def _is_control_of(name: str, metric: str) -> bool:
    """Controls of prior studies and of views show an X-ray of the patient. The first are only compared in metrics of
    change, the second only in a section of their own."""
    if name in PRIOR_CONTROLS:
        return _OF_PRIORS.search(metric) is not None
    return name not in VIEW_CONTROLS


def _row(metric: str, title: str, names: Sequence[str], estimates: Sequence[Estimate]) -> dict[str, Any]:
    """A cell for each system; `reached`: a control that is at least as good as the model."""
    sign = -1 if metric in LOWER_IS_BETTER else 1
    own, *others = (estimate["value"] for estimate in estimates)
    reached = [
        False,
        *(
            None not in (own, other) and sign * other >= sign * own and _is_control_of(name, metric)
            for name, other in zip(names[1:], others, strict=True)
        ),
    ]
    cells = [
        {"estimate": estimate, "reached": is_reached} for estimate, is_reached in zip(estimates, reached, strict=True)
    ]
    return {"title": title, "cells": cells}
