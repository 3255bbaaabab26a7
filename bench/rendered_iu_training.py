"""Trains a report model on a prepared data set in three steps, each a run of train/finetune.py: to see the findings, to
write what it is told of them, to write what it sees. A finished step is not run again; one that was killed goes on.
"""

import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).parent.parent
GENTLE = (
    "--augmentation.max-rotation=7",
    "--augmentation.max-shift=0.05",
    "--augmentation.max-zoom=0.05",
    "--augmentation.max-shear=5",
)
FINISHED = "finished.json"
"""In the folder of a step that ran to its end: its flags, and the CPU seconds it took."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingOptions:
    """How the model is trained; chosen on the validation part of R2Gen's train."""

    start_from: str = ""
    """Checkpoint to begin with, such as the one that ships with the project; by default random weights."""
    encoder: str = "cnn"
    """Encoder that begins with random weights."""
    decoder: str = "nano"
    """Decoder that begins with random weights."""
    vocab_size: int = 1500
    """Tokens of the vocabulary trained on the reports."""
    image_size: int = 160
    """Side in pixels of what the encoder sees."""
    findings_epochs: int = 10
    """Epochs that teach to see."""
    extra_dataset: Path | None = None
    """Prepared made-up studies that are learned beside the real ones while it learns to see, and not after."""
    language_epochs: int = 12
    """Epochs that teach to write what is told."""
    report_epochs: int = 4
    """Epochs of LoRA that teach to write what is seen."""
    learning_rate: float = 2e-3
    """Of seeing and of writing; LoRA takes a quarter of it."""
    batch_size: int = 32
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
    """The flags of each step that are its own, without data set, folder and start."""
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
        "reports": [f"--learning-rate={options.learning_rate / 4}", f"--num-epochs={join}"],
    }


def train(options: TrainingOptions, dataset: Path, work: Path, *, seed: int, console: Console) -> Trained:
    """Runs the steps that are not finished yet.

    Raises:
        ValueError: the folder of a step holds one of other flags.
        RuntimeError: a step failed.
    """
    checkpoint, told = None, []
    for name, own in steps(options).items():
        folder = work / name
        flags = [
            *own,
            *([f"--start-from={checkpoint}"] if checkpoint else []),
            f"--dataset={dataset}",
            f"--output-dir={folder}",
            f"--batch-size={options.batch_size}",
            f"--max-new-tokens={options.max_new_tokens}",
            f"--precision={options.precision}",
            f"--seed={seed}",
            "--num-workers=0",
            *GENTLE,
        ]
        console.print(f"  {name}: {' '.join(own)}", highlight=False, soft_wrap=True)
        seconds = _finished(folder, flags)
        if seconds is None:
            resume = ["--resume"] if (folder / "training_config.json").is_file() else []
            seconds = run_program("train/finetune.py", *flags, *resume, threads=options.threads)
            finished = {"flags": flags, "cpu_seconds": round(seconds)}
            (folder / FINISHED).write_text(json.dumps(finished, indent=2) + "\n", encoding="utf-8")
        checkpoint = folder / "best"
        told.append(f"{name} ({' '.join(own)}): {seconds:.0f} CPU seconds")
    return Trained(checkpoint=checkpoint, recipe="; ".join(told))


def run_program(program: str, *flags: str, threads: int) -> float:
    """Runs a program of the project; the CPU seconds it took.

    Raises:
        RuntimeError: it failed; it has said why.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    outcome = subprocess.run([sys.executable, str(ROOT / program), *flags], env=environment, check=False)
    if outcome.returncode:
        raise RuntimeError(f"{program} failed, as it says above; the same command goes on once that is mended")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _finished(folder: Path, flags: list[str]) -> float | None:
    """The CPU seconds of a step that ran to its end; None where it is still to be run."""
    path = folder / FINISHED
    if not path.is_file():
        return None
    saved = json.loads(path.read_text(encoding="utf-8"))
    if saved["flags"] != flags:
        differing = sorted(set(saved["flags"]) ^ set(flags))
        raise ValueError(f"{folder} holds a run of other flags ({', '.join(differing)}); give another --work")
    return saved["cpu_seconds"]
