"""Parts of metrics.json as tables: for the terminal (rich), and as Markdown lines for docs/RESULTS.md and model cards.

A Markdown function returns no lines if the document has no data for it.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from eval.checks.consistency import RATES
from eval.probes.prompts import FINDING_PROBE, VIEW_CHECKS, statement_lines
from eval.report.figures import (
    Document,
    consistency_table,
    estimate_text,
    grounding_panel,
    is_defined,
    model_of,
    prior_panel,
    view_panel,
)
from eval.scoring.scores import METRICS
from vlm.schema.number_format import format_number

SHOWN = {
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "macro_auroc": "AUROC",
    "cider": "CIDEr",
    "bleu_4": "BLEU-4",
}
"""Metrics in the tables with their titles, the most important first; they fit into 80 columns."""
NUM_NOTES_SHOWN = 12


def print_evaluation(console: Console, document: Document, folder: Path | None) -> None:
    """Print the main results; `folder` holds metrics.json and report.html."""

    def say(line: str, style: str = "") -> None:
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=line.startswith(("Page", "Scores")))

    verdict = document["verdict"]
    console.print(score_table(document))
    for column in document.get("subgroups", {}):
        console.print(subgroup_table(document, column))
    for line in (*error_lines(document), *consistency_lines(document), *grounding_lines(document)):
        say(line)
    for name, figure in document["extra_metrics"].items():
        say(f"{name} {estimate_text(figure)} ({figure['note']})")
    meanings = tuple(f"'{name}': " for name in document["systems"])
    for note in [note for note in document["notes"] if not note.startswith(meanings)][:NUM_NOTES_SHOWN]:
        say(f"Note: {note}", "yellow")
    say(verdict["image"], "bold green" if verdict["uses_image"] == "yes" else "bold yellow")
    if verdict["outperformed_by"]:
        say(verdict["outperformed_by"], "bold yellow")
    for fact in verdict["facts"]:
        say(f"- {fact}")
    if folder is not None:
        say(f"Page: {folder / 'report.html'}")
        say(f"Scores: {folder / 'metrics.json'}")


def score_table(document: Document) -> Table:
    """The model and its controls for the terminal: a row per system, without metrics that no system has."""
    model, systems = model_of(document), document["systems"]
    shown = shown_metrics(systems.values())
    ratio = format_number(model["reference_distinct_ratio"])
    table = Table(
        title=f"{model['num_studies']} studies: value and 95% interval",
        caption=f"macro-F1, micro-F1: 14 findings in the generated reports, {document['convention']}; text "
        f"normalization: {document['normalization']['name']}; different: different reports / studies (references: "
        f"{ratio})",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", min_width=12)
    for title in (*(SHOWN[metric] for metric in shown), "different"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, system in systems.items():
        # The interval is below the value.
        cells = [Text(cell(system["metrics"], metric).replace(" [", "\n").replace(", ", "–")) for metric in shown]
        for text in cells:
            text.remove_suffix("]")
            text.highlight_regex(r"(?s)\n.*", "dim not bold")
        table.add_row(name, *cells, format_number(system["distinct_ratio"]), style="bold" if system is model else "")
    return table


def subgroup_table(document: Document, column: str) -> Table:
    """The model by subgroup for the terminal; a group that is too small has only its number of studies."""
    subgroups = document["subgroups"][column]
    shown = shown_metrics(subgroups["groups"])
    table = Table(title=f"By {column}", box=box.SIMPLE_HEAD)
    for title in (column, "studies", *(SHOWN[metric] for metric in shown)):
        table.add_column(title)
    for group in (*subgroups["groups"], *subgroups["rejected"]):
        cells = [cell(group["metrics"], metric) for metric in shown] if "metrics" in group else [group["reason"]]
        table.add_row(*map(Text, (group["group"], str(group["num_studies"]), *cells)))
    return table


def shown_metrics(systems: Iterable[Mapping[str, Any]]) -> list[str]:
    """The metrics of SHOWN that any of the systems has."""
    return [metric for metric in SHOWN if any(is_defined(system["metrics"], metric) for system in systems)]


def section_title(name: str) -> str:
    """The title of a section from the name of its file, without extension."""
    title = name.replace("_", " ")
    return title[:1].upper() + title[1:]


def markdown_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """No lines if there are no rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|", *lines] if lines else []


