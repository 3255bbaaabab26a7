"""How many lateral and frontal views does the check of the view find, and how many does it mistake?

    python -m eval.probes.view_check --datasets runs/nih runs/iu --split validation --output view_check.json

For each data set, frontal and lateral views of the split are checked apart: how many look like a lateral view, how many
like a frontal view, and how many are out of distribution by their distance? The page warns if a view looks like the
other kind than it is declared. A view without a declared position counts as frontal. Each rate has a 95% interval over
patients.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import datasets
import tyro
from rich.console import Console

from data.cli import check_minimum, run_main
from data.study import load_studies
from eval.predictions.processes import Track, progress
from eval.probes.ood import IMAGES_AT_ONCE, CheckedImage, images_of, shares
from eval.probes.prompts import VIEW_CHECKS
from vlm.checkpoint.store import SHIPPED, checkpoint_hash, model_line
from vlm.generator import ReportGenerator
from vlm.schema.atomic import write_json


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewsConfig:
    """Rates of images that look like lateral or frontal views."""

    checkpoint: str = SHIPPED
    """Checkpoint folder or Hugging Face hub id; by default the checkpoint that ships with the project."""
    datasets: tuple[Path, ...]
    """Prepared data sets, as written by `python -m data.prepare`."""
    split: Literal["train", "validation", "test"] = "test"
    """Their split to check."""
    max_images: int = 300
    """Images of each data set, sampled at random."""
    seed: int = 0
    """Random seed of the sample."""
    output: Path | None = None
    """JSON file for the rates."""

    def __post_init__(self):
        check_minimum(self, max_images=1)


def main(argv: Sequence[str] | None = None) -> None:
    config = tyro.cli(ViewsConfig, args=argv, description=__doc__)
    console = Console()
    console.print(model_line(config.checkpoint), highlight=False, soft_wrap=True)
    datasets.disable_progress_bars()
    generator = ReportGenerator.from_pretrained(config.checkpoint)
    if generator.ood_detector is None or generator.ood_detector.lateral is None:
        raise ValueError(f"{config.checkpoint} has no check of the view; python -m train.fit_ood --only-views adds it")
    with progress(console) as track:
        document = view_rates(config, generator, track)
    if config.output is not None:
        write_json(config.output, document)
    for row in document["view_check"]:
        found = ", ".join(f"{row[check]['value']:.1%} {title}" for check, title in VIEW_CHECKS.items())
        console.print(f"{row['images']}, {row['view']}, {row['num_images']} images: {found}")


def view_rates(config: ViewsConfig, generator: ReportGenerator, track: Track) -> dict[str, Any]:
    """The share of images of each data set and view for each of VIEW_CHECKS, ready for JSON."""
    rows = []
    for folder in config.datasets:
        images = images_of(load_studies(folder)[config.split], config.max_images, config.seed)
        for view in ("frontal", "lateral"):
            chosen = [one for one in images if one.is_frontal == (view == "frontal")]
            if chosen:
                rows.append(_row(generator, chosen, folder.name, view, track))
    about = {"checkpoint": config.checkpoint, "checkpoint_hash": checkpoint_hash(config.checkpoint)}
    return about | {"split": config.split, "view_check": rows}


def _row(
    generator: ReportGenerator, images: Sequence[CheckedImage], name: str, view: str, track: Track
) -> dict[str, Any]:
    advance = track(len(images), f"{name}, {view}")
    detector, values = generator.ood_detector, {check: [] for check in VIEW_CHECKS}
    for start in range(0, len(images), IMAGES_AT_ONCE):
        features = generator.image_features([one.image for one in images[start : start + IMAGES_AT_ONCE]])
        values["looks_lateral"] += detector.looks_lateral(features).tolist()
        values["looks_frontal"] += detector.looks_frontal(features).tolist()
        values["distant"] += (~(detector.distances(features) <= 1)).tolist()
        advance(len(features))
    row = {"images": name, "view": view, "num_images": len(images)}
    return row | shares(values, [one.subject_id for one in images])


if __name__ == "__main__":
    run_main(main)
