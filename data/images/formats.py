"""Decode PNG, JPEG, WebP and TIFF to 8-bit gray.

- Images of 16 or 32 bits per pixel are stretched between their 0.5th and 99.5th percentile, because many 16-bit files
  use only 10 or 12 bits and would be black at full range.
- Transparent pixels become black, like the air around a patient. EXIF orientation is applied.
- An image with (nearly) equal channels is gray; a color image is rejected unless `allow_color`.
- A decoder that repairs damaged data only says so on the standard error stream. `decode` returns it as a note.
"""

import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

import cv2
import numpy as np
from PIL import ExifTags, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from data.images.codestreams import check_container
from data.images.isolated import TooSlow
from data.images.pixels import (
    MAX_FILE_BYTES,
    MAX_PIXELS,
    ImageRejected,
    check_size,
    fitted_size,
    own_range,
    sampled,
    shrunk,
    stretch_to_8_bits,
)

COLOR_LEVELS, COLOR_FRACTION = 48, 0.10
"""An image is a color image if its channels differ by more than this many levels in more than this fraction of
pixels. Arrows and JPEG artifacts stay below."""
DAMAGED = "is damaged: its decoder replaced unreadable data, so parts of the image may be wrong; export it again"
TURNED_BY_EXIF = "was turned upright, as its EXIF orientation says"
UNREADABLE_EXIF = "has EXIF metadata that cannot be read; if they turn the image, it is not turned"

_OPENERS = {
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
    b"II*\0": TiffImagePlugin.TiffImageFile,
    b"MM\0*": TiffImagePlugin.TiffImageFile,
    b"II+\0": TiffImagePlugin.TiffImageFile,
    b"MM\0+": TiffImagePlugin.TiffImageFile,
}
_JPEG_FLAGS = {
    "L": {
        1: cv2.IMREAD_GRAYSCALE,
        2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
        4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
        8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    },
    "RGB": {
        1: cv2.IMREAD_COLOR,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    },
}
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings an image with this EXIF orientation upright."""
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_FAX = ("tiff_ccitt", "group3", "group4", "tiff_raw_16")
"""TIFF compressions of black and white. Where data is damaged, their decoder silently leaves old memory as pixels."""
_HARMLESS = re.compile(r"Unknown field|unknown JFIF revision|incorrect count|TIFFReadDirectory")
_STDERR = threading.Lock()


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """`is_plain`: the pixels are those of an 8-bit gray file, neither turned nor scaled nor composed."""

    image: Image.Image
    is_exact: bool
    is_plain: bool
    notes: tuple[str, ...] = ()


def decode(content: bytes, *, max_side: int, allow_color: bool, name: str) -> Decoded:
    """The image as 8-bit gray, with a longest side of at most `max_side` pixels.

    Raises:
        ImageRejected: the file is in another format, damaged, too large, too small, animated, or in color.
    """
    if not content:
        raise ImageRejected(f"{name}: is empty (0 bytes); fetch or export it again")
    if len(content) > MAX_FILE_BYTES:
        raise ImageRejected(f"{name}: has {len(content)} bytes; the limit is {MAX_FILE_BYTES}")
    try:
        with native_messages() as messages, warnings.catch_warnings():
            # Pillow warns of damaged metadata only; the pixels are checked by their decoders.
            warnings.simplefilter("ignore")
            opened = _open(content, name=name)
            size = opened.size
            orientation, notes = _orientation(opened)
            loaded = _load(opened, content, max_side=max_side)
        is_plain = loaded.mode == "L" and loaded.size == size and "transparency" not in opened.info
        if orientation != 1 and not isinstance(opened, TiffImagePlugin.TiffImageFile):  # Pillow turned the TIFF
            loaded = loaded.transpose(_TRANSPOSE[orientation])
        image = _to_gray(loaded, opened.info, max_side=max_side, allow_color=allow_color, name=name)
    except (ImageRejected, TooSlow):
        raise
    except Exception as error:  # codecs raise many types
        # Other types are slips of Pillow's parsers on damaged data; their messages say nothing about the file.
        reason = f" ({error})" if isinstance(error, OSError | SyntaxError | ValueError) else ""
        raise ImageRejected(f"{name}: is damaged or cut short{reason}; fetch or export it again") from error
    if is_damaged(messages):
        notes = (*notes, DAMAGED)
    return Decoded(
        image=image,
        is_exact=max(size) <= max_side and not _is_lossy(opened, content),
        is_plain=is_plain and image.size == size and orientation == 1,
        notes=notes,
    )


@contextmanager
def native_messages() -> Iterator[list[str]]:
    """Collect the lines that native libraries write to the standard error stream while the block runs."""
    lines: list[str] = []
    with _STDERR:
        try:
            original = os.dup(2)
        except OSError:  # the process has no standard error stream
            yield lines
            return
        reader, writer = os.pipe()
        # A full pipe drops messages; it must not stop the decoder.
        os.set_blocking(writer, False)
        os.set_blocking(reader, False)
        os.dup2(writer, 2)
        os.close(writer)
        try:
            yield lines
        finally:
            os.dup2(original, 2)
            os.close(original)
            with os.fdopen(reader, "rb", buffering=0) as stream:
                lines += (stream.read(2**16) or b"").decode("utf-8", "replace").splitlines()


def is_damaged(messages: list[str]) -> bool:
    """Whether the decoder wrote of more than unusual metadata."""
    return any(not _HARMLESS.search(message) for message in messages)


def _open(content: bytes, *, name: str) -> Image.Image:
    """The image before decoding. Pillow's classes are called directly, because `Image.open` would try other formats and
    only warn about sizes that `check_size` rejects."""
    opener = next((opener for start, opener in _OPENERS.items() if content.startswith(start)), None)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        opener = WebPImagePlugin.WebPImageFile
    if opener is None and content.startswith(b"PK\x03\x04"):
        raise ImageRejected(f"{name}: is a zip or an Office file and not an image; unpack it first")
    if opener is None:
        raise ImageRejected(f"{name}: its content is none of PNG, JPEG, WebP, TIFF and DICOM, whatever its name says")
    check_container(content, name=name)
    image = opener(BytesIO(content))
    check_size(*image.size, name=name)
    num_bytes = image.width * image.height * _bits_per_pixel(image, content) // 8
    if num_bytes > MAX_FILE_BYTES:
        raise ImageRejected(
            f"{name}: {image.width} x {image.height} pixels need {num_bytes} bytes in memory; the limit is "
            f"{MAX_FILE_BYTES}; save the image in gray, or shrink it first"
        )
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        if image.info.get("compression") in _FAX:
            raise ImageRejected(
                f"{name}: is compressed as fax (CCITT), which has no gray and hides damage; save it in gray as PNG"
            )
        tile = [image.tag_v2.get(tag, 1) for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH)]
        if tile[0] * tile[1] > MAX_PIXELS:
            raise ImageRejected(f"{name}: has tiles of {tile[0]} x {tile[1]} pixels; the limit is {MAX_PIXELS:,}")
    num_images = getattr(image, "n_frames", 1)
    if num_images > 1:
        raise ImageRejected(f"{name}: holds {num_images} images (animated or paged); export the one to be read")
    return image


def _bits_per_pixel(image: Image.Image, content: bytes) -> int:
    """Bits of a pixel as the file states them. A JPEG is decoded to a smaller size, so 8 stand for it."""
    if isinstance(image, PngImagePlugin.PngImageFile):
        return content[24] * _PNG_CHANNELS.get(content[25], 4)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return sum(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,)))
    return 8 if isinstance(image, JpegImagePlugin.JpegImageFile) else 8 * len(image.getbands())


def _orientation(image: Image.Image) -> tuple[int, tuple[str, ...]]:
    """The EXIF orientation (1 to 8; 1 is upright), and notes about it."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises many types; the pixels may still be readable
        return 1, (UNREADABLE_EXIF,)
    return (orientation, (TURNED_BY_EXIF,)) if orientation in _TRANSPOSE else (1, ())


