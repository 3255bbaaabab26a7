"""The Indiana benchmark (IU X-Ray, R2Gen's split): from the archive as downloaded to results beside published ones.

    make iu IU=FOLDER                                              (the recipe; ENCODER=FOLDER for a local ViT)
    python -m bench.iu --root FOLDER --encoder facebook/dinov2-small --work runs/iu
    python -m bench.iu … --only recipe lstm cnn                    (variants for the ablation table; "all": every one)
    python -m bench.iu … --quick                                   (a test of the program; its figures are meaningless)

`--root` holds Open-i's files as `data.prepare open_i` reads them, and R2Gen's annotation.json. Studies outside R2Gen's
split are added to train. The recipe pretrains a GPT-2 on the training reports and trains the finding queries on
features of the frozen ViT. Then the decoder learns to write what the labels say; it reads the classifier's decisions
when it writes. Training it on image features as well made it state fewer findings (docs/LOG.md).

Each variant is evaluated on full reports (findings and impression) with controls, and again on R2Gen's references
(findings only, R2Gen's normalization and vocabulary), which published figures use. It writes
docs/results/iu/<variant>.json; `python -m eval.report.results` makes a table of these files. Stop it with Ctrl-C or
kill; the same command resumes it. The archive is CC BY-NC-ND 4.0: share figures, but no weights and no reports.
"""

import json
import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import datasets
import numpy as np
import tyro
from rich.console import Console

from bench.experiment.attempts import exit_on_sigterm, run_step
from bench.experiment.experiment import PRETRAIN_TEXT, Evaluation, Experiment, Running, Stage, run_experiments
from data.cli import run_main
from data.sources.open_i_reports import read_annotation
from data.study import load_studies
from eval.report.benchmark import FULL_REPORTS, GROUP, R2GEN, RECIPE
from vlm.schema.atomic import atomic_folder, write_atomically
from vlm.schema.findings import is_lateral

