"""Experiments as Markdown: the JSON files of bench/experiment/experiment.py in, a table with a row an experiment out.

Growth as an image: macro-F1 and CIDEr over the number of training studies, with intervals, beside the report of the
nearest training study.

The same records give the same file to the byte.

Writes docs/RESULTS.md from saved figures, so that none in it is by hand.

    python -m eval.report.results                                 (all of docs/results, to docs/RESULTS.md)
    python -m eval.report.results FILE_OR_FOLDER … --output PAGE

A file is a `metrics.json` of eval/batch.py or eval/score.py, or what eval.probes.statements or
eval.probes.linear_probe wrote, under the
name that its section shall bear; or an experiment of bench/ablations.py or bench/data_scaling.py: each group of
those becomes
one table, and growth an image, too.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import tyro
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from eval.controls.control import NEAREST, SHUFFLED
from eval.report.page import origin
from eval.report.tables import (
    consistency_lines,
    finding_table,
    grounding_lines,
    is_of_statements,
    section_title,
    statement_lines,
    system_table,
    table,
    told,
)

Record = Mapping[str, Any]

SYNTHETIC, PNEUMONIA = "synthetic", "pneumonia"
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
_DATA_SCALING = """All runs have the same number of training steps, so a smaller set is repeated within an epoch. The
controls: the report of the nearest training study in the same training set, and the model with other patients' images.

![Macro-F1 and CIDEr by number of training studies, with intervals]({image})"""


def ablation_section(group: str, records: Sequence[Record]) -> str:
    """The variants with their figures, and by how much each differs from the full recipe on the same studies."""
    records = sorted(records, key=lambda record: (record["name"] != FULL, -_sort_value(record)))
    first = records[0]
    machine = {"threads": first["training"]["threads"], "processor": first["machine"]["processor"]}
    has_pneumonia = any(PNEUMONIA in record["evaluations"] for record in records)
    heads = ["variant", "macro-F1", "macro-F1, shuffled images", "true side", "CIDEr", "AUROC", "calibration error"]
    heads += ["pneumonia: AUROC", "accuracy", "calibration error"] * has_pneumonia
    rows = [
        [record["name"], *_synthetic(record), *_pneumonia(record) * has_pneumonia, *_cost(record)] for record in records
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


def data_scaling_section(group: str, records: Sequence[Record], image: str) -> str:
    """By number of studies and size; `image` is where the curves lie."""
    records = sorted(records, key=lambda record: (record["about"]["decoder"], record["about"]["num_studies"]))
    heads = ["studies", "encoder", "decoder", "macro-F1", "nearest neighbour", "shuffled images"]
    heads += ["true side", "CIDEr", "nearest neighbour", "AUROC", "parameters", "CPU seconds"]
    rows = [
        [
            f"{record['about']['num_studies']:,}",
            record["about"]["encoder"],
            record["about"]["decoder"],
            *(figure(record, SYNTHETIC, "macro_f1", system) for system in ("model", NEAREST, SHUFFLED)),
            figure(record, SYNTHETIC, "laterality_agreement"),
            *(figure(record, SYNTHETIC, "cider", system) for system in ("model", NEAREST)),
            figure(record, SYNTHETIC, "macro_auroc"),
            *_cost(record),
        ]
        for record in records
    ]
    text = [_DATA_SCALING.format(image=image)]
    return _joined([[f"## {section_title(group)}"], text, table(heads, rows), *_origin(records)])


def figure(record: Record, dataset: str, metric: str, system: str = "model") -> str:
    """With its interval; "–" where it was not measured."""
    return told(metrics_of(record, dataset, system), metric)


def metrics_of(record: Record, dataset: str, system: str = "model") -> Mapping[str, Any]:
    """Estimates by metric; none where the system was not judged on that data set."""
    return record["evaluations"].get(dataset, {}).get("systems", {}).get(system, {}).get("metrics", {})


def _synthetic(record: Record) -> list[str]:
    shuffled = figure(record, SYNTHETIC, "macro_f1", SHUFFLED)
    of_model = ("laterality_agreement", "cider", "macro_auroc", "pooled_calibration_error")
    return [
        figure(record, SYNTHETIC, "macro_f1"),
        shuffled,
        *(figure(record, SYNTHETIC, metric) for metric in of_model),
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
    """Paired differences to the full recipe, of the synthetic studies and of the pneumonia X-rays."""
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
    value = metrics_of(record, SYNTHETIC).get("macro_f1", {}).get("value")
    return -1.0 if value is None else value


def _joined(parts: Sequence[Sequence[str]]) -> str:
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


PANELS = {"macro_f1": "macro-F1 (14) of the reports", "cider": "CIDEr of the reports"}
COLORS = ("#0b7285", "#d9480f", "#6741d9", "#2b8a3e")


def draw_data_scaling(records: Sequence[Record], path: Path) -> None:
    """Writes an SVG: a line a size, its 95 % interval as a band, and dashed the nearest neighbour by the same model's
    features."""
    figure = Figure(figsize=(10, 4.2), layout="constrained", facecolor="white")
    lines = _lines(records)
    for axes, (metric, title) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        for (name, line), color in zip(lines.items(), COLORS * len(lines), strict=False):
            _draw(axes, line, metric, "model", name, color)
            _draw(axes, line, metric, NEAREST, f"{name}: nearest training study", color)
        _finish(axes, title, sorted({record["about"]["num_studies"] for record in records}))
    figure.axes[0].legend(frameon=False, fontsize=8)
    with matplotlib.rc_context({"svg.hashsalt": "data_scaling", "svg.fonttype": "none"}):
        FigureCanvasSVG(figure).print_svg(str(path), metadata={"Date": None})


def _lines(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Records of one size in order of their number of studies, by the size's name."""
    several = len({record["about"]["encoder"] for record in records}) > 1
    lines: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: (record["about"]["decoder"], record["about"]["num_studies"])):
        about = record["about"]
        name = f"GPT-2 {about['decoder']}" + f", {about['encoder']}" * several
        lines.setdefault(name, []).append(record)
    return lines


