"""Reading a radiograph from a file or from bytes: PNG, JPEG, WebP, TIFF or DICOM to 8-bit gray, aspect kept.

The kind of file is told from its content, never from its name. Size limits are checked on the file and on the header
before anything is decoded. What cannot be read or is no gray picture raises `ImageRefused`, which names the file.

- 16 and 32 bits per pixel are stretched between the 0.5th and 99.5th percentile of the picture itself: many
  16-bit files hold 10 or 12 bits, and would come out black at full range.
- Transparent parts become black, as the air around a patient is. EXIF orientation is applied.
- Equal (or nearly equal) channels are gray; a coloured picture is refused unless `allow_colour`.
"""

import math
import stat
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from data.picture_file import bare_file
from data.study import MAX_SIDE

MAX_FILE_BYTES = 100 * 2**20
MAX_PIXELS = 40_000_000
"""Twice the largest detectors in use; 16 bits a pixel still fit MAX_FILE_BYTES uncompressed."""
MIN_SIDE = 16

COLOUR_LEVELS, COLOUR_FRACTION = 48, 0.10
"""Coloured: more than this fraction of the pixels have channels further apart than this many levels. Burnt-in arrows
and JPEG's traces stay below it."""

_OPENERS = {
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
    b"II*\0": TiffImagePlugin.TiffImageFile,
    b"MM\0*": TiffImagePlugin.TiffImageFile,
    b"II+\0": TiffImagePlugin.TiffImageFile,
    b"MM\0+": TiffImagePlugin.TiffImageFile,
}


class ImageRefused(ValueError):  # noqa: N818 (it names what happened to the picture)
    """A picture that cannot be used; the message names the file and says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A picture with where it comes from. `is_exact`: each of its gray values is that of a lossless file. `bare` is
    its own file without metadata, where that shows just `image` (see `data.picture_file`)."""

    image: Image.Image
    is_exact: bool
    bare: bytes | None


def read_image(
    source: Path | str | bytes, *, max_side: int = MAX_SIDE, allow_colour: bool = False, name: str = ""
) -> Image.Image:
    """The picture as 8-bit gray (mode L) without any metadata, its longest side at most `max_side`.

    `name` is what messages call it; by default the path.

    Raises:
        ImageRefused: not such a file, damaged, too large, too small, animated, or coloured.
    """
    name = name or ("the picture" if isinstance(source, bytes) else str(source))
    content = source if isinstance(source, bytes) else read_bytes(Path(source), name=name)
    if is_dicom(content):
        # Late, because data.dicom needs this file, and pydicom's import is only worth its time when there is DICOM.
        from data.dicom import read_dicom

        return read_dicom(content, max_side=max_side, name=name).image
    return read_picture(content, max_side=max_side, allow_colour=allow_colour, name=name).image


def read_picture(content: bytes, *, max_side: int, allow_colour: bool, name: str) -> Picture:
    """The picture in a file of any kind but DICOM. Raises ImageRefused as `read_image`."""
    if not content:
        raise ImageRefused(f"{name}: is empty (0 bytes); fetch or export it again")
    if len(content) > MAX_FILE_BYTES:
        raise ImageRefused(f"{name}: has {len(content)} bytes; the limit is {MAX_FILE_BYTES}")
    try:
        picture = _open(content, name=name)
        size = picture.size
        _load(picture, max_side=max_side)
        is_plain = picture.mode == "L" and picture.size == size and "transparency" not in picture.info
        image = _to_gray(picture, max_side=max_side, allow_colour=allow_colour, name=name)
        return Picture(
            image=image,
            is_exact=max(size) <= max_side and not _is_lossy(picture, content),
            bare=bare_file(content) if is_plain and image.size == size else None,
        )
    except ImageRefused:
        raise
    except Exception as error:  # codecs raise whatever they stumbled over
        reason = str(error) or type(error).__name__
        raise ImageRefused(f"{name}: is damaged or cut short ({reason}); fetch or export it again") from error


