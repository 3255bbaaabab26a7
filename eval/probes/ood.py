"""How many images does the out-of-distribution (OOD) check flag: as they are, altered, and from elsewhere?

    python -m eval.probes.ood --datasets runs/nih runs/kermany --split test --others photographs --output ood.json

For each data set, images of the split are checked unchanged (flags are false alarms), mirrored, inverted, and rotated
by 90 and 180 degrees (flags are wanted). `--others` are folders of images that are no chest X-rays; a flag is wanted.
Mirrored images are of frontal views only. Each rate has a 95% interval over patients. `eval.probes.view_check`
measures the check of the view.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import datasets
import numpy as np
import tyro
from PIL import Image, ImageOps
from rich.console import Console

from data.cli import check_minimum, run_main
from data.images.pixels import ImageRejected
from data.images.read import read_image
from data.study import load_studies
from eval.metrics.bootstrap import NUM_RESAMPLES, estimates
from eval.metrics.clinical import divide
from eval.predictions.processes import Track, progress
from vlm.checkpoint.store import SHIPPED, checkpoint_hash, model_line
from vlm.generator import ReportGenerator
from vlm.schema.atomic import write_json
from vlm.schema.findings import is_lateral

ALTERATIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "unchanged": lambda image: image,
    "mirrored": ImageOps.mirror,
    "inverted": ImageOps.invert,
    "rotated by 90°": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "rotated by 180°": lambda image: image.transpose(Image.Transpose.ROTATE_180),
}
IMAGES_AT_ONCE = 32

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class OodConfig:
    """Rates of flagged images."""

    checkpoint: str = SHIPPED
    """Checkpoint folder or Hugging Face hub id; by default the checkpoint that ships with the project."""
    datasets: tuple[Path, ...] = ()
    """Prepared data sets, as written by `python -m data.prepare`."""
    split: Literal["train", "validation", "test"] = "test"
    """Their split to check."""
    others: tuple[Path, ...] = ()
    """Folders of images that are no chest X-rays."""
    max_images: int = 300
    """Number of images of each data set, sampled at random, and of each folder, from the first."""
    seed: int = 0
    """Random seed of the sample."""
    output: Path | None = None
    """JSON file for the rates."""

    def __post_init__(self):
        check_minimum(self, max_images=1)
        if not self.datasets and not self.others:
            raise ValueError("nothing to check; name --datasets, --others or both")
        for folder in self.others:
            if not folder.is_dir():
                raise ValueError(f"--others {folder} is not a folder")


@dataclass(frozen=True, slots=True)
class CheckedImage:
    """An image, its patient, and whether it is frontal or of unknown position."""

    image: Image.Image
    subject_id: str
    is_frontal: bool


def main(argv: Sequence[str] | None = None) -> None:
    config = tyro.cli(OodConfig, args=argv, description=__doc__)
    console = Console()
    console.print(model_line(config.checkpoint), highlight=False, soft_wrap=True)
    datasets.disable_progress_bars()
    generator = ReportGenerator.from_pretrained(config.checkpoint)
    if generator.ood_detector is None:
        raise ValueError(f"{config.checkpoint}: {generator.ood_not_checked}")
    with progress(console) as track:
        document = ood_rates(config, generator, track)
    if config.output is not None:
        write_json(config.output, document)
    for row in document["ood"]:
        console.print(f"{row['images']}, {row['alteration']}: {row['flagged']['value']:.1%} of {row['num_images']}")


def ood_rates(config: OodConfig, generator: ReportGenerator, track: Track) -> dict[str, Any]:
    """The share of flagged images of each data set and alteration, ready for JSON."""
    rows = []
    for folder in config.datasets:
        images = images_of(load_studies(folder)[config.split], config.max_images, config.seed)
        for alteration, alter in ALTERATIONS.items():
            altered = [
                CheckedImage(alter(one.image), one.subject_id, one.is_frontal)
                for one in images
                if one.is_frontal or alteration != "mirrored"
            ]
            rows.append(_rate(generator, altered, folder.name, alteration, track))
    for folder in config.others:
        rows.append(_rate(generator, _others(folder, config), folder.name, "unchanged", track))
    about = {"checkpoint": config.checkpoint, "checkpoint_hash": checkpoint_hash(config.checkpoint)}
    return about | {"split": config.split, "ood": rows}


def images_of(studies: datasets.Dataset, max_images: int, seed: int) -> list[CheckedImage]:
    """Up to `max_images` images of the studies, sampled at random."""
    order = np.random.default_rng(seed).permutation(len(studies)).tolist()
    images = (
        CheckedImage(ImageOps.grayscale(image), row["subject_id"], not is_lateral(position))
        for row in (studies[number] for number in order)
        for image, position in zip(row["images"], row["view_positions"], strict=True)
    )
    return list(islice(images, max_images))


def _others(folder: Path, config: OodConfig) -> list[CheckedImage]:
    """The images of a folder; a file that cannot be read as an image is logged with the reason and left out."""
    images = []
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        try:
            images.append(CheckedImage(ImageOps.grayscale(read_image(path, allow_color=True)), path.name, True))
        except ImageRejected as error:
            logger.warning("left out of %s: %s", folder.name, error)
    return images[: config.max_images]


def _rate(
    generator: ReportGenerator, images: Sequence[CheckedImage], name: str, alteration: str, track: Track
) -> dict[str, Any]:
    advance = track(len(images), f"{name}, {alteration}")
    flagged, mirrored = [], []
    for start in range(0, len(images), IMAGES_AT_ONCE):
        batch = images[start : start + IMAGES_AT_ONCE]
        features = generator.image_features([one.image for one in batch])
        looks_mirrored = generator.ood_detector.looks_mirrored(features) & [one.is_frontal for one in batch]
        mirrored += looks_mirrored.tolist()
        flagged += (~(generator.ood_detector.distances(features) <= 1) | looks_mirrored).tolist()
        advance(len(batch))
    row = {"images": name, "alteration": alteration, "num_images": len(images)}
    return row | shares({"flagged": flagged, "mirrored": mirrored}, [one.subject_id for one in images])


def shares(values: Mapping[str, Sequence[bool]], subject_ids: Sequence[str]) -> dict[str, Any]:
    """The share of images with each value, with an interval over patients, ready for JSON."""
    arrays = {key: np.array(value, dtype=float) for key, value in values.items()}
    found = estimates(
        lambda weights: {key: divide(weights @ value, weights.sum(axis=1)) for key, value in arrays.items()},
        subject_ids,
        NUM_RESAMPLES,
    )
    return {key: asdict(share) for key, share in found.items()}


if __name__ == "__main__":
    run_main(main)
