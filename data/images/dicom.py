"""Read a radiograph from DICOM: one gray frame of 8 to 16 bits becomes an 8-bit gray image.

`data.images.dicom_pixels` converts the gray values. Images with non-square pixels are resized.

Only the attributes in `READ_ATTRIBUTES` are read. They do not identify the patient, and messages never quote other
attributes. Unusable files raise `ImageRejected`.
"""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.encaps import get_frame

from data.images.codestreams import image_size, rle_sizes
from data.images.dicom_header import (
    RADIOGRAPH_ATTRIBUTES,
    body_part_of,
    codes,
    has_burned_in_text,
    modality_of,
    view_position_of,
)
from data.images.dicom_pixels import first_value, to_8_bits
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
"""The pydicom plug-in for each supported compressed transfer syntax; "" is `data.images.jpeg_lossless`. By default,
pydicom would use gdcm for more of them, but damaged frames make gdcm crash the whole process."""
LOSSY = frozenset({uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000})


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomImage:
    """An image with some attributes of its header. `view_position` is "UNKNOWN" if the header does not say.
    `patient_orientation` is (direction of the rows, direction of the columns), for example ("L", "F")."""

    image: Image.Image
    view_position: str
    patient_orientation: tuple[str, ...]
    modality: str
    body_part: str
    is_exact: bool
    """Neither lossy compression nor scaling changed the gray values."""
    has_burned_in_text: bool


def read_dicom(source: Path | str | bytes, *, max_side: int = MAX_SIDE, name: str = "") -> DicomImage:
    """Read the image, with a longest side of at most `max_side` pixels.

    Raises:
        ImageRejected: the file is damaged, has no pixels, several frames or colors, or is too large.
    """
    name = name or ("the image" if isinstance(source, bytes) else str(source))
    content = source if isinstance(source, bytes) else read_bytes(Path(source), name=name)
    try:
        # Validation would quote unusual values in warnings.
        with pydicom.config.disable_value_validation():
            return _read(content, max_side=max_side, name=name)
    except ImageRejected:
        raise
    except Exception as error:  # pydicom and its codecs raise many types
        # The cause is not quoted: it may hold values from the header.
        raise ImageRejected(f"{name}: is damaged or cut short DICOM; fetch or export it again") from error


def check_header(header: pydicom.Dataset, name: str) -> None:
    """Raises ImageRejected unless the header describes one gray frame of a supported size and bit depth."""
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
        raise ImageRejected(f"{name}: has {stored} bits per pixel in {allocated}; 8 to 16 bits in 8 or 16 can be read")


def check_pixel_data(header: pydicom.Dataset, name: str) -> None:
    """Raises ImageRejected unless the stored pixels have the size in the header. Nothing is decoded for this."""
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
        # pydicom would decompress all of it at once, whatever its size.
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
        # Unused bits may hold an overlay. Shifting removes them, and extends the sign.
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
    """(width, height) with square pixels; the denser direction is scaled down. A ratio above MAX_PIXEL_RATIO is
    considered an error in the header and ignored."""
    for attribute in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
        spacing = header.get(attribute)
        if spacing and len(spacing) == 2 and min(spacing) > 0:
            ratio = float(spacing[0]) / float(spacing[1])  # row spacing / column spacing
            if 1.01 < max(ratio, 1 / ratio) <= MAX_PIXEL_RATIO:
                return round(header.Columns * min(1, 1 / ratio)), round(header.Rows * min(1, ratio))
            break
    return header.Columns, header.Rows


def _number(header: pydicom.Dataset, attribute: str, *, default: int = 0) -> int:
    value = first_value(header, attribute)
    return default if value is None else int(value)
