"""Training in three steps, and upper controls that know the MeSH codes.

Each step is a run of train/finetune.py: findings, text from finding labels, reports from images. A finished step is not
repeated; a killed step is resumed.

An upper control gives each test study the report of the training study with the most similar codes. It knows what the
model has to recognize, so it is an upper bound for a model that copies reports: other content of a report is not
visible in a phantom. If several training studies are equally similar, it takes the most typical report: the one with
the highest mean CIDEr to the others.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
from rich.console import Console

from bench.experiment.attempts import RESUME, attempts_in, run_step
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
"""If more reports are equally similar, a random sample of this size is used."""


def code_items(codes: Codes) -> Items:
    """The codes and their headings, so that two codes with the same heading match by half."""
    return frozenset(item for code in codes for item in (code.lower(), code.lower().partition("/")[0]))


def drawn_items(codes: Codes) -> Items:
    """The drawn findings: each kind, and each kind with its side, zone and degree."""
    return frozenset(
        item
        for finding in scene_findings(codes)
        for item in (finding.kind, f"{finding.kind}/{finding.side}/{finding.zone}/{finding.degree}")
    )


UPPER_CONTROLS: dict[str, tuple[Callable[[Codes], Items], str]] = {
    "same codes": (code_items, "the most typical report of the training studies with the most similar MeSH codes"),
    "same drawn findings": (
        drawn_items,
        "the most typical report of the training studies with the most similar drawn findings",
    ),
}
"""Name -> items to compare, and description."""


def upper_controls(predictions: Sequence[Prediction], splits: datasets.DatasetDict) -> list[Control]:
    """The controls for the predicted test studies, made from training studies only."""
    codes_of = dict(zip(splits["test"]["study_id"], map(tuple, splits["test"]["mesh_terms"]), strict=True))
    pairs = zip(map(tuple, splits["train"]["mesh_terms"]), split_reports(splits, "train"), strict=True)
    training = [(codes, report) for codes, report in pairs if normalize_report(report)]
    typical = _Typical([report for _, report in training])
    controls = []
    for name, (items_of, _) in UPPER_CONTROLS.items():
        known = [items_of(codes) for codes, _ in training]
        chosen = {
            items: typical.of(_most_similar(items, known))
            for items in {items_of(codes_of[prediction.study_id]) for prediction in predictions}
        }
        reports = [chosen[items_of(codes_of[prediction.study_id])] for prediction in predictions]
        controls.append(Control(name=name, predictions=tuple(with_reports(predictions, reports))))
    return controls


def _most_similar(items: Items, known: Sequence[Items]) -> list[int]:
    """Indices of the sets with the largest Jaccard similarity; two empty sets are equal."""
    shares = [len(items & other) / len(items | other) if items | other else 1.0 for other in known]
    most = max(shares)
    return [position for position, share in enumerate(shares) if share == most]


class _Typical:
    """Finds the most typical report of a group; words are counted once for all groups."""

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
    """Training options; the defaults were chosen on the validation split."""

    init_from: str = SHIPPED_BASE
    """Checkpoint to start from, by default the shipped base; "" for random weights."""
    encoder: str = "cnn"
    """Encoder, for random weights."""
    decoder: str = "nano"
    """Decoder, for random weights."""
    vocab_size: int = 1500
    """Size of the vocabulary, for random weights."""
    image_size: int = 160
    """Side of the encoder's input in pixels, for random weights."""
    findings_epochs: int = 2
    """Epochs on findings; random weights need about 10."""
    extra_dataset: Path | None = None
    """Prepared data set of synthetic studies to add in the first step (findings) only."""
    text_only_epochs: int = 10
    """Epochs on text from finding labels, without images."""
    report_epochs: int = 2
    """Epochs of LoRA on reports from images."""
    learning_rate: float = 1e-3
    """Learning rate of the first two steps."""
    report_learning_rate: float = 5e-4
    """Learning rate of LoRA."""
    batch_size: int = 16
    max_new_tokens: int = 160
    """Maximum length of a report in tokens."""
    precision: str = "bf16"
    threads: int = 1
    """Number of threads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """The final checkpoint, and a description of its training."""

    checkpoint: Path
    recipe: str


def steps(options: TrainingOptions) -> dict[str, list[str]]:
    """The flags of each step, without those that all steps share."""
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
    """Run the steps that are not finished; their output goes to <work>/<step>.log.

    Raises:
        StepError: a step failed; the message has the end of its output.
        ValueError: a step was done with other flags.
    """
    checkpoint, descriptions = None, []
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
            *([RESUME] if (output / "training_config.json").is_file() else []),
        ]
        run_step(work, name, arguments, threads=options.threads)
        checkpoint = output / "best"
        seconds = sum(attempt.cpu_seconds for attempt in attempts_in(work) if attempt.step == name)
        descriptions.append(f"{name} ({' '.join(own)}): {seconds:.0f} CPU seconds")
    return Trained(checkpoint=checkpoint, recipe="; ".join(descriptions))