def _draw(axes: Axes, line: Sequence[Record], metric: str, system: str, label: str, color: str) -> None:
    points = [
        (record["about"]["num_studies"], metrics_of(record, SYNTHETIC, system)[metric])
        for record in line
        if metric in metrics_of(record, SYNTHETIC, system)
    ]
    if not points:
        return
    numbers = [number for number, _ in points]
    values, lows, highs = ([estimate[end] for _, estimate in points] for end in ("value", "low", "high"))
    is_model = system == "model"
    axes.plot(numbers, values, "o-" if is_model else ".--", color=color, label=label, alpha=1.0 if is_model else 0.6)
    if is_model and None not in lows:
        axes.fill_between(numbers, lows, highs, color=color, alpha=0.18, linewidth=0)


def _finish(axes: Axes, title: str, numbers: Sequence[int]) -> None:
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel("training studies", fontsize=9)
    axes.set_xscale("log")
    axes.set_xticks(numbers, [f"{number:,}" for number in numbers], fontsize=8)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="y", labelsize=8)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


_HEAD = """# Results

Written by `eval/report/results.py` from the files in `docs/results/`; not edited by hand. Value and 95 % interval
(bootstrap
over patients). Figures on synthetic studies say that the machinery works and that the model looks at the image; they
say
nothing about patients.
"""
DATA_SCALING = "data_scaling"


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultsConfig:
    """Writes a page of results."""

    saved: Annotated[tuple[Path, ...], tyro.conf.Positional] = (Path("docs/results"),)
    """JSON files, or folders with all files below them."""
    output: Path = Path("docs/RESULTS.md")
    """The page."""


def main(argv: list[str] | None = None) -> None:
    config = tyro.cli(ResultsConfig, args=argv)
    sections = results_sections(_documents(config.saved), config.output.parent)
    config.output.write_text("\n".join([_HEAD, *sections]), encoding="utf-8")


def results_sections(documents: Mapping[Path, dict[str, Any]], folder: Path) -> list[str]:
    """One for each evaluation, then one for each group of experiments. Images go into `folder`.

    Raises:
        ValueError: a document is neither.
    """
    sections: list[str] = []
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, document in documents.items():
        if "group" in document:
            groups.setdefault(document["group"], []).append(document)
        elif "verdict" in document:
            sections.append(results_section(path.stem, document))
        elif is_of_statements(document):
            sections.append("\n".join([f"## {section_title(path.stem)}", "", *statement_lines(document)]) + "\n")
        else:
            raise ValueError(
                f"{path} is neither a metrics.json of eval/batch.py or eval/score.py nor figures of "
                "eval.probes.statements or eval.probes.linear_probe nor an experiment of bench/; leave it out"
            )
    for group, records in groups.items():
        if group == DATA_SCALING:
            image = folder / f"{group}.svg"
            draw_data_scaling(records, image)
            sections.append(data_scaling_section(group, records, image.name))
        else:
            sections.append(ablation_section(group, records))
    return sections


def _documents(saved: Sequence[Path]) -> dict[Path, dict[str, Any]]:
    paths = [path for given in saved for path in (sorted(given.rglob("*.json")) if given.is_dir() else [given])]
    return {path: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def results_section(name: str, document: dict[str, Any]) -> str:
    """One evaluation as Markdown: verdict, the model beside its controls, the findings, how it was made. Figures that a
    file of an older layout lacks are left out."""
    verdict = document["verdict"]
    outperformed_by = verdict.get("outperformed_by", "")
    facts = verdict.get("facts") or [verdict["constant"]] * bool(verdict["constant"])
    parts = [
        [f"## {section_title(name)}"],
        [f"**{verdict['image']}**", *(f"- {fact}" for fact in [outperformed_by] * bool(outperformed_by) + facts)],
        system_table(document),
        finding_table(document),
        [*consistency_lines(document), *grounding_lines(document)],
        ["<details><summary>How it was made</summary>"],
        [f"- {term}: {description}" for term, description in origin(document)],
        ["</details>"],
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


if __name__ == "__main__":
    main()
