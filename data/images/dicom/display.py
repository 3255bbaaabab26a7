"""Convert the values stored in DICOM to 8-bit gray, as the manufacturer intended (PS3.3, C.7.6.11, C.11.1, C.11.2).

The modality LUT or rescale is applied first, then the VOI LUT or the first window. Without a usable one, 8-bit values
are kept, and deeper ones are stretched between the 0.5th and 99.5th percentile of the image. MONOCHROME1 and the
presentation shape INVERSE are inverted. Padding, and what the shutters cover, become black.

An attribute that cannot be used is passed over with a note; it is no reason to reject the image.
"""

import math

import cv2
import numpy as np
import pydicom

from data.images.dicom.header import photometric_of
from data.images.dicom.values import codes, first_number, items_of, numbers_in, texts_in
from data.images.pixels import own_range, sampled, stretch_to_8_bits

DISPLAY_ATTRIBUTES = (
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "PresentationLUTShape"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *("ShutterShape", "ShutterLeftVerticalEdge", "ShutterRightVerticalEdge"),
    *("ShutterUpperHorizontalEdge", "ShutterLowerHorizontalEdge"),
    *("CenterOfCircularShutter", "RadiusOfCircularShutter", "VerticesOfThePolygonalShutter"),
)
MIN_LEVELS = 0.26
"""A window of more bits shows the image in fewer of the gray levels than this fraction (14 bits on 12: 0.25)."""
MIN_SHOWN = 0.05
"""A window in which fewer of the pixels have different gray levels is beside the image."""
MIN_WHITE = 0.2
"""With more white pixels than this fraction, a window of exactly 8, 9, … bits is one of fewer bits than the image."""
MIN_OPEN = 0.01
"""A shutter that leaves less of the image open is wrong."""
_SAMPLE = 20_000


def to_8_bits(stored: np.ndarray, num_bits: int, header: pydicom.Dataset, notes: list[str]) -> np.ndarray:
    """Convert stored values of `num_bits` to gray. Each gray level is computed once and looked up for the pixels."""
    hidden = _hidden(stored, header, notes)
    lowest, highest = int(stored.min()), int(stored.max())
    index = stored.view(f"u{stored.itemsize}") - np.array(lowest).astype(f"u{stored.itemsize}")
    levels = np.arange(lowest, highest + 1)
    modality = _modality(levels, header, notes)
    shown = _voi(modality, header, notes)
    if shown is None and num_bits == 8 and lowest >= 0:
        shown = levels.astype(np.uint8)
    elif shown is None or not _is_usable(shown, modality, index, hidden, header, notes):
        seen = sampled(index) if hidden is None else sampled(index)[~sampled(hidden)]
        shown = stretch_to_8_bits(modality, *own_range(modality[seen]))
    if _is_inverted(header, notes):
        shown = 255 - shown
    pixels = shown[index]
    if hidden is not None:
        pixels[hidden] = 0
    return pixels


def _is_inverted(header: pydicom.Dataset, notes: list[str]) -> bool:
    is_monochrome1 = photometric_of(header) == "MONOCHROME1"
    is_inverse = codes(header, "PresentationLUTShape") == ("INVERSE",)
    if is_inverse and not is_monochrome1:
        notes.append("was inverted: its header says MONOCHROME2, but with the presentation shape INVERSE")
    return is_monochrome1 or is_inverse


def _modality(levels: np.ndarray, header: pydicom.Dataset, notes: list[str]) -> np.ndarray:
    """The values after the modality LUT or rescale."""
    if header.get_item("ModalityLUTSequence") is not None:
        table = _lut(header, "ModalityLUTSequence", notes)
        if table is not None:
            return _looked_up(levels, *table)
    slope, intercept = (_number(header, key, notes) for key in ("RescaleSlope", "RescaleIntercept"))
    if slope == 0:
        notes.append("has a RescaleSlope of 0, which was passed over")
    if slope is None and intercept is None:
        return levels
    return levels * (slope or 1.0) + (intercept or 0.0)


