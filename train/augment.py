"""Augmentation for training: a random affine transformation per image (rotation, shift, zoom, shear).

Input is an 8-bit gray image and a numpy generator, output an image of the same shape. The same generator state gives
the same image.

There is no horizontal flip: it would move the heart to the right side, which is a disease (situs inversus), and the
report would still name the old left and right.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """Limits of the random transformation; each amount is sampled uniformly from -limit to +limit."""

    max_rotation: float = 15.0
    """Degrees, around the center."""
    max_shift: float = 0.10
    """Fraction of the width (and of the height)."""
    max_zoom: float = 0.10
    """Fraction: 0.10 means 0.9 to 1.1 times the size."""
    max_shear: float = 10.0
    """Degrees, along the width."""
    max_brightness: float = 0.0
    """Added to the gray values, as a fraction of the full range; 0 is off."""
    max_contrast: float = 0.0
    """Relative change of the difference from the mean gray value; 0 is off."""

    def __post_init__(self):
        limits = {
            "max_rotation": 180.0,
            "max_shift": 0.5,
            "max_zoom": 0.9,
            "max_shear": 45.0,
            "max_brightness": 1.0,
            "max_contrast": 0.9,
        }
        for name, limit in limits.items():
            value = getattr(self, name)
            if not 0 <= value <= limit:
                raise ValueError(f"augmentation: {name} is {value}; it must be between 0 and {limit:g}")


def affine_matrix(
    *, width: int, height: int, rotation: float, shift: tuple[float, float], zoom: float, shear: float
) -> np.ndarray:
    """The 2 x 3 matrix from source to target pixels: shear, then zoom, then rotation around the center, then shift.

    `rotation` (positive: counterclockwise) and `shear` are in degrees, `shift` is in pixels to the right and down.
    """
    angle = math.radians(rotation)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    linear = zoom * turn @ np.array([[1.0, math.tan(math.radians(shear))], [0.0, 1.0]])
    center = np.array([(width - 1) / 2, (height - 1) / 2])
    return np.column_stack([linear, center + np.array(shift) - linear @ center])


def augment(
    pixels: UInt8[np.ndarray, "height width"], options: Augmentation, rng: np.random.Generator
) -> UInt8[np.ndarray, "height width"]:
    """Apply one random transformation; pixels from outside the image repeat the nearest edge pixel."""
    return augment_with_boxes(pixels, np.zeros((0, 4)), options, rng)[0]


def augment_with_boxes(
    pixels: UInt8[np.ndarray, "height width"],
    boxes: Float[np.ndarray, "boxes 4"],
    options: Augmentation,
    rng: np.random.Generator,
) -> tuple[UInt8[np.ndarray, "height width"], Float[np.ndarray, "boxes 4"]]:
    """Like `augment`, and transform boxes (left, top, right, bottom in pixels) too. A box becomes the upright bounding
    box of its transformed corners, clipped to the image."""
    height, width = pixels.shape
    # Always the same number of random draws: turning one kind off does not change the others.
    rotation, shift_x, shift_y, zoom, shear, brightness, contrast = rng.uniform(-1.0, 1.0, size=7)
    matrix = affine_matrix(
        width=width,
        height=height,
        rotation=rotation * options.max_rotation,
        shift=(shift_x * options.max_shift * width, shift_y * options.max_shift * height),
        zoom=1 + zoom * options.max_zoom,
        shear=shear * options.max_shear,
    )
    moved = cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    boxes = _move_boxes(boxes, matrix, width, height)
    if options.max_brightness == 0 and options.max_contrast == 0:
        return moved, boxes
    mean = float(moved.mean())
    gain = 1 + contrast * options.max_contrast
    offset = mean * (1 - gain) + 255 * brightness * options.max_brightness
    levels = np.clip(np.rint(np.arange(256) * gain + offset), 0, 255).astype(np.uint8)
    return cv2.LUT(moved, levels), boxes


def _move_boxes(boxes: np.ndarray, matrix: np.ndarray, width: int, height: int) -> np.ndarray:
    corners = boxes[:, [[0, 1], [2, 1], [0, 3], [2, 3]]] @ matrix[:, :2].T + matrix[:, 2]
    moved = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    return np.clip(moved, 0, [width, height, width, height])
