"""Read a radiograph from a file or bytes: PNG, JPEG, WebP, TIFF or DICOM becomes 8-bit gray with the same aspect ratio.

The format is detected from the content, not from the name. Size limits are checked on the file and its header before
decoding. Unreadable or unsuitable images raise `ImageRejected`, which names the file.

- Images of 16 or 32 bits per pixel are stretched between their 0.5th and 99.5th percentile, because many 16-bit files
  use only 10 or 12 bits and would be black at full range.
- Transparent pixels become black, like the air around a patient. EXIF orientation is applied.
- An image with (nearly) equal channels is gray; a color image is rejected unless `allow_color`.
"""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from data.images.dicom import read_dicom
from data.images.dicom_header import check_radiograph, read_identities
from data.images.encode import bare_file, encode_jpeg, encode_png, is_jpeg
from data.images.pixels import (
    MAX_FILE_BYTES,
    MAX_PIXELS,
    ImageRejected,
    check_size,
    fitted_size,
    is_dicom,
    own_range,
    read_bytes,
    sampled,
    shrunk,
    stretch_to_8_bits,
)
from data.study import MAX_SIDE

COLOR_LEVELS, COLOR_FRACTION = 48, 0.10
"""An image is a color image if its channels differ by more than this many levels in more than this fraction of
pixels. Arrows and JPEG artifacts stay below."""

_OPENERS = {
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
    b"II*\0": TiffImagePlugin.TiffImageFile,
    b"MM\0*": TiffImagePlugin.TiffImageFile,
    b"II+\0": TiffImagePlugin.TiffImageFile,
    b"MM\0+": TiffImagePlugin.TiffImageFile,
}


UNKNOWN_VIEW = "UNKNOWN"
ImageFormat = Literal["auto", "png", "jpeg"]


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """An image that was read from a file.

    `is_exact`: each gray value equals that of a lossless file. `bare`: its own file without metadata, if that shows
    exactly `image`. `has_burned_in_text`: from the DICOM header. `identities`: names in the DICOM header, which are
    removed from the report and not stored.
    """

    image: Image.Image
    view_position: str = UNKNOWN_VIEW
    is_exact: bool = True
    bare: bytes | None = None
    has_burned_in_text: bool = False
    identities: tuple[str, ...] = ()


def read_image(
    source: Path | str | bytes, *, max_side: int = MAX_SIDE, allow_color: bool = False, name: str = ""
) -> Image.Image:
    """The image as 8-bit gray (mode L) without metadata, with a longest side of at most `max_side` pixels.

    `name` is used in messages (default: the path).

    Raises:
        ImageRejected: the file is in another format, damaged, too large, too small, animated, or in color.
    """
    name = name or ("the image" if isinstance(source, bytes) else str(source))
    content = source if isinstance(source, bytes) else read_bytes(Path(source), name=name)
    if is_dicom(content):
        return read_dicom(content, max_side=max_side, name=name).image
    return decode_image(content, max_side=max_side, allow_color=allow_color, name=name).image


def decode_image(content: bytes, *, max_side: int, allow_color: bool, name: str) -> View:
    """Read an image in any format but DICOM. Raises ImageRejected as `read_image`."""
    if not content:
        raise ImageRejected(f"{name}: is empty (0 bytes); fetch or export it again")
    if len(content) > MAX_FILE_BYTES:
        raise ImageRejected(f"{name}: has {len(content)} bytes; the limit is {MAX_FILE_BYTES}")
    try:
        decoded = _open(content, name=name)
        size = decoded.size
        _load(decoded, max_side=max_side)
        is_plain = decoded.mode == "L" and decoded.size == size and "transparency" not in decoded.info
        image = _to_gray(decoded, max_side=max_side, allow_color=allow_color, name=name)
        return View(
            image=image,
            is_exact=max(size) <= max_side and not _is_lossy(decoded, content),
            bare=bare_file(content) if is_plain and image.size == size else None,
        )
    except ImageRejected:
        raise
    except Exception as error:  # codecs raise many types
        reason = str(error) or type(error).__name__
        raise ImageRejected(f"{name}: is damaged or cut short ({reason}); fetch or export it again") from error


