"""The page's charts and tables, made from the content of `metrics.json`. Layout: see eval/metrics_file.py."""

from collections.abc import Iterable, Mapping
from typing import Any

from eval.charts import Mark, axis_end, axis_strip, bar_strip, point_strip, reliability_chart, roc_chart
from eval.scoring import METRICS
from eval.verdict import number

COMPARED = {
    "macro_f1": "Are the findings of this patient named?",
    "macro_auroc": "Does the classifier tell patients with a finding from those without?",
    "cider": "Is it worded as this patient’s report is?",
    "bleu_4": "Overlap of phrases. A constant sentence does well here.",
}
"""Metrics that are drawn against the controls, and what each asks."""
FINDINGS_NAMED, PROBABILITIES, WORDS = (
    "Findings named in the reports",
    "Probabilities of the classifier",
    "Words of the reports",
)
SMALLER_IS_BETTER = frozenset({"macro_brier", "macro_calibration_error", "pooled_calibration_error"})
_OF_PROBABILITIES = ("auroc", "average_precision", "brier", "calibration", "accuracy", "sensitivity", "specificity")
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

Document = dict[str, Any]


def model_of(document: Document) -> dict[str, Any]:
    return next(iter(document["systems"].values()))


def compared_metrics(document: Document) -> list[str]:
    """What to draw: first the metric that the verdict speaks of, then those of the words."""
    defined = [metric for metric in COMPARED if model_of(document)["metrics"][metric]["value"] is not None]
    deciding = [metric for metric in defined if METRICS[metric] in document["verdict"]["image"]] + defined
    return [*deciding[:1], *(metric for metric in defined if metric in ("cider", "bleu_4") and metric != deciding[0])]


def compare_systems(document: Document, metric: str) -> dict[str, Any]:
    """Model and controls as points on one axis."""
    rows = [(name, "", system["metrics"].get(metric, _UNDEFINED)) for name, system in document["systems"].items()]
    return _forest(METRICS[metric], COMPARED.get(metric, ""), rows, has_model=True)


def figure_table(document: Document) -> list[dict[str, Any]]:
    """Groups of rows, one a metric that is defined for any system, a cell a system."""
    groups: dict[str, list[dict[str, Any]]] = {title: [] for title in (FINDINGS_NAMED, PROBABILITIES, WORDS)}
    for metric, title in METRICS.items():
        cells = [system["metrics"].get(metric, _UNDEFINED) for system in document["systems"].values()]
        if any(estimate["value"] is not None for estimate in cells):
            groups[_group_of(metric)].append(_row(metric, title, cells))
        if metric == "macro_f1":
            other = [system["other_convention"]["macro_f1"] for system in document["systems"].values()]
            if any(estimate["value"] is not None for estimate in other):
                groups[_group_of(metric)].append(_row(metric, f"{title}, {document['other_convention']}", other))
    ratios = [{"value": system["distinct_ratio"], "low": None, "high": None} for system in document["systems"].values()]
    row = _row("", "different reports / studies", ratios) | {"cells": [_cell(ratio, False) for ratio in ratios]}
    groups[WORDS].append(row)
    return [{"title": title, "rows": rows} for title, rows in groups.items() if rows]


def undefined_metrics(document: Document) -> list[str]:
    """Metrics that no system has; a group that is wholly undefined by its name alone."""
    systems = document["systems"].values()
    lacking = [
        metric
        for metric in METRICS
        if all(system["metrics"].get(metric, _UNDEFINED)["value"] is None for system in systems)
    ]
    whole = set(map(_group_of, lacking)) - {_group_of(metric) for metric in METRICS if metric not in lacking}
    told = [f"all of “{_group_of(metric)}”" if _group_of(metric) in whole else METRICS[metric] for metric in lacking]
    return list(dict.fromkeys(told))


def finding_bars(document: Document, control: str) -> list[dict[str, Any]]:
    """F1 of each finding that any study has, with that of a control as a tick."""
    ticks = [finding["f1"]["value"] for finding in document["systems"].get(control, {}).get("per_finding", [])]
    bars = []
    for index, finding in enumerate(model_of(document)["per_finding"]):
        f1 = finding["f1"]
        if f1["value"] is not None:
            title = f"F1 of {finding['finding']}: {said(f1)}; in {finding['support']} studies"
            tick = ticks[index] if ticks else None
            bars.append(finding | {"strip": bar_strip(f1["value"], f1["low"], f1["high"], title=title, tick=tick)})
    return bars


