"""DICOM: exact gray values through every transfer syntax and look-up table."""

import io
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_windowing

from data.images.dicom.read import read_dicom
from data.images.read import read_image
from tests.helpers.dicom.files import content_of, header_of, saved

RNG = np.random.default_rng(0)


GRAY = RNG.integers(0, 256, size=(64, 48), dtype=np.uint8)


DEEP = RNG.integers(0, 4096, size=(64, 48), dtype=np.uint16)


def gray_of(content: bytes) -> np.ndarray:
    return np.asarray(read_dicom(content).image)


def lut(first: int, entries: list[int], bits: int) -> pydicom.Sequence:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [len(entries), first, bits], entries
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    return pydicom.Sequence([item])


def linear(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip(np.rint((values - low) * (255 / (high - low))), 0, 255)


def test_8_bit_dicom_is_read_exactly_and_recognized_by_content():
    assert np.array_equal(gray_of(content_of(GRAY)), GRAY)
    assert np.array_equal(np.asarray(read_image(content_of(GRAY), name="scan.png")), GRAY)


@pytest.mark.parametrize(
    "syntax",
    [uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless],
)
def test_every_lossless_syntax_gives_the_same_gray_values(syntax):
    attributes = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 2048, "WindowWidth": 4096}
    header = header_of(DEEP, **attributes)
    if syntax == uid.ExplicitVRBigEndian:
        header.PixelData = DEEP.astype(">u2").tobytes()
    if uid.UID(syntax).is_encapsulated:
        header.compress(syntax)
    else:
        header.file_meta.TransferSyntaxUID = syntax
    assert np.array_equal(gray_of(saved(header)), linear(DEEP, 0, 4095))


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless])
def test_8_bit_images_are_read_exactly_from_every_lossless_compression(syntax):
    header = header_of(GRAY)
    header.compress(syntax)
    assert np.array_equal(gray_of(saved(header)), GRAY)


def jpeg_lossless(folder: Path, pixels: np.ndarray, **attributes) -> bytes:
    plain, packed = str(folder / "plain.dcm"), folder / "packed.dcm"
    Path(plain).write_bytes(content_of(pixels, **attributes))
    reader = gdcm.ImageReader()
    reader.SetFileName(plain)
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(packed))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    assert pydicom.dcmread(packed).file_meta.TransferSyntaxUID == uid.JPEGLosslessSV1
    return packed.read_bytes()


def test_jpeg_lossless_gives_the_same_gray_values(tmp_path):
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    deep = jpeg_lossless(tmp_path, DEEP, BitsStored=12, HighBit=11, **window)
    assert np.array_equal(gray_of(deep), linear(DEEP, 0, 4095))
    assert np.array_equal(gray_of(jpeg_lossless(tmp_path, GRAY)), GRAY)
    signed = DEEP.astype(np.int16) - 2048
    assert np.array_equal(
        gray_of(jpeg_lossless(tmp_path, signed, WindowCenter=0, WindowWidth=4096)), linear(DEEP, 0, 4095)
    )


def test_baseline_jpeg_has_the_pixels_of_its_decoder():
    smooth = np.tile(np.arange(0, 240, 6, dtype=np.uint8), (40, 1))
    file = io.BytesIO()
    Image.fromarray(smooth).save(file, "JPEG", quality=95)
    header = header_of(smooth, uid.JPEGBaseline8Bit, PixelData=encapsulate([file.getvalue()]))
    header["PixelData"].is_undefined_length = True
    assert np.array_equal(gray_of(saved(header)), np.asarray(Image.open(file)))


def test_a_data_set_without_preamble_is_read():
    header = header_of(GRAY)
    del header.file_meta
    file = io.BytesIO()
    pydicom.dcmwrite(file, header, implicit_vr=True, little_endian=True)
    content = file.getvalue()
    assert content[:2] == b"\x08\0"
    assert np.array_equal(gray_of(content), GRAY)


def test_monochrome1_is_inverted():
    assert np.array_equal(gray_of(content_of(GRAY, PhotometricInterpretation="MONOCHROME1")), 255 - GRAY)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_the_window_is_applied_as_the_standard_says(function):
    header = header_of(
        DEEP, BitsStored=12, HighBit=11, WindowCenter=[1500, 9], WindowWidth=[1000, 9], VOILUTFunction=function
    )
    low, high = 0, 4095
    expected = linear(apply_windowing(DEEP, header), low, high)
    assert np.abs(gray_of(saved(header)) - expected).max() <= (1 if function == "SIGMOID" else 0)


