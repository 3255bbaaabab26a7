"""Parts of `metrics.json` as Markdown, for the page of results and for model cards: a document in, lines out.

What a document does not hold gives no lines.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eval.bootstrap import Estimate
from eval.page_consistency import consistency_table
from eval.page_figures import Document, model_of
from eval.page_grounding import grounding_panel
from eval.score_table import SHOWN
from eval.verdict import number, with_interval


def section_title(name: str) -> str:
    """Of a file, by its name without ending."""
    title = name.replace("_", " ")
    return title[:1].upper() + title[1:]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """No lines where there are no rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *lines] if lines else []


def system_table(document: Document, metrics: Mapping[str, str] = SHOWN) -> list[str]:
    """The model and its controls; `metrics` are heads by name."""
    systems = document["systems"]
    shown = [metric for metric in metrics if any(_has(system, metric) for system in systems.values())]
    rows = (
        [name, *(told(system["metrics"], metric) for metric in shown), number(system["distinct_ratio"])]
        for name, system in systems.items()
    )
    return table(["", *(metrics[metric] for metric in shown), "different reports"], rows)


def finding_table(document: Document) -> list[str]:
    """Finding by finding; those without a positive case are named below."""
    findings = model_of(document)["per_finding"]
    defined = [finding for finding in findings if finding["f1"]["value"] is not None]
    rows = (
        [finding["finding"], str(finding["support"]), *(told(finding, score) for score in ("f1", "auroc"))]
        for finding in defined
    )
    undefined = ", ".join(finding["finding"] for finding in findings if finding not in defined)
    lines = table(["finding", "studies with it", "F1 in reports", "AUROC"], rows)
    return lines + ["", f"No positive case, so undefined: {undefined}."] * bool(undefined)


def group_table(document: Document, kind: str, metrics: Mapping[str, str] = SHOWN) -> list[str]:
    """The model by group of studies; `kind` is a key of the document's by_group."""
    groups = document.get("by_group", {}).get(kind, [])
    shown = [metric for metric in metrics if any(_has(group, metric) for group in groups)]
    rows = (
        [group["group"], str(group["num_studies"]), *(told(group["metrics"], metric) for metric in shown)]
        for group in groups
    )
    return table([kind, "studies", *(metrics[metric] for metric in shown)], rows)


def consistency_lines(document: Document) -> list[str]:
    """How often reports fail in what can be seen without the truth."""
    found = consistency_table(document, 0)
    if found is None:
        return []
    rows = (
        f"- {row['title']}: {row['model']}" + f" (true reports: {row['reference']})" * bool(row["reference"])
        for row in found["rows"]
    )
    return ["Without knowing the truth:", "", *rows]


def grounding_lines(document: Document) -> list[str]:
    """The pointing game."""
    panel = grounding_panel(document)
    if panel is None:
        return []
    return [f"- Findings pointed at in their place: {panel['rows'][0]['told']}; {panel['differences']}"]


def told(figures: Mapping[str, Any], name: str) -> str:
    """A figure with its interval; "–" where it is undefined or not there."""
    return with_interval(Estimate(**figures[name])) if name in figures else "–"


def _has(holder: Mapping[str, Any], metric: str) -> bool:
    return metric in holder["metrics"] and holder["metrics"][metric]["value"] is not None
