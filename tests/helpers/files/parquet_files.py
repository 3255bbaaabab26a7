"""Prepared data sets as small Parquet files."""

from pathlib import Path

from data.pipeline.parquet import main


def write_parquet(dataset: Path, folder: Path, *, rows_per_group: int = 3) -> Path:
    """Write a prepared data set to a new folder."""
    main([f"--dataset={dataset}", f"--out={folder}", f"--rows-per-group={rows_per_group}"])
    return folder