def test_rescale_comes_before_the_window_and_signed_values_are_kept():
    signed = RNG.integers(-1000, 1000, size=(64, 48)).astype(np.int16)
    content = content_of(signed, RescaleSlope=2, RescaleIntercept=100, WindowCenter=100.5, WindowWidth=2001)
    assert np.array_equal(gray_of(content), linear(signed * 2.0 + 100, -900, 1100))


def test_a_voi_lut_is_applied_and_its_own_range_is_black_to_white():
    entries = [int(value) for value in np.linspace(50, 1000, 4096) ** 1.2]
    content = content_of(DEEP, BitsStored=12, HighBit=11, VOILUTSequence=lut(0, entries, 16))
    looked_up = np.array(entries)[DEEP]
    assert np.array_equal(gray_of(content), linear(looked_up, entries[0], entries[-1]))


def test_a_modality_lut_is_applied_before_the_window():
    entries = list(range(4095, -1, -1))
    content = content_of(
        DEEP, BitsStored=12, HighBit=11, ModalityLUTSequence=lut(0, entries, 16), WindowCenter=2048, WindowWidth=4096
    )
    assert np.array_equal(gray_of(content), linear(4095 - DEEP.astype(int), 0, 4095))


@pytest.mark.parametrize(
    "window", [{}, {"WindowCenter": 60_000, "WindowWidth": 10}, {"WindowCenter": 5, "WindowWidth": 0}]
)
def test_without_a_usable_window_the_image_is_stretched_over_its_own_range(window):
    content = content_of(DEEP, BitsStored=12, HighBit=11, **window)
    assert np.array_equal(gray_of(content), linear(DEEP, *np.percentile(DEEP, [0.5, 99.5])))


def test_unused_bits_are_ignored():
    attributes = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 2048, "WindowWidth": 4096}
    overlaid = DEEP | (RNG.integers(0, 16, size=DEEP.shape).astype(np.uint16) << 12)
    assert np.array_equal(gray_of(content_of(overlaid, **attributes)), linear(DEEP, 0, 4095))


def test_padding_is_black_and_does_not_stretch_the_range():
    padded = DEEP + 1000
    padded[:, :5] = 65535
    content = content_of(padded, PixelPaddingValue=65535, PhotometricInterpretation="MONOCHROME1")
    gray = gray_of(content)
    assert (gray[:, :5] == 0).all()
    measured = padded[:, 5:]
    assert np.array_equal(gray[:, 5:], 255 - linear(measured, *np.percentile(measured, [0.5, 99.5])))


def test_images_with_non_square_pixels_are_resized():
    assert read_dicom(content_of(GRAY, PixelSpacing=[0.1, 0.2])).image.size == (48, 32)
    assert read_dicom(content_of(GRAY, ImagerPixelSpacing=[0.2, 0.1])).image.size == (24, 64)
    assert read_dicom(content_of(GRAY, PixelSpacing=[0.1, 0.1])).image.size == (48, 64)
    assert read_dicom(content_of(GRAY, PixelSpacing=[0.1, 99])).image.size == (48, 64)


def test_the_longest_side_is_limited():
    assert read_dicom(content_of(GRAY), max_side=32).image.size == (24, 32)


@pytest.mark.parametrize(
    ("attributes", "position"),
    [
        ({"ViewPosition": "PA"}, "PA"),
        ({"ViewPosition": ""}, "UNKNOWN"),
        ({"ViewPosition": "DOE JANE"}, "UNKNOWN"),
        ({"PatientOrientation": ["L", "F"]}, "FRONTAL"),
        ({"PatientOrientation": ["A", "F"]}, "LATERAL"),
        ({}, "UNKNOWN"),
    ],
)
def test_the_view_position_comes_from_the_header(attributes, position):
    assert read_dicom(content_of(GRAY, **attributes)).view_position == position


def test_the_view_position_can_be_a_code():
    code = Dataset()
    code.CodeMeaning = "Antero-Posterior"
    assert read_dicom(content_of(GRAY, ViewCodeSequence=[code])).view_position == "AP"