ALL = "all"
FROM_SCRATCH = {"cnn": "cnn", "vit_scratch": "tiny"}
"""Classifiers with random weights: the name of the stage -> the built-in encoder."""
NUM_EPOCHS = {"text": 8, "probe": 10, "continued": 4, "findings": 2, "cnn": 14, "vit_scratch": 2, "reports": 7}
PROBE = ("--learning-rate=1e-3", "--batch-size=32")
"""Flags of the stage that trains finding queries on saved features."""
AUGMENTATION = (
    "--augmentation.max-rotation=7",
    "--augmentation.max-shift=0.05",
    "--augmentation.max-zoom=0.1",
    "--augmentation.max-shear=5",
    "--augmentation.max-brightness=0.1",
    "--augmentation.max-contrast=0.2",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """The recipe, or the recipe with one choice replaced."""

    description: str
    classifier: str = "probe"
    """Its last stage: probe (the ViT stays frozen), findings (it is fine-tuned too) or one of FROM_SCRATCH."""
    decoder: str = ""
    """A built-in decoder instead of the pretrained GPT-2."""
    from_images: bool = False
    """The decoder learns from image features, not from the labels alone."""
    finding_tokens: bool = True
    is_frontal: bool = False
    """Without lateral views, in training and evaluation."""
    start: str = ""
    """A report model that is trained further, with its ViT and its decoder, instead of a pretrained ViT and GPT-2."""
    percent: int = 100
    """Share of the training studies, of NIH's too. With fewer studies there are more epochs: with a quarter, twice as
    many."""

    @property
    def suffix(self) -> str:
        """The end of the names of its stages and data sets, which it shares only with variants of the same studies."""
        return "_frontal" * self.is_frontal + f"_{self.percent}" * (self.percent < 100)

    def stages(self, *, quick: bool, nih: bool, encoder_layers: int) -> tuple[Stage, ...]:
        """`nih`: the classifier also learns from NIH's labels. `quick`: one epoch per stage."""
        if self.start:
            extra = ("--extra-dataset={nih}",) if nih else ()
            flags = (f"--init-from={self.start}", "--feature-cache={features}", *PROBE, *extra)
            classifier = self._shared_stage("continued", flags, quick, is_classifier=True)
            return (classifier, Stage(name="reports", flags=self._reports(quick)))
        flags = ("--decoder=tiny", "--vocab-size=1500", "--batch-size=32")
        text = self._shared_stage("text", flags, quick, program=PRETRAIN_TEXT)
        pretrained = f"--decoder={{{text.name}}}"
        extra = (pretrained, "--pool=4", "--linear-probe", *(("--extra-dataset={nih}",) if nih else ()))
        layers = (f"--encoder-layers={encoder_layers}",) if encoder_layers else ()
        classifier = self._classifier_stages(quick, extra, layers)
        decoder = f"--decoder={self.decoder}" if self.decoder else pretrained
        flags = (f"--encoder={{{classifier[-1].name}}}", decoder, "--pool=4", *self._reports(quick))
        return (text, *classifier, Stage(name="reports", flags=flags, starts_from_previous=False))

    def _reports(self, quick: bool) -> tuple[str, ...]:
        """Flags of the last stage, which trains the decoder."""
        epochs = self._num_epochs("reports", quick)
        return (
            "--no-lora",
            "--freeze-after-findings",
            "--decide-findings",
            "--feature-cache={features}",
            f"--learning-rate={3e-4 if self.from_images else 1.5e-3}",
            f"--text-only-epochs={0 if self.from_images else epochs}",
            f"--num-epochs={epochs}",
            f"--num-validation-reports={4 if quick else 400}",
            *(() if self.finding_tokens else ("--no-finding-tokens",)),
        )

    def _classifier_stages(self, quick: bool, extra: tuple[str, ...], layers: tuple[str, ...]) -> list[Stage]:
        """The stages that train encoder and finding queries; variants share them."""
        size = ("--image-size=56",) if quick else ()
        if self.classifier in FROM_SCRATCH:
            flags = (f"--encoder={FROM_SCRATCH[self.classifier]}", "--no-lora", "--learning-rate=1e-3")
            flags = (*flags, *size, *AUGMENTATION, *extra)
            return [self._shared_stage(self.classifier, flags, quick, is_classifier=True)]
        frozen = ("--encoder={vit}", "--feature-cache={features}", *PROBE)
        stages = [self._shared_stage("probe", (*frozen, *layers, *size, *extra), quick, is_classifier=True)]
        if self.classifier != "probe":
            trained = (f"--encoder={{{stages[0].name}}}", "--no-lora", "--learning-rate=3e-4")
            flags = (*trained, "--encoder-learning-rate=3e-5", *AUGMENTATION, *extra)
            stages.append(self._shared_stage("findings", flags, quick, is_classifier=True))
        return stages

    def _shared_stage(
        self, name: str, flags: tuple[str, ...], quick: bool, *, is_classifier: bool = False, **settings
    ) -> Stage:
        number = self._num_epochs(name, quick)
        epochs = (f"--num-epochs={number}", *((f"--findings-epochs={number}",) if is_classifier else ()))
        return Stage(
            name=name + self.suffix, flags=(*flags, *epochs), starts_from_previous=False, is_shared=True, **settings
        )

    def _num_epochs(self, stage: str, quick: bool) -> int:
        return 1 if quick else round(NUM_EPOCHS[stage] * (self.percent / 100) ** -0.5)


VARIANTS = {
    RECIPE: Variant(description="pretrained ViT, frozen; finding queries; GPT-2 pretrained on the reports"),
    "fine_tuned": Variant(description="the ViT is fine-tuned on findings too", classifier="findings"),
    "cnn": Variant(description="CNN from random weights instead of the ViT", classifier="cnn"),
    "vit_scratch": Variant(
        description="ViT-Ti/16 from random weights, two epochs with augmentation", classifier="vit_scratch"
    ),
    "lstm": Variant(description="LSTM instead of GPT-2", decoder="lstm"),
    "no_pretraining": Variant(description="GPT-2 from random weights", decoder="tiny"),
    "from_images": Variant(description="the decoder is trained on image features", from_images=True),
    "no_finding_tokens": Variant(
        description="like from_images, without finding tokens for the decoder", from_images=True, finding_tokens=False
    ),
    "from_cxrscribe_tiny": Variant(
        description="starts from the weights that ship, ViT and GPT-2, instead of pretrained ones",
        start="cxrscribe-tiny",
    ),
    "no_lateral": Variant(description="frontal views only, in training and evaluation", is_frontal=True),
    "30_percent": Variant(description="30 % of the training studies, with 1.8 times the epochs", percent=30),
    "10_percent": Variant(description="10 % of the training studies, with 3.2 times the epochs", percent=10),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class IUOptions:
    """Train and evaluate on the Indiana benchmark."""

    root: Path
    """Folder with Open-i's files, as downloaded."""
    annotation: Path | None = None
    """R2Gen's annotation.json; by default the one in --root."""
    encoder: str = "facebook/dinov2-small"
    """Pretrained ViT: a folder, or a hub id if HF_HUB_OFFLINE is 0."""
    encoder_layers: int = 6
    """Number of layers of this ViT to use, from the first; 0: all. The first half is better (docs/LOG.md)."""
    nih: Path | None = None
    """Folder with NIH ChestX-ray14; the classifier then learns from its labels too."""
    only: tuple[str, ...] = (RECIPE,)
    """Variants to run; "all" runs every one."""
    split: Literal["test", "validation"] = "test"
    """Split to evaluate. Choose settings on validation; its results go to the folder results in --work."""
    running: tyro.conf.OmitArgPrefixes[Running]
    quick: bool = False
    """Use one epoch per stage and small images; results go to the folder results in --work."""

    def __post_init__(self):
        for name in self.only:
            if name not in (*VARIANTS, ALL):
                raise ValueError(f"--only {name} is not a variant; choose from {', '.join(VARIANTS)}, {ALL}")
        if not self.annotation_file.is_file():
            raise ValueError(f"{self.annotation_file} is missing; give R2Gen's annotation.json as --annotation")

    @property
    def annotation_file(self) -> Path:
        return self.annotation or self.root / "annotation.json"


def main(argv: list[str] | None = None) -> None:
    options = tyro.cli(IUOptions, args=argv, prog="python -m bench.iu", description=__doc__)
    exit_on_sigterm()
    if failed := run_iu(options, Console()):
        sys.exit(f"failed: {', '.join(failed)}; the same command runs them again")


def run_iu(options: IUOptions, console: Console) -> list[str]:
    """Prepare the data, run the variants one by one; return the names of failed variants."""
    running = options.running
    if options.quick or options.split != "test":
        running = replace(running, results=running.work / "results")
    names = [*VARIANTS] if ALL in options.only else options.only
    studies = _prepare(options, running)
    split = options.split if len(load_studies(studies).get("test", ())) else "validation"
    if split != options.split:
        console.print("[yellow]Note:[/] the archive has no test studies; the figures are of the validation split.")
    references = running.work / "r2gen_references.jsonl"
    write_references(options.annotation_file, references)
    experiments = [_experiment(options, running, name, studies, split, references) for name in names]
    return run_experiments(experiments, running, console)


def _prepare(options: IUOptions, running: Running) -> Path:
    """Prepare the data sets that are missing; return the folder of the benchmark's studies."""
    studies, annotation = running.work / "studies", options.annotation_file
    sources = {"studies": ("open_i", f"--root={options.root}", f"--annotation={annotation}", "--unlisted=train")}
    if options.nih is not None:
        sources["nih"] = ("nih", f"--root={options.nih}")
    for name, arguments in sources.items():
        arguments = ["-m", "data.prepare", *arguments, f"--out={running.work / name}"]
        run_step(running.work, f"prepare {name}", arguments, threads=running.threads)
    return studies


def write_references(annotation: Path, path: Path) -> None:
    """R2Gen's reports by the study ids of `data.prepare open_i`, with their split."""
    rows = [
        {"study_id": f"CXR{number}", "report": study.report, "split": study.split}
        for number, study in read_annotation(annotation).items()
    ]
    write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows))


