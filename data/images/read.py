"""Reading a radiograph from a file or from bytes: PNG, JPEG, WebP, TIFF or DICOM to 8-bit gray, aspect kept.

The kind of file is told from its content, never from its name. Size limits are checked on the file and on the header
before anything is decoded. What cannot be read or is no gray picture raises `ImageRefused`, which names the file.

- 16 and 32 bits per pixel are stretched between the 0.5th and 99.5th percentile of the picture itself: many
  16-bit files hold 10 or 12 bits, and would come out black at full range.
- Transparent parts become black, as the air around a patient is. EXIF orientation is applied.
- Equal (or nearly equal) channels are gray; a coloured picture is refused unless `allow_colour`.

One picture of a study as its file has it: gray pixels, what the file tells of them, how they are to be stored.
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
    ImageRefused,
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A picture with where it comes from. `is_exact`: each of its gray values is that of a lossless file. `bare` is
    its own file without metadata, where that shows just `image` (see `data.images.encode`)."""

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


UNKNOWN_VIEW = "UNKNOWN"

PictureFormat = Literal["auto", "png", "jpeg"]


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """`is_exact`: every gray value is as in a lossless file. `bare` is the picture's own file without metadata, where
    that is what shows `image`. `has_burnt_in_text` is what the DICOM header says; `identities` are words of it that
    name somebody, to be taken out of the report and kept nowhere."""

    image: Image.Image
    view_position: str = UNKNOWN_VIEW
    is_exact: bool = True
    bare: bytes | None = None
    has_burnt_in_text: bool = False
    identities: tuple[str, ...] = ()


def read_view(source: Path | bytes, *, max_side: int, allow_colour: bool = False, name: str = "") -> View:
    """The picture in a file of any kind, or in its bytes.

    Raises:
        ImageRefused: as `read_image`; or DICOM that is no radiograph of a chest.
    """
    name = name or ("the picture" if isinstance(source, bytes) else str(source))
    content = source if isinstance(source, bytes) else read_bytes(source, name=name)
    if is_dicom(content):
        dicom = read_dicom(content, max_side=max_side, name=name)
        check_radiograph(dicom.modality, dicom.body_part, name=name)
        return View(
            image=dicom.image,
            view_position=dicom.view_position,
            is_exact=dicom.is_exact,
            has_burnt_in_text=dicom.has_burnt_in_text,
            identities=read_identities(content, name=name),
        )
    picture = read_picture(content, max_side=max_side, allow_colour=allow_colour, name=name)
    return View(image=picture.image, is_exact=picture.is_exact, bare=picture.bare)


def stored_bytes(image: Image.Image, view: View | None, picture_format: PictureFormat) -> bytes:
    """The file that a picture is stored as; `view` is what it was read from, if it was read.

    "auto" loses nothing of what is exact, and takes JPEG for what is not (it was shrunk, or lossy before).
    """
    unchanged = view is not None and image is view.image
    if picture_format == "auto":
        picture_format = "png" if view is None or view.is_exact else "jpeg"
    if unchanged and view.bare and is_jpeg(view.bare) == (picture_format == "jpeg"):
        return view.bare
    return encode_jpeg(image) if picture_format == "jpeg" else encode_png(image)
