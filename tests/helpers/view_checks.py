"""An OOD check for which every image looks like a lateral view, and none is far from the others."""

import numpy as np

from vlm.uncertainty import OodDetector, OodSettings

WIDTH = 2 * 16 + 16 * 16
"""Number of features of the tiny checkpoint."""


def everything_looks_lateral() -> OodDetector:
    return OodDetector(
        settings=OodSettings(rest_variance=1.0, limit=1e9, num_training_images=1, num_validation_images=1),
        mean=np.zeros(WIDTH),
        scale=np.ones(WIDTH),
        directions=np.zeros((1, WIDTH)),
        variances=np.ones(1),
        lateral=np.append(np.zeros(WIDTH), [1, 1]),
    )
