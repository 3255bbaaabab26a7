"""The model and its controls as a table in the terminal: a row a system, a column a metric."""

from collections.abc import Sequence

from rich import box
from rich.table import Table

from eval.bootstrap import Estimate
from eval.scoring import Scores
from eval.verdict import number

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
    ratio = number(model.reference_distinct_ratio)
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
        table.add_row(scores.name, *figures, number(scores.distinct_ratio), style="bold" if scores is model else "")
    return table


def _cell(estimate: Estimate) -> str:
    """The interval under its value."""
    if estimate.low is None:
        return number(estimate.value)
    return f"{number(estimate.value)}\n[dim not bold]{number(estimate.low)}–{number(estimate.high)}[/]"
