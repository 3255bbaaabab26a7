"""Trains a report model on a prepared data set in three steps, each a run of train/finetune.py: to see the findings, to
write what it is told of them, to write what it sees. A finished step is not run again; one that was killed goes on.
"""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench.attempts import GOES_ON, attempts_in, run_step
from bench.recipe import GENTLE

ROOT = Path(__file__).parent.parent
SHIPPED_BASE = "vlm/weights/tiny-base"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingOptions:
    """How the model is trained; chosen on the validation part of R2Gen's train."""

    start_from: str = SHIPPED_BASE
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
    """Prepared made-up studies that are learned beside the real ones while it learns to see, and not after."""
    language_epochs: int = 10
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
    if options.start_from:
        begin = [f"--start-from={options.start_from}"]
    else:
        begin = [
            f"--encoder={options.encoder}",
            f"--decoder={options.decoder}",
            f"--vocab-size={options.vocab_size}",
            f"--image-size={options.image_size}",
        ]
    if options.extra_dataset:
        begin.append(f"--extra-dataset={options.extra_dataset}")
    see, write, join = options.findings_epochs, options.language_epochs, options.report_epochs
    return {
        "seeing": [*begin, "--no-lora", fast, f"--num-epochs={see}", f"--findings-epochs={see}"],
        "writing": ["--no-lora", fast, f"--num-epochs={write}", f"--language-epochs={write}"],
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
            *([f"--start-from={checkpoint}"] if checkpoint else []),
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
