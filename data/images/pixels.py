"""Limits and gray values that every image reader shares: sizes of files and images, and how pixels become 8 bits."""

import math
import stat
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

MAX_FILE_BYTES = 100 * 2**20


MAX_PIXELS = 40_000_000
"""Twice the largest detectors in use; 16 bits a pixel still fit MAX_FILE_BYTES uncompressed."""


MIN_SIDE = 16


class ImageRejected(ValueError):  # noqa: N818 (it names what happened to the image)
    """An image that cannot be used; the message names the file and says why."""


def read_bytes(path: Path, *, name: str = "") -> bytes:
    """The content of a regular file of at most MAX_FILE_BYTES.

    Raises:
        ImageRejected: absent, unreadable, not a regular file, or larger.
    """
    name = name or str(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ImageRejected(f"{name}: is not a file")
        if status.st_size > MAX_FILE_BYTES:
            raise ImageRejected(f"{name}: has {status.st_size} bytes; the limit is {MAX_FILE_BYTES}")
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise ImageRejected(f"{name}: does not exist") from error
    except OSError as error:
        raise ImageRejected(f"{name}: cannot be read ({error.strerror})") from error


def is_dicom(content: bytes) -> bool:
    """Whether this is DICOM: a preamble and "DICM", or a bare data set that starts with group 0002 or 0008."""
    return content[128:132] == b"DICM" or content[:2] in (b"\x02\x00", b"\x08\x00")


def check_size(width: int, height: int, *, name: str) -> None:
    """Raises ImageRejected for more pixels than MAX_PIXELS, or a side below MIN_SIDE."""
    if width * height > MAX_PIXELS:
        raise ImageRejected(
            f"{name}: {width} x {height} pixels are more than the limit of {MAX_PIXELS:,}; shrink the image first"
        )
    if min(width, height) < MIN_SIDE:
        raise ImageRejected(f"{name}: {width} x {height} pixels are too few to show a chest")


def fitted_size(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """(width, height) with the longest side at most `max_side`, aspect kept; never enlarged."""
    scale = min(1.0, max_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def shrunk(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The image at that size: each new pixel is the mean of those it covers, which is 3 to 70 times as fast as
    Pillow's Lanczos."""
    if image.size == size:
        return image
    return Image.fromarray(cv2.resize(np.asarray(image), size, interpolation=cv2.INTER_AREA))


def stretch_to_8_bits(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """`low` to 0 and `high` to 255, linearly; all 0 where there is no range."""
    if high <= low:
        return np.zeros(values.shape, dtype=np.uint8)
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def own_range(pixels: np.ndarray) -> tuple[float, float]:
    """The 0.5th and 99.5th percentile: what an image without a window is shown in."""
    low, high = np.percentile(pixels, [0.5, 99.5])
    return float(low), float(high)


def sampled(pixels: np.ndarray) -> np.ndarray:
    """Evenly spaced pixels, about a million at most; all of them in an image of up to a million."""
    step = math.ceil(math.sqrt(pixels.size / 1e6))
    return pixels[::step, ::step]
