"""The section of docs/RESULTS.md on the Indiana benchmark: variants of the recipe beside published figures.

Published figures take R2Gen's reports (the findings section) as references and R2Gen's normalization and vocabulary.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from eval.controls.control import NEAREST, SHUFFLED
from eval.report.tables import cell, markdown_document, markdown_table, section_title
from vlm.schema.number_format import format_number

Record = Mapping[str, Any]
"""The saved JSON of one experiment of bench/iu.py."""

GROUP, RECIPE = "iu", "recipe"
FULL_REPORTS, R2GEN = "full reports", "R2Gen references"
PUBLISHED = {
    "CDGPT2": (0.111, 0.289, None),
    "R2Gen": (0.165, 0.371, None),
    "R2GenCMN": (0.170, 0.375, None),
    "CvT2DistilGPT2 (its released outputs)": (0.175, 0.376, 0.691),
    "VLCI": (0.189, 0.397, None),
    "DART": (0.208, 0.411, None),
    "SCOPE": (0.249, 0.418, None),
}
"""BLEU-4, ROUGE-L and CIDEr of the test split of R2Gen (590 reports), as published by the authors."""

LEAD = """`make iu` trains and evaluates these variants on the Indiana chest X-rays (Open-i), with R2Gen's split.
{split} The weights and the reports of this archive (CC BY-NC-ND 4.0) are not shared."""
VALIDATION = """The test split was not in the archive, so the figures are those of the {number} **validation** studies.
They chose the best epoch and the thresholds, so the figures are optimistic, and they are not those of the published
test split."""
AUROCS = ("Cardiomegaly", "Pleural Effusion", "Atelectasis", "No Finding")


def benchmark_section(records: Sequence[Record]) -> str:
    """Findings and controls first, then text overlap beside published figures."""
    records = sorted(records, key=lambda record: record["name"] != RECIPE)
    evaluation = records[0]["evaluations"][FULL_REPORTS]
    split = f"The figures are those of the {evaluation['num_studies']} test studies."
    if evaluation["split"] == "validation":
        split = VALIDATION.format(number=evaluation["num_studies"])
    parts = [
        [f"## {section_title('indiana_benchmark')}"],
        [LEAD.format(split=split)],
        [f"**{evaluation['verdict']}**"],
        _finding_table(records),
        _text_table(records),
        [f"- {record['name']}: {record['description']}" for record in records],
    ]
    return markdown_document(parts)


def _system(record: Record, system: str = "model", evaluation: str = FULL_REPORTS) -> Mapping[str, Any]:
    return record["evaluations"][evaluation]["systems"].get(system, {})


def _score(record: Record, metric: str, system: str = "model", evaluation: str = FULL_REPORTS) -> str:
    return cell(_system(record, system, evaluation).get("metrics", {}), metric)


def _finding_table(records: Sequence[Record]) -> list[str]:
    titles = ["variant", "macro-F1 (14)", "shuffled images", "nearest neighbor", "uncertain as negative", "micro-F1"]
    titles += ["different reports", "AUROC", *AUROCS, "CPU minutes"]
    return markdown_table(titles, [_finding_row(record) for record in records])


def _finding_row(record: Record) -> list[str]:
    model = _system(record)
    aurocs = {finding["finding"]: cell(finding, "auroc") for finding in model["per_finding"]}
    number = record["evaluations"][FULL_REPORTS]["num_studies"]
    return [
        record["name"],
        *(_score(record, "macro_f1", system) for system in ("model", SHUFFLED, NEAREST)),
        cell(model.get("other_convention", {}), "macro_f1"),
        _score(record, "micro_f1"),
        f"{round(model['distinct_ratio'] * number)} of {number}",
        _score(record, "macro_auroc"),
        *(aurocs.get(name, "–") for name in AUROCS),
        f"{sum(stage['cpu_seconds'] for stage in record['training']['stages']) / 60:.0f}",
    ]


def _text_table(records: Sequence[Record]) -> list[str]:
    metrics = ("bleu_4", "rouge_l", "cider")
    titles = ["R2Gen's references", "BLEU-4", "ROUGE-L", "CIDEr"]
    rows = [[record["name"], *(_score(record, metric, evaluation=R2GEN) for metric in metrics)] for record in records]
    published = [
        [f"{name}, published", *("–" if value is None else format_number(value) for value in values)]
        for name, values in PUBLISHED.items()
    ]
    return markdown_table(titles, rows + published)
