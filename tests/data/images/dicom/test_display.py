"""Headers that are wrong in one attribute still give the image: bits, windows, tables, padding, shutters."""

import cv2
import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from data.images.dicom.read import read_dicom
from data.images.pixels import ImageRejected
from tests.helpers.dicom.files import content_of, header_of, saved

RNG = np.random.default_rng(1)
NOISE = cv2.GaussianBlur(RNG.normal(size=(72, 60)), (0, 0), 6)
SMOOTH = np.rint((NOISE - NOISE.min()) / np.ptp(NOISE) * 4000 + 40).astype(np.uint16)
"""Values of 12 bits without jumps, like a radiograph."""
DEEP = {"BitsStored": 12, "HighBit": 11}
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}


def gray_and_notes(content: bytes) -> tuple[np.ndarray, tuple[str, ...]]:
    image = read_dicom(content)
    return np.asarray(image.image), image.notes


def linear(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip(np.rint((values.astype(float) - low) * (255 / (high - low))), 0, 255)


REFERENCE = linear(SMOOTH, 0, 4095)
OWN_RANGE = linear(SMOOTH, *np.percentile(SMOOTH, [0.5, 99.5]))


def with_text(attributes: dict[str, str], **others) -> bytes:
    """A file in which attributes hold texts that pydicom would not write."""
    header = header_of(SMOOTH, uid.ImplicitVRLittleEndian, **DEEP | WINDOW | others)
    with pydicom.config.disable_value_validation():
        for attribute, text in attributes.items():
            tag = pydicom.tag.Tag(attribute)
            header[tag] = pydicom.DataElement(tag, "LO", text)
        return saved(header)


def lut(first: int, entries: np.ndarray, bits: int, *, num_entries: int | None = None, packed: bool = False) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [(num_entries or len(entries)) % 2**16, first % 2**16, bits])
    item.add_new("LUTData", "OW", entries.astype("u1" if packed else "<u2").tobytes())
    return item


@pytest.mark.parametrize("high_bit", [11, 12, 13, 14, 15])
def test_values_are_taken_below_the_high_bit(high_bit):
    shifted = SMOOTH << (high_bit - 11)
    gray, notes = gray_and_notes(content_of(shifted, BitsStored=12, HighBit=high_bit, **WINDOW))
    assert np.array_equal(gray, REFERENCE) and notes == ()


def test_signed_values_are_taken_below_the_high_bit():
    shifted = ((SMOOTH.astype(np.int16) - 2048) << 4).astype(np.int16)
    gray, _ = gray_and_notes(content_of(shifted, BitsStored=12, HighBit=15, WindowCenter=0, WindowWidth=4096))
    assert np.array_equal(gray, REFERENCE)


def test_high_bit_that_the_values_contradict_is_ignored_with_a_note():
    gray, notes = gray_and_notes(content_of(SMOOTH, BitsStored=12, HighBit=15, **WINDOW))
    assert np.array_equal(gray, REFERENCE)
    assert notes == ("has its values in the lowest 12 bits, although HighBit is 15",)


@pytest.mark.parametrize("stored", [8, 10, 11])
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEGLSLossless])
def test_values_of_more_bits_than_stated_do_not_wrap(stored, syntax):
    header = header_of(SMOOTH, **DEEP, **WINDOW)
    if syntax.is_encapsulated:
        header.compress(syntax, generate_instance_uid=False)
    header.BitsStored, header.HighBit = stored, stored - 1
    gray, notes = gray_and_notes(saved(header))
    assert np.array_equal(gray, REFERENCE)
    assert notes == (f"uses 12 bits per pixel, although BitsStored is {stored}",)


@pytest.mark.parametrize("bit", [12, 15])
@pytest.mark.parametrize(
    "syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless]
)
@pytest.mark.parametrize("is_declared", [True, False])
def test_overlay_in_unused_bits_does_not_show(syntax, bit, is_declared):
    overlaid = SMOOTH.copy()
    overlaid[10:30, 10:40] |= 1 << bit
    header = header_of(overlaid, WindowCenter=2048, WindowWidth=4096)
    if is_declared:
        header.add_new((0x6000, 0x0100), "US", 16)
        header.add_new((0x6000, 0x0102), "US", bit)
    if syntax.is_encapsulated:
        header.compress(syntax, generate_instance_uid=False)
    header.BitsStored, header.HighBit = 12, 11
    gray, notes = gray_and_notes(saved(header))
    assert np.array_equal(gray, REFERENCE) and notes == ()