def read_bytes(path: Path, *, name: str = "") -> bytes:
    """The content of a regular file of at most MAX_FILE_BYTES.

    Raises:
        ImageRefused: absent, unreadable, not a regular file, or larger.
    """
    name = name or str(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ImageRefused(f"{name}: is not a file")
        if status.st_size > MAX_FILE_BYTES:
            raise ImageRefused(f"{name}: has {status.st_size} bytes; the limit is {MAX_FILE_BYTES}")
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise ImageRefused(f"{name}: does not exist") from error
    except OSError as error:
        raise ImageRefused(f"{name}: cannot be read ({error.strerror})") from error


def is_dicom(content: bytes) -> bool:
    """Whether this is DICOM: a preamble and "DICM", or a bare data set that starts with group 0002 or 0008."""
    return content[128:132] == b"DICM" or content[:2] in (b"\x02\x00", b"\x08\x00")


def check_size(width: int, height: int, *, name: str) -> None:
    """Raises ImageRefused for more pixels than MAX_PIXELS, or a side below MIN_SIDE."""
    if width * height > MAX_PIXELS:
        raise ImageRefused(
            f"{name}: {width} x {height} pixels are more than the limit of {MAX_PIXELS:,}; shrink the picture first"
        )
    if min(width, height) < MIN_SIDE:
        raise ImageRefused(f"{name}: {width} x {height} pixels are too few to show a chest")


def fitted_size(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """(width, height) with the longest side at most `max_side`, aspect kept; never enlarged."""
    scale = min(1.0, max_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def shrunk(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture at that size: each new pixel is the mean of those it covers, which is 3 to 70 times as fast as
    Pillow's Lanczos."""
    if picture.size == size:
        return picture
    return Image.fromarray(cv2.resize(np.asarray(picture), size, interpolation=cv2.INTER_AREA))


def stretch_to_8_bits(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """`low` to 0 and `high` to 255, linearly; all 0 where there is no range."""
    if high <= low:
        return np.zeros(values.shape, dtype=np.uint8)
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def own_range(pixels: np.ndarray) -> tuple[float, float]:
    """The 0.5th and 99.5th percentile: what a picture without a window is shown in."""
    low, high = np.percentile(pixels, [0.5, 99.5])
    return float(low), float(high)


def sampled(pixels: np.ndarray) -> np.ndarray:
    """Evenly spaced pixels, about a million at most; all of them in a picture of up to a million."""
    step = math.ceil(math.sqrt(pixels.size / 1e6))
    return pixels[::step, ::step]


def _open(content: bytes, *, name: str) -> Image.Image:
    """The picture, not yet decoded. Pillow's classes are called directly: `Image.open` would try other formats and
    warn of large sizes by a global setting, where `check_size` refuses them."""
    opener = next((opener for start, opener in _OPENERS.items() if content.startswith(start)), None)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        opener = WebPImagePlugin.WebPImageFile
    if opener is None:
        raise ImageRefused(f"{name}: its content is none of PNG, JPEG, WebP, TIFF and DICOM, whatever its name says")
    picture = opener(BytesIO(content))
    check_size(*picture.size, name=name)
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        tile = [picture.tag_v2.get(tag, 1) for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH)]
        if tile[0] * tile[1] > MAX_PIXELS:
            raise ImageRefused(f"{name}: has tiles of {tile[0]} x {tile[1]} pixels; the limit is {MAX_PIXELS:,}")
    num_pictures = getattr(picture, "n_frames", 1)
    if num_pictures > 1:
        raise ImageRefused(f"{name}: holds {num_pictures} pictures (animated or paged); export the one to be read")
    return picture


def _load(picture: Image.Image, *, max_side: int) -> None:
    """Decodes the picture and turns it upright."""
    # Lets libjpeg decode at a half, a quarter or an eighth, which is faster than decoding all and shrinking.
    picture.draft(None, fitted_size(picture.size, max_side))
    picture.load()
    ImageOps.exif_transpose(picture, in_place=True)


def _is_lossy(picture: Image.Image, content: bytes) -> bool:
    """Whether the file's own compression has lost something; WebP has it both ways."""
    if isinstance(picture, WebPImagePlugin.WebPImageFile):
        return content[12:16] != b"VP8L"
    return isinstance(picture, JpegImagePlugin.JpegImageFile)


def _to_gray(picture: Image.Image, *, max_side: int, allow_colour: bool, name: str) -> Image.Image:
    if picture.mode[0] in "IF":
        pixels = np.asarray(picture)
        if not np.isfinite(pixels).all():
            raise ImageRefused(f"{name}: has pixels that are not numbers")
        picture = Image.fromarray(stretch_to_8_bits(pixels, *own_range(sampled(pixels))))
    has_alpha = picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info
    if picture.mode not in ("L", "RGB") or has_alpha:
        picture = picture.convert("RGBA" if has_alpha else "L" if picture.mode == "1" else "RGB")
    picture = shrunk(picture, fitted_size(picture.size, max_side))
    if has_alpha:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture).convert("RGB")
    if picture.mode == "RGB":
        if not allow_colour and is_coloured(picture):
            raise ImageRefused(f"{name}: is a colour picture, not a radiograph; if it is one, allow colour")
        picture = picture.convert("L")
    gray = picture.copy()
    gray.info = {}
    return gray


def is_coloured(picture: Image.Image) -> bool:
    """Whether an RGB picture is a coloured one, by COLOUR_LEVELS and COLOUR_FRACTION."""
    small = picture.reduce(max(1, max(picture.size) // 128))
    red, green, blue = (np.asarray(channel) for channel in small.split())
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return bool((spread > COLOUR_LEVELS).mean() > COLOUR_FRACTION)
