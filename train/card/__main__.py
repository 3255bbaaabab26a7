"""Write the model card of a finished run again.

    python -m train.card --run runs/mine

train/finetune.py writes it at its end; this program is for older runs.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from data.cli import run_main
from train.card.card import write_report_card
from train.options import FinetuneOptions, read_options
from train.studies.select import load_run_studies
from vlm.checkpoint.provenance import PROVENANCE_FILE


@dataclass(frozen=True, kw_only=True, slots=True)
class CardOptions:
    """Write the model card of a finished run again."""

    run: Path
    """Output folder of train/finetune.py. Its data set and the checkpoint it started from must still exist."""


def main(argv: Sequence[str] | None = None) -> None:
    folder = tyro.cli(CardOptions, args=argv, description=__doc__).run
    options = read_options(folder / "training_config.json", FinetuneOptions)
    write_report_card(folder, options, load_run_studies(options).splits)
    if (folder / "merged").is_dir():
        for name in ("README.md", PROVENANCE_FILE, "training_config.json"):
            shutil.copy(folder / "best" / name, folder / "merged" / name)
    print(f"wrote {folder / 'best' / 'README.md'} and {PROVENANCE_FILE}")


if __name__ == "__main__":
    run_main(main)
