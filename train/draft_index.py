"""Add an n-gram index of the training reports to a checkpoint, so that it writes single reports faster.

    python -m train.draft_index --checkpoint runs/mine --dataset prepared

The reports stay the same (vlm.drafting). No other program writes an index, because it is made of training text: the
sequences of up to five tokens that at least five reports have. Leave it out, or delete drafts.safetensors, if the
license of the data does not let such an extract leave your site.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from data.cli import run_main
from data.study import load_studies
from vlm.checkpoint.store import find_checkpoint, load_checkpoint
from vlm.drafting import DRAFTS_FILE, build_draft_index, save_draft_index
from vlm.inputs.tokenizer import encode_report
from vlm.schema.report_format import reports_of

MAX_TOKENS = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class DraftIndexOptions:
    """Add an n-gram index of the training reports to a checkpoint."""

    checkpoint: Path
    """Checkpoint folder; the program adds one small file."""
    dataset: Path
    """The prepared data set of its training; only the train split is read."""


def main(argv: Sequence[str] | None = None) -> None:
    options = tyro.cli(DraftIndexOptions, args=argv, description=__doc__)
    folder = find_checkpoint(options.checkpoint)
    checkpoint = load_checkpoint(folder)
    if checkpoint.model.config.decoder.kind != "gpt2" or not checkpoint.model.config.writes_reports:
        raise ValueError(f"{folder} has no GPT-2 that writes reports; only such a checkpoint can use an index")
    studies = load_studies(options.dataset)
    if "train" not in studies:
        raise ValueError(f"{options.dataset} has no train split; name the data set of the training")
    reports = [report for report in reports_of(studies["train"]) if report]
    index = build_draft_index(encode_report(checkpoint.tokenizer, report, max_tokens=MAX_TOKENS) for report in reports)
    if not index.next_tokens:
        raise ValueError(f"{options.dataset}: no sequence of words is in enough of its {len(reports)} training reports")
    save_draft_index(folder, index)
    print(f"{folder / DRAFTS_FILE}: {len(index.next_tokens):,} entries from {len(reports):,} training reports")


if __name__ == "__main__":
    run_main(main)