def _variant_studies(studies: Path, variant: Variant) -> Path:
    """The studies of a variant: the data set itself, or a copy without lateral views or with fewer training studies. A
    study without a frontal view is left out; a smaller sample is part of a larger one."""
    output = studies.with_name(studies.name + variant.suffix)
    if not output.is_dir():
        splits = {split: rows for split, rows in load_studies(studies).items() if len(rows)}  # others cannot be saved
        if variant.is_frontal:
            splits = {split: _frontal_rows(rows) for split, rows in splits.items()}
        if variant.percent < 100:
            numbers = np.random.default_rng(0).permutation(len(splits["train"]))
            kept = numbers[: math.ceil(len(numbers) * variant.percent / 100)]
            splits["train"] = splits["train"].select(sorted(kept))
        with atomic_folder(output) as partial:
            datasets.DatasetDict(splits).save_to_disk(str(partial))
            for file in studies.glob("*.json*"):
                if file.name != "dataset_dict.json":
                    (partial / file.name).write_bytes(file.read_bytes())
    return output


def _frontal_rows(rows: datasets.Dataset) -> datasets.Dataset:
    def keep(row: dict) -> dict:
        kept = [view for view, position in enumerate(row["view_positions"]) if not is_lateral(position)]
        return {name: [row[name][view] for view in kept] for name in ("images", "view_positions")}

    return rows.map(keep, features=rows.features).filter(bool, input_columns="view_positions")


def _experiment(
    options: IUOptions, running: Running, name: str, studies: Path, split: str, references: Path
) -> Experiment:
    variant = VARIANTS[name]
    studies = _variant_studies(studies, variant)
    nih = running.work / "nih"
    if options.nih is not None and variant.percent < 100:
        nih = _variant_studies(nih, variant)
    resampling = ("--num-resamples=20",) if options.quick else ()
    vocabulary = (f"--reference-vocabulary={references}", "--reference-vocabulary-split=train")
    return Experiment(
        group=GROUP,
        name=name,
        description=variant.description,
        about={"nih": "yes" if options.nih else "no"},
        dataset=studies,
        paths={"vit": options.encoder, "features": running.work / "features", "nih": nih},
        stages=variant.stages(quick=options.quick, nih=options.nih is not None, encoder_layers=options.encoder_layers),
        evaluations=(
            Evaluation(
                name=FULL_REPORTS,
                dataset=studies,
                split=split,
                flags=("--controls", "shuffled", "nearest", "constant", "frequent", "random", *resampling),
            ),
            Evaluation(
                name=R2GEN,
                dataset=studies,
                split=split,
                references=references,
                flags=("--report-column=findings", "--normalization=r2gen", *vocabulary, *resampling),
            ),
        ),
    )


if __name__ == "__main__":
    run_main(main)