def markdown_document(parts: Iterable[Sequence[str]]) -> str:
    """Paragraphs of lines, without the empty ones."""
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def cell(scores: Mapping[str, Any], metric: str) -> str:
    """A score with its interval; "–" if it is undefined or missing."""
    return estimate_text(scores[metric]) if metric in scores else "–"


def system_table(document: Document) -> list[str]:
    """The model and its controls."""
    systems = document["systems"]
    shown = shown_metrics(systems.values())
    rows = (
        [name, *(cell(system["metrics"], metric) for metric in shown), format_number(system["distinct_ratio"])]
        for name, system in systems.items()
    )
    return markdown_table(["", *(SHOWN[metric] for metric in shown), "different reports"], rows)


def finding_table(document: Document) -> list[str]:
    """A row for each finding; findings without a positive case are listed below."""
    findings = model_of(document)["per_finding"]
    defined = [finding for finding in findings if is_defined(finding, "f1")]
    rows = ([one["finding"], str(one["support"]), cell(one, "f1"), cell(one, "auroc")] for one in defined)
    undefined = ", ".join(finding["finding"] for finding in findings if finding not in defined)
    lines = markdown_table(["finding", "positive studies", "F1 in reports", "AUROC"], rows)
    return lines + ["", f"No positive case, so undefined: {undefined}."] * bool(undefined)


def group_table(document: Document, kind: str) -> list[str]:
    """The model by group of studies; `kind` is a key of by_group or subgroups in the document."""
    groups = document.get("subgroups", {}).get(kind, {}).get("groups") or document.get("by_group", {}).get(kind, [])
    shown = shown_metrics(groups)
    rows = (
        [group["group"], str(group["num_studies"]), *(cell(group["metrics"], metric) for metric in shown)]
        for group in groups
    )
    return markdown_table([kind, "studies", *(SHOWN[metric] for metric in shown)], rows)


def consistency_lines(document: Document) -> list[str]:
    """How often reports fail checks that need no reference."""
    found = consistency_table(document, 0)
    if found is None:
        return []
    rows = (
        f"- {row['title']}: {row['model']}" + f" (reference reports: {row['reference']})" * bool(row["reference"])
        for row in found["rows"]
    )
    return ["Checks without a reference:", "", *rows]


def prior_lines(document: Document) -> list[str]:
    """The model and the controls of prior studies, and the model by change."""
    panel = prior_panel(document)
    if panel is None:
        return []
    return [
        f"{panel['num_studies']} studies have a prior study:",
        "",
        *markdown_table(panel["system_titles"], panel["systems"]),
        "",
        *markdown_table(panel["change_titles"], panel["changes"]),
    ]


def view_lines(document: Document) -> list[str]:
    """The model and the controls of views, on the studies with both."""
    panel = view_panel(document)
    if panel is None:
        return []
    return [
        f"{panel['num_studies']} studies have a frontal and a lateral view:",
        "",
        *markdown_table(panel["titles"], panel["rows"]),
    ]


def error_lines(document: Document) -> list[str]:
    """The report error score of the model and its errors by kind, the most frequent first."""
    model = model_of(document)
    made = [error for error in model.get("errors", []) if error["num_errors"]]
    if not is_defined(model["metrics"], "error_score"):
        return []
    made.sort(key=lambda error: -error["num_errors"])
    kinds = ", ".join(f"{error['kind']} {format_number(error['rate']['value'])}" for error in made) or "none"
    return [
        f"Report error score {cell(model['metrics'], 'error_score')} (1: no error); harm of the errors per report "
        f"{cell(model['metrics'], 'error_harm')}",
        f"Errors per report: {kinds}",
    ]


def grounding_lines(document: Document) -> list[str]:
    """The pointing game over all findings."""
    panel = grounding_panel(document)
    if panel is None:
        return []
    return [f"- Attention peaks inside the box of the finding: {panel['rows'][0]['hits']}; {panel['differences']}"]


def is_probe(document: Mapping[str, Any]) -> bool:
    """Whether a saved document is from a program of eval.probes."""
    return any(name in document for name in ("statements", "ood", "view_check", "finding_probe"))


