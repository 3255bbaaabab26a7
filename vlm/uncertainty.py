"""How far an image lies from those a model was trained on: features of images in, a distance out, and a limit.

Probabilistic PCA (Tipping and Bishop 1999): standardised features are taken as normally distributed, with a variance
of its own along each of the leading directions and one along all others. The distance is Mahalanobis's under that, so
it grows with what is unusual among training images and with what none of them has. The limit is a quantile of the
distances of validation images. The features are those of `ReportGenerator.image_features`; docs/LOG.md has what
they find, and what others do not.

From logits to probabilities that mean what they say, and to a yes or no for each finding.

Temperature scaling, p = sigmoid(logit / T) (Guo et al. 2017, "On Calibration of Modern Neural Networks"), and one
threshold a finding. Both are chosen on validation studies by `train.loop.validation`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from vlm.schema.findings import NUM_FINDINGS
from vlm.schema.strict_json import formerly, read_json, to_json


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """What turns finding logits into probabilities and decisions."""

    temperature: float = 1.0
    thresholds: tuple[float, ...] = (0.5,) * NUM_FINDINGS
    """A finding is called present from this probability on."""
    num_studies: int = 0
    """Validation studies it was chosen on; 0: it was not chosen, the probabilities are not calibrated."""
    num_labelled: tuple[int, ...] = ()
    """Of these, the studies of which each finding was known; empty where nobody counted."""

    def __post_init__(self):
        if self.temperature <= 0:
            raise ValueError(f"calibration temperature must be above 0, got {self.temperature}")
        if len(self.thresholds) != NUM_FINDINGS:
            raise ValueError(f"calibration needs {NUM_FINDINGS} thresholds, got {len(self.thresholds)}")
        if len(self.num_labelled) not in (0, NUM_FINDINGS):
            raise ValueError(f"calibration counts labels of {NUM_FINDINGS} findings, got {len(self.num_labelled)}")

    @property
    def is_calibrated(self) -> bool:
        return self.num_studies > 0

    @property
    def is_known(self) -> tuple[bool, ...]:
        """Whether the data told anything of each finding; else its probability means nothing."""
        return tuple(number > 0 for number in self.num_labelled) or (True,) * NUM_FINDINGS

    def expected_errors(self, probabilities: Sequence[float]) -> float:
        """How many of the calls (present or not, by threshold) of the known findings are wrong on average, where the
        probabilities of a study are right."""
        rows = zip(probabilities, self.thresholds, self.is_known, strict=True)
        return sum(
            1 - probability if probability >= threshold else probability
            for probability, threshold, is_known in rows
            if is_known
        )


SETTINGS, TENSORS = "ood.json", "ood.safetensors"
"""Files of the out-of-distribution check in a checkpoint folder."""
OLD_SETTINGS, OLD_TENSORS = "familiarity.json", "familiarity.safetensors"
"""Their names before version 0.2.0; still read."""
TENSOR_NAMES = ("mean", "scale", "directions", "variances")
NUM_DIRECTIONS = 32
QUANTILE = 0.99
SMALLEST_SCALE = 0.05
"""Of the median deviation: features that hardly move in training would else count for everything."""
MIN_IMAGES = 20
"""Fewer of either split tell nothing about what is usual."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OodSettings:
    """The content of `ood.json`."""

    rest_variance: float
    """Along each of the directions that are not stored."""
    limit: float
    """An image whose distance lies above is unlike those the model was trained on."""
    num_training_images: int = field(metadata=formerly("num_training_pictures"))
    num_validation_images: int = field(metadata=formerly("num_validation_pictures"))

    def __post_init__(self):
        for name in ("rest_variance", "limit"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be above 0 and finite, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class OodDetector:
    """What images a model knows: `mean` and `scale` [width] of the features, `directions` [number, width] of the
    standardised ones and their `variances` [number]."""

    settings: OodSettings
    mean: np.ndarray
    scale: np.ndarray
    directions: np.ndarray
    variances: np.ndarray

    def __post_init__(self):
        number, width = len(self.variances), len(self.mean)
        shapes = {name: getattr(self, name).shape for name in TENSOR_NAMES}
        if shapes != dict(zip(TENSOR_NAMES, ((width,), (width,), (number, width), (number,)), strict=True)):
            raise ValueError(f"tensors of the shapes {shapes} do not belong together")
        if not all(np.isfinite(getattr(self, name)).all() for name in TENSOR_NAMES):
            raise ValueError("a tensor holds numbers that are not finite")
        if not ((self.scale > 0).all() and (self.variances > 0).all()):
            raise ValueError("scale and variances must be above 0")

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Of each image, in multiples of the limit: above 1 it is unlike the training images.

        Raises:
            ValueError: the features are of another width.
        """
        if features.shape[1:] != self.mean.shape:
            raise ValueError(f"features are {features.shape} but those of training images have {len(self.mean)}")
        offsets = (features.astype(np.float64) - self.mean) / self.scale
        along = offsets @ self.directions.T
        rest = (offsets**2).sum(axis=1) - (along**2).sum(axis=1)
        squares = (along**2 / self.variances).sum(axis=1) + rest.clip(min=0) / self.settings.rest_variance
        return np.sqrt(squares) / self.settings.limit


def fit_detector(training: np.ndarray, validation: np.ndarray) -> OodDetector:
    """From the features [images, width] of training images, with the limit from validation images.

    Raises:
        ValueError: a split has fewer than MIN_IMAGES, or its images are all alike.
    """
    for split, features in (("training", training), ("validation", validation)):
        if len(features) < MIN_IMAGES:
            raise ValueError(f"{len(features)} {split} images are too few to tell what is usual; {MIN_IMAGES} do")
    mean, scale = training.mean(axis=0, dtype=np.float64), training.std(axis=0, dtype=np.float64)
    scale = np.maximum(scale, SMALLEST_SCALE * np.median(scale))
    if not (scale > 0).all():
        raise ValueError("the training images are all alike to the model; nothing can be told from them")
    _, lengths, directions = np.linalg.svd((training - mean) / scale, full_matrices=False)
    variances = lengths**2 / (len(training) - 1)
    # Half of the directions at most, so that the others have something to vary by.
    number = min(NUM_DIRECTIONS, len(variances) // 2)
    unscaled = OodDetector(
        settings=OodSettings(
            rest_variance=float(variances[number:].sum() / (training.shape[1] - number)),
            limit=1.0,
            num_training_images=len(training),
            num_validation_images=len(validation),
        ),
        mean=mean,
        scale=scale,
        directions=directions[:number],
        variances=variances[:number],
    )
    limit = float(np.quantile(unscaled.distances(validation), QUANTILE))
    return replace(unscaled, settings=replace(unscaled.settings, limit=limit))


def save_ood_detector(folder: Path, ood_detector: OodDetector) -> None:
    """Writes both files into the checkpoint folder; the settings last, by which it is known to be whole."""
    (folder / SETTINGS).unlink(missing_ok=True)
    tensors = {name: np.ascontiguousarray(getattr(ood_detector, name), dtype=np.float32) for name in TENSOR_NAMES}
    save_file(tensors, folder / TENSORS)
    (folder / SETTINGS).write_text(to_json(ood_detector.settings), encoding="utf-8")


def load_ood_detector(folder: Path) -> OodDetector | None:
    """What `save_ood_detector` wrote; None where the checkpoint has none.

    Raises:
        ValueError: a file is missing or damaged; names it.
    """
    names = [(SETTINGS, TENSORS), (OLD_SETTINGS, OLD_TENSORS)]
    found = [(folder / settings, folder / tensors) for settings, tensors in names if (folder / settings).is_file()]
    if not found:
        return None
    settings_path, path = found[0]
    settings = read_json(settings_path, OodSettings)
    mend = f"run python -m train.fit_ood --checkpoint {folder} again"
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in TENSOR_NAMES}
        return OodDetector(settings=settings, **tensors)
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} is missing or damaged ({error}); {mend}") from error
