"""How far an output of the model can be trusted: calibrated probabilities, and the out-of-distribution check.

Calibration turns logits into probabilities by temperature scaling, p = sigmoid(logit / T) (Guo et al. 2017, "On
Calibration of Modern Neural Networks"), and into decisions by one threshold per finding. `train.loop.validation`
chooses both on validation studies. With their ROC curves, the thresholds can be those of another operating point
(`vlm.operating_point`).

The out-of-distribution check is probabilistic PCA (Tipping and Bishop 1999) of `ReportGenerator.image_features`.
Standardized features are modeled as normally distributed, with a variance for each of the leading directions and one
for all other directions. An image is flagged if its Mahalanobis distance under this model is above a quantile of the
distances of validation images. docs/LOG.md compares it with other methods.

A mirrored image is seldom far from the others, so it has a check of its own: logistic regression on the same features
separates frontal training images from their mirror images. Its limit is the same quantile of validation images.

The distance does not say whether a view is frontal or lateral. If the training images have known views, another
logistic regression separates these. Its two limits are quantiles of frontal validation images.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from vlm.operating_point import BEST_F1, OperatingPoint, RocCurve
from vlm.schema.findings import NUM_FINDINGS
from vlm.schema.strict_json import formerly, read_json, to_json


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Temperature and thresholds for the finding logits."""

    temperature: float = 1.0
    thresholds: tuple[float, ...] = (0.5,) * NUM_FINDINGS
    """A finding is predicted positive from this probability on."""
    decides_reports: bool = False
    """Whether reports are conditioned on these decisions: the decoder reads a finding as present from its threshold on,
    otherwise as absent. Without, it reads the probabilities."""
    num_studies: int = 0
    """Number of validation studies used; 0: not calibrated."""
    num_labeled: tuple[int, ...] = field(default=(), metadata=formerly("num_labelled"))
    """Number of these studies with a label of each finding; empty if they were not counted."""
    curves: tuple[RocCurve, ...] = ()
    """The ROC curve of each finding on these studies; empty if the checkpoint has none."""
    operating_point: OperatingPoint = BEST_F1
    """What the thresholds were chosen for."""

    def __post_init__(self):
        if not 0 < self.temperature < np.inf:
            raise ValueError(f"calibration temperature must be above 0, got {self.temperature}; 1.0 is usual")
        if len(self.thresholds) != NUM_FINDINGS:
            raise ValueError(f"calibration needs {NUM_FINDINGS} thresholds, got {len(self.thresholds)}")
        if not all(0 <= threshold <= 1 for threshold in self.thresholds):
            raise ValueError(f"calibration thresholds must be in [0, 1], got {self.thresholds}")
        if min(self.num_studies, *self.num_labeled, 0) < 0:
            raise ValueError(f"calibration counts must be at least 0, got {self.num_studies} and {self.num_labeled}")
        if len(self.num_labeled) not in (0, NUM_FINDINGS):
            raise ValueError(f"calibration counts labels of {NUM_FINDINGS} findings, got {len(self.num_labeled)}")
        if len(self.curves) not in (0, NUM_FINDINGS):
            raise ValueError(f"calibration needs {NUM_FINDINGS} ROC curves or none, got {len(self.curves)}")

    def at(self, point: OperatingPoint) -> "Calibration":
        """The calibration with the thresholds of this operating point. A finding without a curve keeps its threshold.

        Raises:
            ValueError: the checkpoint has no ROC curves, or this calibration is not the one of the checkpoint.
        """
        if point == self.operating_point:
            return self
        if self.operating_point != BEST_F1:
            raise ValueError(f"the thresholds are those of {self.operating_point}; start from those of the checkpoint")
        if not self.curves:
            raise ValueError(
                f"the checkpoint has no ROC curves, so it has no thresholds for {point}; python -m train.fit_roc adds "
                "the curves from its validation studies, or use f1"
            )
        found = (curve.at(point) for curve in self.curves)
        thresholds = zip(found, self.thresholds, strict=True)
        return replace(
            self,
            thresholds=tuple(own if moved is None else moved for moved, own in thresholds),
            operating_point=point,
        )

    @property
    def decision_logits(self) -> tuple[float, ...] | None:
        """The logit of each finding at its threshold, for `ReportModel.prefix`; None if they do not decide reports."""
        if not self.decides_reports:
            return None
        thresholds = np.clip(self.thresholds, 1e-6, 1 - 1e-6)
        return tuple((self.temperature * np.log(thresholds / (1 - thresholds))).tolist())

    @property
    def is_calibrated(self) -> bool:
        return self.num_studies > 0

    @property
    def is_known(self) -> tuple[bool, ...]:
        """Whether the data had labels of each finding; without labels its probability has no meaning."""
        return tuple(number > 0 for number in self.num_labeled) or (True,) * NUM_FINDINGS

    def expected_errors(self, probabilities: Sequence[float]) -> float:
        """Expected number of wrong predictions of a study among the known findings, if its probabilities are right."""
        rows = zip(probabilities, self.thresholds, self.is_known, strict=True)
        return sum(
            1 - probability if probability >= threshold else probability
            for probability, threshold, is_known in rows
            if is_known
        )


