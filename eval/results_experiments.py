"""Experiments as Markdown: the JSON files of bench/experiment.py in, a table with a row an experiment out."""

from collections.abc import Mapping, Sequence
from typing import Any

from eval.controls import NEAREST, SHUFFLED
from eval.results_tables import section_title, table, told

Record = Mapping[str, Any]

MADE_UP, PNEUMONIA = "made-up", "pneumonia"
FULL = "full"
"""The ablation that all others are held against."""
DIFFERENCES = {
    "macro_f1": "macro-F1",
    "cider": "CIDEr",
    "macro_auroc": "AUROC",
    "pooled_calibration_error": "calibration error",
}
_ABLATIONS = """One choice of the recipe replaced at a time, all trained on the same studies and judged on the same
ones. True side: share of the findings stated, whose reference names a side, that are put there. Calibration error:
expected, all probabilities pooled, 15 bins of equal width. CPU seconds: of training, all stages, with {threads}
thread(s) on {processor}."""
_GROWTH = """As many steps for all: fewer studies are repeated within an epoch. Beside each, the report of the nearest
training study among as many as were learned, and the model itself on other patients' images.

![Macro-F1 and CIDEr by number of training studies, with intervals]({picture})"""


def ablation_section(group: str, records: Sequence[Record]) -> str:
    """The variants with their figures, and by how much each differs from the full recipe on the same studies."""
    records = sorted(records, key=lambda record: (record["name"] != FULL, -_sort_value(record)))
    first = records[0]
    machine = {"threads": first["training"]["threads"], "processor": first["machine"]["processor"]}
    has_pneumonia = any(PNEUMONIA in record["evaluations"] for record in records)
    heads = ["variant", "macro-F1", "macro-F1, shuffled images", "true side", "CIDEr", "AUROC", "calibration error"]
    heads += ["pneumonia: AUROC", "accuracy", "calibration error"] * has_pneumonia
    rows = [
        [record["name"], *_made_up(record), *_pneumonia(record) * has_pneumonia, *_cost(record)] for record in records
    ]
    parts = [
        [f"## {section_title(group)}"],
        [_ABLATIONS.format(**machine)],
        table([*heads, "parameters", "CPU seconds"], rows),
        [f"- {record['name']}: {record['description']}" for record in records],
        _difference_table(records),
        *_origin(records),
    ]
    return _joined(parts)


def growth_section(group: str, records: Sequence[Record], picture: str) -> str:
    """By number of studies and size; `picture` is where the curves lie."""
    records = sorted(records, key=lambda record: (record["about"]["decoder"], record["about"]["num_studies"]))
    heads = ["studies", "encoder", "decoder", "macro-F1", "nearest neighbour", "shuffled images"]
    heads += ["true side", "CIDEr", "nearest neighbour", "AUROC", "parameters", "CPU seconds"]
    rows = [
        [
            f"{record['about']['num_studies']:,}",
            record["about"]["encoder"],
            record["about"]["decoder"],
            *(figure(record, MADE_UP, "macro_f1", system) for system in ("model", NEAREST, SHUFFLED)),
            figure(record, MADE_UP, "side_agreement"),
            *(figure(record, MADE_UP, "cider", system) for system in ("model", NEAREST)),
            figure(record, MADE_UP, "macro_auroc"),
            *_cost(record),
        ]
        for record in records
    ]
    text = [_GROWTH.format(picture=picture)]
    return _joined([[f"## {section_title(group)}"], text, table(heads, rows), *_origin(records)])


def figure(record: Record, dataset: str, metric: str, system: str = "model") -> str:
    """With its interval; "–" where it was not measured."""
    return told(metrics_of(record, dataset, system), metric)


def metrics_of(record: Record, dataset: str, system: str = "model") -> Mapping[str, Any]:
    """Estimates by metric; none where the system was not judged on that data set."""
    return record["evaluations"].get(dataset, {}).get("systems", {}).get(system, {}).get("metrics", {})


def _made_up(record: Record) -> list[str]:
    shuffled = figure(record, MADE_UP, "macro_f1", SHUFFLED)
    of_model = ("side_agreement", "cider", "macro_auroc", "pooled_calibration_error")
    return [
        figure(record, MADE_UP, "macro_f1"),
        shuffled,
        *(figure(record, MADE_UP, metric) for metric in of_model),
    ]


def _pneumonia(record: Record) -> list[str]:
    """Of the finding itself: the only one that is labelled throughout."""
    findings = record["evaluations"].get(PNEUMONIA, {}).get("systems", {}).get("model", {}).get("per_finding", [])
    pneumonia = next((finding for finding in findings if finding["finding"] == "Pneumonia"), {})
    return [told(pneumonia, "auroc"), told(pneumonia, "accuracy"), told(pneumonia, "calibration_error")]


def _cost(record: Record) -> list[str]:
    seconds = sum(stage["cpu_seconds"] for stage in record["training"]["stages"])
    return [f"{record['num_parameters']:,}", f"{seconds:,.0f}"]


def _difference_table(records: Sequence[Record]) -> list[str]:
    """Paired differences to the full recipe, of the made-up studies and of the pneumonia X-rays."""
    rows = []
    for record in records:
        for dataset, evaluation in record["evaluations"].items():
            if differences := evaluation["differences"].get(FULL):
                rows.append([record["name"], dataset, *(told(differences, metric) for metric in DIFFERENCES)])
    lines = table(["variant", "on", *DIFFERENCES.values()], rows)
    return [f"Paired differences to {FULL}, on the same studies (above 0: the variant has more):", "", *lines] * bool(
        rows
    )


def _origin(records: Sequence[Record]) -> list[list[str]]:
    told_of = []
    for record in records:
        stages = "; ".join(f"{stage['name']}: `{' '.join(stage['flags'])}`" for stage in record["training"]["stages"])
        judged = ", ".join(
            f"{evaluation['num_studies']} studies of {evaluation['dataset']} ({evaluation['split']})"
            for evaluation in record["evaluations"].values()
        )
        told_of.append(
            f"- {record['name']}: learned {record['training']['dataset']}; {stages}; judged on {judged}; "
            f"commit {record['commit']}"
        )
    return [["<details><summary>How they were made</summary>"], told_of, ["</details>"]]


def _sort_value(record: Record) -> float:
    value = metrics_of(record, MADE_UP).get("macro_f1", {}).get("value")
    return -1.0 if value is None else value


def _joined(parts: Sequence[Sequence[str]]) -> str:
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"
