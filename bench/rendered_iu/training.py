"""Trains a report model on a prepared data set in three steps, each a run of train/finetune.py: to see the findings, to
write what it is told of them, to write what it sees. A finished step is not run again; one that was killed goes on.

How far codes alone lead: each study gets the report of a training study with the same codes, or the most alike ones.

These controls are told what the model has to see, so they stand above a perfect reader who copies: what a report says
beyond its codes cannot be known from a phantom. Of several training studies that are equally alike the most typical
report is taken, the one nearest to the others by CIDEr, since any of them could be meant.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
from rich.console import Console

from bench.experiment.attempts import GOES_ON, attempts_in, run_step
from bench.experiment.recipe import GENTLE
from bench.rendered_iu.codes import scene_findings
from eval.controls.control import Control, with_reports
from eval.controls.text import split_reports
from eval.metrics.cider import CiderReferences
from eval.metrics.normalization import normalize_report
from eval.predictions.prediction import Prediction

Codes = tuple[str, ...]
Items = frozenset[str]
MAX_CANDIDATES = 100
"""Of more equally alike reports so many are drawn by lot."""


def code_items(codes: Codes) -> Items:
    """A study's codes, each also by its heading alone, so that a like code counts for half."""
    return frozenset(item for code in codes for item in (code.lower(), code.lower().partition("/")[0]))


def drawn_items(codes: Codes) -> Items:
    """What the phantom shows: each kind, and each kind with its side, zone and degree."""
    return frozenset(
        item
        for finding in scene_findings(codes)
        for item in (finding.kind, f"{finding.kind}/{finding.side}/{finding.zone}/{finding.degree}")
    )


UPPER_CONTROLS: dict[str, tuple[Callable[[Codes], Items], str]] = {
    "same codes": (code_items, "the most typical report of the training studies whose MeSH codes are most alike"),
    "same drawn findings": (
        drawn_items,
        "the most typical report of the training studies whose phantoms show most alike findings",
    ),
}
"""Name -> what is compared, and what the control is in words."""


def upper_controls(predictions: Sequence[Prediction], splits: datasets.DatasetDict) -> list[Control]:
    """The controls for the test studies predicted, from the training studies alone."""
    codes_of = dict(zip(splits["test"]["study_id"], map(tuple, splits["test"]["mesh_terms"]), strict=True))
    pairs = zip(map(tuple, splits["train"]["mesh_terms"]), split_reports(splits, "train"), strict=True)
    training = [(codes, report) for codes, report in pairs if normalize_report(report)]
    typical = _Typical([report for _, report in training])
    controls = []
    for name, (items_of, _) in UPPER_CONTROLS.items():
        known = [items_of(codes) for codes, _ in training]
        chosen = {
            items: typical.of(_most_alike(items, known))
            for items in {items_of(codes_of[prediction.study_id]) for prediction in predictions}
        }
        reports = [chosen[items_of(codes_of[prediction.study_id])] for prediction in predictions]
        controls.append(Control(name=name, predictions=tuple(with_reports(predictions, reports))))
    return controls


def _most_alike(items: Items, known: Sequence[Items]) -> list[int]:
    """Positions of the sets with the largest overlap by Jaccard; two empty sets are the same."""
    shares = [len(items & other) / len(items | other) if items | other else 1.0 for other in known]
    most = max(shares)
    return [position for position, share in enumerate(shares) if share == most]


class _Typical:
    """Reports, counted once, of which the most typical of any group can be asked for."""

    def __init__(self, reports: Sequence[str]):
        self._reports = reports
        self._words = [normalize_report(report).split() for report in reports]
        self._corpus = CiderReferences(self._words)

    def of(self, group: Sequence[int]) -> str:
        candidates = group if len(group) <= MAX_CANDIDATES else random.Random(0).sample(group, MAX_CANDIDATES)
        if len(candidates) == 1:
            return self._reports[candidates[0]]
        best = max(candidates, key=lambda number: self._corpus.score_against_all(self._words[number])[group].mean())
        return self._reports[best]