def test_missing_numbers_have_their_defaults():
    header = header_of(SMOOTH, **DEEP, **WINDOW)
    for attribute in ("PixelRepresentation", "HighBit", "SamplesPerPixel"):
        delattr(header, attribute)
    gray, _ = gray_and_notes(saved(header))
    assert np.array_equal(gray, REFERENCE)


@pytest.mark.parametrize("attribute", ["Rows", "Columns", "BitsAllocated"])
def test_missing_number_without_a_default_is_named(attribute):
    header = header_of(SMOOTH, **DEEP)
    header["PixelData"].VR = "OW"
    delattr(header, attribute)
    header.BitsAllocated = header.get("BitsAllocated", 8)
    content = saved(header)
    if attribute == "BitsAllocated":
        content = content.replace(b"\x28\x00\x00\x01US\x02\x00\x08\x00", b"\x28\x00\x00\x01US\x00\x00")
    with pytest.raises(ImageRejected, match=f"x: its header does not give {attribute}"):
        read_dicom(content, name="x")


@pytest.mark.parametrize("num_bytes", [1, 2, 512, 5000])
def test_bytes_after_the_pixels_are_ignored(num_bytes):
    header = header_of(SMOOTH, **DEEP, **WINDOW)
    header.PixelData += b"\xff" * (num_bytes + num_bytes % 2)
    assert np.array_equal(gray_and_notes(saved(header))[0], REFERENCE)


def test_pixels_of_another_frame_or_too_few_are_rejected():
    header = header_of(SMOOTH, **DEEP)
    for pixels in (SMOOTH.tobytes() * 2, SMOOTH.tobytes()[:-2], b""):
        header.PixelData = pixels
        with pytest.raises(ImageRejected, match=r"PixelData has \d+ bytes, 60 x 72 pixels need 8640"):
            read_dicom(saved(header))


@pytest.mark.parametrize(
    "texts",
    [
        {"WindowCenter": "2048,0", "WindowWidth": "4096,0"},
        {"WindowCenter": " 2048,00 ", "WindowWidth": "4.096E3"},
        {"WindowCenter": "2048\\NONE", "WindowWidth": "4096\\"},
        {"RescaleSlope": "", "RescaleIntercept": ""},
        {"RescaleSlope": "1,0", "RescaleIntercept": "0,0"},
        {"PixelSpacing": "0,143\\0,143"},
        {"PixelSpacing": "none"},
        {"PixelSpacing": "0\\0"},
        {"PixelAspectRatio": "1:1"},
        {"NumberOfFrames": ""},
        {"NumberOfFrames": "0"},
        {"RescaleSlope": "  ", "RescaleIntercept": " "},
    ],
)
def test_comma_and_empty_values_change_nothing(texts):
    gray, notes = gray_and_notes(with_text(texts))
    assert np.array_equal(gray, REFERENCE) and notes == ()


@pytest.mark.parametrize(
    ("texts", "note"),
    [
        ({"RescaleSlope": "one"}, "has a RescaleSlope that is no number; it was passed over"),
        ({"RescaleSlope": "0"}, "has a RescaleSlope of 0, which was passed over"),
        ({"RescaleIntercept": "inf"}, "has a RescaleIntercept that is no number; it was passed over"),
        ({"VOILUTFunction": "UNKNOWN"}, "has an unknown VOILUTFunction; LINEAR was used"),
    ],
)
def test_unusable_attribute_is_passed_over_with_a_note(texts, note):
    gray, notes = gray_and_notes(with_text(texts))
    assert np.array_equal(gray, REFERENCE) and notes == (note,)


@pytest.mark.parametrize("text", ["NONE", "nan", "1e999", "2048 HU"])
def test_window_that_is_no_number_gives_the_own_range(text):
    gray, notes = gray_and_notes(with_text({"WindowCenter": text, "WindowWidth": text}))
    assert np.array_equal(gray, OWN_RANGE)
    assert notes[0] == "has a WindowCenter that is no number; it was passed over"


@pytest.mark.parametrize(
    ("center", "width"),
    [(127, 255), (128, 256), (127.5, 256), (512, 1024), (511, 1023), (8192, 16384), (32768, 65536), (60_000, 10)],
)
def test_window_of_another_bit_depth_gives_the_own_range(center, width):
    gray, notes = gray_and_notes(content_of(SMOOTH, **DEEP, WindowCenter=center, WindowWidth=width))
    assert np.array_equal(gray, OWN_RANGE)
    assert notes == ("has a window or VOI LUT that does not fit its values; its own range was shown",)


