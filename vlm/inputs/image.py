"""From an image to pixel values, and the position of the image in the model's square.

The image keeps its aspect ratio: it is resized to fit the square, and the rest is black, like air in an X-ray.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from vlm.config import ImageGeometry

_MORE_THAN_8_BITS = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


@dataclass(frozen=True, kw_only=True, slots=True)
class Letterbox:
    """The position of an image in the square, in pixels of the square."""

    left: int
    top: int
    width: int
    height: int


def letterbox_geometry(image_size: tuple[int, int], square: int) -> Letterbox:
    """The position of an image of (width, height) in a square of that side."""
    width, height = image_size
    scale = square / max(width, height)
    fitted_width, fitted_height = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (square - fitted_width) // 2, (square - fitted_height) // 2
    return Letterbox(left=left, top=top, width=fitted_width, height=fitted_height)


def to_gray(image: Image.Image) -> Image.Image:
    """The image as 8-bit gray.

    Raises:
        ValueError: the image has more than 8 bits (only the reader of the file knows their range), or no pixels.
    """
    if image.mode in _MORE_THAN_8_BITS:
        raise ValueError(
            f"an image of mode {image.mode!r} has more than 8 bits; read its file with data.images.read.read_image"
        )
    if 0 in image.size:
        raise ValueError(f"an image of {image.width} x {image.height} pixels is empty")
    return image if image.mode == "L" else image.convert("L")


def letterbox(image: Image.Image, square: int) -> np.ndarray:
    """The image as 8-bit gray, padded to the square: uint8 [square, square].

    Raises:
        ValueError: like `to_gray`.
    """
    gray = to_gray(image)
    if gray.size == (square, square):
        return np.asarray(gray)
    place = letterbox_geometry(gray.size, square)
    fitted = gray.resize((place.width, place.height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    canvas = np.zeros((square, square), dtype=np.uint8)
    canvas[place.top : place.top + place.height, place.left : place.left + place.width] = np.asarray(fitted)
    return canvas


def normalize_pixels(
    pixels: UInt8[Tensor, "*views height width"], geometry: ImageGeometry
) -> Float[Tensor, "*views channels height width"]:
    """Pixel values for the encoder: (x / 255 - mean) / std, repeated over the channels."""
    mean = torch.tensor(geometry.mean, device=pixels.device).view(-1, 1, 1)
    std = torch.tensor(geometry.std, device=pixels.device).view(-1, 1, 1)
    return (pixels.unsqueeze(-3).float() / 255 - mean) / std
