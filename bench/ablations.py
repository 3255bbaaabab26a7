"""What each choice of the design is worth: the recipe, and it with one choice replaced, trained and judged alike.

    python -m bench.ablations --synthetic runs/synthetic --pneumonia runs/kermany --work runs/ablations
    python -m bench.ablations … --only full lstm                     (others later; what is done is not done again)
    python -m bench.ablations … --encoder runs/mae                   (folder of train/pretrain.py images: adds vit_mae)
    python -m bench.ablations … --quick                              (to see that all of it runs; figures mean nothing)

Writes docs/results/ablations/<variant>.json, with the paired difference to the full recipe; `python -m
eval.report.results`
makes the table of them. Stop it by Ctrl-C or kill; the same command goes on.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import tyro
from rich.console import Console

from bench.experiment.attempts import StepError, run_step, stop_when_told
from bench.experiment.experiment import Evaluation, Experiment, Running, run_experiment
from bench.experiment.recipe import Recipe, add_differences
from data.cli import run_main

GROUP, FULL = "ablations", "full"
QUICK = Recipe(image_size=64, vocab_size=300, findings_epochs=1, text_only_epochs=1, num_validation_reports=4)
OF_A_VIT = {"encoder_learning_rate": 1e-3}
"""The CNN's rate is too high for a ViT; this is what docs/LOG.md found to be best for one."""
NUM_QUICK_STUDIES, NUM_QUICK_TEST_STUDIES = 60, 12


def variants(recipe: Recipe, encoder: str | None) -> dict[str, tuple[str, Recipe]]:
    """By name: what it is in words, and its recipe. A random decoder or an LSTM cannot have LoRA: compare those with
    no_lora."""
    written = {
        FULL: ("the recipe: CNN, finding queries, GPT-2 with LoRA after language epochs", recipe),
        "no_lora": ("reports learned with all weights", replace(recipe, lora=False)),
        "lstm": ("LSTM instead of GPT-2, all weights", replace(recipe, decoder="lstm-nano", lora=False)),
        "no_language": (
            "no language epochs: the decoder learns from images alone, all weights",
            replace(recipe, text_only_epochs=0, lora=False),
        ),
        "no_finding_tokens": ("the decoder is not told of the findings", replace(recipe, finding_tokens=False)),
        "resnet": ("ResNet instead of the CNN", replace(recipe, encoder="resnet")),
        "vit": ("ViT-Ti/16 from nothing instead of the CNN", replace(recipe, encoder="tiny", **OF_A_VIT)),
    }
    if encoder is not None:
        written["vit_mae"] = ("ViT pretrained as a masked autoencoder", replace(recipe, encoder=encoder, **OF_A_VIT))
    return written


@dataclass(frozen=True, kw_only=True, slots=True)
class AblationOptions:
    """Train and judge the variants."""

    synthetic: Path
    """Prepared data set of synthetic studies."""
    pneumonia: Path | None = None
    """Prepared data set of `data.prepare kermany`, learned and judged beside it; none: synthetic studies alone."""
    running: tyro.conf.OmitArgPrefixes[Running]
    encoder: str | None = None
    """Folder of a pretrained ViT (train/pretrain.py images); adds the variant vit_mae."""
    only: tuple[str, ...] = ()
    """Variants to run; by default all."""
    num_studies: int = 4000
    """Synthetic studies that are learned."""
    num_pneumonia: int = 1500
    """Pneumonia X-rays that are learned beside them."""
    num_test_studies: int = 400
    """Synthetic studies that are judged on; of the pneumonia X-rays the whole test split is."""
    quick: bool = False
    """A few studies at 64 pixels and one epoch each, into the folder results of --work."""

    def __post_init__(self):
        known = variants(Recipe(), self.encoder)
        for name in self.only:
            if name not in known:
                hint = "; vit_mae needs --encoder" if name == "vit_mae" else ""
                raise ValueError(f"--only {name} is no variant; choose among {', '.join(known)}{hint}")


def main(argv: list[str] | None = None) -> None:
    options = tyro.cli(AblationOptions, args=argv, prog="python -m bench.ablations", description=__doc__)
    stop_when_told()
    if failed := run_ablations(options, Console()):
        sys.exit(f"failed: {', '.join(failed)}; the same command tries them again")


def run_ablations(options: AblationOptions, console: Console) -> list[str]:
    """Runs one variant after the other; returns the names of those that failed."""
    running = options.running
    if options.quick:
        running = replace(running, results=running.work / "results")
    dataset, data_flags = _data(options, running)
    recipe = replace(QUICK if options.quick else Recipe(), data_flags=data_flags)
    failed, records = [], []
    for name, (description, varied) in variants(recipe, options.encoder).items():
        if options.only and name not in options.only:
            continue
        experiment = Experiment(
            group=GROUP,
            name=name,
            description=description,
            dataset=dataset,
            stages=varied.stages(),
            evaluations=_evaluations(options),
        )
        try:
            run_experiment(experiment, running, lambda line: console.print(line, highlight=False))
            records.append(running.record(experiment))
        except StepError as error:
            console.print(f"[red]{name}:[/] {error}", highlight=False)
            failed.append(name)
    add_differences(records, running.work, FULL)
    return failed


def _data(options: AblationOptions, running: Running) -> tuple[Path, tuple[str, ...]]:
    """The data set to learn, and the flags that choose from it."""
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