def test_window_of_12_bits_on_8_bits_gives_the_own_range():
    small = (SMOOTH >> 4).astype(np.uint8)
    gray, notes = gray_and_notes(content_of(small, WindowCenter=2048, WindowWidth=4096))
    assert np.abs(gray - linear(small, *np.percentile(small, [0.5, 99.5]))).max() <= 1 and len(notes) == 1


@pytest.mark.parametrize(("center", "width"), [(2048, 4096), (2000, 1500), (1000, 1200), (3000, 900), (1800, 2 * 4096)])
def test_usual_window_is_applied(center, width):
    gray, notes = gray_and_notes(content_of(SMOOTH, **DEEP, WindowCenter=center, WindowWidth=width))
    assert np.array_equal(gray, linear(SMOOTH, center - width / 2, center + width / 2 - 1)) and notes == ()


def test_blank_exposure_stays_blank():
    blank = RNG.integers(2000, 2006, size=(60, 60)).astype(np.uint16)
    assert np.ptp(gray_and_notes(content_of(blank, **DEEP, **WINDOW))[0]) <= 1


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["ModalityLUTSequence", "VOILUTSequence"])
def test_lut_of_any_number_of_bits_is_applied(kind, bits):
    entries = np.rint(np.linspace(0, 2**bits - 1, 4096))[::-1]
    shown = entries[SMOOTH]
    window = {} if kind == "VOILUTSequence" else {"WindowCenter": 2 ** (bits - 1), "WindowWidth": 2**bits}
    gray, notes = gray_and_notes(content_of(SMOOTH, **DEEP, **window, **{kind: [lut(0, entries, bits)]}))
    assert np.array_equal(gray, linear(shown, 0, 2**bits - 1)) and notes == ()


def test_lut_may_start_above_zero_be_packed_and_have_more_data_than_entries():
    entries = np.rint(np.linspace(0, 255, 2000))
    shown = entries[np.clip(SMOOTH.astype(int) - 1000, 0, 1999)]
    expected = linear(shown, 0, 255)
    for item in (
        lut(1000, entries, 8),
        lut(1000, entries, 8, packed=True),
        lut(1000, np.append(entries, [7, 7]), 8, num_entries=2000),
    ):
        assert np.array_equal(gray_and_notes(content_of(SMOOTH, **DEEP, VOILUTSequence=[item]))[0], expected)


def test_first_mapped_value_is_signed_for_signed_values():
    signed = SMOOTH.astype(np.int16) - 2048
    entries = np.rint(np.linspace(0, 4095, 4096))
    content = content_of(signed, VOILUTSequence=[lut(-2048, entries, 12)])
    assert np.array_equal(gray_and_notes(content)[0], REFERENCE)


def broken_luts() -> dict[str, list[Dataset]]:
    whole = np.arange(4096)
    without_data, without_descriptor, short = lut(0, whole, 12), lut(0, whole, 12), lut(0, whole, 12)
    del without_data.LUTData
    del without_descriptor.LUTDescriptor
    short.LUTDescriptor = [4096, 0]
    return {
        "no item": [],
        "empty item": [Dataset()],
        "no data": [without_data],
        "no descriptor": [without_descriptor],
        "two numbers": [short],
        "cut data": [lut(0, whole[:100], 12, num_entries=4096)],
        "flat": [lut(0, np.full(4096, 9), 12)],
    }


@pytest.mark.parametrize("kind", ["ModalityLUTSequence", "VOILUTSequence"])
@pytest.mark.parametrize("damage", broken_luts())
def test_unusable_lut_gives_way_to_the_window(kind, damage):
    content = content_of(SMOOTH, **DEEP, **WINDOW, **{kind: broken_luts()[damage]})
    gray, notes = gray_and_notes(content)
    assert np.array_equal(gray, REFERENCE)
    assert notes == (f"has a {kind} that cannot be used; it was passed over",)


@pytest.mark.parametrize(("stored_as", "padding"), [("US", 63536), ("SS", -2000)])
def test_padding_is_recognized_in_either_vr(stored_as, padding):
    signed = SMOOTH.astype(np.int16) - 300
    signed[:, :20] = -2000
    header = header_of(signed)
    header.add_new("PixelPaddingValue", stored_as, padding)
    gray, _ = gray_and_notes(saved(header))
    measured = signed[:, 20:]
    assert (gray[:, :20] == 0).all()
    assert np.array_equal(gray[:, 20:], linear(measured, *np.percentile(measured, [0.5, 99.5])))