def _open(content: bytes, *, name: str) -> Image.Image:
    """The image before decoding. Pillow's classes are called directly, because `Image.open` would try other formats and
    only warn about sizes that `check_size` rejects."""
    opener = next((opener for start, opener in _OPENERS.items() if content.startswith(start)), None)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        opener = WebPImagePlugin.WebPImageFile
    if opener is None:
        raise ImageRejected(f"{name}: its content is none of PNG, JPEG, WebP, TIFF and DICOM, whatever its name says")
    image = opener(BytesIO(content))
    check_size(*image.size, name=name)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tile = [image.tag_v2.get(tag, 1) for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH)]
        if tile[0] * tile[1] > MAX_PIXELS:
            raise ImageRejected(f"{name}: has tiles of {tile[0]} x {tile[1]} pixels; the limit is {MAX_PIXELS:,}")
    num_images = getattr(image, "n_frames", 1)
    if num_images > 1:
        raise ImageRejected(f"{name}: holds {num_images} images (animated or paged); export the one to be read")
    return image


def _load(image: Image.Image, *, max_side: int) -> None:
    """Decode the image and apply its EXIF orientation."""
    # libjpeg can decode at 1/2, 1/4 or 1/8 of the size, which is faster than decoding and resizing.
    image.draft(None, fitted_size(image.size, max_side))
    image.load()
    ImageOps.exif_transpose(image, in_place=True)


def _is_lossy(image: Image.Image, content: bytes) -> bool:
    """Whether the compression of the file is lossy; WebP supports both."""
    if isinstance(image, WebPImagePlugin.WebPImageFile):
        return content[12:16] != b"VP8L"
    return isinstance(image, JpegImagePlugin.JpegImageFile)


def _to_gray(image: Image.Image, *, max_side: int, allow_color: bool, name: str) -> Image.Image:
    if image.mode[0] in "IF":
        pixels = np.asarray(image)
        if not np.isfinite(pixels).all():
            raise ImageRejected(f"{name}: has pixels that are not numbers")
        image = Image.fromarray(stretch_to_8_bits(pixels, *own_range(sampled(pixels))))
    has_alpha = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
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


def read_view(source: Path | bytes, *, max_side: int, allow_color: bool = False, name: str = "") -> View:
    """Read an image for a data set.

    Raises:
        ImageRejected: as `read_image`; or a DICOM file is not a chest radiograph.
    """
    name = name or ("the image" if isinstance(source, bytes) else str(source))
    content = source if isinstance(source, bytes) else read_bytes(source, name=name)
    if is_dicom(content):
        dicom = read_dicom(content, max_side=max_side, name=name)
        check_radiograph(dicom.modality, dicom.body_part, name=name)
        return View(
            image=dicom.image,
            view_position=dicom.view_position,
            is_exact=dicom.is_exact,
            has_burned_in_text=dicom.has_burned_in_text,
            identities=read_identities(content, name=name),
        )
    return decode_image(content, max_side=max_side, allow_color=allow_color, name=name)


def stored_bytes(image: Image.Image, view: View | None, image_format: ImageFormat) -> bytes:
    """The stored file of an image; `view` is the view it was read from, if any.

    "auto" uses PNG for exact images, and JPEG for images that were scaled down or lossy before.
    """
    unchanged = view is not None and image is view.image
    if image_format == "auto":
        image_format = "png" if view is None or view.is_exact else "jpeg"
    if unchanged and view.bare and is_jpeg(view.bare) == (image_format == "jpeg"):
        return view.bare
    return encode_jpeg(image) if image_format == "jpeg" else encode_png(image)
