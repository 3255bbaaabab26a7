"""Convert the values stored in DICOM to 8-bit gray, as the manufacturer intended (PS3.3, C.7.6.3, C.11.1, C.11.2).

The modality LUT or rescale is applied first, then the VOI LUT or the first window. Without both, 8-bit values are kept,
and deeper ones are stretched between the 0.5th and 99.5th percentile of the image. MONOCHROME1 is inverted; padding
becomes black.
"""

from typing import Any

import numpy as np
import pydicom
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_modality_lut, apply_voi, apply_windowing

from data.images.pixels import own_range, sampled, stretch_to_8_bits


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