def _load(image: Image.Image, content: bytes, *, max_side: int) -> Image.Image:
    """The decoded image. A JPEG is decoded by OpenCV: same pixels as Pillow, but it tells of damage."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        image.load()
        return image
    # libjpeg can decode at 1/2, 1/4 or 1/8 of the size, which is faster than decoding and resizing.
    width = image.width
    image.draft(None, fitted_size(image.size, max_side))
    return decode_jpeg(content, mode=image.mode, scale=round(width / image.width)) or _loaded_by_pillow(image, content)


def decode_jpeg(content: bytes, *, mode: str = "L", scale: int = 1) -> Image.Image | None:
    """The JPEG at 1/`scale` of its size in `mode` L or RGB; None for another mode.

    Raises:
        ValueError: it is cut short or damaged beyond repair.
    """
    if mode not in _JPEG_FLAGS:
        return None
    flag = _JPEG_FLAGS[mode][scale] | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flag)
    if pixels is None:
        raise ValueError("the compressed pixels end too early, or use an unsupported kind of JPEG")
    return Image.fromarray(pixels if mode == "L" else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


def _loaded_by_pillow(image: Image.Image, content: bytes) -> Image.Image:
    decode_jpeg(content, scale=8)  # only for its messages about damage
    image.load()
    return image


def _is_lossy(image: Image.Image, content: bytes) -> bool:
    """Whether the compression of the file is lossy; WebP supports both."""
    if isinstance(image, WebPImagePlugin.WebPImageFile):
        return content[12:16] != b"VP8L"
    return isinstance(image, JpegImagePlugin.JpegImageFile)


def _to_gray(image: Image.Image, info: dict, *, max_side: int, allow_color: bool, name: str) -> Image.Image:
    if image.mode[0] in "IF":
        pixels = np.asarray(image)
        if not np.isfinite(pixels).all():
            raise ImageRejected(f"{name}: has pixels that are not numbers")
        image = Image.fromarray(stretch_to_8_bits(pixels, *own_range(sampled(pixels))))
    has_alpha = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in info
    if image.mode not in ("L", "RGB") or has_alpha:
        image = image.convert("RGBA" if has_alpha else "L" if image.mode == "1" else "RGB")
    image = shrunk(image, fitted_size(image.size, max_side))
    if has_alpha:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image).convert("RGB")
    if image.mode == "RGB":
        if not allow_color and is_colored(image):
            raise ImageRejected(f"{name}: is a color image, not a radiograph; if it is one, allow color")
        image = image.convert("L")
    gray = image.copy()
    gray.info = {}
    return gray


def is_colored(image: Image.Image) -> bool:
    """Whether an RGB image is a color image, by COLOR_LEVELS and COLOR_FRACTION."""
    small = image.reduce(max(1, max(image.size) // 128))
    red, green, blue = (np.asarray(channel) for channel in small.split())
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return bool((spread > COLOR_LEVELS).mean() > COLOR_FRACTION)
