"""The model and its controls, metric by metric, as a table in the terminal."""

from collections.abc import Sequence

from rich.table import Table

from eval.bootstrap import Estimate
from eval.scoring import METRICS, Scores
from eval.verdict import number

SHOWN = ("macro_f1", "micro_f1", "macro_f1_5", "macro_auroc", "cider", "rouge_l", "bleu_4", "bleu_1")


def score_table(systems: Sequence[Scores]) -> Table:
    """A row a metric, a column a system; values with their 95 % intervals."""
    model = systems[0]
    table = Table(
        title=f"{len(model.study_ids)} studies: value and 95 % interval",
        caption=f"F1 of findings in the written reports; {model.convention}; text normalised: {model.normalization}",
    )
    table.add_column("metric", no_wrap=True)
    for scores in systems:
        table.add_column(scores.name, justify="right", style="bold" if scores is model else "")
    for metric in SHOWN:
        table.add_row(METRICS[metric], *(_cell(scores.metrics[metric]) for scores in systems))
    table.add_row("different reports / studies", *(number(scores.distinct_ratio) for scores in systems))
    table.add_row("references' own", *([number(model.reference_distinct_ratio)] * len(systems)), style="dim")
    return table


def _cell(estimate: Estimate) -> str:
    """The interval under its value: side by side, four systems would not fit into 80 columns."""
    if estimate.low is None:
        return number(estimate.value)
    return f"{number(estimate.value)}\n[dim not bold]{number(estimate.low)}–{number(estimate.high)}[/]"
