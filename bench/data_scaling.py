"""How the model grows: synthetic studies in number, and the decoder's size, at an equal number of steps.

    python -m bench.data_scaling --synthetic runs/synthetic --work runs/data_scaling
    python -m bench.data_scaling … --only 500-nano 2000-nano          (others later; what is done is not done again)
    python -m bench.data_scaling … --quick                            (to see that all of it runs; figures mean nothing)

Smaller sets of studies are parts of larger ones and are repeated within an epoch, so that all see as many images,
are validated as often, and go through the same learning rates. Beside each, the report of the nearest training study,
found among as many studies as were learned. Writes docs/results/data_scaling/<number>-<decoder>.json, of which
`python -m eval.report.results` makes the table and the image. Stop it by Ctrl-C or kill; the same command goes on.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import tyro
from rich.console import Console

from bench.experiment.attempts import StepError, stop_when_told
from bench.experiment.experiment import Evaluation, Experiment, Running, run_experiment
from bench.experiment.recipe import Recipe
from data.cli import run_main
from data.study import load_studies

GROUP = "data_scaling"
QUICK = Recipe(image_size=64, vocab_size=300, findings_epochs=1, text_only_epochs=1, num_validation_reports=4)


@dataclass(frozen=True, kw_only=True, slots=True)
class GrowthOptions:
    """Train and judge on more and more studies."""

    synthetic: Path
    """Prepared data set of synthetic studies."""
    running: tyro.conf.OmitArgPrefixes[Running]
    num_studies: tuple[int, ...] = (500, 2000, 5000, 20_000)
    """Training studies; the largest makes an epoch, and the others divide it."""
    decoders: tuple[str, ...] = ("nano", "tiny")
    """Built-in sizes of GPT-2."""
    encoders: tuple[str, ...] = ("cnn",)
    """Built-in encoders; with more than one its name is in the experiment's."""
    epochs: tuple[int, int, int] = (4, 3, 1)
    """Of the largest set: of findings, of language, of reports; without epochs of reports the decoder writes what it is
    told of the findings and their places."""
    only: tuple[str, ...] = ()
    """Experiments to run; by default all."""
    num_test_studies: int = 400
    """Synthetic studies that are judged on."""
    quick: bool = False
    """A few studies at 64 pixels and one epoch each, into the folder results of --work."""

    def __post_init__(self):
        for number in self.num_studies:
            if number < 1 or max(self.num_studies) % number:
                raise ValueError(
                    f"--num-studies {number} does not divide {max(self.num_studies)}; for equal steps each number must "
                    "go into the largest without remainder"
                )
        for name in self.only:
            if name not in self.names:
                raise ValueError(f"--only {name} is no experiment; choose among {', '.join(self.names)}")

    @property
    def names(self) -> dict[str, tuple[int, str, str]]:
        """Number of studies, encoder and decoder of each experiment."""
        many = len(self.encoders) > 1
        return {
            f"{number}-{decoder}" + f"-{encoder}" * many: (number, encoder, decoder)
            for encoder in self.encoders
            for decoder in self.decoders
            for number in sorted(self.num_studies)
        }


def main(argv: list[str] | None = None) -> None:
    options = tyro.cli(GrowthOptions, args=argv, prog="python -m bench.data_scaling", description=__doc__)
    stop_when_told()
    if failed := run_growth(options, Console()):
        sys.exit(f"failed: {', '.join(failed)}; the same command tries them again")


def run_growth(options: GrowthOptions, console: Console) -> list[str]:
    """Runs one experiment after the other; returns the names of those that failed.

    Raises:
        ValueError: the data set has fewer studies than are to be learned.
    """
    running = replace(options.running, results=options.running.work / "results") if options.quick else options.running
    there = len(load_studies(options.synthetic)["train"])
    if max(options.num_studies) > there:
        raise ValueError(
            f"--num-studies {max(options.num_studies)}: {options.synthetic} has only {there} studies to learn; make "
            "more (python -m data.prepare synthetic) or give smaller numbers"
        )
    failed = []
    for name in options.only or options.names:
        try:
            run_experiment(_experiment(options, name), running, lambda line: console.print(line, highlight=False))
        except StepError as error:
            console.print(f"[red]{name}:[/] {error}", highlight=False)
            failed.append(name)
    return failed


def _experiment(options: GrowthOptions, name: str) -> Experiment:
    number, encoder, decoder = options.names[name]
    flags = (f"--num-studies={number}", f"--repeats={max(options.num_studies) // number}")
    findings, language, reports = options.epochs
    full = replace(Recipe(), findings_epochs=findings, text_only_epochs=language, report_epochs=reports)
    recipe = replace(QUICK if options.quick else full, encoder=encoder, decoder=decoder, data_flags=flags)
    judged = ("--controls", "shuffled", "nearest", f"--neighbour-pool={number}")
    return Experiment(
        group=GROUP,
        name=name,
        description=f"{number:,} studies, encoder {encoder}, decoder {decoder}",
        about={"num_studies": number, "encoder": encoder, "decoder": decoder},
        dataset=options.synthetic,
        stages=recipe.stages(),
        evaluations=(
            Evaluation(
                name="synthetic",
                dataset=options.synthetic,
                num_studies=12 if options.quick else options.num_test_studies,
                flags=(*judged, "--num-resamples=20") if options.quick else judged,
            ),
        ),
    )


if __name__ == "__main__":
    run_main(main)
