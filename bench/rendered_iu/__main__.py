r"""Real report language without the archive's images: the Indiana reports, with phantoms drawn from their MeSH codes.

    python -m bench.rendered_iu --reports ../shared/data/iu_text/reports.jsonl --work runs/rendered_iu \
        --output docs/results/rendered_iu.json

Makes the data set (R2Gen's train, a tenth of it held out to choose on; R2Gen's val is the test), trains in three steps
(to see, to write, to write what is seen), writes reports for the test studies with all controls, and adds how far the
codes alone would lead. A phantom shows what was coded and what has a form, so the figures are about language that
depends on an image, never about patients. Killed, it goes on where it was when the same command is given again.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from bench.experiment.attempts import run_step, stop_when_told
from bench.rendered_iu.codes import read_code
from bench.rendered_iu.studies import IndexedStudy, PhantomSource, prepare, read_studies
from bench.rendered_iu.training import ROOT, UPPER_CONTROLS, TrainingOptions, train, upper_controls
from data.cli import run_main
from data.reports.clean import TextOptions
from data.study import load_studies
from eval.predictions.prediction import Prediction, read_lines
from eval.report.document import system_document
from eval.scoring.scores import score_predictions

STANDS_IN = (
    "The images are phantoms, drawn from the indexers' MeSH codes: they stand in for the archive's X-rays, which are "
    "not here. The reports are real. No figure says anything about reading a real X-ray."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderedOptions:
    """Train and judge real report language on phantoms."""

    reports: Path = Path("../shared/data/iu_text/reports.jsonl")
    """The Indiana reports, one JSON object a line."""
    work: Path = Path("runs/rendered_iu")
    """Folder for the data set, the training and the evaluation."""
    output: Path | None = None
    """JSON file to save the figures to, for eval/report/results.py; by default only <work>/metrics.json."""
    size: int = 160
    """Pixels a side of the phantoms."""
    training: Annotated[TrainingOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=TrainingOptions)

    num_resamples: int = 1000
    """Bootstrap resamples for the intervals."""
    seed: int = 0


def main(argv: list[str] | None = None) -> None:
    options = tyro.cli(RenderedOptions, args=argv, prog="python -m bench.rendered_iu", description=__doc__)
    console = Console()
    stop_when_told()
    studies = [study for study in read_studies(options.reports) if study.split]
    rendering = count_codes(studies)
    print_codes(rendering, console)
    dataset = options.work / "studies"
    console.print(f"1 of 4: a phantom for each of {len(studies)} studies", highlight=False)
    source = PhantomSource(reports=options.reports, size=options.size)
    # ___ is no word to any score, so a model gains nothing by guessing where a word was taken out.
    prepare(source, dataset, text_options=TextOptions(placeholders="unify"), seed=options.seed, console=console)
    console.print("2 of 4: training", highlight=False)
    trained = train(options.training, dataset, options.work, seed=options.seed, console=console)
    console.print("3 of 4: reports for the test studies, and the controls that need none but the data", highlight=False)
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
    console.print("4 of 4: how far the codes alone would lead", highlight=False)
    document = json.loads((evaluation / "metrics.json").read_text(encoding="utf-8"))
    add_upper_controls(document, evaluation, dataset, num_resamples=options.num_resamples, seed=options.seed)
    document["rendering"] = rendering
    document["verdict"]["facts"] = [STANDS_IN, told(rendering), *document["verdict"]["facts"]]
    document["run"]["training"] = trained.recipe
    for path in {options.work / "metrics.json", options.output or options.work / "metrics.json"}:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
        console.print(f"Figures: {path}", highlight=False)


def count_codes(studies: list[IndexedStudy]) -> dict[str, Any]:
    """What became of the codes, in all and by heading, and of the studies."""
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


def told(rendering: dict[str, Any]) -> str:
    """The counts in words."""
    codes, studies = rendering["codes"], rendering["studies"]
    given = sum(codes.values()) - codes.get("normal", 0) - codes.get("not indexed", 0)
    return (
        f"Of {given} codes of findings {codes.get('drawn', 0)} could be drawn. Studies: "
        + ", ".join(f"{name} {number}" for name, number in sorted(studies.items(), key=lambda pair: -pair[1]))
        + "."
    )


def print_codes(rendering: dict[str, Any], console: Console) -> None:
    """The headings, most frequent first."""
    table = Table(title="MeSH codes by heading", title_justify="left")
    for column in ("", "drawn", "no form"):
        table.add_column(column, justify="left" if not column else "right")
    for heading, counts in rendering["headings"].items():
        if set(counts) & {"drawn", "no form"}:
            table.add_row(heading, *(str(counts.get(fate, "")) for fate in ("drawn", "no form")))
    console.print(table)
    console.print(told(rendering), highlight=False)


def add_upper_controls(
    document: dict[str, Any], evaluation: Path, dataset: Path, *, num_resamples: int, seed: int
) -> None:
    """Scores the upper controls on the predictions of an evaluation, and adds them to its document."""
    predictions = read_lines(evaluation / "predictions.jsonl", Prediction)
    for control in upper_controls(predictions, load_studies(dataset)):
        scores = score_predictions(control.predictions, name=control.name, num_resamples=num_resamples, seed=seed)
        document["systems"][control.name] = system_document(scores)
        document["notes"].append(f"'{control.name}': {UPPER_CONTROLS[control.name][1]}; told the codes, not the image")


if __name__ == "__main__":
    run_main(main, mistakes=(ValueError, RuntimeError), stopped="stopped; the same command goes on where it was")