def finding_table(document: Document) -> dict[str, Any]:
    """All other figures of each finding that has any; columns that are undefined throughout are left out."""
    findings = [finding for finding in model_of(document)["per_finding"] if finding["support"]]
    titles = {
        key: title
        for key, title in FINDING_COLUMNS.items()
        if any(finding.get(key, _UNDEFINED)["value"] is not None for finding in findings)
    }
    rows = [finding | {key: finding.get(key, _UNDEFINED) for key in titles} for finding in findings]
    return {"titles": titles, "rows": rows}


def curve_pairs(document: Document) -> list[dict[str, Any]]:
    """ROC and reliability curve of each finding that has them."""
    figures = {finding["finding"]: finding for finding in model_of(document)["per_finding"]}
    pairs = []
    for finding, curve in document.get("curves", {}).items():
        auroc = figures[finding]["auroc"]
        if auroc["value"] is None or not curve["roc"]:
            continue
        bins = ", ".join(
            f"{one['mean_probability']:.0%} predicted {one['observed']:.0%} observed" for one in curve["reliability"]
        )
        pairs.append(
            {
                "finding": finding,
                "caption": f"AUROC {said(auroc)}; {figures[finding]['support']} studies",
                "roc": roc_chart(
                    curve["roc"], title=f"ROC curve of {finding}", description=f"Area under the curve {said(auroc)}"
                ),
                "reliability": reliability_chart(
                    curve["reliability"], title=f"Reliability of {finding}", description="; ".join(bins)
                ),
            }
        )
    return pairs


def group_panels(document: Document) -> list[dict[str, Any]]:
    """The model by view, source and length, each a panel of its macro-F1, or of what else is defined."""
    panels = []
    for title, groups in document.get("by_group", {}).items():
        metric = next(
            (metric for metric in COMPARED if any(_estimate(group, metric)["value"] is not None for group in groups)),
            None,
        )
        if metric is not None and len(groups) > 1:
            rows = [(group["group"], f"{group['num_studies']} studies", _estimate(group, metric)) for group in groups]
            panels.append(_forest(f"{METRICS[metric]} by {title}", "", rows, has_model=False))
    return panels


def said(estimate: Mapping[str, float | None]) -> str:
    """An estimate in words."""
    if estimate["value"] is None:
        return "undefined"
    return number(estimate["value"]) + ("" if estimate["low"] is None else f", 95 % interval {between(estimate)}")


def between(estimate: Mapping[str, float | None]) -> str:
    """An interval's two ends."""
    return f"{number(estimate['low'])} to {number(estimate['high'])}"


_UNDEFINED = {"value": None, "low": None, "high": None}


def _estimate(group: dict[str, Any], metric: str) -> dict[str, float | None]:
    return group["metrics"].get(metric, _UNDEFINED)


def _forest(title: str, question: str, rows: Iterable[tuple[str, str, dict]], *, has_model: bool) -> dict[str, Any]:
    rows = list(rows)
    first = rows[0][2]
    band = (first["low"], first["high"]) if has_model and first["low"] is not None else None
    highest = [value for _, _, estimate in rows for value in (estimate["value"], estimate["high"]) if value is not None]
    end = axis_end(highest)
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
                and point_strip(
                    [_mark(estimate, "model" if index == 0 or not has_model else "control")],
                    end=end,
                    title=f"{title} of {name}: {said(estimate)}",
                    band=band,
                ),
            }
            for index, (name, note, estimate) in enumerate(rows)
        ],
    }


def _mark(estimate: Mapping[str, float | None], tone: str) -> Mark:
    return Mark(value=estimate["value"], low=estimate["low"], high=estimate["high"], tone=tone)


def _group_of(metric: str) -> str:
    if any(part in metric for part in _OF_PROBABILITIES):
        return PROBABILITIES
    return FINDINGS_NAMED if any(part in metric for part in ("f1", "precision", "recall", "state")) else WORDS


def _row(metric: str, title: str, estimates: list[dict]) -> dict[str, Any]:
    sign = -1 if metric in SMALLER_IS_BETTER else 1
    own = estimates[0]["value"]
    reached = [
        index > 0 and None not in (own, estimate["value"]) and sign * estimate["value"] >= sign * own
        for index, estimate in enumerate(estimates)
    ]
    return {"title": title, "cells": [_cell(*pair) for pair in zip(estimates, reached, strict=True)]}


def _cell(estimate: dict, reached: bool) -> dict[str, Any]:
    return {"estimate": estimate, "reached": reached}
