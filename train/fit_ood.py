"""Fit the out-of-distribution (OOD) check of a checkpoint on its training images, and write it into the folder.

    python -m train.fit_ood --checkpoint runs/mine/best --dataset studies

train/finetune.py does this at its end; this program is for checkpoints without an OOD check.
"""

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
"""Images per split, sampled at random; more images hardly change the distances."""
IMAGES_AT_ONCE = 32
SEED = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class OodOptions:
    """Fit the OOD check of a checkpoint."""

    checkpoint: Path
    """Checkpoint folder; the program adds two small files."""
    dataset: Path
    """The prepared data set of its training."""


def main(argv: Sequence[str] | None = None) -> None:
    options = tyro.cli(OodOptions, args=argv, description=__doc__)
    settings = fit_ood_detector(options.checkpoint, load_studies(options.dataset)).settings
    print(
        f"{options.checkpoint}: OOD check fitted on {settings.num_training_images} training and "
        f"{settings.num_validation_images} validation images"
    )


def fit_ood_detector(checkpoint: Path, studies: datasets.DatasetDict, *, device: str | None = None) -> OodDetector:
    """Fit the OOD check and write it into the checkpoint's folder.

    Raises:
        ValueError: the train or validation split has too few images.
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
    """Features of up to MAX_IMAGES images of the studies, in small batches."""
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
