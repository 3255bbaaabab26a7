"""What images a checkpoint knows: measured on the studies it was trained on, and written into its folder.

    python -m train.fit_ood --checkpoint runs/mine/best --dataset studies

train/finetune.py does it at its end; this program is for a checkpoint that has none yet.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import tyro
from PIL import Image

from data.cli import run_main
from data.study import load_studies
from vlm.checkpoint.store import find_checkpoint
from vlm.generator import ReportGenerator
from vlm.uncertainty import OodDetector, fit_detector, save_ood_detector

MAX_IMAGES = 1000
"""Of a split, drawn at random; more move the distances by little."""
IMAGES_AT_ONCE = 32
SEED = 0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class FamiliarityOptions:
    """Measure what images a checkpoint knows."""

    checkpoint: Path
    """Checkpoint folder, to which two small files are added."""
    dataset: Path
    """The prepared data set that it was trained on."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parses, measures, writes."""
    options = tyro.cli(FamiliarityOptions, args=argv, description=__doc__)
    settings = fit_ood_detector(options.checkpoint, load_studies(options.dataset)).settings
    print(
        f"{options.checkpoint}: measured on {settings.num_training_images} training and "
        f"{settings.num_validation_images} validation images"
    )


def fit_ood_detector(checkpoint: Path, studies: datasets.DatasetDict, *, device: str | None = None) -> OodDetector:
    """Measures and writes it into the checkpoint's folder.

    Raises:
        ValueError: the data set has too few images in its train or validation split.
    """
    folder = find_checkpoint(checkpoint)
    generator = ReportGenerator.from_pretrained(folder, device=device)
    features = [
        np.concatenate(list(_features(generator, studies[split]))) if len(studies.get(split, ())) else np.zeros((0, 0))
        for split in ("train", "validation")
    ]
    ood_detector = fit_detector(*features)
    save_ood_detector(folder, ood_detector)
    return ood_detector


def _features(generator: ReportGenerator, studies: datasets.Dataset) -> Iterator[np.ndarray]:
    """Of MAX_IMAGES of the studies' images, a few at a time."""
    images: list[Image.Image] = []
    num_left = MAX_IMAGES
    for number in np.random.default_rng(SEED).permutation(len(studies)).tolist():
        images += studies[number]["images"][: num_left - len(images)]
        if len(images) >= min(IMAGES_AT_ONCE, num_left):
            num_left -= len(images)
            yield generator.image_features(images)
            images = []
        if not num_left:
            return
    if images:
        yield generator.image_features(images)


if __name__ == "__main__":
    run_main(main)
