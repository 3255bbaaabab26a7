"""Parse a DICOM header with limits, and read its values one by one.

pydicom would reject a whole file for one wrong character, and its messages quote values, which may name a patient.
"""

import itertools
import logging
import math
import re
import warnings
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
from pydicom import uid
from pydicom.datadict import dictionary_VR
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

from data.images.pixels import ImageRejected

# Its messages and warnings quote values of headers, which may name a patient.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

HEAD_BYTES = 4096
"""The file meta information, with the transfer syntax, is within the first bytes."""
MAX_ELEMENTS = 10_000
"""Elements of a header, and items of its sequences. A radiograph has about 150."""
MAX_VALUE_BYTES = 2**18
"""What is read of a value; the largest are lookup tables of 128 KiB."""
_PIXEL_DATA = 0x7FE00010
MAX_ID_CHARACTERS = 200
_BINARY = {"SS": "<i2", "UL": "<u4", "SL": "<i4", "FL": "<f4", "FD": "<f8"} | dict.fromkeys(
    ("US", "OW", "US or SS", "US or OW", "US or SS or OW"), "<u2"
)
"""How numbers are stored, by VR; the other VRs are texts."""


def read_tags(content: bytes, attributes: tuple[str, ...]) -> pydicom.Dataset:
    """The attributes without the pixels. Raises ImageRejected as `parse_header`."""
    header = parse_header(content, attributes, name="it", stop_before_pixels=True)
    with warnings.catch_warnings():  # pydicom would quote unusual values
        warnings.simplefilter("ignore")
        header.decode()
    return header


def parse_header(content: bytes, attributes: tuple, *, name: str, stop_before_pixels: bool = False) -> pydicom.Dataset:
    """Parse DICOM; values are converted later, one by one.

    Raises:
        ImageRejected: it is deflated, or has more elements or items than a radiograph.
    """
    if uid.DeflatedExplicitVRLittleEndian.encode() in content:
        # pydicom would decompress all of it at once, whatever its size.
        raise ImageRejected(f"{name}: is deflated DICOM, which is not read; export it uncompressed")
    too_many = f"{name}: has more than {MAX_ELEMENTS:,} elements or items in its header; it is damaged: export it again"
    if _num_items(content) > MAX_ELEMENTS or _num_meta_elements(content) > MAX_ELEMENTS:
        raise ImageRejected(too_many)
    num_elements = itertools.count()

    def stop(tag: int, _vr: str | None, _length: int) -> bool:
        if next(num_elements) > MAX_ELEMENTS:
            raise ImageRejected(too_many)
        return stop_before_pixels and tag >= _PIXEL_DATA

    with warnings.catch_warnings():  # What a user should know is in our own notes.
        warnings.simplefilter("ignore")
        return pydicom.filereader.read_partial(BytesIO(content), stop, force=True, specific_tags=_tags(attributes))


@cache
def _tags(attributes: tuple) -> list[BaseTag]:
    return [Tag(attribute) for attribute in attributes]


def _num_items(content: bytes) -> int:
    """How often the tag of a sequence item occurs. Uncompressed pixels, the longest part, are not searched."""
    start = content.find(b"\xe0\x7f\x10\x00")
    length = int.from_bytes(content[start + 8 : start + 12], "little") if start >= 0 else 0
    end = start if start + length > len(content) - HEAD_BYTES and length < 2**32 - 1 else len(content)
    return content.count(b"\xfe\xff\x00\xe0", 0, end) + content.count(b"\xff\xfe\xe0\x00", 0, min(end, 2**20))


def _num_meta_elements(content: bytes) -> int:
    """Number of elements in the file meta information, which pydicom reads without a limit."""
    position = 132 if content[128:132] == b"DICM" else 0
    for number in range(MAX_ELEMENTS + 1):
        if content[position : position + 2] != b"\x02\x00":
            return number
        has_long_length = content[position + 4 : position + 6] in (b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC", b"UR")
        start, size = (position + 8, 4) if has_long_length else (position + 6, 2)
        position = start + size + int.from_bytes(content[start : start + size], "little")
    return MAX_ELEMENTS + 1


def codes(header: pydicom.Dataset, attribute: str) -> tuple[str, ...]:
    """The values of an attribute that are DICOM code strings. Free text might name a person, so it is dropped."""
    return tuple(text for text in texts_in(header, attribute) if re.fullmatch(r"[A-Z][A-Z0-9_]{0,15}", text))


def texts_in(header: pydicom.Dataset, attribute: str) -> tuple[str, ...]:
    """The values of a text attribute. Bytes that are not UTF-8 count as Latin-1, whatever SpecificCharacterSet says; so
    wrong bytes cost no more than their own letters."""
    value = _element(header, attribute)[1]
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            value = value.decode("latin-1")
    values = value.split("\\") if isinstance(value, str) else value if isinstance(value, list | MultiValue) else []
    return tuple(str(text).strip(" \0\n\r\t") for text in values)


def numbers_in(header: pydicom.Dataset, attribute: str) -> tuple[float, ...]:
    """The values of a numeric attribute; NaN for one that is no finite number. A decimal comma counts as a point.

    pydicom would reject the whole file for one wrong character.
    """
    kind, value = _element(header, attribute)
    if isinstance(value, bytes) and kind in _BINARY:
        item = np.dtype(_BINARY[kind])
        if not getattr(header.get_item(attribute), "is_little_endian", True):
            item = item.newbyteorder(">")
        return tuple(np.frombuffer(value[: len(value) // item.itemsize * item.itemsize], item).tolist())
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    values = value.split("\\") if isinstance(value, str) else [value]
    if isinstance(value, list | tuple | MultiValue):
        values = value
    return tuple(_finite(number) for number in values if number is not None)


def first_number(header: pydicom.Dataset, attribute: str, default: float | None = None) -> float | None:
    """The first value of `numbers_in`, or `default` if there is none or it is no number."""
    first = next(iter(numbers_in(header, attribute)), math.nan)
    return default if math.isnan(first) else first


def items_of(header: pydicom.Dataset, attribute: str) -> list[pydicom.Dataset]:
    """The items of a sequence; none if it is absent or damaged."""
    try:
        return list(header.get(attribute) or [])
    except Exception:  # pydicom raises many types
        return []


def _element(header: pydicom.Dataset, attribute: str) -> tuple[str, Any]:
    """The VR and the start of the value of an attribute, bytes if pydicom has not converted them yet."""
    element = header.get_item(attribute)
    if element is None:
        return "", None
    known = element.VR not in (None, "UN")
    value = element.value[:MAX_VALUE_BYTES] if isinstance(element.value, bytes | str) else element.value
    return element.VR if known else dictionary_VR(element.tag), value


def _finite(value: Any) -> float:
    try:
        number = float(str(value).strip(" \0").replace(",", "."))
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def id_texts(header: pydicom.Dataset, attribute: str) -> list[str]:
    value = header.get(attribute)
    values = list(value) if isinstance(value, list | tuple | MultiValue) else [] if value is None else [value]
    texts = [" ".join(str(text).split())[:MAX_ID_CHARACTERS] for text in values]
    return [text for text in texts if text]
