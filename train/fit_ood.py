"""Fit the out-of-distribution (OOD) check of a checkpoint on its training images, and write it into the folder.

    python -m train.fit_ood --checkpoint runs/mine/best --dataset studies
    python -m train.fit_ood --checkpoint runs/mine/best --dataset other_studies --only-views

train/finetune.py does the first at its end; this program is for checkpoints without an OOD check. The second adds the
check of the view to an OOD check, which stays as it is; for that, any studies with frontal and lateral views do.
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
from vlm.schema.findings import LATERAL, view_index
from vlm.uncertainty import MIN_IMAGES, QUANTILE, OodDetector, fit_detector, save_ood_absence, save_ood_detector

MAX_IMAGES = 1000
"""Images per split, sampled at random; more images hardly change the distances."""
MAX_MIRRORED = 500
"""Frontal images of the train split that are also shown mirrored."""
MIRROR_PENALTY = 1e-2
"""`C` of the logistic regression that finds mirrored images (docs/LOG.md)."""
LATERAL_PENALTY = 1e-1
"""`C` of the logistic regression that finds lateral views (docs/LOG.md)."""
LATERAL_QUANTILE, FRONTAL_QUANTILE = 0.995, 0.75
"""Of the frontal validation images, .5% look lateral and 75% look frontal (docs/LOG.md)."""
NO_VIEW_CHECK = (
    f"No check of the view (lateral or frontal): it needs at least {MIN_IMAGES} lateral and {MIN_IMAGES} frontal "
    f"training images and {MIN_IMAGES} frontal validation images with known view positions"
)
IMAGES_AT_ONCE = 32
SEED = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class OodOptions:
    """Fit the OOD check of a checkpoint."""

    checkpoint: Path
    """Checkpoint folder; the program adds two small files."""
    dataset: Path
    """The prepared data set of its training."""
    only_views: bool = False
    """Fit only the check of the view; the rest of the OOD check stays as it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sample:
    """Images of a split with their features [images, width], kinds of view (indices of VIEW_KINDS) and sources."""

    images: list[Image.Image]
    features: np.ndarray
    views: np.ndarray
    sources: np.ndarray

    @property
    def is_lateral(self) -> np.ndarray:
        return self.views == LATERAL

    @property
    def is_known_frontal(self) -> np.ndarray:
        return (self.views > 0) & ~self.is_lateral


def main(argv: Sequence[str] | None = None) -> None:
    options = tyro.cli(OodOptions, args=argv, description=__doc__)
    studies = load_studies(options.dataset)
    if options.only_views:
        add_view_check(options.checkpoint, studies)
        print(f"{options.checkpoint}: check of the view fitted")
        return
    ood_detector = fit_ood_detector(options.checkpoint, studies)
    settings = ood_detector.settings
    print(
        f"{options.checkpoint}: OOD check fitted on {settings.num_training_images} training and "
        f"{settings.num_validation_images} validation images"
    )
    if ood_detector.lateral is None:
        print(NO_VIEW_CHECK)


def fit_ood_detector(checkpoint: Path, studies: Mapping[str, Rows], *, device: str | None = None) -> OodDetector:
    """Fit the OOD check and write it into the checkpoint's folder.

    Raises:
        ValueError: the train or validation split has too few images.
    """
    folder = find_checkpoint(checkpoint)
    generator = ReportGenerator.from_pretrained(folder, device=device)
    training, validation = (_sample(generator, studies.get(split, ())) for split in ("train", "validation"))
    ood_detector = fit_detector(training.features, validation.features)
    own = np.flatnonzero(~training.is_lateral)[:MAX_MIRRORED]
    frontal = validation.features[~validation.is_lateral]
    if min(len(own), len(frontal)) >= MIN_IMAGES:
        mirrored = _features(generator, [ImageOps.mirror(training.images[number]) for number in own])
        mirror = _fit_mirror(ood_detector, training.features[own], mirrored, frontal)
        ood_detector = replace(ood_detector, mirror=mirror)
    ood_detector = replace(ood_detector, lateral=_fit_views(ood_detector, training, validation))
    save_ood_detector(folder, ood_detector)
    return ood_detector


def add_view_check(checkpoint: Path, studies: Mapping[str, Rows], *, device: str | None = None) -> None:
    """Fit the check of the view on these studies, and add it to the OOD check of the checkpoint.

    Raises:
        ValueError: the checkpoint has no OOD check, or there are too few images of known view positions.
    """
    folder = find_checkpoint(checkpoint)
    generator = ReportGenerator.from_pretrained(folder, device=device)
    if generator.ood_detector is None:
        raise ValueError(f"{checkpoint} has no OOD check; run python -m train.fit_ood without --only-views")
    samples = (_sample(generator, studies.get(split, ())) for split in ("train", "validation"))
    lateral = _fit_views(generator.ood_detector, *samples)
    if lateral is None:
        raise ValueError(NO_VIEW_CHECK)
    save_ood_detector(folder, replace(generator.ood_detector, lateral=lateral))


def _fit_mirror(
    ood_detector: OodDetector, training: np.ndarray, mirrored: np.ndarray, validation: np.ndarray
) -> np.ndarray:
    """`OodDetector.mirror`, from features of frontal images; it flags 1 - QUANTILE of the validation images."""
    standardized = ood_detector.standardized(np.concatenate([training, mirrored]))
    is_mirrored = np.repeat([False, True], [len(training), len(mirrored)])
    weights = LogisticRegression(C=MIRROR_PENALTY, max_iter=1000).fit(standardized, is_mirrored).coef_[0]
    return np.append(weights, -np.quantile(ood_detector.standardized(validation) @ weights, QUANTILE))


