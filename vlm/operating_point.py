"""Operating points: how a threshold is chosen for each finding, and the ROC curves that this needs.

    OperatingPoint.parse("sensitivity=0.9")      at least 90% of the cases are found
    OperatingPoint.parse("specificity=0.9")      at least 90% of the studies without the finding are negative
    OperatingPoint.parse("f1")                   the highest F1: the thresholds of the checkpoint

The rates are those of the validation studies, from which the curves come. Other studies can have other rates.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from vlm.schema.number_format import format_percent

MIN_CASES = 5
"""A finding with fewer studies with it, or without it, has no curve."""
_LEVELS = np.linspace(0.01, 1, 100)
_DECIMALS = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatingPoint:
    """The rate that chooses the thresholds, and its target from 0 to 1; "f1" has no target."""

    rate: Literal["f1", "sensitivity", "specificity"] = "f1"
    target: float = 0.0

    def __post_init__(self):
        if self.rate != "f1" and not 0 < self.target < 1:
            raise ValueError(f"the target of {self.rate} must be between 0 and 1, such as 0.9, got {self.target}")

    @classmethod
    def parse(cls, text: str) -> "OperatingPoint":
        """Read "f1", "sensitivity=0.9" or "specificity=0.9".

        Raises:
            ValueError: it is none of them, or the target is not between 0 and 1.
        """
        rate, _, target = text.strip().partition("=")
        try:
            if rate == text.strip() == "f1":
                return cls()
            if rate in ("sensitivity", "specificity"):
                return cls(rate=rate, target=float(target))
        except ValueError as error:
            raise ValueError(f"operating point {text!r}: {error}; {_CHOICES}") from error
        raise ValueError(f"unknown operating point {text!r}; {_CHOICES}")

    def __str__(self) -> str:
        return self.rate if self.rate == "f1" else f"{self.rate}={self.target:g}"

    @property
    def description(self) -> str:
        """In words, to follow "thresholds for"."""
        if self.rate == "f1":
            return "the highest F1 on validation studies"
        return f"a {self.rate} of at least {format_percent(self.target, decimals=0)} on validation studies"


BEST_F1 = OperatingPoint()
_CHOICES = "give f1, or a target such as sensitivity=0.9 or specificity=0.9"


@dataclass(frozen=True, kw_only=True, slots=True)
class RocCurve:
    """Points of the curve of one finding, by falling threshold; none if it had too few cases.

    `sensitivities` and `specificities` are the rates if a study is predicted positive from the threshold on.
    """

    thresholds: tuple[float, ...] = ()
    sensitivities: tuple[float, ...] = ()
    specificities: tuple[float, ...] = ()

    def __post_init__(self):
        rows = (self.thresholds, self.sensitivities, self.specificities)
        if len({len(row) for row in rows}) > 1:
            raise ValueError(f"a ROC curve needs as many thresholds as rates, got {[len(row) for row in rows]}")
        if not all(0 <= value <= 1 for row in rows for value in row):
            raise ValueError("thresholds and rates of a ROC curve must be in [0, 1]")

    def at(self, point: OperatingPoint) -> float | None:
        """The threshold that reaches the target and is best in the other rate; None if the curve has no such point."""
        pairs = list(zip(self.sensitivities, self.specificities, strict=True))
        if point.rate == "specificity":
            pairs = [(specificity, sensitivity) for sensitivity, specificity in pairs]
        reached = [(other, number) for number, (rate, other) in enumerate(pairs) if rate >= point.target]
        return self.thresholds[max(reached)[1]] if reached else None

    def rates_at(self, threshold: float) -> tuple[float, float] | None:
        """Sensitivity and specificity at the nearest threshold of the curve; None without a curve."""
        if not self.thresholds:
            return None
        nearest = int(np.abs(np.array(self.thresholds) - threshold).argmin())
        return self.sensitivities[nearest], self.specificities[nearest]


def roc_curve(probabilities: Float[np.ndarray, " studies"], positive: Bool[np.ndarray, " studies"]) -> RocCurve:
    """The curve of one finding on its labeled studies: for each percent of both rates, the best point that reaches it.

    At most 200 points. A threshold is halfway between two probabilities.
    """
    if min(positive.sum(), (~positive).sum()) < MIN_CASES:
        return RocCurve()
    values = np.unique(probabilities)[::-1]
    borders = np.concatenate([[1.0], values, [0.0]])
    thresholds = ((borders[:-1] + borders[1:]) / 2).round(_DECIMALS)
    cases, others = np.sort(probabilities[positive]), np.sort(probabilities[~positive])
    sensitivities = 1 - np.searchsorted(cases, thresholds) / len(cases)
    specificities = np.searchsorted(others, thresholds) / len(others)
    # By falling threshold, the sensitivity rises and the specificity falls.
    first = np.searchsorted(sensitivities, _LEVELS - 1e-9)
    last = len(thresholds) - 1 - np.searchsorted(specificities[::-1], _LEVELS - 1e-9)
    chosen = np.unique(np.concatenate([first, last.clip(min=0)]))
    return RocCurve(
        thresholds=tuple(thresholds[chosen].tolist()),
        sensitivities=tuple(sensitivities[chosen].round(_DECIMALS).tolist()),
        specificities=tuple(specificities[chosen].round(_DECIMALS).tolist()),
    )
