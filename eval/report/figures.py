"""The page's charts and tables, made from the content of `metrics.json`. Layout: see eval/report/document.py.

The page's view of what eval.checks.consistency found: rates beside those of the true reports, and examples.

The page's view of the pointing game (eval.checks.grounding): the model beside points that anybody could name.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from eval.report.charts import Mark, axis_end, axis_strip, bar_strip, point_strip, reliability_chart, roc_chart
from eval.scoring.scores import METRICS
from vlm.schema.number_format import format_number

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
    return format_number(estimate["value"]) + (
        "" if estimate["low"] is None else f", 95 % interval {between(estimate)}"
    )


def between(estimate: Mapping[str, float | None]) -> str:
    """An interval's two ends."""
    return f"{format_number(estimate['low'])} to {format_number(estimate['high'])}"


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


RATIOS = ("length_ratio",)
"""Not shares, so not told in percent."""


def consistency_table(document: Document, max_examples: int) -> dict[str, Any] | None:
    """Rows of rates, the findings most disagreed about, and the first examples; None where nobody looked."""
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
                "model": _told(found["rates"][name], name),
                "interval": _interval(found["rates"][name], name),
                "reference": _told(references[name], name) if references else "",
                "reference_interval": _interval(references[name], name) if references else "",
            }
            for name, title in found["descriptions"].items()
            if found["rates"][name]["value"] is not None
        ],
        "references": bool(references),
        "disagreements": disagreements[:3],
        "contradictions": found["contradictions"][:max_examples],
        "prior_sentences": found["prior_sentences"][:max_examples],
    }


def _told(estimate: dict[str, float | None], name: str) -> str:
    if estimate["value"] is None:
        return "–"
    return format_number(estimate["value"]) if name in RATIOS else _percent(estimate["value"])


def _interval(estimate: dict[str, float | None], name: str) -> str:
    if estimate["low"] is None:
        return ""
    if name in RATIOS:
        return between(estimate)
    return f"{_percent(estimate['low'])} to {_percent(estimate['high'])}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


TONES = ("model", "control", "other")
"""Of the model, the middle of the image and the finding's usual place, in the order of the document."""


def grounding_panel(document: Document) -> dict[str, Any] | None:
    """A row over all findings and one a finding that was asked for; None where no study has boxes."""
    played = document.get("grounding")
    if not played:
        return None
    asked = [finding for finding in played["per_finding"] if finding["num_scored"]]
    model = played["systems"][0]
    rows = [
        _grounding_row(
            "All findings", played["num_scored"], played["all"], f"{100 * played['all'][model]['value']:.1f} %"
        )
    ]
    rows += [
        _grounding_row(
            one["finding"], one["num_scored"], one["share"], f"{one['num_hits'][model]} of {one['num_scored']}"
        )
        for one in asked
    ]
    differences = [
        f"{_points(estimate['value'])} points against {name} (95 % interval {_points(estimate['low'])} to "
        f"{_points(estimate['high'])})"
        for name, estimate in played["differences"].items()
        if estimate["low"] is not None
    ]
    return {
        "legend": list(zip(TONES, played["systems"], strict=False)),
        "rows": rows,
        "axis": axis_strip(1.0),
        "differences": "; ".join(differences),
        "note": played["note"][0].upper() + played["note"][1:],
    }


def _grounding_row(name: str, num_scored: int, shares: dict[str, dict], told: str) -> dict[str, Any]:
    marks = [
        # Only the model's interval: three on one line cannot be told apart.
        Mark(value=share["value"], low=share["low"] if tone == "model" else None, high=share["high"], tone=tone)
        for tone, share in reversed(list(zip(TONES, shares.values(), strict=False)))
        if share["value"] is not None
    ]
    title = f"{name}, {num_scored} asked: " + "; ".join(f"{system} {said(share)}" for system, share in shares.items())
    return {"name": name, "told": told, "strip": point_strip(marks, end=1.0, title=title)}


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}".replace("-", "−")
