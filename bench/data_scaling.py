"""Data scaling: performance by number of synthetic studies and by decoder size, for an equal number of steps.

    python -m bench.data_scaling --synthetic runs/synthetic --work runs/data_scaling
    python -m bench.data_scaling … --only 500-nano 2000-nano     (run the others later; finished ones are not repeated)
    python -m bench.data_scaling … --quick                       (a test of the program; its figures are meaningless)

Smaller training sets are subsets of larger ones and are repeated within an epoch, so that all experiments have the same
number of images, validations and learning rate steps. A control copies the report of the nearest training study, from
as many studies as were used for training. Writes docs/results/data_scaling/<number>-<decoder>.json, of which
`python -m eval.report.results` makes the table and the image. Stop it with Ctrl-C or kill; the same command
resumes it.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import tyro
from rich.console import Console

from bench.experiment.attempts import exit_on_sigterm
from bench.experiment.experiment import Evaluation, Experiment, Running, run_experiments
from bench.experiment.recipe import QUICK, Recipe
from data.cli import run_main
from data.study import load_studies

GROUP = "data_scaling"


@dataclass(frozen=True, kw_only=True, slots=True)
class DataScalingOptions:
    """Train and evaluate with different numbers of studies."""

    synthetic: Path
    """Prepared data set of synthetic studies."""
    running: tyro.conf.OmitArgPrefixes[Running]
    num_studies: tuple[int, ...] = (500, 2000, 5000, 20_000)
    """Numbers of training studies; each must divide the largest, which is one epoch."""
    decoders: tuple[str, ...] = ("nano", "tiny")
    """Built-in sizes of GPT-2."""
    encoders: tuple[str, ...] = ("cnn",)
    """Built-in encoders; if there are several, the names of the experiments contain them."""
    epochs: tuple[int, int, int] = (4, 3, 1)
    """Epochs of findings, of text only, and of reports, for the largest set; without report epochs, the decoder is
    trained only on findings and their locations."""
    only: tuple[str, ...] = ()
    """Experiments to run; by default all."""
    num_test_studies: int = 400
    """Number of synthetic test studies."""
    quick: bool = False
    """Use a few studies of 64 pixels and one epoch each; results go to the folder results in --work."""

    def __post_init__(self):
        for number in self.num_studies:
            if number < 1 or max(self.num_studies) % number:
                raise ValueError(
                    f"--num-studies {number} does not divide {max(self.num_studies)}; for equal numbers of "
                    "steps, each number must divide the largest"
                )
        for name in self.only:
            if name not in self.names:
                raise ValueError(f"--only {name} is not an experiment; choose from {', '.join(self.names)}")

    @property
    def names(self) -> dict[str, tuple[int, str, str]]:
        """Number of studies, encoder and decoder of each experiment."""
        has_several = len(self.encoders) > 1
        return {
            f"{number}-{decoder}" + f"-{encoder}" * has_several: (number, encoder, decoder)
            for encoder in self.encoders
            for decoder in self.decoders
            for number in sorted(self.num_studies)
        }


def main(argv: list[str] | None = None) -> None:
    options = tyro.cli(DataScalingOptions, args=argv, prog="python -m bench.data_scaling", description=__doc__)
    exit_on_sigterm()
    if failed := run_data_scaling(options, Console()):
        sys.exit(f"failed: {', '.join(failed)}; the same command runs them again")


def run_data_scaling(options: DataScalingOptions, console: Console) -> list[str]:
    """Run the experiments one by one; return the names of failed experiments.

    Raises:
        ValueError: the data set has too few training studies.
    """
    running = replace(options.running, results=options.running.work / "results") if options.quick else options.running
    available = len(load_studies(options.synthetic)["train"])
    if max(options.num_studies) > available:
        raise ValueError(
            f"--num-studies {max(options.num_studies)}: {options.synthetic} has only {available} training studies; "
            "make more (python -m data.prepare synthetic) or give smaller numbers"
        )
    return run_experiments([_experiment(options, name) for name in options.only or options.names], running, console)


def _experiment(options: DataScalingOptions, name: str) -> Experiment:
    number, encoder, decoder = options.names[name]
    flags = (f"--num-studies={number}", f"--repeats={max(options.num_studies) // number}")
    findings, text_only, reports = options.epochs
    full = Recipe(findings_epochs=findings, text_only_epochs=text_only, report_epochs=reports)
    recipe = replace(QUICK if options.quick else full, encoder=encoder, decoder=decoder, data_flags=flags)
    evaluation_flags = ("--controls", "shuffled", "nearest", f"--neighbor-pool={number}")
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
                flags=(*evaluation_flags, "--num-resamples=20") if options.quick else evaluation_flags,
            ),
        ),
    )


if __name__ == "__main__":
    run_main(main)