def _fit_views(ood_detector: OodDetector, training: _Sample, validation: _Sample) -> np.ndarray | None:
    """`OodDetector.lateral`, from images of known views; None if there are too few.

    Each limit is the strictest of those of the sources with at least MIN_IMAGES frontal validation images, so that easy
    images, such as drawings, do not choose it for others.
    """
    frontal = validation.is_known_frontal
    if min(training.is_lateral.sum(), training.is_known_frontal.sum(), frontal.sum()) < MIN_IMAGES:
        return None
    known = training.is_lateral | training.is_known_frontal
    model = LogisticRegression(C=LATERAL_PENALTY, max_iter=1000, class_weight="balanced")
    model.fit(ood_detector.standardized(training.features[known]), training.is_lateral[known])
    weights = model.coef_[0] / ood_detector.scale
    scores, sources = validation.features[frontal] @ weights, validation.sources[frontal]
    groups = [scores, *(scores[sources == source] for source in np.unique(sources))]
    quantiles = [np.quantile(one, (LATERAL_QUANTILE, FRONTAL_QUANTILE)) for one in groups if len(one) >= MIN_IMAGES]
    lateral_limits, frontal_limits = zip(*quantiles, strict=True)
    return np.array([*weights, -max(lateral_limits), -min(frontal_limits)])


def fit_or_explain(
    checkpoint: Path, studies: Mapping[str, Rows], *, base: str | None, device: str | None = None
) -> str:
    """Fit the OOD check of a fine-tuned checkpoint; return a sentence for the user.

    With too few images to fit it, or only its check of the view, that of the `base` (--init-from) is kept if
    fine-tuning changed neither the encoder nor the input, because the features of an image are then the same. Otherwise
    the checkpoint stores why it has no OOD check.
    """
    try:
        fitted, reason = fit_ood_detector(checkpoint, studies, device=device), ""
    except ValueError as error:
        fitted, reason = None, str(error)
    if fitted is not None and fitted.lateral is not None:
        return _done(fitted)
    kept = base_detector(checkpoint, base) if base is not None else None
    if fitted is not None:
        if kept is None or kept.lateral is None:
            return f"{_done(fitted)}. {NO_VIEW_CHECK}."
        save_ood_detector(checkpoint, replace(fitted, lateral=kept.lateral))
        return f"{_done(fitted)}. Check of the view: kept that of {base}."
    if kept is None:
        save_ood_absence(checkpoint, f"{reason}; fine-tune with more images, or run python -m train.fit_ood")
        return f"Note: OOD check disabled: {reason}. Unfamiliar images will not be flagged."
    save_ood_detector(checkpoint, replace(kept, settings=replace(kept.settings, base=kept.settings.base or base)))
    return f"OOD check: kept that of {base}, because {reason}. It compares images with those of the training of {base}."


def _done(fitted: OodDetector) -> str:
    return f"OOD check: fitted on {fitted.settings.num_training_images} training images"


def base_detector(checkpoint: Path, base: str) -> OodDetector | None:
    """The OOD check of the checkpoint's base, if both compute the same features of an image; otherwise None."""
    one, other = (load_checkpoint(folder) for folder in (checkpoint, fetch_checkpoint(base)))
    for model in (one.model, other.model):
        merge_adapters(model)
    inputs = [(model.config.image, model.config.preprocessing) for model in (one.model, other.model)]
    own, weights = one.model.encoder.state_dict(), other.model.encoder.state_dict()
    same_encoder = own.keys() == weights.keys() and all(torch.equal(own[name], weights[name]) for name in own)
    return other.ood_detector if same_encoder and inputs[0] == inputs[1] else None


def _sample(generator: ReportGenerator, studies: Rows | Sequence[dict[str, Any]]) -> _Sample:
    """The images of `_images`, with their features."""
    images, views, sources = zip(*_images(studies), strict=True) if len(studies) else ((), (), ())
    features = _features(generator, images)
    return _Sample(images=list(images), features=features, views=np.array(views, int), sources=np.array(sources, str))


def _images(studies: Rows | Sequence[dict[str, Any]]) -> list[tuple[Image.Image, int, str]]:
    """Up to MAX_IMAGES images of the studies, sampled at random, with kind of view and source. In a stream they come
    from a few row groups."""
    rng = np.random.default_rng(SEED)
    order = studies.shuffled(rng) if isinstance(studies, ParquetRows) else rng.permutation(len(studies))
    rows = (studies[number] for number in order.tolist())
    images = (
        (image, view_index(position), row.get("source", ""))
        for row in rows
        for image, position in zip(row["images"], row["view_positions"], strict=True)
    )
    return list(islice(images, MAX_IMAGES))


def _features(generator: ReportGenerator, images: Sequence[Image.Image]) -> np.ndarray:
    """Features of the images, computed in small batches."""
    starts = range(0, len(images), IMAGES_AT_ONCE)
    batches = [generator.image_features(images[start : start + IMAGES_AT_ONCE]) for start in starts]
    return np.concatenate(batches or [np.zeros((0, 0))])


if __name__ == "__main__":
    run_main(main)