def probe_lines(document: Mapping[str, Any]) -> list[str]:
    """The result of a program of eval.probes."""
    if "ood" in document:
        return _ood_table(document)
    if "view_check" in document:
        return _view_check_table(document)
    about = f"`{document['dataset']}`, split {document['split']}: "
    if "finding_probe" in document:
        return _finding_probe_table(about, document)
    if "prompts" in document:
        lines = [f"- {line}" for line in statement_lines(document)]
        return [f"{about}which of two statements the decoder finds more likely, given the images.", "", *lines]
    one, other = document["statements"]
    return [
        f"{about}which of two statements is true, predicted by a linear probe on the features of the encoder (not an "
        f"output of the model), trained on {document['num_learned']:,} training studies.",
        "",
        f"- {one!r} versus {other!r}, {document['num_studies']:,} studies of {document['num_patients']:,} patients: "
        f"AUROC {cell(document, 'auroc')}; with another patient's images {cell(document, 'auroc_shuffled')}",
    ]


def comparison_columns(comparison: Mapping[str, Any]) -> list[str]:
    return ["metric", *comparison["names"], "difference", "p", "adjusted p", "studies better: first / second / same"]


def comparison_rows(comparison: Mapping[str, Any]) -> list[list[str]]:
    """The cells below `comparison_columns`, for each metric and rate."""
    rows = []
    for metric, scores in comparison["metrics"].items():
        ps = [p_value_text(scores[key]) for key in ("p_value", "p_value_all_metrics")]
        studies = "" if scores["studies"] is None else " / ".join(map(str, scores["studies"].values()))
        rows.append([METRICS[metric], *_compared_values(scores), *ps, studies])
    rates = comparison["consistency"].items()
    return rows + [[RATES[name], *_compared_values(values), "", "", ""] for name, values in rates]


def _compared_values(scores: Mapping[str, Any]) -> list[str]:
    both = (format_number(scores[name]["value"]) for name in ("a", "b"))
    return [*both, estimate_text(scores["difference"])]


def p_value_text(value: float) -> str:
    return f"{value:.2g}"


def comparison_section(name: str, comparison: Mapping[str, Any]) -> str:
    """The result of eval.compare."""
    about = f"{comparison['num_studies']} studies of {comparison['num_patients']} patients; {comparison['a']} and "
    about += (
        f"{comparison['b']}; difference: first - second, 95% interval; p from {comparison['num_swaps']} random swaps."
    )
    table = markdown_table(comparison_columns(comparison), comparison_rows(comparison))
    return markdown_document([[f"## {section_title(name)}"], [f"**{comparison['verdict']}**"], [about], table])


def _finding_probe_table(about: str, document: Mapping[str, Any]) -> list[str]:
    rows = [{"finding": "mean", **document}, *document["finding_probe"]]
    table = markdown_table(
        ["finding", "positive studies", *(f"AUROC, {title}" for title in FINDING_PROBE.values())],
        [
            [row["finding"], str(row.get("num_positive", "–")), *(cell(row, kind) for kind in FINDING_PROBE)]
            for row in rows
        ],
    )
    return [
        f"{about}AUROC of the classifier, beside logistic regression on the mean and standard deviation of the same "
        f"encoder's patches, trained on {document['num_learned']:,} training studies.",
        "",
        *table,
    ]


def _ood_table(document: Mapping[str, Any]) -> list[str]:
    rows = [
        [row["images"], row["alteration"], f"{row['num_images']:,}", cell(row, "flagged"), cell(row, "mirrored")]
        for row in document["ood"]
    ]
    lead = (
        f"Share of the images that the out-of-distribution check flags, split {document['split']}. Flags of unchanged "
        "chest X-rays are false alarms."
    )
    return [lead, "", *markdown_table(["images", "alteration", "number", "flagged", "as mirrored"], rows)]


def _view_check_table(document: Mapping[str, Any]) -> list[str]:
    rows = [
        [row["images"], row["view"], f"{row['num_images']:,}", *(cell(row, name) for name in VIEW_CHECKS)]
        for row in document["view_check"]
    ]
    lead = (
        f"Share of the images that look like a lateral or a frontal view, split {document['split']}. Some look like "
        "neither. The last column: out of distribution by its distance from the training images."
    )
    return [lead, "", *markdown_table(["images", "view", "number", *VIEW_CHECKS.values()], rows)]
