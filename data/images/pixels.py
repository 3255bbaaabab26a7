"""Shared by all image readers: size limits, resizing, and conversion to 8 bits."""

import math
import stat
from pathlib import Path

import cv2
import numpy as np
import pyarrow
from PIL import Image

MAX_FILE_BYTES = 100 * 2**20
MAX_PIXELS = 40_000_000
"""Twice the size of the largest detectors. With 16 bits per pixel, it fits into MAX_FILE_BYTES uncompressed."""
MIN_SIDE = 16


class ImageRejected(ValueError):  # noqa: N818 (named after what happened)
    """An image cannot be used; the message names the file and the reason."""


def read_bytes(path: Path, *, name: str = "") -> bytes:
    """Read a regular file of at most MAX_FILE_BYTES.

    Raises:
        ImageRejected: the file is missing, unreadable, too large, or not a regular file.
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
    """Raises ImageRejected for more than MAX_PIXELS pixels, or a side shorter than MIN_SIDE."""
    if width * height > MAX_PIXELS:
        raise ImageRejected(
            f"{name}: {width} x {height} pixels are more than the limit of {MAX_PIXELS:,}; shrink the image first"
        )
    if min(width, height) < MIN_SIDE:
        raise ImageRejected(f"{name}: {width} x {height} pixels are too few to show a chest")


def fitted_size(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """(width, height) with a longest side of at most `max_side` and the same aspect ratio; never larger than `size`."""
    scale = min(1.0, max_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def pixels_of(image: Image.Image) -> np.ndarray:
    """The pixels as a read-only array; those of an 8-bit gray image are not copied, which takes a quarter of the time
    of decoding them."""
    if image.mode == "L" and not image.readonly:  # a read-only image has its pixels in memory of another object
        try:
            return pyarrow.array(image).to_numpy(zero_copy_only=True).reshape(image.height, image.width)
        except ValueError:  # Pillow holds an image of more than 16 MiB in several blocks
            pass
    return np.asarray(image)


def shrunk(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The image scaled down to (width, height), as `shrunk_pixels`."""
    return image if image.size == size else Image.fromarray(shrunk_pixels(pixels_of(image), size))


def shrunk_pixels(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels scaled down by area averaging, 3 to 70 times faster than Lanczos in Pillow."""
    if pixels.shape[1::-1] == size:
        return pixels
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def stretch_to_8_bits(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map `low` to 0 and `high` to 255 linearly; all 0 if the range is empty."""
    if high <= low:
        return np.zeros(values.shape, dtype=np.uint8)
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def own_range(pixels: np.ndarray) -> tuple[float, float]:
    """The 0.5th and 99.5th percentile, the range in which an image without a window is shown."""
    low, high = np.percentile(pixels, [0.5, 99.5])
    return float(low), float(high)


def sampled(pixels: np.ndarray) -> np.ndarray:
    """About a million evenly spaced pixels; all pixels if the image has fewer."""
    step = math.ceil(math.sqrt(pixels.size / 1e6))
    return pixels[::step, ::step]