def _voi(modality: np.ndarray, header: pydicom.Dataset, notes: list[str]) -> np.ndarray | None:
    """8-bit gray values after the VOI LUT or window; None if the header has no usable one."""
    if header.get_item("VOILUTSequence") is not None:
        table = _lut(header, "VOILUTSequence", notes)
        if table is not None:
            first, entries = table
            shown = _looked_up(np.rint(modality).astype(np.int64), first, entries)
            return stretch_to_8_bits(shown, int(entries.min()), int(entries.max()))
    center, width = (_number(header, key, notes) for key in ("WindowCenter", "WindowWidth"))
    function = " ".join(codes(header, "VOILUTFunction"))
    if center is None or width is None:
        return None
    if width < 1 and not (function == "LINEAR_EXACT" and width > 0):
        notes.append("has a WindowWidth below 1, which was passed over")
        return None
    if function not in ("", "LINEAR", "LINEAR_EXACT", "SIGMOID"):
        notes.append("has an unknown VOILUTFunction; LINEAR was used")
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            return np.rint(255 / (1 + np.exp(-4 * (modality - center) / width))).astype(np.uint8)
    low, high = _window(center, width, function)
    if high == low:
        return np.where(modality <= low, 0, 255).astype(np.uint8)
    return stretch_to_8_bits(modality, low, high)


def _window(center: float, width: float, function: str) -> tuple[float, float]:
    """The last black and the first white value (PS3.3, C.11.2.1.2.1 and C.11.2.1.3.2)."""
    if function == "LINEAR_EXACT":
        return center - width / 2, center + width / 2
    return center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2