def inside(kind: str) -> tuple[np.ndarray, dict]:
    """What a shutter leaves open, and its attributes; rows and columns of the standard start at 1."""
    rows, columns = np.mgrid[1 : SMOOTH.shape[0] + 1, 1 : SMOOTH.shape[1] + 1]
    if kind == "RECTANGULAR":
        edges = {"ShutterLeftVerticalEdge": 11, "ShutterRightVerticalEdge": 50}
        edges |= {"ShutterUpperHorizontalEdge": 8, "ShutterLowerHorizontalEdge": 66}
        return (columns >= 11) & (columns <= 50) & (rows >= 8) & (rows <= 66), edges
    if kind == "CIRCULAR":
        opening = (rows - 36) ** 2 + (columns - 30) ** 2 <= 20**2
        return opening, {"CenterOfCircularShutter": [36, 30], "RadiusOfCircularShutter": 20}
    opening = (columns - 10 >= 0) & (rows >= columns) & (rows <= 60)
    return opening, {"VerticesOfThePolygonalShutter": [10, 10, 60, 60, 60, 10]}


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("kinds", [["RECTANGULAR"], ["CIRCULAR"], ["POLYGONAL"], ["RECTANGULAR", "CIRCULAR"]])
def test_outside_of_the_shutters_is_black_and_does_not_stretch_the_range(kinds, photometric):
    opening = np.logical_and.reduce([inside(kind)[0] for kind in kinds])
    attributes = {name: value for kind in kinds for name, value in inside(kind)[1].items()}
    values = np.where(opening, SMOOTH // 2 + 500, 4095).astype(np.uint16)
    shape = {"ShutterShape": kinds, "PhotometricInterpretation": photometric, "ShutterPresentationValue": 65535}
    gray, notes = gray_and_notes(content_of(values, **DEEP, **attributes, **shape))
    shown = linear(values, *np.percentile(values[opening], [0.5, 99.5]))
    expected = np.where(opening, 255 - shown if photometric == "MONOCHROME1" else shown, 0)
    assert np.array_equal(gray, expected) and notes == ()


@pytest.mark.parametrize(
    "attributes",
    [
        {"ShutterShape": "RECTANGULAR"},
        {"ShutterShape": "BITMAP"},
        {"ShutterShape": "CIRCULAR", "RadiusOfCircularShutter": 20},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 2, 3, 4]},
        {"ShutterShape": "RECTANGULAR"} | dict.fromkeys([*inside("RECTANGULAR")[1]], 5),
    ],
)
def test_unusable_shutter_covers_nothing(attributes):
    gray, notes = gray_and_notes(content_of(SMOOTH, **DEEP, **WINDOW, **attributes))
    assert np.array_equal(gray, REFERENCE)
    assert notes == ("has a shutter that cannot be used; it was passed over",)


@pytest.mark.parametrize(
    ("photometric", "shape", "is_inverted"),
    [
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", True),
        ("MONOCHROME2", "INVERSE", True),
    ],
)
def test_presentation_shape_inverts(photometric, shape, is_inverted):
    content = content_of(SMOOTH, **DEEP, **WINDOW, PhotometricInterpretation=photometric, PresentationLUTShape=shape)
    gray, notes = gray_and_notes(content)
    assert np.array_equal(gray, 255 - REFERENCE if is_inverted else REFERENCE)
    assert len(notes) == (photometric == "MONOCHROME2" and shape == "INVERSE")


@pytest.mark.parametrize("text", ["", "MONOCHROME", "DOE JANE"])
def test_unknown_photometric_interpretation_is_rejected_without_quoting_it(text):
    with pytest.raises(ImageRejected, match=r"x: has no valid PhotometricInterpretation, so black") as caught:
        read_dicom(with_text({"PhotometricInterpretation": text}), name="x")
    assert "DOE" not in str(caught.value)


def test_8_bit_big_endian_words_are_swapped_back():
    small = (SMOOTH >> 4).astype(np.uint8)
    header = header_of(small, uid.ExplicitVRBigEndian)
    header.PixelData = small.tobytes()
    content = saved(header)
    words = content.replace(small.tobytes(), small.view(">u2").astype("<u2").tobytes())
    marked = words.replace(b"\x7f\xe0\x00\x10OB", b"\x7f\xe0\x00\x10OW")
    assert marked != content
    assert np.array_equal(gray_and_notes(marked)[0], small)
