"""Write docs/RESULTS.md from saved results, so that no number in it is typed by hand.

    python -m eval.report.results                                 (all of docs/results, to docs/RESULTS.md)
    python -m eval.report.results FILE_OR_FOLDER … --output PAGE

A file is a metrics.json of eval/batch.py or eval/score.py (or only its parts `run` and `views`), or a result of
eval.compare or a program of eval.probes; its name becomes the title of its section. Or it is an experiment of
bench/ablations.py or bench/data_scaling.py or bench/iu.py: each group of experiments becomes one table, and data
scaling also a chart, an SVG beside the page. bench/growth.py gives a table and a chart too, bench/run.py a table. The
same files give the same page and charts, byte for byte.
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

from data.cli import run_main
from eval.controls.control import FORMER_NAMES, NEAREST, SHUFFLED
from eval.report.benchmark import GROUP as BENCHMARK
from eval.report.benchmark import benchmark_section
from eval.report.figures import outperformed_by
from eval.report.page import origin
from eval.report.tables import (
    cell,
    comparison_section,
    consistency_lines,
    finding_table,
    grounding_lines,
    is_probe,
    markdown_document,
    markdown_table,
    prior_lines,
    probe_lines,
    section_title,
    system_table,
    view_lines,
)
from vlm.schema.atomic import atomic_file, write_atomically

Record = Mapping[str, Any]
"""The saved JSON of one experiment."""

HEAD = """# Results

Written by `eval/report/results.py` from the files in `docs/results/`; do not edit by hand. Each value has its 95%
interval (bootstrap over patients). Scores on synthetic studies show that the software works and that the model uses the
image; they say nothing about patients. Findings are drawn in other sizes and sides are read in another way since
2026-12-01 (docs/LOG.md): do not compare scores from before, as of ablations and data scaling, with later ones.
"""
SYNTHETIC, PNEUMONIA = "synthetic", "pneumonia"
DATA_SCALING = "data_scaling"
GROWTH, GROWTH_TITLE = "growth", "Time and memory by number of studies"
FULL = "full"
"""The ablation that all others are compared with."""
DIFFERENCES = {
    "macro_f1": "macro-F1",
    "cider": "CIDEr",
    "macro_auroc": "AUROC",
    "pooled_calibration_error": "calibration error",
}
ABLATIONS_LEAD = """Each variant changes one choice of the recipe. All are trained on the same studies and evaluated
on the same studies. Laterality: share of the stated findings with a left or right reference that agree with it.
Calibration error: expected calibration error over all probabilities, 15 bins of equal width. CPU seconds: training, all
stages, with {threads} thread(s) on {processor}."""
DATA_SCALING_LEAD = """All runs have the same number of training steps, so a smaller set is repeated within an epoch.
The controls are the report of the nearest training study in the same training set, and the model with another patient's
images.

![Macro-F1 and CIDEr by number of training studies, with intervals]({image})"""
GROWTH_LEAD = """`python -m bench.growth` runs each program with one thread in a process of its own. {simulated} Seconds
are processor time, with the start of the program and with its second process, if it has one; the time per study
compares the two largest numbers. Memory is the highest of the main process, without files. Processor: {processors}.

