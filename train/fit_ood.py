"""Fit the out-of-distribution (OOD) check of a checkpoint on its training images, and write it into the folder.

    python -m train.fit_ood --checkpoint runs/mine/best --dataset studies

train/finetune.py does this at its end; this program is for checkpoints without an OOD check.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import tyro

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
    ood_detector = fit_detector(*(_features(generator, studies.get(split, ())) for split in ("train", "validation")))
    save_ood_detector(folder, ood_detector)
    return ood_detector


def _features(generator: ReportGenerator, studies: Sequence[dict[str, Any]]) -> np.ndarray:
    """Features of up to MAX_IMAGES images of the studies, computed in small batches."""
    order = np.random.default_rng(SEED).permutation(len(studies)).tolist()
    images = islice((image for number in order for image in studies[number]["images"]), MAX_IMAGES)
    batches = iter(lambda: list(islice(images, IMAGES_AT_ONCE)), [])
    return np.concatenate([generator.image_features(batch) for batch in batches] or [np.zeros((0, 0))])


if __name__ == "__main__":
    run_main(main)