def _is_usable(
    shown: np.ndarray,
    modality: np.ndarray,
    index: np.ndarray,
    hidden: np.ndarray | None,
    header: pydicom.Dataset,
    notes: list[str],
) -> bool:
    """Whether the window or VOI LUT shows the image: not one of another bit depth, or beside all values."""
    step = max(1, math.isqrt(index.size // _SAMPLE))
    seen = index[::step, ::step]
    if hidden is not None:
        seen = seen[~hidden[::step, ::step]]
    if modality[0] == modality[-1] or seen.size == 0:
        return True
    values, gray = modality[seen], shown[seen]
    low, high = np.percentile(values, [0.5, 99.5])
    largest = max(abs(low), abs(high))
    # A blank exposure has few gray levels in any window.
    fills_its_bits = high - low >= 0.25 * 2 ** math.ceil(math.log2(largest + 1)) if largest > 0 else False
    black, white = np.percentile(gray, [0.5, 99.5])
    is_beside = np.mean((gray > 0) & (gray < 255)) < MIN_SHOWN
    is_dark = fills_its_bits and white - black < MIN_LEVELS * 255
    if not (is_beside or is_dark or _is_of_fewer_bits(gray, header)):
        return True
    if high > low:
        notes.append("has a window or VOI LUT that does not fit its values; its own range was shown")
    return False


def _is_of_fewer_bits(gray: np.ndarray, header: pydicom.Dataset) -> bool:
    """Whether much is white because the window is exactly 0 to 255, 511, … for values of more bits."""
    center, width = first_number(header, "WindowCenter"), first_number(header, "WindowWidth")
    if header.get_item("VOILUTSequence") is not None or center is None or width is None or width < 2:
        return False
    bits = round(math.log2(width))
    return (
        8 <= bits < 16
        and abs(width - 2**bits) <= 1
        and abs(center - width / 2) <= 1
        and np.mean(gray == 255) > MIN_WHITE
    )


def _lut(header: pydicom.Dataset, attribute: str, notes: list[str]) -> tuple[int, np.ndarray] | None:
    """(first mapped value, entries) of the first item of a LUT sequence; None if it cannot be used."""
    items = items_of(header, attribute)
    item = items[0] if items else pydicom.Dataset()
    descriptor = numbers_in(item, "LUTDescriptor")
    element = item.get_item("LUTData")
    content = element.value if element is not None else None
    entries = np.array(numbers_in(item, "LUTData"))
    if len(descriptor) == 3 and not np.isnan(descriptor).any() and entries.size and np.isfinite(entries).all():
        num_entries, first = int(descriptor[0]) % 2**16 or 2**16, int(descriptor[1])
        is_signed = (
            first_number(header, "PixelRepresentation", 0) == 1 or first_number(header, "RescaleIntercept", 0) < 0
        )
        first -= 2**16 * (first >= 2**15 and is_signed)
        if entries.size < num_entries and isinstance(content, bytes) and len(content) >= num_entries:
            entries = np.frombuffer(content, np.uint8).astype(float)  # entries of 8 bits, two in a word
        if entries.size >= num_entries and np.ptp(entries[:num_entries]) > 0:
            return first, entries[:num_entries]
    notes.append(f"has a {attribute} that cannot be used; it was passed over")
    return None


def _looked_up(values: np.ndarray, first: int, entries: np.ndarray) -> np.ndarray:
    return entries[np.clip(values - first, 0, len(entries) - 1)]


def _number(header: pydicom.Dataset, attribute: str, notes: list[str]) -> float | None:
    number = first_number(header, attribute)
    if number is None and any(texts_in(header, attribute)):
        notes.append(f"has a {attribute} that is no number; it was passed over")
    return number


def _hidden(stored: np.ndarray, header: pydicom.Dataset, notes: list[str]) -> np.ndarray | None:
    """Mask of the pixels that are padding or behind a shutter; None if there are none."""
    masks = [mask for mask in (_padding(stored, header), _shutter(stored.shape, header, notes)) if mask is not None]
    if not masks:
        return None
    hidden = np.logical_or.reduce(masks)
    return hidden if hidden.any() and not hidden.all() else None


def _padding(stored: np.ndarray, header: pydicom.Dataset) -> np.ndarray | None:
    value = first_number(header, "PixelPaddingValue")
    if value is None:
        return None
    limit = first_number(header, "PixelPaddingRangeLimit", value)
    # The VR may be the unsigned one for signed values, or the other way round; the bits are the same.
    bits = 8 * stored.itemsize
    first, last = (
        np.array(int(number) % 2**bits).astype(f"u{stored.itemsize}").view(stored.dtype) for number in (value, limit)
    )
    return (stored >= min(first, last)) & (stored <= max(first, last))


def _shutter(shape: tuple[int, int], header: pydicom.Dataset, notes: list[str]) -> np.ndarray | None:
    """Mask of what the shutters cover (PS3.3, C.7.6.11); rows and columns are counted from 1."""
    shapes = codes(header, "ShutterShape")
    if not shapes:
        return None
    is_open = np.ones(shape, dtype=np.uint8)
    for kind in shapes:
        window = _opening(kind, shape, header)
        if window is None or window.mean() < MIN_OPEN:
            notes.append("has a shutter that cannot be used; it was passed over")
        else:
            is_open &= window
    return is_open == 0


def _opening(kind: str, shape: tuple[int, int], header: pydicom.Dataset) -> np.ndarray | None:
    """1 for the pixels that one shutter leaves open; None if it cannot be used."""
    window = np.zeros(shape, dtype=np.uint8)
    if kind == "RECTANGULAR":
        names = ("UpperHorizontal", "LowerHorizontal", "LeftVertical", "RightVertical")
        edges = [first_number(header, f"Shutter{name}Edge") for name in names]
        if None in edges:
            return None
        top, bottom, left, right = (int(np.clip(edge, 0, 10**6)) for edge in edges)
        window[max(top - 1, 0) : bottom, max(left - 1, 0) : right] = 1
    elif kind == "CIRCULAR":
        center, radius = numbers_in(header, "CenterOfCircularShutter"), first_number(header, "RadiusOfCircularShutter")
        if radius is None or len(center) != 2 or np.isnan(center).any():
            return None
        rows, columns = np.ogrid[1 : shape[0] + 1, 1 : shape[1] + 1]
        window[(rows - center[0]) ** 2 + (columns - center[1]) ** 2 <= radius**2] = 1
    elif kind == "POLYGONAL":
        vertices = numbers_in(header, "VerticesOfThePolygonalShutter")
        if len(vertices) < 6 or len(vertices) % 2 or np.isnan(vertices).any():
            return None
        points = np.clip(np.array(vertices).reshape(-1, 2)[:, ::-1] - 1, -(10**6), 10**6)  # (column, row) from 0
        cv2.fillPoly(window, [np.rint(points).astype(np.int32)], 1)
    else:
        return None
    return window