CALIBRATION, ROC = "calibration.json", "roc.json"
"""Files of the calibration in a checkpoint folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RocCurves:
    """The content of `roc.json`."""

    curves: tuple[RocCurve, ...]


def save_calibration(folder: Path, calibration: Calibration) -> None:
    """Write `calibration.json`, and `roc.json` if there are curves, into the checkpoint folder.

    The curves have a file of their own, because the output of a checkpoint does not depend on them unless another
    operating point is asked for.
    """
    values = asdict(calibration.at(BEST_F1))
    del values["curves"], values["operating_point"]
    (folder / CALIBRATION).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    if calibration.curves:
        save_curves(folder, calibration.curves)


def save_curves(folder: Path, curves: tuple[RocCurve, ...]) -> None:
    (folder / ROC).write_text(json.dumps(asdict(RocCurves(curves=curves))) + "\n", encoding="utf-8")


def load_calibration(folder: Path) -> Calibration:
    """Read both files of the checkpoint folder.

    Raises:
        ValueError: a file is damaged, or `calibration.json` is missing; names the file.
    """
    calibration = read_json(folder / CALIBRATION, Calibration)
    if not (folder / ROC).is_file():
        return calibration
    curves = read_json(folder / ROC, RocCurves).curves
    try:
        return replace(calibration, curves=curves)
    except ValueError as error:
        raise ValueError(f"{folder / ROC}: {error}") from error


SETTINGS, TENSORS = "ood.json", "ood.safetensors"
"""Files of the out-of-distribution check in a checkpoint folder."""
ABSENCE = "ood_missing.json"
"""File with the reason why a checkpoint has no check."""
NO_CHECK = "this checkpoint has no out-of-distribution check; python -m train.fit_ood adds it"
OLD_SETTINGS, OLD_TENSORS = "familiarity.json", "familiarity.safetensors"
"""Their names before version 0.2.0; they are still read."""
TENSOR_NAMES = ("mean", "scale", "directions", "variances")
MIRROR, LATERAL = "mirror", "lateral"
"""Tensors that a checkpoint can lack."""
NUM_DIRECTIONS = 32
QUANTILE = 0.99
SMALLEST_SCALE = 0.05
"""Lower limit of a feature's scale, as a fraction of the median scale: else nearly constant features would dominate."""
MIN_IMAGES = 20
"""Minimum number of training images, and of validation images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OodSettings:
    """The content of `ood.json`."""

    rest_variance: float
    """Variance along each direction that is not stored."""
    limit: float
    """An image with a larger distance is out of distribution."""
    num_training_images: int = field(metadata=formerly("num_training_pictures"))
    num_validation_images: int = field(metadata=formerly("num_validation_pictures"))
    base: str = ""
    """The checkpoint whose check was kept, because fine-tuning it did not change the encoder and had too few images to
    fit a new one. The images are then those of the base's training."""

    def __post_init__(self):
        for name in ("rest_variance", "limit"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be above 0 and finite, got {getattr(self, name)}")
        for name in ("num_training_images", "num_validation_images"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class OodAbsence:
    """The content of `ood_missing.json`."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OodDetector:
    """The distribution of training images: `mean` and `scale` [width] of the features; `directions` [number, width]
    of the standardized features, and their `variances` [number]; `mirror` [width + 1], if there is a check for mirrored
    images: weights of the standardized features, and a constant; `lateral` [width + 2], if there is a check of the
    view: weights of the features, and a constant for each of `looks_lateral` and `looks_frontal`."""

    settings: OodSettings
    mean: np.ndarray
    scale: np.ndarray
    directions: np.ndarray
    variances: np.ndarray
    mirror: np.ndarray | None = None
    lateral: np.ndarray | None = None

    def __post_init__(self):
        number, width = len(self.variances), len(self.mean)
        shapes = {name: getattr(self, name).shape for name in TENSOR_NAMES}
        if shapes != dict(zip(TENSOR_NAMES, ((width,), (width,), (number, width), (number,)), strict=True)):
            raise ValueError(f"tensors of the shapes {shapes} do not belong together")
        for name, tensor, num_constants in ((MIRROR, self.mirror, 1), (LATERAL, self.lateral, 2)):
            if tensor is not None and tensor.shape != (width + num_constants,):
                raise ValueError(f"{name} has the shape {tensor.shape}, but there are {width} features")
        if not all(np.isfinite(tensor).all() for tensor in self.tensors().values()):
            raise ValueError("a tensor holds numbers that are not finite")
        if not ((self.scale > 0).all() and (self.variances > 0).all()):
            raise ValueError("scale and variances must be above 0")

    def tensors(self) -> dict[str, np.ndarray]:
        tensors = {name: getattr(self, name) for name in (*TENSOR_NAMES, MIRROR, LATERAL)}
        return {name: tensor for name, tensor in tensors.items() if tensor is not None}

    def standardized(self, features: np.ndarray) -> np.ndarray:
        """Features [images, width] in units of their spread over the training images.

        Raises:
            ValueError: the features have another width.
        """
        if features.shape[1:] != self.mean.shape:
            raise ValueError(f"features are {features.shape} but those of training images have {len(self.mean)}")
        return (features.astype(np.float64) - self.mean) / self.scale

    def looks_mirrored(self, features: np.ndarray) -> np.ndarray:
        """For each frontal image, whether it looks like the mirror image of a chest X-ray; False without this check."""
        if self.mirror is None:
            return np.zeros(len(features), dtype=bool)
        return self.standardized(features) @ self.mirror[:-1] + self.mirror[-1] > 0

    def looks_lateral(self, features: np.ndarray) -> np.ndarray:
        """For each image, whether it looks like a lateral view; False without this check."""
        if self.lateral is None:
            return np.zeros(len(features), dtype=bool)
        return features @ self.lateral[:-2] + self.lateral[-2] > 0

    def looks_frontal(self, features: np.ndarray) -> np.ndarray:
        """For each image, whether it looks like a frontal view; False without this check. Some look like neither."""
        if self.lateral is None:
            return np.zeros(len(features), dtype=bool)
        return features @ self.lateral[:-2] + self.lateral[-1] < 0

    def distances(self, features: np.ndarray) -> np.ndarray:
        """The distance of each image in multiples of the limit: above 1 it is out of distribution."""
        offsets = self.standardized(features)
        along = offsets @ self.directions.T
        rest = (offsets**2).sum(axis=1) - (along**2).sum(axis=1)
        squares = (along**2 / self.variances).sum(axis=1) + rest.clip(min=0) / self.settings.rest_variance
        return np.sqrt(squares) / self.settings.limit


def fit_detector(training: np.ndarray, validation: np.ndarray) -> OodDetector:
    """Fit the distribution to features [images, width] of training images, and the limit to validation images.

    Raises:
        ValueError: a split has fewer than MIN_IMAGES, or all training images have the same features.
    """
    for split, features in (("training", training), ("validation", validation)):
        if len(features) < MIN_IMAGES:
            raise ValueError(f"the OOD check needs at least {MIN_IMAGES} {split} images, found {len(features)}")
    mean, scale = training.mean(axis=0, dtype=np.float64), training.std(axis=0, dtype=np.float64)
    scale = np.maximum(scale, SMALLEST_SCALE * np.median(scale))
    if not (scale > 0).all():
        raise ValueError("all training images have the same features")
    _, lengths, directions = np.linalg.svd((training - mean) / scale, full_matrices=False)
    variances = lengths**2 / (len(training) - 1)
    # At most half of the directions, so that some variance is left for the others.
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
    """Write both files into the checkpoint folder; the settings come last, because they mark the pair as complete."""
    (folder / SETTINGS).unlink(missing_ok=True)
    tensors = {name: np.ascontiguousarray(one, dtype=np.float32) for name, one in ood_detector.tensors().items()}
    save_file(tensors, folder / TENSORS)
    (folder / SETTINGS).write_text(to_json(ood_detector.settings), encoding="utf-8")
    (folder / ABSENCE).unlink(missing_ok=True)


def save_ood_absence(folder: Path, reason: str) -> None:
    """Write the reason why the checkpoint has no check."""
    (folder / ABSENCE).write_text(to_json(OodAbsence(reason=reason)), encoding="utf-8")


def ood_absence(folder: Path) -> str:
    """Why a checkpoint without a check has none.

    Raises:
        ValueError: the file is damaged.
    """
    return read_json(folder / ABSENCE, OodAbsence).reason if (folder / ABSENCE).is_file() else NO_CHECK


def describe_distance(distance: float) -> str:
    """Words for a distance of `OodDetector.distances`. Two significant figures; near the limit, words only, because
    "1.0 times the limit" says nothing."""
    if not np.isfinite(distance):
        return "a distance that cannot be computed"
    if distance <= 1:
        return "within the limit"
    if distance < 1.05:
        return "just above the limit"
    if distance >= 100:
        return "more than 100 times the limit"
    return f"{distance:.1f} times the limit" if distance < 9.95 else f"{distance:.0f} times the limit"


def load_ood_detector(folder: Path) -> OodDetector | None:
    """Read the detector of a checkpoint folder; None if it has none.

    Raises:
        ValueError: a file is missing or damaged; names it.
    """
    names = [(SETTINGS, TENSORS), (OLD_SETTINGS, OLD_TENSORS)]
    found = [(folder / settings, folder / tensors) for settings, tensors in names if (folder / settings).is_file()]
    if not found:
        return None
    settings_path, path = found[0]
    settings = read_json(settings_path, OodSettings)
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in (*TENSOR_NAMES, *({MIRROR, LATERAL} & {*file.keys()}))}
        return OodDetector(settings=settings, **tensors)
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(
            f"{path} is missing or damaged ({error}); run python -m train.fit_ood --checkpoint {folder} again"
        ) from error
