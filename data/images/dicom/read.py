"""Read a radiograph from DICOM: one gray frame of 8 to 16 bits becomes an 8-bit gray image in the standard view.

`data.images.dicom.pixels` decodes the stored values, `data.images.dicom.display` converts them to gray, and
`data.images.dicom.orientation` turns the image. Images with non-square pixels are resized.

Only the attributes in `READ_ATTRIBUTES` are read. They do not identify the patient, and messages never quote other
attributes. Unusable files raise `ImageRejected`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom import uid

from data.images.dicom.display import DISPLAY_ATTRIBUTES, to_8_bits
from data.images.dicom.header import (
    RADIOGRAPH_ATTRIBUTES,
    check_radiograph,
    has_burned_in_text,
    patient_orientation_of,
    photometric_of,
    view_position_of,
)
from data.images.dicom.orientation import standard_view
from data.images.dicom.pixels import LOSSY, OVERLAY_BITS, stored_values
from data.images.dicom.values import first_number, numbers_in, parse_header
from data.images.isolated import TooSlow
from data.images.pixels import ImageRejected, check_size, fitted_size, read_bytes, shrunk_pixels
from data.study import MAX_SIDE

READ_ATTRIBUTES = (
    *RADIOGRAPH_ATTRIBUTES,
    *("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio", "Rows", "Columns", "NumberOfFrames"),
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", *OVERLAY_BITS),
    *DISPLAY_ATTRIBUTES,
    *("PixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
)
MAX_PIXEL_RATIO = 4.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomImage:
    """An image with some attributes of its header. `view_position` is "UNKNOWN" if the header does not say.

    `problem` is the reason why the header says that this is not a chest radiograph for viewing, "" if it does not.
    `notes` are about the header and what was done because of it ("was turned …").
    """

    image: Image.Image
    view_position: str
    problem: str
    is_exact: bool
    """Neither lossy compression nor scaling changed the gray values."""
    has_burned_in_text: bool
    notes: tuple[str, ...]


def read_dicom(source: Path | str | bytes, *, max_side: int = MAX_SIDE, name: str = "") -> DicomImage:
    """Read the image, with a longest side of at most `max_side` pixels.

    Raises:
        ImageRejected: the file is damaged, has no pixels, several frames or colors, or is too large.
        TooSlow: it takes too long to decode.
    """
    name = name or ("the image" if isinstance(source, bytes) else str(source))
    content = source if isinstance(source, bytes) else read_bytes(Path(source), name=name)
    try:
        return _read(content, max_side=max_side, name=name)
    except (ImageRejected, TooSlow):
        raise
    except Exception as error:  # pydicom and its codecs raise many types
        # The cause is not quoted: it may hold values from the header.
        raise ImageRejected(f"{name}: is damaged or cut short DICOM; fetch or export it again") from error


def check_header(header: pydicom.Dataset, name: str) -> None:
    """Raises ImageRejected unless the header describes one gray frame of a supported size and bit depth."""
    if "PixelData" not in header:
        raise ImageRejected(
            f"{name}: is DICOM without pixels (no PixelData): no image, or cut short; name the files of the "
            "images, or export it again"
        )
    num_frames = first_number(header, "NumberOfFrames", 1)
    if num_frames > 1:
        raise ImageRejected(f"{name}: holds {num_frames:.0f} frames; export the one to be read")
    photometric = photometric_of(header)
    if not photometric:
        raise ImageRejected(f"{name}: has no valid PhotometricInterpretation, so black and white are unknown")
    if not photometric.startswith("MONOCHROME"):
        raise ImageRejected(f"{name}: is a color image (PhotometricInterpretation {photometric}), not a radiograph")
    if (num_samples := first_number(header, "SamplesPerPixel", 1)) not in (0, 1):
        raise ImageRejected(f"{name}: has {num_samples:.0f} samples per pixel (SamplesPerPixel), but is {photometric}")
    missing = [key for key in ("Rows", "Columns", "BitsAllocated") if first_number(header, key) is None]
    if missing:
        raise ImageRejected(f"{name}: its header does not give {', '.join(missing)}; export it again")
    check_size(int(first_number(header, "Columns")), int(first_number(header, "Rows")), name=name)
    allocated = int(first_number(header, "BitsAllocated"))
    stored = int(first_number(header, "BitsStored", allocated))
    if allocated not in (8, 16) or not 1 < stored <= allocated:
        raise ImageRejected(f"{name}: has {stored} bits per pixel in {allocated}; 8 to 16 bits in 8 or 16 can be read")


def _read(content: bytes, *, max_side: int, name: str) -> DicomImage:
    header = parse_header(content, READ_ATTRIBUTES, name=name)
    if "TransferSyntaxUID" not in header.file_meta:
        header.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
    check_header(header, name)
    notes: list[str] = []
    values, num_bits = stored_values(header, notes, name=name)
    whole = to_8_bits(values, num_bits, header, notes)
    size = fitted_size(_square_size(header), max_side)
    view_position = view_position_of(header)
    pixels, turned = standard_view(shrunk_pixels(whole, size), patient_orientation_of(header), view_position)
    return DicomImage(
        image=Image.fromarray(pixels),
        view_position=view_position,
        problem=_problem(header),
        is_exact=size == whole.shape[::-1] and header.file_meta.TransferSyntaxUID not in LOSSY,
        has_burned_in_text=has_burned_in_text(header),
        notes=(*dict.fromkeys(notes), *filter(None, [turned])),
    )


def _problem(header: pydicom.Dataset) -> str:
    try:
        check_radiograph(header, name="")
    except ImageRejected as error:
        return str(error).removeprefix(": ")
    return ""


def _square_size(header: pydicom.Dataset) -> tuple[int, int]:
    """(width, height) with square pixels; the denser direction is scaled down. A ratio above MAX_PIXEL_RATIO is
    considered an error in the header and ignored."""
    columns, rows = int(first_number(header, "Columns")), int(first_number(header, "Rows"))
    for attribute in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
        spacing = numbers_in(header, attribute)
        if len(spacing) == 2 and min(spacing) > 0 and not np.isnan(spacing).any():
            ratio = spacing[0] / spacing[1]  # row spacing / column spacing
            if 1.01 < max(ratio, 1 / ratio) <= MAX_PIXEL_RATIO:
                return round(columns * min(1, 1 / ratio)), round(rows * min(1, ratio))
            break
    return columns, rows
