"""Convert the values stored in DICOM to 8-bit gray, as the manufacturer intended (PS3.3, C.7.6.3, C.11.1, C.11.2).

The modality LUT or rescale is applied first, then the VOI LUT or the first window. Without both, 8-bit values are kept,
and deeper ones are stretched between the 0.5th and 99.5th percentile of the image. MONOCHROME1 is inverted; padding
becomes black.

`image_size` and `rle_sizes` read the size of a compressed image from its own first bytes. A decoder allocates memory
for this size, not for the size in the DICOM header, so it is checked before decoding.
"""

import struct
from typing import Any

import numpy as np
import pydicom
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_modality_lut, apply_voi, apply_windowing

from data.images.pixels import own_range, sampled, stretch_to_8_bits

_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
"""Start-of-frame markers of JPEG (ITU T.81, table B.1) and of JPEG-LS (ITU T.87)."""


def image_size(codestream: bytes) -> tuple[int, int, int]:
    """(width, height, components) of a JPEG, JPEG-LS or JPEG 2000 image.

    Raises:
        ValueError: it is another format.
    """
    if codestream[:2] == b"\xff\xd8":
        return _jpeg_size(codestream)
    if codestream[4:8] == b"jP  ":  # JPEG 2000 in a file of boxes
        codestream = codestream[max(0, codestream.find(b"jp2c")) + 4 :]
    if codestream[:4] == b"\xff\x4f\xff\x51" and len(codestream) >= 42:
        right, bottom, left, top = struct.unpack(">4I", codestream[8:24])
        return right - left, bottom - top, struct.unpack(">H", codestream[40:42])[0]
    raise ValueError("no JPEG, JPEG-LS or JPEG 2000 image")


def rle_sizes(frame: bytes) -> list[int]:
    """Decompressed size in bytes of each segment of an RLE frame (DICOM PS3.5, annex G)."""
    if len(frame) < 64:
        raise ValueError("the RLE header is cut short")
    num_segments, *offsets = struct.unpack("<16I", frame[:64])
    starts = offsets[: min(num_segments, 15)]
    return [_expanded(frame[start:end]) for start, end in zip(starts, [*starts[1:], len(frame)], strict=True)]


def _jpeg_size(codestream: bytes) -> tuple[int, int, int]:
    position = 2
    while position + 10 <= len(codestream) and codestream[position] == 0xFF:
        marker = codestream[position + 1]
        if marker == 0xFF:  # padding
            position += 1
        elif marker in _JPEG_FRAMES:
            height, width, components = struct.unpack(">HHB", codestream[position + 5 : position + 10])
            return width, height, components
        else:
            position += 2 + struct.unpack(">H", codestream[position + 2 : position + 4])[0]
    raise ValueError("a JPEG image without a frame header")


def _expanded(segment: bytes) -> int:
    position = size = 0
    while position < len(segment):
        header = segment[position]
        if header < 128:
            size += header + 1
            position += header + 2
        elif header > 128:
            size += 257 - header
            position += 2
        else:
            position += 1
    return size


def to_8_bits(stored: np.ndarray, header: pydicom.Dataset) -> np.ndarray:
    """Convert stored values to 8-bit gray values. Each gray level is computed once and looked up for the pixels."""
    padding = _is_padding(stored, header)
    lowest, highest = int(stored.min()), int(stored.max())
    index = stored.view(f"u{stored.itemsize}") - np.array(lowest).astype(f"u{stored.itemsize}")
    levels = np.arange(lowest, highest + 1)
    modality = apply_modality_lut(levels, header)
    shown = _apply_voi(modality, header)
    if shown is None and header.BitsStored == 8 and header.PixelRepresentation == 0:
        shown = levels.astype(np.uint8)
    # A window that contains no values shows nothing: the header is wrong, so the range of the image is used.
    if shown is None or (shown.min() == shown.max() and lowest < highest):
        seen = sampled(index) if padding is None else sampled(index)[~sampled(padding)]
        shown = stretch_to_8_bits(modality, *own_range(modality[seen]))
    if header.PhotometricInterpretation == "MONOCHROME1":
        shown = 255 - shown
    pixels = shown[index]
    if padding is not None:
        pixels[padding] = 0
    return pixels


def _apply_voi(modality: np.ndarray, header: pydicom.Dataset) -> np.ndarray | None:
    """8-bit gray values after the VOI LUT or window; None if the header has no usable one."""
    if header.get("VOILUTSequence"):
        shown = apply_voi(np.rint(modality).astype(np.int64), header)
        num_entries, first_level, _ = header.VOILUTSequence[0].LUTDescriptor
        table = apply_voi(np.arange(first_level, first_level + (num_entries or 2**16)), header)
        return stretch_to_8_bits(shown, int(table.min()), int(table.max()))
    if first_value(header, "WindowCenter") is None or not (first_value(header, "WindowWidth") or 0) >= 1:
        return None
    # Two levels far outside the window show the range of the result.
    center, width = float(first_value(header, "WindowCenter")), float(first_value(header, "WindowWidth"))
    shown = apply_windowing(np.append(modality, [center - 100 * width, center + 100 * width]), header)
    return stretch_to_8_bits(shown[:-2], shown[-2], shown[-1])


def _is_padding(stored: np.ndarray, header: pydicom.Dataset) -> np.ndarray | None:
    """Mask of padding pixels; None if there are none."""
    value = first_value(header, "PixelPaddingValue")
    if not isinstance(value, int):
        return None
    limit = first_value(header, "PixelPaddingRangeLimit")
    other = limit if isinstance(limit, int) else value
    padding = (stored >= min(value, other)) & (stored <= max(value, other))
    return padding if padding.any() and not padding.all() else None


def first_value(header: pydicom.Dataset, attribute: str) -> Any:
    """The value, the first of several values, or None."""
    value = header.get(attribute)
    return value[0] if isinstance(value, MultiValue) and value else value
