"""Image preprocessing: border crop, denoising, gray range, local contrast; each step is optional.

`data.prepare` applies it to the images of a data set. The model's configuration stores the options, so that images
from other sources are preprocessed like the training images.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from PIL import Image

DENOISE_STRENGTH = 5
"""`h` of non-local means, in gray levels; about twice the standard deviation of the noise that it removes."""
CLAHE_CLIP_LIMIT = 2.0
CLAHE_TILES = 8
PERCENTILES = (1.0, 99.0)

BORDER_SPREAD = 12
"""A line is a border if 98% of its pixels are within this range of gray levels …"""
BORDER_DARKEST, BORDER_BRIGHTEST = 40, 215
"""… and its median is darker or brighter than these: collimator blades and film edges are uniform black or white."""
MIN_KEPT = 0.3
"""If a crop would leave less than this fraction of a side, the image is dark and has no border: nothing is cropped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """Preprocessing steps, applied in this order; the default changes nothing."""

    crop_border: bool = False
    """Crop uniform black or white borders (collimator blades, film edges)."""
    denoise: bool = False
    """Non-local means; slow (about half a second for 512 x 512 on one core)."""
    normalize: Literal["none", "minmax", "percentile"] = "none"
    """Stretch the gray values to the full range: from darkest to brightest, or between the 1st and 99th percentile."""
    clahe: bool = False
    """Contrast-limited adaptive histogram equalization, 8 x 8 tiles, clip limit 2."""


def preprocess(image: Image.Image, options: Preprocessing) -> Image.Image:
    """Apply the steps to an 8-bit gray image; only `crop_border` changes its size."""
    if options == Preprocessing():
        return image
    pixels = np.asarray(image)
    if options.crop_border:
        left, top, right, bottom = content_box(pixels)
        pixels = np.ascontiguousarray(pixels[top:bottom, left:right])
    if options.denoise:
        pixels = cv2.fastNlMeansDenoising(pixels, h=DENOISE_STRENGTH, templateWindowSize=7, searchWindowSize=21)
    if options.normalize == "minmax":
        pixels = stretch(pixels, float(pixels.min()), float(pixels.max()))
    elif options.normalize == "percentile":
        pixels = stretch(pixels, *np.percentile(pixels, PERCENTILES))
    if options.clahe:
        pixels = cv2.createCLAHE(CLAHE_CLIP_LIMIT, (CLAHE_TILES, CLAHE_TILES)).apply(pixels)
    return Image.fromarray(pixels)


def content_box(pixels: np.ndarray) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the image without its borders, in pixels; the whole image if it has none."""
    height, width = pixels.shape
    top, bottom = _inside(_is_border(pixels))
    left, right = _inside(_is_border(pixels[top:bottom].T)) if bottom > top else (0, 0)
    if bottom - top < MIN_KEPT * height or right - left < MIN_KEPT * width:
        return 0, 0, width, height
    return left, top, right, bottom


def stretch(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map `low` to black and `high` to white, linearly, in 8 bits; a uniform image is not changed."""
    if high <= low:
        return pixels
    levels = np.clip(np.rint((np.arange(256) - low) * 255 / (high - low)), 0, 255).astype(np.uint8)
    return levels[pixels]


def _is_border(lines: np.ndarray) -> np.ndarray:
    darkest, median, brightest = np.percentile(lines, [1, 50, 99], axis=1)
    return (brightest - darkest <= BORDER_SPREAD) & ((median <= BORDER_DARKEST) | (median >= BORDER_BRIGHTEST))


def _inside(border: np.ndarray) -> tuple[int, int]:
    content = np.flatnonzero(~border)
    return (int(content[0]), int(content[-1]) + 1) if content.size else (0, 0)
