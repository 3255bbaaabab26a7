"""Temperature and thresholds of the classifier, chosen on validation studies.

The temperature minimises the log loss over all labelled findings (Guo et al. 2017); a finding's threshold is the
probability at which its F1 on validation is highest.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from vlm.schema.findings import NUM_FINDINGS
from vlm.uncertainty import Calibration

MIN_POSITIVES = 5
"""With fewer positive studies a finding keeps the threshold 0.5."""


def calibrate(
    logits: Float[Tensor, "studies findings"],
    targets: Float[Tensor, "studies findings"],
    mask: Bool[Tensor, "studies findings"],
) -> Calibration:
    """The calibration for these validation studies; without any labelled finding the neutral one."""
    if not mask.any():
        return Calibration(num_labelled=(0,) * NUM_FINDINGS)
    temperature = _temperature(logits[mask].double(), targets[mask].double())
    probabilities = (logits.double() / temperature).sigmoid().numpy()
    thresholds = [
        _best_threshold(probabilities[labelled, finding], targets[labelled, finding].numpy() == 1)
        for finding, labelled in ((finding, mask[:, finding].numpy()) for finding in range(NUM_FINDINGS))
    ]
    return Calibration(
        temperature=temperature,
        thresholds=tuple(thresholds),
        num_studies=int(mask.any(dim=1).sum()),
        num_labelled=tuple(mask.sum(dim=0).tolist()),
    )


def _temperature(logits: Tensor, targets: Tensor) -> float:
    """The log loss is convex in 1 / T, so a golden grid over log T narrows in on its one minimum."""
    low, high = -3.0, 3.0
    for _ in range(6):
        grid = torch.linspace(low, high, 21, dtype=torch.float64)
        losses = [functional.binary_cross_entropy_with_logits(logits / t.exp(), targets) for t in grid]
        best = int(torch.stack(losses).argmin())
        low, high = float(grid[max(0, best - 1)]), float(grid[min(20, best + 1)])
    return float(np.exp((low + high) / 2))


def _best_threshold(probabilities: np.ndarray, positive: np.ndarray) -> float:
    if positive.sum() < MIN_POSITIVES or positive.all():
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    true_positives = np.cumsum(positive[order])
    f1 = 2 * true_positives / (np.arange(1, len(order) + 1) + positive.sum())
    best = int(f1.argmax())
    below = probabilities[order[best + 1]] if best + 1 < len(order) else 0.0
    return float(np.clip((probabilities[order[best]] + below) / 2, 0.001, 0.999))
