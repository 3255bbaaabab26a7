"""Read a radiograph from a file or bytes: PNG, JPEG, WebP, TIFF or DICOM becomes 8-bit gray with the same aspect ratio.

The format is detected from the content, not from the name. Size limits are checked on the file and its header before
decoding. Unreadable or unsuitable images raise `ImageRejected`, which names the file.
"""

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from data.images.dicom.identifiers import DicomIdentifiers, dicom_identifiers, read_demographics, read_identities
from data.images.dicom.read import read_dicom
from data.images.encode import bare_file, encode_jpeg, encode_png, is_jpeg
from data.images.formats import DAMAGED, decode
from data.images.isolated import TooSlow, limited_time, run_isolated
from data.images.pixels import ImageRejected, is_dicom, read_bytes
from data.study import MAX_SIDE
from vlm.schema.demographics import NOTHING_KNOWN, Demographics

UNKNOWN_VIEW = "UNKNOWN"
_TOO_SLOW = "{name}: {error}; it is damaged or hostile: export it again"
ImageFormat = Literal["auto", "png", "jpeg"]


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """An image that was read from a file.

    `is_exact`: each gray value equals that of a lossless file. `bare`: its own file without metadata, if that shows
    exactly `image`. `has_burned_in_text`: from the DICOM header. `identities`: names in the DICOM header, which are
    removed from the report and not stored. `demographics`: from the DICOM header. `notes`: what a user should know, as
    clauses without a subject ("was turned upright, …"). `problem`: why the DICOM header says that this is not a chest
    radiograph for viewing.
    """

    image: Image.Image
    view_position: str = UNKNOWN_VIEW
    is_exact: bool = True
    bare: bytes | None = None
    has_burned_in_text: bool = False
    identities: tuple[str, ...] = ()
    demographics: Demographics = NOTHING_KNOWN
    notes: tuple[str, ...] = ()
    problem: str = ""


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
    return _read(content, max_side=max_side, allow_color=allow_color, name=name).image


def read_view(source: Path | bytes, *, max_side: int, allow_color: bool = False, name: str = "") -> View:
    """Read an image for a data set.

    Raises:
        ImageRejected: as `read_image`; or a DICOM file is not a chest radiograph, or takes too long to read.
    """
    name = name or ("the image" if isinstance(source, bytes) else str(source))
    content = source if isinstance(source, bytes) else read_bytes(source, name=name)
    try:
        with limited_time(content):
            view = _read(content, max_side=max_side, allow_color=allow_color, name=name)
            if view.problem:
                raise ImageRejected(f"{name}: {view.problem}")
            if not is_dicom(content):
                return view
            demographics, notes = read_demographics(content)
            identities = read_identities(content, name=name)
            return replace(view, identities=identities, demographics=demographics, notes=(*view.notes, *notes))
    except TooSlow as error:
        raise ImageRejected(_TOO_SLOW.format(name=name, error=error)) from error


def read_apart(content: bytes, *, name: str, max_side: int = MAX_SIDE) -> tuple[View, DicomIdentifiers | None]:
    """Read an image from a user in a process of its own, so that a hostile file blocks nobody. `identifiers` only for
    DICOM.

    Raises:
        ImageRejected: as `read_image`, or the file takes too long to read.
    """
    try:
        answer, pixels = run_isolated(_read_job, content, name=name, max_side=max_side)
    except TooSlow as error:
        raise ImageRejected(_TOO_SLOW.format(name=name, error=error)) from error
    except ImageRejected:
        raise
    except ValueError as error:
        raise ImageRejected(f"{name}: is damaged ({error}); fetch or export it again") from error
    view = View(
        image=Image.frombytes("L", tuple(answer["size"]), pixels),
        view_position=answer["view_position"],
        has_burned_in_text=answer["has_burned_in_text"],
        notes=tuple(answer["notes"]),
        problem=answer["problem"],
    )
    return view, DicomIdentifiers(**answer["identifiers"]) if answer["identifiers"] is not None else None


def _read_job(content: bytes, *, name: str, max_side: int) -> tuple[dict[str, Any], bytes]:
    view = _read(content, max_side=max_side, allow_color=False, name=name)
    identifiers = dicom_identifiers(content)
    answer = {
        "size": view.image.size,
        "view_position": view.view_position,
        "has_burned_in_text": view.has_burned_in_text,
        "notes": view.notes,
        "problem": view.problem,
        "identifiers": asdict(identifiers) if identifiers else None,
    }
    return answer, view.image.tobytes()


def _read(content: bytes, *, max_side: int, allow_color: bool, name: str) -> View:
    if not is_dicom(content):
        return decode_image(content, max_side=max_side, allow_color=allow_color, name=name)
    dicom = read_dicom(content, max_side=max_side, name=name)
    return View(**{field.name: getattr(dicom, field.name) for field in fields(dicom)})


def decode_image(content: bytes, *, max_side: int, allow_color: bool, name: str) -> View:
    """Read an image in any format but DICOM. Raises ImageRejected as `read_image`."""
    decoded = decode(content, max_side=max_side, allow_color=allow_color, name=name)
    # The decoders disagree about damaged pixels, so their file is not kept.
    bare = bare_file(content) if decoded.is_plain and DAMAGED not in decoded.notes else None
    return View(image=decoded.image, is_exact=decoded.is_exact, bare=bare, notes=decoded.notes)


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
