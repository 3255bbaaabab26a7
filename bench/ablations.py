"""Ablations: the full recipe, and variants with one choice replaced, trained and evaluated in the same way.

    python -m bench.ablations --synthetic runs/synthetic --pneumonia runs/kermany --work runs/ablations
    python -m bench.ablations … --only full lstm           (run the others later; finished variants are not repeated)
    python -m bench.ablations … --encoder runs/mae         (folder of train/pretrain.py images: adds vit_mae)
    python -m bench.ablations … --quick                    (a test of the program; its figures are meaningless)

Writes docs/results/ablations/<variant>.json, with the paired difference to the full recipe; `python -m
eval.report.results` makes a table of these files. Stop it with Ctrl-C or kill; the same command resumes it.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import tyro
from rich.console import Console

from bench.experiment.attempts import exit_on_sigterm, run_step
from bench.experiment.experiment import Evaluation, Experiment, Running, run_experiments
from bench.experiment.recipe import QUICK, Recipe, add_differences
from data.cli import run_main

GROUP, FULL = "ablations", "full"
VIT_SETTINGS = {"encoder_learning_rate": 1e-3}
"""The learning rate of the CNN is too high for a ViT; this one was the best in docs/LOG.md."""
NUM_QUICK_STUDIES, NUM_QUICK_TEST_STUDIES = 60, 12


def variants(recipe: Recipe, encoder: str | None) -> dict[str, tuple[str, Recipe]]:
    """Name -> description and recipe. A decoder with random weights or an LSTM cannot have LoRA: compare these with
    no_lora."""
    found = {
        FULL: ("the recipe: CNN, finding queries, GPT-2 with LoRA after text-only epochs", recipe),
        "no_lora": ("all weights trained on the reports", replace(recipe, lora=False)),
        "lstm": ("LSTM instead of GPT-2, all weights", replace(recipe, decoder="lstm-nano", lora=False)),
        "no_language": (
            "no text-only epochs: the decoder learns only from images, all weights",
            replace(recipe, text_only_epochs=0, lora=False),
        ),
        "no_finding_tokens": ("no finding tokens for the decoder", replace(recipe, finding_tokens=False)),
        "resnet": ("ResNet instead of the CNN", replace(recipe, encoder="resnet")),
        "vit": ("ViT-Ti/16 from scratch instead of the CNN", replace(recipe, encoder="tiny", **VIT_SETTINGS)),
    }
    if encoder is not None:
        recipe = replace(recipe, encoder=encoder, **VIT_SETTINGS)
        found["vit_mae"] = ("ViT pretrained as a masked autoencoder", recipe)
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class AblationOptions:
    """Train and evaluate the variants."""

    synthetic: Path
    """Prepared data set of synthetic studies."""
    pneumonia: Path | None = None
    """Prepared data set of `data.prepare kermany`, also for training and evaluation; by default none."""
    running: tyro.conf.OmitArgPrefixes[Running]
    encoder: str | None = None
    """Folder of a pretrained ViT from train/pretrain.py images; adds the variant vit_mae."""
    only: tuple[str, ...] = ()
    """Variants to run; by default all."""
    num_studies: int = 4000
    """Number of synthetic studies for training."""
    num_pneumonia: int = 1500
    """Number of pneumonia X-rays for training."""
    num_test_studies: int = 400
    """Number of synthetic test studies; all pneumonia X-rays of the test split are used."""
    quick: bool = False
    """Use a few studies of 64 pixels and one epoch each; results go to the folder results in --work."""

    def __post_init__(self):
        known = variants(Recipe(), self.encoder)
        for name in self.only:
            if name not in known:
                hint = "; vit_mae needs --encoder" if name == "vit_mae" else ""
                raise ValueError(f"--only {name} is not a variant; choose from {', '.join(known)}{hint}")


def main(argv: list[str] | None = None) -> None:
    options = tyro.cli(AblationOptions, args=argv, prog="python -m bench.ablations", description=__doc__)
    exit_on_sigterm()
    if failed := run_ablations(options, Console()):
        sys.exit(f"failed: {', '.join(failed)}; the same command runs them again")


def run_ablations(options: AblationOptions, console: Console) -> list[str]:
    """Run the variants one by one; return the names of failed variants."""
    running = options.running
    if options.quick:
        running = replace(running, results=running.work / "results")
    dataset, data_flags = _data(options, running)
    recipe = replace(QUICK if options.quick else Recipe(), data_flags=data_flags)
    experiments = [
        Experiment(
            group=GROUP,
            name=name,
            description=description,
            dataset=dataset,
            stages=varied.stages(),
            evaluations=_evaluations(options),
        )
        for name, (description, varied) in variants(recipe, options.encoder).items()
        if not options.only or name in options.only
    ]
    failed = run_experiments(experiments, running, console)
    finished = [experiment for experiment in experiments if experiment.name not in failed]
    add_differences([running.record(experiment) for experiment in finished], running.work, FULL)
    return failed


def _data(options: AblationOptions, running: Running) -> tuple[Path, tuple[str, ...]]:
    """The training data set, and the flags that select studies from it."""
    number = NUM_QUICK_STUDIES if options.quick else options.num_studies
    if options.pneumonia is None:
        return options.synthetic, (f"--num-studies={number}",)
    joined = running.work / "studies"
    parts = [str(options.synthetic), str(options.pneumonia)]
    take = [str(number), str(number if options.quick else options.num_pneumonia)]
    arguments = ["-m", "data.join", "--datasets", *parts, "--take-train", *take, f"--out={joined}"]
    run_step(running.work, "join", arguments, threads=running.threads)
    return joined, ()


def _evaluations(options: AblationOptions) -> tuple[Evaluation, ...]:
    quick = ("--num-resamples=20",) if options.quick else ()
    flags = ("--controls", "shuffled", "constant", *quick)
    number = NUM_QUICK_TEST_STUDIES if options.quick else options.num_test_studies
    synthetic = Evaluation(name="synthetic", dataset=options.synthetic, num_studies=number, flags=flags)
    if options.pneumonia is None:
        return (synthetic,)
    number = NUM_QUICK_TEST_STUDIES if options.quick else 0
    return synthetic, Evaluation(name="pneumonia", dataset=options.pneumonia, num_studies=number, flags=flags)


if __name__ == "__main__":
    run_main(main)