ROOT = Path(__file__).parents[2]
SHIPPED_BASE = "vlm/weights/tiny-base"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingOptions:
    """How the model is trained; chosen on the validation part of R2Gen's train."""

    init_from: str = SHIPPED_BASE
    """Checkpoint to begin with, by default the base that ships with the project; "" for random weights."""
    encoder: str = "cnn"
    """Encoder, where it begins with random weights."""
    decoder: str = "nano"
    """Decoder, where it begins with random weights."""
    vocab_size: int = 1500
    """Tokens of the vocabulary trained on the reports, where weights are random."""
    image_size: int = 160
    """Side in pixels of what the encoder sees, where weights are random."""
    findings_epochs: int = 2
    """Epochs that teach to see; from random weights 10 are not too many."""
    extra_dataset: Path | None = None
    """Prepared synthetic studies that are learned beside the real ones while it learns to see, and not after."""
    text_only_epochs: int = 10
    """Epochs that teach to write what is told."""
    report_epochs: int = 2
    """Epochs of LoRA that teach to write what is seen."""
    learning_rate: float = 1e-3
    """Of seeing and of writing."""
    report_learning_rate: float = 5e-4
    """Of LoRA."""
    batch_size: int = 16
    max_new_tokens: int = 160
    """Longest report written, in tokens."""
    precision: str = "bf16"
    threads: int = 1
    """Threads that compute."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """The checkpoint at the end, and how it came about in words."""

    checkpoint: Path
    recipe: str


def steps(options: TrainingOptions) -> dict[str, list[str]]:
    """The flags of each step that are its own, without data set, folder and, but for the first, start."""
    fast = f"--learning-rate={options.learning_rate}"
    if options.init_from:
        begin = [f"--init-from={options.init_from}"]
    else:
        begin = [
            f"--encoder={options.encoder}",
            f"--decoder={options.decoder}",
            f"--vocab-size={options.vocab_size}",
            f"--image-size={options.image_size}",
        ]
    if options.extra_dataset:
        begin.append(f"--extra-dataset={options.extra_dataset}")
    see, write, join = options.findings_epochs, options.text_only_epochs, options.report_epochs
    return {
        "seeing": [*begin, "--no-lora", fast, f"--num-epochs={see}", f"--findings-epochs={see}"],
        "writing": ["--no-lora", fast, f"--num-epochs={write}", f"--text-only-epochs={write}"],
        "reports": [
            "--lora-settings.dropout=0",
            f"--learning-rate={options.report_learning_rate}",
            f"--num-epochs={join}",
        ],
    }


def train(options: TrainingOptions, dataset: Path, work: Path, *, seed: int, console: Console) -> Trained:
    """Runs the steps that are not finished yet; what each prints goes to <work>/<step>.log.

    Raises:
        StepError: a step failed; with the end of what it printed.
        ValueError: a step was done with other flags.
    """
    checkpoint, told = None, []
    for name, own in steps(options).items():
        output = work / name
        console.print(f"  {name} ({work / name}.log): {' '.join(own)}", highlight=False, soft_wrap=True)
        arguments = [
            str(ROOT / "train" / "finetune.py"),
            *own,
            *([f"--init-from={checkpoint}"] if checkpoint else []),
            f"--dataset={dataset}",
            f"--output-dir={output}",
            f"--batch-size={options.batch_size}",
            f"--max-new-tokens={options.max_new_tokens}",
            f"--precision={options.precision}",
            f"--seed={seed}",
            "--num-workers=0",
            *GENTLE,
            *([GOES_ON] if (output / "training_config.json").is_file() else []),
        ]
        run_step(work, name, arguments, threads=options.threads)
        checkpoint = output / "best"
        seconds = sum(attempt.cpu_seconds for attempt in attempts_in(work) if attempt.step == name)
        told.append(f"{name} ({' '.join(own)}): {seconds:.0f} CPU seconds")
    return Trained(checkpoint=checkpoint, recipe="; ".join(told))
