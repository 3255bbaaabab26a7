r"""Real report language without real images: the Indiana reports, with phantoms drawn from their MeSH codes.

    python -m bench.rendered_iu --reports ../shared/data/iu_text/reports.jsonl --work runs/rendered_iu \
        --output docs/results/rendered_iu.json

Prepares the data set (R2Gen's train split, a tenth of it for validation; R2Gen's val split is the test split), trains
in three steps (findings, text, reports from images), evaluates on the test studies with all controls, and adds controls
that know the codes. A phantom shows only coded findings that the renderer can draw, so the figures are about language
that depends on an image, not about patients. After a kill, the same command resumes it.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from bench.experiment.attempts import exit_on_sigterm, run_step
from bench.rendered_iu.codes import read_code
from bench.rendered_iu.studies import IndexedStudy, PhantomSource, prepare, read_studies
from bench.rendered_iu.training import ROOT, UPPER_CONTROLS, TrainingOptions, train, upper_controls
from data.cli import run_main
from data.reports.clean import TextOptions
from data.study import load_studies
from eval.predictions.prediction import Prediction, read_lines
from eval.report.document import system_document
from eval.scoring.scores import score_predictions
from vlm.schema.atomic import write_atomically

SYNTHETIC_IMAGES = (
    "The images are phantoms, drawn from the indexers' MeSH codes, because the archive's X-rays are not available. "
    "The reports are real. No figure says anything about real X-rays."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderedOptions:
    """Train and evaluate real report language on phantoms."""

    reports: Path = Path("../shared/data/iu_text/reports.jsonl")
    """The Indiana reports, one JSON object per line."""
    work: Path = Path("runs/rendered_iu")
    """Folder for the data set, the training and the evaluation."""
    output: Path | None = None
    """JSON file for the figures, for eval/report/results.py; by default only <work>/metrics.json."""
    size: int = 160
    """Side of the phantoms in pixels."""
    training: Annotated[TrainingOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=TrainingOptions)

    num_resamples: int = 1000
    """Number of bootstrap resamples for the intervals."""
    seed: int = 0


def main(argv: list[str] | None = None) -> None:
    options = tyro.cli(RenderedOptions, args=argv, prog="python -m bench.rendered_iu", description=__doc__)
    console = Console()
    exit_on_sigterm()
    studies = [study for study in read_studies(options.reports) if study.split]
    rendering = count_codes(studies)
    print_codes(rendering, console)
    dataset = options.work / "studies"
    console.print(f"1 of 4: phantoms for {len(studies)} studies", highlight=False)
    source = PhantomSource(reports=options.reports, size=options.size)
    # No metric counts ___ as a word, so a model gains nothing by predicting removed words.
    prepare(source, dataset, text_options=TextOptions(placeholders="unify"), seed=options.seed, console=console)
    console.print("2 of 4: training", highlight=False)
    trained = train(options.training, dataset, options.work, seed=options.seed, console=console)
    console.print("3 of 4: evaluation on the test studies, with controls", highlight=False)
    evaluation = options.work / "evaluation"
    arguments = [
        str(ROOT / "eval" / "batch.py"),
        f"--checkpoint={trained.checkpoint}",
        f"--dataset={dataset}",
        f"--output-dir={evaluation}",
        f"--max-new-tokens={options.training.max_new_tokens}",
        f"--num-resamples={options.num_resamples}",
        f"--seed={options.seed}",
    ]
    run_step(options.work, "evaluation", arguments, threads=options.training.threads)
    console.print("4 of 4: controls that know the codes", highlight=False)
    document = json.loads((evaluation / "metrics.json").read_text(encoding="utf-8"))
    add_upper_controls(document, evaluation, dataset, num_resamples=options.num_resamples, seed=options.seed)
    document["rendering"] = rendering
    document["verdict"]["facts"] = [SYNTHETIC_IMAGES, summary(rendering), *document["verdict"]["facts"]]
    document["run"]["training"] = trained.recipe
    for path in {options.work / "metrics.json", options.output or options.work / "metrics.json"}:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        console.print(f"Figures: {path}", highlight=False)


def count_codes(studies: list[IndexedStudy]) -> dict[str, Any]:
    """Count what is drawn: codes in total and by heading, and studies."""
    fates, headings, of_studies = Counter(), {}, Counter()
    for study in studies:
        codes = [read_code(code) for code in study.codes]
        for code in codes:
            fates[code.fate] += 1
            headings.setdefault(code.heading, Counter())[code.fate] += 1
        own = {code.fate for code in codes}
        if "no form" in own:
            of_studies["drawn in part" if "drawn" in own else "coded, but nothing of it has a form"] += 1
        else:
            of_studies["drawn whole" if "drawn" in own else "normal" if "normal" in own else "not indexed"] += 1
    ordered = sorted(headings.items(), key=lambda heading: (-heading[1].total(), heading[0]))
    return {
        "codes": dict(fates),
        "studies": dict(of_studies),
        "headings": {heading: dict(counts) for heading, counts in ordered},
    }


def summary(rendering: dict[str, Any]) -> str:
    """The counts in words."""
    codes, studies = rendering["codes"], rendering["studies"]
    given = sum(codes.values()) - codes.get("normal", 0) - codes.get("not indexed", 0)
    return (
        f"{codes.get('drawn', 0)} of {given} codes of findings could be drawn. Studies: "
        + ", ".join(f"{name} {number}" for name, number in sorted(studies.items(), key=lambda pair: -pair[1]))
        + "."
    )


def print_codes(rendering: dict[str, Any], console: Console) -> None:
    """Print the headings, most frequent first."""
    table = Table(title="MeSH codes by heading", title_justify="left")
    for column in ("", "drawn", "no form"):
        table.add_column(column, justify="left" if not column else "right")
    for heading, counts in rendering["headings"].items():
        if set(counts) & {"drawn", "no form"}:
            table.add_row(heading, *(str(counts.get(fate, "")) for fate in ("drawn", "no form")))
    console.print(table)
    console.print(summary(rendering), highlight=False)


def add_upper_controls(
    document: dict[str, Any], evaluation: Path, dataset: Path, *, num_resamples: int, seed: int
) -> None:
    """Score the upper controls for the studies of an evaluation, and add them to its document."""
    predictions = read_lines(evaluation / "predictions.jsonl", Prediction)
    for control in upper_controls(predictions, load_studies(dataset)):
        scores = score_predictions(control.predictions, name=control.name, num_resamples=num_resamples, seed=seed)
        document["systems"][control.name] = system_document(scores)
        document["notes"].append(
            f"'{control.name}': {UPPER_CONTROLS[control.name][1]}; it knows the codes, not the image"
        )


if __name__ == "__main__":
    run_main(main, mistakes=(ValueError, RuntimeError), stopped="stopped; the same command resumes it")
