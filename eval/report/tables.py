"""Parts of `metrics.json` as Markdown, for the page of results and for model cards: a document in, lines out.

What a document does not hold gives no lines.

Figures of eval.probes.statements and eval.probes.linear_probe in words, for the page of results and the model card.

The model and its controls as a table in the terminal: a row a system, a column a metric.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from eval.metrics.bootstrap import Estimate
from eval.probes.statements import lines
from eval.report.figures import Document, consistency_table, grounding_panel, model_of
from eval.scoring.scores import Scores
from vlm.schema.number_format import format_number


def is_of_statements(document: Mapping[str, Any]) -> bool:
    """Whether one of the two programs wrote it."""
    return "statements" in document


def statement_lines(document: Mapping[str, Any]) -> list[str]:
    """What was asked and of what, then a figure a line."""
    about = f"`{document['dataset']}`, split {document['split']}: "
    if "prompts" in document:
        told = [f"- {line}" for line in lines(dict(document))]
        return [f"{about}which of two statements the decoder finds likelier in front of the images.", "", *told]
    one, other = document["statements"]
    auroc, shuffled = (str(Estimate(**document[name])) for name in ("auroc", "auroc_shuffled"))
    return [
        f"{about}which of two statements fits, by a linear probe on the encoder's features (no output of the model), "
        f"learned on {document['num_learned']:,} training studies.",
        "",
        f"- {one!r} against {other!r}, {document['num_studies']:,} studies of {document['num_patients']:,} patients: "
        f"AUROC {auroc}; with another patient's images {shuffled}",
    ]


SHOWN = {
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "macro_auroc": "AUROC",
    "cider": "CIDEr",
    "bleu_4": "BLEU-4",
}
"""Metrics in the table, most telling first, and their heads: as many as fit into 80 columns. All are in METRICS."""


def score_table(systems: Sequence[Scores]) -> Table:
    """Values with their 95 % intervals; metrics that no system has are left out."""
    model = systems[0]
    shown = [metric for metric in SHOWN if any(scores.metrics[metric].value is not None for scores in systems)]
    ratio = format_number(model.reference_distinct_ratio)
    table = Table(
        title=f"{len(model.study_ids)} studies: value and 95 % interval",
        caption=f"macro-F1, micro-F1: 14 findings in the written reports, {model.convention}; text normalised: "
        f"{model.normalization}; different: reports for each study (the references: {ratio})",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", min_width=12)
    for metric in shown:
        table.add_column(SHOWN[metric], justify="right", no_wrap=True)
    table.add_column("different", justify="right", no_wrap=True)
    for scores in systems:
        figures = (_cell(scores.metrics[metric]) for metric in shown)
        table.add_row(
            scores.name, *figures, format_number(scores.distinct_ratio), style="bold" if scores is model else ""
        )
    return table


def _cell(estimate: Estimate) -> str:
    """The interval under its value."""
    if estimate.low is None:
        return format_number(estimate.value)
    low, high = format_number(estimate.low), format_number(estimate.high)
    return f"{format_number(estimate.value)}\n[dim not bold]{low}–{high}[/]"


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
        [name, *(told(system["metrics"], metric) for metric in shown), format_number(system["distinct_ratio"])]
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
    return str(Estimate(**figures[name])) if name in figures else "–"


def _has(holder: Mapping[str, Any], metric: str) -> bool:
    return metric in holder["metrics"] and holder["metrics"][metric]["value"] is not None
