"""Fit the out-of-distribution (OOD) check of a checkpoint on its training images, and write it into the folder.

    python -m train.fit_ood --checkpoint runs/mine/best --dataset studies

train/finetune.py does this at its end; this program is for checkpoints without an OOD check.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from PIL import Image, ImageOps
from sklearn.linear_model import LogisticRegression

from data.cli import run_main
from data.study import load_studies
from train.studies.stream import ParquetRows, Rows
from vlm.checkpoint.store import fetch_checkpoint, find_checkpoint, load_checkpoint, merge_adapters
from vlm.generator import ReportGenerator
from vlm.schema.findings import is_lateral
from vlm.uncertainty import MIN_IMAGES, QUANTILE, OodDetector, fit_detector, save_ood_absence, save_ood_detector

MAX_IMAGES = 1000
"""Images per split, sampled at random; more images hardly change the distances."""
MAX_MIRRORED = 500
"""Frontal images of the train split that are also shown mirrored."""
MIRROR_PENALTY = 1e-2
"""`C` of the logistic regression that finds mirrored images (docs/LOG.md)."""
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


def fit_ood_detector(checkpoint: Path, studies: Mapping[str, Rows], *, device: str | None = None) -> OodDetector:
    """Fit the OOD check and write it into the checkpoint's folder.

    Raises:
        ValueError: the train or validation split has too few images.
    """
    folder = find_checkpoint(checkpoint)
    generator = ReportGenerator.from_pretrained(folder, device=device)
    training, validation = (_images(studies.get(split, ())) for split in ("train", "validation"))
    features = [_features(generator, [image for image, _ in images]) for images in (training, validation)]
    ood_detector = fit_detector(*features)
    frontal = [np.array([is_frontal for _, is_frontal in images]) for images in (training, validation)]
    own = np.flatnonzero(frontal[0])[:MAX_MIRRORED]
    if min(len(own), frontal[1].sum()) >= MIN_IMAGES:
        mirrored = _features(generator, [ImageOps.mirror(training[number][0]) for number in own])
        mirror = _fit_mirror(ood_detector, features[0][own], mirrored, features[1][frontal[1]])
        ood_detector = replace(ood_detector, mirror=mirror)
    save_ood_detector(folder, ood_detector)
    return ood_detector


def _fit_mirror(
    ood_detector: OodDetector, training: np.ndarray, mirrored: np.ndarray, validation: np.ndarray
) -> np.ndarray:
    """`OodDetector.mirror`, from features of frontal images; it flags 1 - QUANTILE of the validation images."""
    standardized = ood_detector.standardized(np.concatenate([training, mirrored]))
    is_mirrored = np.repeat([False, True], [len(training), len(mirrored)])
    weights = LogisticRegression(C=MIRROR_PENALTY, max_iter=1000).fit(standardized, is_mirrored).coef_[0]
    return np.append(weights, -np.quantile(ood_detector.standardized(validation) @ weights, QUANTILE))


def fit_or_explain(
    checkpoint: Path, studies: Mapping[str, Rows], *, base: str | None, device: str | None = None
) -> str:
    """Fit the OOD check of a fine-tuned checkpoint; return a sentence for the user.

    With too few images to fit it, the check of the `base` (--init-from) is kept if fine-tuning changed neither the
    encoder nor the input, because the features of an image are then the same. Otherwise the checkpoint stores why it
    has no check.
    """
    try:
        settings = fit_ood_detector(checkpoint, studies, device=device).settings
    except ValueError as error:
        reason = str(error)
    else:
        return f"OOD check: fitted on {settings.num_training_images} training images"
    kept = base_detector(checkpoint, base) if base is not None else None
    if kept is None:
        save_ood_absence(checkpoint, f"{reason}; fine-tune with more images, or run python -m train.fit_ood")
        return f"Note: OOD check disabled: {reason}. Unfamiliar images will not be flagged."
    save_ood_detector(checkpoint, replace(kept, settings=replace(kept.settings, base=kept.settings.base or base)))
    return f"OOD check: kept that of {base}, because {reason}. It compares images with those of the training of {base}."


def base_detector(checkpoint: Path, base: str) -> OodDetector | None:
    """The OOD check of the checkpoint's base, if both compute the same features of an image; otherwise None."""
    one, other = (load_checkpoint(folder) for folder in (checkpoint, fetch_checkpoint(base)))
    for model in (one.model, other.model):
        merge_adapters(model)
    inputs = [(model.config.image, model.config.preprocessing) for model in (one.model, other.model)]
    own, weights = one.model.encoder.state_dict(), other.model.encoder.state_dict()
    same_encoder = own.keys() == weights.keys() and all(torch.equal(own[name], weights[name]) for name in own)
    return other.ood_detector if same_encoder and inputs[0] == inputs[1] else None


def _images(studies: Sequence[dict[str, Any]] | ParquetRows) -> list[tuple[Image.Image, bool]]:
    """Up to MAX_IMAGES images of the studies, and whether each is frontal or of unknown position. In a stream they come
    from a few row groups."""
    rng = np.random.default_rng(SEED)
    order = studies.shuffled(rng) if isinstance(studies, ParquetRows) else rng.permutation(len(studies))
    rows = (studies[number] for number in order.tolist())
    images = (pair for row in rows for pair in zip(row["images"], row["view_positions"], strict=True))
    return [(image, not is_lateral(position)) for image, position in islice(images, MAX_IMAGES)]


def _features(generator: ReportGenerator, images: Sequence[Image.Image]) -> np.ndarray:
    """Features of the images, computed in small batches."""
    starts = range(0, len(images), IMAGES_AT_ONCE)
    batches = [generator.image_features(images[start : start + IMAGES_AT_ONCE]) for start in starts]
    return np.concatenate(batches or [np.zeros((0, 0))])


if __name__ == "__main__":
    run_main(main)
