"""Reading a radiograph from DICOM: one gray frame of 8 to 16 bits to 8-bit gray, as the maker meant it to be seen.

Gray values come from `data.images.dicom_pixels`; pixels that are not square are made square.

Only the attributes in `READ_ATTRIBUTES` are read from a file: nothing of the patient's identity is ever parsed, nor
quoted in a message. What cannot be used raises `ImageRejected`.
"""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.encaps import get_frame

from data.images.dicom_header import (
    RADIOGRAPH_ATTRIBUTES,
    body_part_of,
    codes,
    has_burned_in_text,
    modality_of,
    view_position_of,
)
from data.images.dicom_pixels import first_value, image_size, rle_sizes, to_8_bits
from data.images.jpeg_lossless import decode_jpeg_lossless
from data.images.pixels import ImageRejected, check_size, fitted_size, read_bytes, shrunk
from data.study import MAX_SIDE

READ_ATTRIBUTES = (
    *RADIOGRAPH_ATTRIBUTES,
    *("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio", "Rows", "Columns", "NumberOfFrames"),
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *("PixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
)
MAX_PIXEL_RATIO = 4.0

DECODERS = {
    uid.RLELossless: "pydicom",
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEGExtended12Bit: "pillow",
    uid.JPEGLossless: "",
    uid.JPEGLosslessSV1: "",
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    uid.JPEG2000Lossless: "pylibjpeg",
    uid.JPEG2000: "pylibjpeg",
}
"""Compressed transfer syntaxes that are read, and by which of pydicom's plug-ins; "" is `data.images.jpeg_lossless`.
Left to
itself pydicom would take gdcm for more of them, which ends the whole process at damaged frames."""
LOSSY = frozenset({uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000})


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomImage:
    """What is taken from a DICOM file. `view_position` is "UNKNOWN" where the header does not say;
    `patient_orientation` is (direction of the rows, of the columns), as in ("L", "F"); the image is as stored."""

    image: Image.Image
    view_position: str
    patient_orientation: tuple[str, ...]
    modality: str
    body_part: str
    is_exact: bool
    """Neither compressed with loss nor shrunk."""
    has_burned_in_text: bool


def read_dicom(source: Path | str | bytes, *, max_side: int = MAX_SIDE, name: str = "") -> DicomImage:
    """The image, its longest side at most `max_side`, and its few facts.

    Raises:
        ImageRejected: damaged, without pixels, of several frames, colored, or too large.
    """
    name = name or ("the image" if isinstance(source, bytes) else str(source))
    content = source if isinstance(source, bytes) else read_bytes(Path(source), name=name)
    try:
        # Validation would warn of odd values by quoting them.
        with pydicom.config.disable_value_validation():
            return _read(content, max_side=max_side, name=name)
    except ImageRejected:
        raise
    except Exception as error:  # pydicom and its codecs raise whatever they stumbled over
        # The cause is not quoted: it may hold values from the header.
        raise ImageRejected(f"{name}: is damaged or cut short DICOM; fetch or export it again") from error


def check_header(header: pydicom.Dataset, name: str) -> None:
    """Raises ImageRejected unless the header describes one gray frame of a size and depth that can be read."""
    if "PixelData" not in header:
        raise ImageRejected(f"{name}: is DICOM without pixels (no PixelData); name the files of the images")
    num_frames = _number(header, "NumberOfFrames", default=1)
    if num_frames != 1:
        raise ImageRejected(f"{name}: holds {num_frames} frames; export the one to be read")
    photometric = " ".join(codes(header, "PhotometricInterpretation")) or "missing"
    if _number(header, "SamplesPerPixel", default=1) != 1 or not photometric.startswith("MONOCHROME"):
        raise ImageRejected(f"{name}: is a color image (PhotometricInterpretation {photometric}), not a radiograph")
    check_size(_number(header, "Columns"), _number(header, "Rows"), name=name)
    allocated, stored = _number(header, "BitsAllocated"), _number(header, "BitsStored")
    if allocated not in (8, 16) or not 1 < stored <= allocated:
        raise ImageRejected(f"{name}: has {stored} bits a pixel in {allocated}; 8 to 16 bits in 8 or 16 can be read")


def check_pixel_data(header: pydicom.Dataset, name: str) -> None:
    """Raises ImageRejected unless the stored pixels are of the size that the header says, before they are decoded."""
    rows, columns, num_bytes = header.Rows, header.Columns, header.BitsAllocated // 8
    syntax = header.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        expected, length = rows * columns * num_bytes, len(header.PixelData)
        if length not in (expected, expected + expected % 2):
            raise ImageRejected(
                f"{name}: PixelData has {length} bytes, {columns} x {rows} pixels need {expected}; "
                "it is cut short, or the header is wrong: export it again"
            )
        return
    if syntax not in DECODERS or (syntax == uid.JPEGExtended12Bit and header.BitsStored > 8):
        raise ImageRejected(f"{name}: is compressed as {syntax.name}, which cannot be read; export it uncompressed")
    frame = get_frame(header.PixelData, 0, number_of_frames=1)
    if syntax == uid.RLELossless:
        fits = all(size <= rows * columns + 1 for size in rle_sizes(frame))
    else:
        fits = image_size(frame) == (columns, rows, 1)
    if not fits:
        raise ImageRejected(f"{name}: its compressed pixels are not the {columns} x {rows} gray ones the header says")


def _read(content: bytes, *, max_side: int, name: str) -> DicomImage:
    if uid.DeflatedExplicitVRLittleEndian.encode() in content:
        # pydicom would inflate all of it at once, whatever its size.
        raise ImageRejected(f"{name}: is deflated DICOM, which is not read; export it uncompressed")
    header = pydicom.dcmread(BytesIO(content), specific_tags=list(READ_ATTRIBUTES), force=True)
    if "TransferSyntaxUID" not in header.file_meta:
        header.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
    check_header(header, name)
    check_pixel_data(header, name)
    image = Image.fromarray(to_8_bits(_stored_values(header), header))
    size = fitted_size(_square_size(header), max_side)
    return DicomImage(
        image=shrunk(image, size),
        view_position=view_position_of(header),
        patient_orientation=codes(header, "PatientOrientation"),
        modality=modality_of(header),
        body_part=body_part_of(header),
        is_exact=size == image.size and header.file_meta.TransferSyntaxUID not in LOSSY,
        has_burned_in_text=has_burned_in_text(header),
    )


def _stored_values(header: pydicom.Dataset) -> np.ndarray:
    syntax = header.file_meta.TransferSyntaxUID
    if DECODERS.get(syntax) == "":
        return _jpeg_lossless_values(header)
    values = pydicom.pixels.pixel_array(header, decoding_plugin=DECODERS.get(syntax, ""))
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    assert values.shape == (header.Rows, header.Columns), values.shape
    if not syntax.is_encapsulated:
        # Bits beyond the stored ones may hold an overlay; shifting them out also extends the sign.
        allocated, stored = header.BitsAllocated, header.BitsStored
        high = _number(header, "HighBit", default=stored - 1)
        values = values << (allocated - 1 - high) >> (allocated - stored)
    return values


def _jpeg_lossless_values(header: pydicom.Dataset) -> np.ndarray:
    signed = bool(header.PixelRepresentation)
    pixels = decode_jpeg_lossless(
        get_frame(header.PixelData, 0, number_of_frames=1),
        width=header.Columns,
        height=header.Rows,
        bits_allocated=header.BitsAllocated,
        bits_stored=header.BitsStored,
        signed=signed,
        syntax=str(header.file_meta.TransferSyntaxUID),
    )
    kind = f"<{'i' if signed else 'u'}{header.BitsAllocated // 8}"
    return np.frombuffer(pixels, dtype=kind).reshape(header.Rows, header.Columns)


def _square_size(header: pydicom.Dataset) -> tuple[int, int]:
    """(width, height) that makes the pixels square, by shrinking the denser side; spacings beyond MAX_PIXEL_RATIO
    of each other are taken for a mistake."""
    for attribute in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
        spacing = header.get(attribute)
        if spacing and len(spacing) == 2 and min(spacing) > 0:
            ratio = float(spacing[0]) / float(spacing[1])  # of the distance between rows to that between columns
            if 1.01 < max(ratio, 1 / ratio) <= MAX_PIXEL_RATIO:
                return round(header.Columns * min(1, 1 / ratio)), round(header.Rows * min(1, ratio))
            break
    return header.Columns, header.Rows


def _number(header: pydicom.Dataset, attribute: str, *, default: int = 0) -> int:
    value = first_value(header, attribute)
    return default if value is None else int(value)
