"""Read a radiograph from a file or bytes: PNG, JPEG, WebP, TIFF or DICOM becomes 8-bit gray with the same aspect ratio.

The format is detected from the content, not from the name. Size limits are checked on the file and its header before
decoding. Unreadable or unsuitable images raise `ImageRejected`, which names the file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from data.images.dicom import read_dicom
from data.images.dicom_header import check_radiograph, read_identities
from data.images.encode import bare_file, encode_jpeg, encode_png, is_jpeg
from data.images.formats import DAMAGED, decode
from data.images.pixels import is_dicom, read_bytes
from data.study import MAX_SIDE

UNKNOWN_VIEW = "UNKNOWN"
ImageFormat = Literal["auto", "png", "jpeg"]


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """An image that was read from a file.

    `is_exact`: each gray value equals that of a lossless file. `bare`: its own file without metadata, if that shows
    exactly `image`. `has_burned_in_text`: from the DICOM header. `identities`: names in the DICOM header, which are
    removed from the report and not stored. `notes`: what a user should know, as clauses without a subject ("was turned
    upright, …").
    """

    image: Image.Image
    view_position: str = UNKNOWN_VIEW
    is_exact: bool = True
    bare: bytes | None = None
    has_burned_in_text: bool = False
    identities: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


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
    decoded = decode(content, max_side=max_side, allow_color=allow_color, name=name)
    # The decoders disagree about damaged pixels, so their file is not kept.
    bare = bare_file(content) if decoded.is_plain and DAMAGED not in decoded.notes else None
    return View(image=decoded.image, is_exact=decoded.is_exact, bare=bare, notes=decoded.notes)


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
