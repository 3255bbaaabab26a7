"""The stored values of a DICOM image: decompress, and take the bits that belong to the values (PS3.5, 8.1.1).

A value has BitsStored bits, up to the bit HighBit, of BitsAllocated. The other bits may hold an overlay, or anything.
Headers are often wrong about this, so the bits that are used decide where the header can't be right.

The native decoders of JPEG-LS, JPEG 2000 and JPEG lossless can hang or crash on damaged data, so they run in a process
of their own (`data.images.isolated`).
"""

import struct

import numpy as np
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.encaps import get_frame

from data.images.codestreams import check_scans, has_end, image_size
from data.images.dicom.values import first_number
from data.images.formats import DAMAGED, decode_jpeg, is_damaged, native_messages
from data.images.isolated import run_isolated
from data.images.pixels import ImageRejected

JPEG_SYNTAXES = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
ISOLATED_SYNTAXES = (
    *(uid.JPEGLSLossless, uid.JPEGLSNearLossless, uid.JPEG2000Lossless, uid.JPEG2000),
    *(uid.JPEGLossless, uid.JPEGLosslessSV1),
)
LOSSY = frozenset({*JPEG_SYNTAXES, uid.JPEGLSNearLossless, uid.JPEG2000})
OVERLAY_BITS = tuple((group, 0x0102) for group in range(0x6000, 0x6020, 2))
"""OverlayBitPosition: the bit of the pixels that holds an overlay, if it is not 0."""


def stored_values(header: pydicom.Dataset, notes: list[str], *, name: str) -> tuple[np.ndarray, int]:
    """The values as integers [rows, columns], and the number of bits of a value. `notes` get what the user should know.

    Raises:
        ImageRejected: PixelData does not fit the header, or is compressed in an unsupported way.
    """
    rows, columns, allocated = (int(first_number(header, key)) for key in ("Rows", "Columns", "BitsAllocated"))
    syntax = header.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        container, precision = _decompressed(header, notes, rows=rows, columns=columns, allocated=allocated, name=name)
    else:
        container, precision = _native(header, rows=rows, columns=columns, allocated=allocated, name=name), allocated
    return _values(container, header, notes, precision=precision)