![Processor time and memory by number of studies]({image})"""
SPEED_LEAD = """`python -m bench.run`: above 1, this project is faster, or needs less memory, than what the last column
names; median of repetitions. Encoder and decoder {encoder}, {image_size} pixels, pool {pool}, {num_new_tokens} new
tokens. {processor} ({instructions}), {cores} cores, {torch_threads} threads, load average {load} at the start."""
GROWTH_PANELS = {"cpu_seconds": "processor time in seconds", "peak_mib": "peak memory in MiB"}
PANELS = {"macro_f1": "macro-F1 (14) of the reports", "cider": "CIDEr of the reports"}
COLORS = ("#0b7285", "#d9480f", "#6741d9", "#2b8a3e")


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultsConfig:
    """Write the page of results."""

    saved: Annotated[tuple[Path, ...], tyro.conf.Positional] = (Path("docs/results"),)
    """JSON files, or folders with JSON files at any depth."""
    output: Path = Path("docs/RESULTS.md")
    """The page to write."""


def main(argv: Sequence[str] | None = None) -> None:
    config = tyro.cli(ResultsConfig, args=argv)
    config.output.parent.mkdir(parents=True, exist_ok=True)
    sections = results_sections(_documents(config.saved), config.output.parent)
    write_atomically(config.output, "\n".join([HEAD, *sections]))


def results_sections(documents: Mapping[Path, dict[str, Any]], folder: Path) -> list[str]:
    """A section for each evaluation, then one for each group of experiments. Charts are written to `folder`.

    Raises:
        ValueError: a document is neither.
    """
    sections: list[str] = []
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, document in documents.items():
        if "group" in document:
            groups.setdefault(document["group"], []).append(document)
        elif "p_value_resolution" in document:
            sections.append(comparison_section(path.stem, document))
        elif "verdict" in document:
            sections.append(evaluation_section(path.stem, document))
        elif set(document) == {"run", "views"}:
            sections.append(views_section(path.stem, document))
        elif "comparisons" in document:
            sections.append(speed_section(path.stem, document))
        elif is_probe(document):
            sections.append(markdown_document([[f"## {section_title(path.stem)}"], probe_lines(document)]))
        else:
            raise ValueError(
                f"{path} is neither a metrics.json of eval/batch.py or eval/score.py nor a result of eval.compare or "
                "a program of eval.probes nor an experiment of bench/; leave it out"
            )
    for group, records in groups.items():
        if group == DATA_SCALING:
            image = folder / f"{group}.svg"
            draw_data_scaling(records, image)
            sections.append(data_scaling_section(group, records, image.name))
        elif group == BENCHMARK:
            sections.append(benchmark_section(records))
        elif group == GROWTH:
            image = folder / f"{group}.svg"
            draw_growth(records[0]["programs"], image)
            sections.append(growth_section(records[0], image.name))
        else:
            sections.append(ablation_section(group, records))
    return sections


def _documents(saved: Sequence[Path]) -> dict[Path, dict[str, Any]]:
    paths = [path for given in saved for path in (sorted(given.rglob("*.json")) if given.is_dir() else [given])]
    return {path: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def evaluation_section(name: str, document: dict[str, Any]) -> str:
    """One evaluation: the verdict, the model and its controls, the findings, how it was made."""
    verdict = document["verdict"]
    facts = [outperformed_by(document), *(verdict.get("facts") or [verdict["constant"]])]
    return markdown_document(
        [
            [f"## {section_title(name)}"],
            [f"**{verdict['image']}**", *(f"- {fact}" for fact in facts if fact)],
            system_table(document),
            finding_table(document),
            prior_lines(document),
            view_lines(document),
            [*consistency_lines(document), *grounding_lines(document)],
            *_details([f"- {term}: {description}" for term, description in origin(document)]),
        ]
    )


def views_section(name: str, document: dict[str, Any]) -> str:
    """Which views a model uses."""
    run = document["run"]
    about = f"`{run['checkpoint']}` (hash {run['checkpoint_hash']}) on `{run['dataset']}`, split {run['split']}."
    facts = [f"- {fact}" for fact in document["views"]["facts"]]
    return markdown_document([[f"## {section_title(name)}"], [about], facts, view_lines(document)])


def _details(lines: list[str]) -> list[list[str]]:
    return [["<details><summary>How it was made</summary>"], lines, ["</details>"]]


def ablation_section(group: str, records: Sequence[Record]) -> str:
    """The variants with their scores, and their differences to the full recipe on the same studies."""
    records = sorted(records, key=lambda record: (record["name"] != FULL, -_sort_value(record)))
    first = records[0]
    has_pneumonia = any(PNEUMONIA in record["evaluations"] for record in records)
    titles = ["variant", "macro-F1", "macro-F1, shuffled images", "laterality", "CIDEr", "AUROC", "calibration error"]
    titles += ["pneumonia: AUROC", "accuracy", "calibration error"] * has_pneumonia
    metrics = ("laterality_agreement", "cider", "macro_auroc", "pooled_calibration_error")
    rows = [
        [
            record["name"],
            score(record, "macro_f1"),
            score(record, "macro_f1", SHUFFLED),
            *(score(record, metric) for metric in metrics),
            *_pneumonia(record) * has_pneumonia,
            *_cost(record),
        ]
        for record in records
    ]
    lead = ABLATIONS_LEAD.format(threads=first["training"]["threads"], processor=first["machine"]["processor"])
    descriptions = [f"- {record['name']}: {record['description']}" for record in records]
    return _experiments(group, lead, titles, rows, records, descriptions, _difference_table(records))


def data_scaling_section(group: str, records: Sequence[Record], image: str) -> str:
    """By size of the decoder and number of studies; `image` is the file of the chart."""
    records = _by_size(records)
    titles = ["studies", "encoder", "decoder", "macro-F1", "nearest neighbor", "shuffled images"]
    titles += ["laterality", "CIDEr", "nearest neighbor", "AUROC"]
    rows = [
        [
            f"{record['about']['num_studies']:,}",
            record["about"]["encoder"],
            record["about"]["decoder"],
            *(score(record, "macro_f1", system) for system in ("model", NEAREST, SHUFFLED)),
            score(record, "laterality_agreement"),
            *(score(record, "cider", system) for system in ("model", NEAREST)),
            score(record, "macro_auroc"),
            *_cost(record),
        ]
        for record in records
    ]
    return _experiments(group, DATA_SCALING_LEAD.format(image=image), titles, rows, records)


def _experiments(group: str, lead: str, titles: list[str], rows: list, records: Sequence[Record], *parts) -> str:
    table = markdown_table([*titles, "parameters", "CPU seconds"], rows)
    details = _details([_origin_line(record) for record in records])
    return markdown_document([[f"## {section_title(group)}"], [lead], table, *parts, *details])


def score(record: Record, metric: str, system: str = "model") -> str:
    """A score on the synthetic studies with its interval; "–" if it was not measured."""
    return cell(metrics_of(record, system), metric)


def metrics_of(record: Record, system: str = "model", dataset: str = SYNTHETIC) -> Mapping[str, Any]:
    """Estimates by metric; empty if the system was not evaluated on that data set."""
    systems = record["evaluations"].get(dataset, {}).get("systems", {})
    return systems.get(system, systems.get(FORMER_NAMES.get(system), {})).get("metrics", {})


def _by_size(records: Sequence[Record]) -> list[Record]:
    return sorted(records, key=lambda record: (record["about"]["decoder"], record["about"]["num_studies"]))


def _sort_value(record: Record) -> float:
    value = metrics_of(record).get("macro_f1", {}).get("value")
    return -1.0 if value is None else value


def _pneumonia(record: Record) -> list[str]:
    """Scores of Pneumonia, the only finding that is labeled in all of these X-rays."""
    findings = record["evaluations"].get(PNEUMONIA, {}).get("systems", {}).get("model", {}).get("per_finding", [])
    pneumonia = next((finding for finding in findings if finding["finding"] == "Pneumonia"), {})
    return [cell(pneumonia, metric) for metric in ("auroc", "accuracy", "calibration_error")]


def _cost(record: Record) -> list[str]:
    seconds = sum(stage["cpu_seconds"] for stage in record["training"]["stages"])
    return [f"{record['num_parameters']:,}", f"{seconds:,.0f}"]


def _difference_table(records: Sequence[Record]) -> list[str]:
    """Paired differences to the full recipe, on each data set."""
    rows = [
        [record["name"], dataset, *(cell(differences, metric) for metric in DIFFERENCES)]
        for record in records
        for dataset, evaluation in record["evaluations"].items()
        if (differences := evaluation["differences"].get(FULL))
    ]
    lines = markdown_table(["variant", "on", *DIFFERENCES.values()], rows)
    lead = f"Paired differences to {FULL} on the same studies (above 0: the value of the variant is higher):"
    return [lead, "", *lines] * bool(rows)


def _origin_line(record: Record) -> str:
    stages = "; ".join(f"{stage['name']}: `{' '.join(stage['flags'])}`" for stage in record["training"]["stages"])
    evaluated = ", ".join(
        f"{evaluation['num_studies']} studies of {evaluation['dataset']} ({evaluation['split']})"
        for evaluation in record["evaluations"].values()
    )
    return (
        f"- {record['name']}: trained on {record['training']['dataset']}; {stages}; evaluated on {evaluated}; "
        f"commit {record['commit']}"
    )


def draw_data_scaling(records: Sequence[Record], path: Path) -> None:
    """Write an SVG: a line with its 95% interval for each model size, and a dashed line for its nearest neighbor."""
    figure = Figure(figsize=(10, 4.2), layout="constrained", facecolor="white")
    several_encoders = len({record["about"]["encoder"] for record in records}) > 1
    lines: dict[str, list[Record]] = {}
    for record in _by_size(records):
        about = record["about"]
        name = f"GPT-2 {about['decoder']}" + f", {about['encoder']}" * several_encoders
        lines.setdefault(name, []).append(record)
    for axes, (metric, title) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        for (name, line), color in zip(lines.items(), COLORS * len(lines), strict=False):
            _draw_line(axes, line, metric, "model", name, color)
            _draw_line(axes, line, metric, NEAREST, f"{name}: nearest training study", color)
        _format_axes(axes, title, sorted({record["about"]["num_studies"] for record in records}))
    figure.axes[0].legend(frameon=False, fontsize=8)
    _save_svg(figure, path)


def _save_svg(figure: Figure, path: Path) -> None:
    style = {"svg.hashsalt": path.stem, "svg.fonttype": "none"}
    with matplotlib.rc_context(style), atomic_file(path) as partial:
        FigureCanvasSVG(figure).print_svg(str(partial), metadata={"Date": None})


def _draw_line(axes: Axes, line: Sequence[Record], metric: str, system: str, label: str, color: str) -> None:
    measured = [record for record in line if metric in metrics_of(record, system)]
    if not measured:
        return
    numbers = [record["about"]["num_studies"] for record in measured]
    estimates = [metrics_of(record, system)[metric] for record in measured]
    values, lows, highs = ([estimate[end] for estimate in estimates] for end in ("value", "low", "high"))
    is_model = system == "model"
    axes.plot(numbers, values, "o-" if is_model else ".--", color=color, label=label, alpha=1.0 if is_model else 0.6)
    if is_model and None not in lows:
        axes.fill_between(numbers, lows, highs, color=color, alpha=0.18, linewidth=0)


def _format_axes(axes: Axes, title: str, numbers: Sequence[int], x_label: str = "training studies") -> None:
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel(x_label, fontsize=9)
    axes.set_xscale("log")
    axes.set_xticks(numbers, [f"{number:,}" for number in numbers], fontsize=8)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="y", labelsize=8)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def growth_section(record: Record, image: str) -> str:
    """Processor time and peak memory of the programs by number of studies; `image` is the file of the chart."""
    programs: Mapping[str, Mapping[str, Any]] = record["programs"]
    numbers = sorted({int(number) for measured in programs.values() for number in measured})
    titles = ["program", *(f"{number:,} studies" for number in numbers), "time per study"]
    rows = [
        [f"`{name}`", *_growth_cells(measured, numbers), _time_per_study(measured)]
        for name, measured in programs.items()
    ]
    processors = {figures["processor"] for measured in programs.values() for figures in measured.values()}
    lead = GROWTH_LEAD.format(simulated=record["simulated"], processors=", ".join(sorted(processors)), image=image)
    return markdown_document([[f"## {GROWTH_TITLE}"], [lead], markdown_table(titles, rows)])


def speed_section(name: str, record: Record) -> str:
    """Ratios to other programs, measured in the same run."""
    rows = [
        [row["name"], f"{ratio['median']:.2f}", f"{ratio['least']:.2f} to {ratio['most']:.2f}", row["one_means"]]
        for row in record["comparisons"]
        for ratio in [row["ratio"]]
    ]
    about = {"instructions": "instructions not recorded", "load": record["load_average"]["before"]} | record["machine"]
    lead = SPEED_LEAD.format(**record["sizes"], **about)
    table = markdown_table(["measured", "ratio", "range", "1 means"], rows)
    return markdown_document([[f"## {section_title(name)}"], [lead], table])


def _growth_cells(measured: Mapping[str, Any], numbers: Sequence[int]) -> list[str]:
    known = [measured.get(str(number)) for number in numbers]
    return [f"{one['cpu_seconds']:,.0f} s, {one['peak_mib']:,} MiB" if one else "–" for one in known]


def _time_per_study(measured: Mapping[str, Any]) -> str:
    if len(measured) < 2:
        return "–"
    fewer, more = sorted(map(int, measured))[-2:]
    seconds = measured[str(more)]["cpu_seconds"] - measured[str(fewer)]["cpu_seconds"]
    return f"{1000 * seconds / (more - fewer):.1f} ms"


def draw_growth(programs: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Write an SVG: a line for each program, both axes logarithmic."""
    figure = Figure(figsize=(10, 4.2), layout="constrained", facecolor="white")
    numbers = sorted({int(number) for measured in programs.values() for number in measured})
    for axes, (key, title) in zip(figure.subplots(1, len(GROWTH_PANELS)), GROWTH_PANELS.items(), strict=True):
        for (name, measured), color in zip(programs.items(), COLORS, strict=False):
            values = [measured[number][key] for number in sorted(measured, key=int)]
            axes.plot(sorted(map(int, measured)), values, "o-", color=color, label=name)
        _format_axes(axes, title, numbers, "studies")
        lowest = min(figures[key] for measured in programs.values() for figures in measured.values())
        axes.set_yscale("log")
        axes.set_ylim(bottom=lowest / 2)
    figure.axes[0].legend(frameon=False, fontsize=8)
    _save_svg(figure, path)


if __name__ == "__main__":
    run_main(main)
