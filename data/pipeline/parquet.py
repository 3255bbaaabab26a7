"""Write a prepared data set as Parquet files, for `train/finetune.py --stream` or for a hub.

    python -m data.pipeline.parquet --dataset prepared --out shards

The files have the names that `DatasetDict.push_to_hub` gives, and they contain the images. preparation.json is copied,
so that the training program knows how the images were preprocessed.
"""

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import tyro
from rich.progress import track

from data.cli import check_minimum, run_main
from data.study import PREPARATION_FILE, load_studies
from vlm.schema.atomic import atomic_folder


@dataclass(frozen=True, kw_only=True, slots=True)
class ParquetOptions:
    """Write a prepared data set as Parquet files."""

    dataset: Path
    """Data set from `python -m data.prepare`."""
    out: Path
    """New folder for the files."""
    max_file_mib: int = 500
    """Size of a file, at most about this."""
    rows_per_group: int = 100
    """Studies that are read at once. With --stream, more of them need more memory."""

    def __post_init__(self):
        check_minimum(self, max_file_mib=1, rows_per_group=1)


def main(argv: Sequence[str] | None = None) -> None:
    """Raises ValueError if --dataset is not a prepared data set, or if --out exists."""
    options = tyro.cli(ParquetOptions, args=argv, prog="python -m data.pipeline.parquet", description=__doc__)
    if options.out.exists():
        raise ValueError(f"--out {options.out} exists already; give a new folder")
    studies = load_studies(options.dataset)
    datasets.disable_progress_bars()
    with atomic_folder(options.out) as folder:
        for split, rows in studies.items():
            if len(rows):
                _write(folder, split, rows, options)
        if (options.dataset / PREPARATION_FILE).is_file():
            shutil.copy(options.dataset / PREPARATION_FILE, folder)
    print(f"{options.out}: {', '.join(f'{split} {len(rows):,}' for split, rows in studies.items())} studies")


def _write(folder: Path, split: str, rows: datasets.Dataset, options: ParquetOptions) -> None:
    num_files = min(len(rows), math.ceil(rows.data.nbytes / (options.max_file_mib * 2**20)))
    for number in track(range(num_files), f"writing {split}", transient=True):
        part = rows.shard(num_files, number, contiguous=True)
        name = f"{split}-{number:05d}-of-{num_files:05d}.parquet"
        part.to_parquet(folder / name, batch_size=options.rows_per_group)


if __name__ == "__main__":
    run_main(main)
