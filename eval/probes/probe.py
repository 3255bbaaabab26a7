"""What the probe programs share: options, the run, and the description of the run in the saved result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import datasets
from rich.console import Console

from data.cli import check_minimum
from data.study import load_studies
from eval.metrics.bootstrap import NUM_RESAMPLES
from eval.predictions.processes import Track, progress
from eval.probes.prompts import check_statements
from vlm.checkpoint.store import SHIPPED, checkpoint_hash, model_line
from vlm.generator import ReportGenerator
from vlm.schema.atomic import write_json


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointOptions:
    """Options of all probes of a checkpoint on a data set."""

    checkpoint: str = SHIPPED
    """Checkpoint folder or Hugging Face hub id; by default the checkpoint that ships with the project."""
    dataset: Path
    """Prepared data set, as written by `python -m data.prepare`."""
    num_resamples: int = NUM_RESAMPLES
    """Bootstrap resamples for the intervals."""
    seed: int = 0
    """Random seed of the bootstrap and of the shuffled images."""
    output: Path | None = None
    """JSON file for the result and the score of every study."""

    def __post_init__(self):
        check_minimum(self, num_resamples=1)

    def description(self, split: str) -> dict[str, Any]:
        """What was probed, ready for JSON."""
        return {
            "checkpoint": self.checkpoint,
            "checkpoint_hash": checkpoint_hash(self.checkpoint),
            "dataset": str(self.dataset),
            "split": split,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeOptions(CheckpointOptions):
    """Options of the two probes of statements."""

    statements: tuple[str, str]
    """The two statements in the words of the reports; case is ignored."""

    def __post_init__(self):
        CheckpointOptions.__post_init__(self)
        check_statements(self.statements)

    def description(self, split: str) -> dict[str, Any]:
        """What was probed, ready for JSON."""
        return {"statements": list(self.statements), **CheckpointOptions.description(self, split)}


Options = TypeVar("Options", bound=CheckpointOptions)


def run_probe(
    config: Options,
    probe: Callable[[Options, ReportGenerator, datasets.DatasetDict, Track], dict[str, Any]],
    lines_of: Callable[[Mapping[str, Any]], Sequence[str]],
) -> None:
    """Load the model, run the probe, save its result and print it."""
    console = Console()
    console.print(model_line(config.checkpoint), highlight=False, soft_wrap=True)
    datasets.disable_progress_bars()
    splits = load_studies(config.dataset)  # a wrong path must fail before the model is loaded
    generator = ReportGenerator.from_pretrained(config.checkpoint)
    with progress(console) as track:
        document = probe(config, generator, splits, track)
    if config.output is not None:
        write_json(config.output, document)
    for line in lines_of(document):
        console.print(line, highlight=False)
