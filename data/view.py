"""One picture of a study as its file has it: gray pixels, what the file tells of them, how they are to be stored."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from data.images import is_dicom, read_bytes, read_picture
from data.picture_file import encode_jpeg, encode_png, is_jpeg

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
        from data.dicom import read_dicom  # late: see data.images
        from data.dicom_header import check_radiograph, read_identities

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
