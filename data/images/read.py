"""Reading a radiograph from a file or from bytes: PNG, JPEG, WebP, TIFF or DICOM to 8-bit gray, aspect kept.

The kind of file is told from its content, never from its name. Size limits are checked on the file and on the header
before anything is decoded. What cannot be read or is no gray image raises `ImageRejected`, which names the file.

- 16 and 32 bits per pixel are stretched between the 0.5th and 99.5th percentile of the image itself: many
  16-bit files hold 10 or 12 bits, and would come out black at full range.
- Transparent parts become black, as the air around a patient is. EXIF orientation is applied.
- Equal (or nearly equal) channels are gray; a colored image is rejected unless `allow_color`.

One image of a study as its file has it: gray pixels, what the file tells of them, how they are to be stored.
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
"""Colored: more than this fraction of the pixels have channels further apart than this many levels. Burned-in arrows
and JPEG's traces stay below it."""

_OPENERS = {
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
    b"II*\0": TiffImagePlugin.TiffImageFile,
    b"MM\0*": TiffImagePlugin.TiffImageFile,
    b"II+\0": TiffImagePlugin.TiffImageFile,
    b"MM\0+": TiffImagePlugin.TiffImageFile,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedImage:
    """An image with where it comes from. `is_exact`: each of its gray values is that of a lossless file. `bare` is
    its own file without metadata, where that shows just `image` (see `data.images.encode`)."""

    image: Image.Image
    is_exact: bool
    bare: bytes | None


def read_image(
    source: Path | str | bytes, *, max_side: int = MAX_SIDE, allow_color: bool = False, name: str = ""
) -> Image.Image:
    """The image as 8-bit gray (mode L) without any metadata, its longest side at most `max_side`.

    `name` is what messages call it; by default the path.

    Raises:
        ImageRejected: not such a file, damaged, too large, too small, animated, or colored.
    """
    name = name or ("the image" if isinstance(source, bytes) else str(source))
    content = source if isinstance(source, bytes) else read_bytes(Path(source), name=name)
    if is_dicom(content):
        return read_dicom(content, max_side=max_side, name=name).image
    return decode_image(content, max_side=max_side, allow_color=allow_color, name=name).image


def decode_image(content: bytes, *, max_side: int, allow_color: bool, name: str) -> DecodedImage:
    """The image in a file of any kind but DICOM. Raises ImageRejected as `read_image`."""
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
        return DecodedImage(
            image=image,
            is_exact=max(size) <= max_side and not _is_lossy(decoded, content),
            bare=bare_file(content) if is_plain and image.size == size else None,
        )
    except ImageRejected:
        raise
    except Exception as error:  # codecs raise whatever they stumbled over
        reason = str(error) or type(error).__name__
        raise ImageRejected(f"{name}: is damaged or cut short ({reason}); fetch or export it again") from error


def _open(content: bytes, *, name: str) -> Image.Image:
    """The image, not yet decoded. Pillow's classes are called directly: `Image.open` would try other formats and
    warn of large sizes by a global setting, where `check_size` rejects them."""
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
    """Decodes the image and turns it upright."""
    # Lets libjpeg decode at a half, a quarter or an eighth, which is faster than decoding all and shrinking.
    image.draft(None, fitted_size(image.size, max_side))
    image.load()
    ImageOps.exif_transpose(image, in_place=True)


def _is_lossy(image: Image.Image, content: bytes) -> bool:
    """Whether the file's own compression has lost something; WebP has it both ways."""
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
    """Whether an RGB image is a colored one, by COLOR_LEVELS and COLOR_FRACTION."""
    small = image.reduce(max(1, max(image.size) // 128))
    red, green, blue = (np.asarray(channel) for channel in small.split())
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return bool((spread > COLOR_LEVELS).mean() > COLOR_FRACTION)


UNKNOWN_VIEW = "UNKNOWN"

ImageFormat = Literal["auto", "png", "jpeg"]


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """`is_exact`: every gray value is as in a lossless file. `bare` is the image's own file without metadata, where
    that is what shows `image`. `has_burned_in_text` is what the DICOM header says; `identities` are words of it that
    name somebody, to be taken out of the report and kept nowhere."""

    image: Image.Image
    view_position: str = UNKNOWN_VIEW
    is_exact: bool = True
    bare: bytes | None = None
    has_burned_in_text: bool = False
    identities: tuple[str, ...] = ()


def read_view(source: Path | bytes, *, max_side: int, allow_color: bool = False, name: str = "") -> View:
    """The image in a file of any kind, or in its bytes.

    Raises:
        ImageRejected: as `read_image`; or DICOM that is no radiograph of a chest.
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
    image = decode_image(content, max_side=max_side, allow_color=allow_color, name=name)
    return View(image=image.image, is_exact=image.is_exact, bare=image.bare)


def stored_bytes(image: Image.Image, view: View | None, image_format: ImageFormat) -> bytes:
    """The file that an image is stored as; `view` is what it was read from, if it was read.

    "auto" loses nothing of what is exact, and takes JPEG for what is not (it was shrunk, or lossy before).
    """
    unchanged = view is not None and image is view.image
    if image_format == "auto":
        image_format = "png" if view is None or view.is_exact else "jpeg"
    if unchanged and view.bare and is_jpeg(view.bare) == (image_format == "jpeg"):
        return view.bare
    return encode_jpeg(image) if image_format == "jpeg" else encode_png(image)