def _native(header: pydicom.Dataset, *, rows: int, columns: int, allocated: int, name: str) -> np.ndarray:
    element = header.get_item("PixelData")
    content, expected = element.value or b"", rows * columns * allocated // 8
    # More bytes than pixels are padding (PS3.5, 8.1.1), but another frame is none.
    if not expected <= len(content) < 2 * expected:
        raise ImageRejected(
            f"{name}: PixelData has {len(content)} bytes, {columns} x {rows} pixels need {expected}; "
            "it is cut short, or the header is wrong: export it again"
        )
    is_little = header.file_meta.TransferSyntaxUID.is_little_endian
    if not is_little and allocated == 8 and element.VR == "OW":  # the bytes are swapped in pairs
        content = np.frombuffer(content[: len(content) // 2 * 2], ">u2").astype("<u2").tobytes()
    item = np.dtype(f"{'<' if is_little else '>'}u{allocated // 8}")
    pixels = np.frombuffer(content, item, count=rows * columns).reshape(rows, columns)
    return pixels.astype(item.newbyteorder("="), copy=False)


def _decompressed(
    header: pydicom.Dataset, notes: list[str], *, rows: int, columns: int, allocated: int, name: str
) -> tuple[np.ndarray, int]:
    """The unsigned container values, and how many bits of them the decoder fills."""
    syntax = header.file_meta.TransferSyntaxUID
    is_known = syntax in (*JPEG_SYNTAXES, *ISOLATED_SYNTAXES, uid.RLELossless)
    if not is_known or (syntax == uid.JPEGExtended12Bit and first_number(header, "BitsStored", 8) > 8):
        raise ImageRejected(f"{name}: is compressed as {syntax.name}, which cannot be read; export it uncompressed")
    frame = get_frame(header.PixelData, 0, number_of_frames=1)
    planes = _rle_planes(frame, rows * columns) if syntax == uid.RLELossless else None
    fits = image_size(frame) == (columns, rows, 1) if planes is None else len(planes) == allocated // 8
    if not fits:
        raise ImageRejected(f"{name}: its compressed pixels are not the {columns} x {rows} gray ones the header says")
    if planes is not None:
        container = planes[0] if allocated == 8 else planes[0].astype(np.uint16) << 8 | planes[1]
        return container.reshape(rows, columns), allocated
    if not has_end(frame):
        raise ImageRejected(f"{name}: its compressed pixels are cut short (no end marker); export it again")
    if syntax in JPEG_SYNTAXES:
        return _jpeg(frame, notes, name=name), 8
    options = {"syntax": str(syntax), "rows": rows, "columns": columns, "allocated": allocated}
    result, pixels = run_isolated(decode_frame, frame, **options)
    if result["is_damaged"]:
        notes.append(DAMAGED)
    container = np.frombuffer(pixels, f"<u{len(pixels) // (rows * columns)}").reshape(rows, columns)
    return container, result["precision"]


def _jpeg(frame: bytes, notes: list[str], *, name: str) -> np.ndarray:
    check_scans(frame, name=name)
    with native_messages() as messages:
        image = decode_jpeg(frame)
    if is_damaged(messages):
        notes.append(DAMAGED)
    return np.asarray(image)


def _rle_planes(frame: bytes, num_pixels: int) -> list[np.ndarray]:
    """The bytes of each segment of an RLE frame (DICOM PS3.5, annex G), the high bytes first; none if a segment holds
    more pixels. Pillow decodes them, because a decoder in Python takes seconds for a hostile frame.

    Raises:
        ValueError: a segment holds fewer pixels.
    """
    if len(frame) < 64:
        raise ValueError("the RLE header is cut short")
    num_segments, *offsets = struct.unpack("<16I", frame[:64])
    starts = offsets[:num_segments]
    segments = [frame[start:end] for start, end in zip(starts, [*starts[1:], len(frame)], strict=True)]
    if len(segments) > 2 or any(len(segment) > 2 * num_pixels + 2 for segment in segments):
        return []
    planes = [_unpacked(segment, num_pixels) for segment in segments]
    # One more byte may be padding.
    return [] if any(_holds(segment, num_pixels + 2) for segment in segments) else planes


def _holds(segment: bytes, num_pixels: int) -> bool:
    try:
        _unpacked(segment, num_pixels)
    except ValueError:
        return False
    return True


def _unpacked(segment: bytes, num_pixels: int) -> np.ndarray:
    return np.asarray(Image.frombytes("L", (num_pixels, 1), segment, "packbits", "L"))[0]


def decode_frame(frame: bytes, *, syntax: str, rows: int, columns: int, allocated: int) -> tuple[dict, bytes]:
    """Decode a frame of ISOLATED_SYNTAXES: {"precision": bits that the decoder fills, "is_damaged": whether it says
    so}, and the pixels, little-endian.

    It runs in the isolated process, and only there the decoders are loaded.
    """
    with native_messages() as messages:
        pixels, precision = _decoded(frame, syntax=syntax, rows=rows, columns=columns, allocated=allocated)
    if len(pixels) not in (rows * columns, 2 * rows * columns):
        raise ValueError("the decoder returned another number of pixels")
    return {"precision": precision, "is_damaged": is_damaged(messages)}, bytes(pixels)


def _decoded(frame: bytes, *, syntax: str, rows: int, columns: int, allocated: int) -> tuple[bytes, int]:
    if syntax in (uid.JPEGLSLossless, uid.JPEGLSNearLossless):
        import jpeg_ls

        pixels, information = jpeg_ls.decode_pixel_data(frame)
        return pixels, information["bits_per_sample"]
    if syntax in (uid.JPEG2000Lossless, uid.JPEG2000):
        import openjpeg

        return openjpeg.decode_pixel_data(frame, version=2), openjpeg.get_parameters(frame)["precision"]
    return _gdcm_pixels(frame, syntax, rows, columns, allocated), allocated


def _gdcm_pixels(frame: bytes, syntax: str, rows: int, columns: int, allocated: int) -> bytes:
    """gdcm is the only free decoder for JPEG lossless; a damaged frame can crash it."""
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    monochrome = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(monochrome))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    image.SetPixelFormat(gdcm.PixelFormat(1, allocated, allocated, allocated - 1, 0))
    return image.GetBuffer().encode("utf-8", "surrogateescape")  # gdcm returns bytes as text


def _values(
    container: np.ndarray, header: pydicom.Dataset, notes: list[str], *, precision: int
) -> tuple[np.ndarray, int]:
    is_signed = first_number(header, "PixelRepresentation", 0) == 1
    stored = min(int(first_number(header, "BitsStored", precision)), precision)
    high = int(first_number(header, "HighBit", stored - 1))
    low = high + 1 - stored if stored <= high + 1 <= precision else 0
    used = int(np.bitwise_or.reduce(container, axis=None))
    if low and used >> stored == 0 and used & ((1 << low) - 1):
        notes.append(f"has its values in the lowest {stored} bits, although HighBit is {high}")
        low = 0
    if not is_signed and used >> low < 1 << stored:
        return (container >> low if low else container), stored
    bits = 8 * container.itemsize
    values = _field(container, low=low, stored=stored, is_signed=is_signed)
    has_overlay = any(header.get(tag) is not None and header[tag].value for tag in OVERLAY_BITS)
    if stored < precision and not has_overlay:
        whole = _field(container, low=low, stored=precision - low, is_signed=is_signed)
        # Values of more bits jump where they overflow BitsStored; an overlay in the other bits jumps at its edges.
        if _roughness(whole) < _roughness(values):
            needed = (used >> low).bit_length() if not is_signed else _signed_bits(whole, bits)
            notes.append(f"uses {needed} bits per pixel, although BitsStored is {stored}")
            return whole, needed
    return values, stored


def _field(container: np.ndarray, *, low: int, stored: int, is_signed: bool) -> np.ndarray:
    """The bits from `low` on as numbers. Shifting up removes the bits above; shifting down extends the sign."""
    bits = 8 * container.itemsize
    kind = container.view(f"i{container.itemsize}") if is_signed else container
    return (kind << (bits - low - stored)) >> (bits - stored)


def _signed_bits(values: np.ndarray, bits: int) -> int:
    largest = max(int(values.max()), -1 - int(values.min()))
    return min(bits, largest.bit_length() + 1)


def _roughness(values: np.ndarray) -> float:
    """The mean difference of neighbors in some of the rows."""
    rows = values[:: max(1, len(values) // 64)].astype(np.int32)
    return float(np.abs(np.diff(rows, axis=1)).mean())
