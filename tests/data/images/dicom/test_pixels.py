"""Compressed DICOM: damage that a decoder repairs is noted, and costly or damaged frames are rejected with a reason."""

import io
import struct
import time
from pathlib import Path

import cv2
import gdcm
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread, uid
from pydicom.encaps import encapsulate, get_frame

from data.images.dicom.read import read_dicom
from data.images.formats import DAMAGED
from data.images.pixels import ImageRejected
from data.images.read import read_apart, read_view
from tests.helpers.dicom.files import content_of, header_of, saved

SMOOTH = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (120, 90), dtype=np.uint8), (5, 5), 0)


def with_frame(frame: bytes, syntax: str) -> bytes:
    header = header_of(SMOOTH, syntax, PixelData=encapsulate([frame]))
    header["PixelData"].is_undefined_length = True
    return saved(header)


def jpeg(**options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(SMOOTH).save(file, "JPEG", **options)
    return file.getvalue()


def compressed(syntax: str) -> bytes:
    header = header_of(SMOOTH)
    header.compress(syntax)
    return get_frame(header.PixelData, 0, number_of_frames=1).rstrip(b"\0")


def lossless_jpeg(folder: Path) -> bytes:
    (folder / "raw").write_bytes(content_of(SMOOTH))
    reader = gdcm.ImageReader()
    reader.SetFileName(str(folder / "raw"))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(folder / "packed"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return get_frame(dcmread(folder / "packed").PixelData, 0, number_of_frames=1)


def test_baseline_jpeg_that_its_decoder_repairs_is_noted():
    frame = jpeg(quality=90)
    assert read_dicom(with_frame(frame, uid.JPEGBaseline8Bit)).notes == ()
    middle = len(frame) // 2
    damaged = frame[:middle] + frame[middle + 300 :]
    assert read_dicom(with_frame(damaged, uid.JPEGBaseline8Bit)).notes == (DAMAGED,)


def test_lossless_jpeg_that_its_decoder_repairs_is_noted(tmp_path):
    frame = lossless_jpeg(tmp_path)
    whole = read_dicom(with_frame(frame, uid.JPEGLosslessSV1))
    assert np.array_equal(np.asarray(whole.image), SMOOTH) and whole.notes == ()
    damaged = with_frame(frame[: len(frame) // 2] + b"\xff\xd9", uid.JPEGLosslessSV1)
    assert read_dicom(damaged).notes == (DAMAGED,)
    assert read_apart(damaged, name="x")[0].notes == (DAMAGED,)


@pytest.mark.parametrize("syntax", [uid.JPEGBaseline8Bit, uid.JPEGLSLossless, uid.JPEG2000Lossless])
def test_frame_without_its_end_is_rejected(syntax):
    frame = jpeg() if syntax == uid.JPEGBaseline8Bit else compressed(syntax)
    with pytest.raises(ImageRejected, match=r"^x: its compressed pixels are cut short \(no end marker\)"):
        read_dicom(with_frame(frame[: len(frame) // 2], syntax), name="x")


@pytest.mark.parametrize("syntax", [uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.JPEGLosslessSV1])
@pytest.mark.parametrize("read", [read_apart, lambda content, name: read_view(content, max_side=64, name=name)])
def test_frame_that_its_decoder_cannot_read_is_rejected(syntax, read):
    frame = bytearray(compressed(uid.JPEGLSLossless if syntax == uid.JPEGLosslessSV1 else syntax))
    frame[60:200] = b"\x55" * 140
    with pytest.raises(ImageRejected, match=r"^x: is damaged or cut short DICOM; fetch or export it again"):
        read(with_frame(bytes(frame), syntax), name="x")


def test_jpeg_of_countless_scans_in_dicom_is_rejected():
    frame = jpeg(progressive=True)
    scan = frame[frame.rindex(b"\xff\xda") : -2]
    with pytest.raises(ImageRejected, match=r"^x: is a JPEG of \d+ scans and 90 x 120 pixels"):
        read_dicom(with_frame(frame[:-2] + scan * 3000 + b"\xff\xd9", uid.JPEGBaseline8Bit), name="x")


def test_page_and_data_set_read_the_same():
    content = content_of(SMOOTH, PatientOrientation=["R", "F"], ViewPosition="PA", PatientID="X1", Modality="CT")
    apart, identifiers = read_apart(content, name="x")
    assert np.array_equal(np.asarray(apart.image), SMOOTH[:, ::-1])
    assert np.array_equal(np.asarray(apart.image), np.asarray(read_dicom(content).image))
    assert apart.view_position == "PA" and apart.problem.startswith("is not a radiograph (Modality CT")
    assert apart.notes == read_dicom(content).notes != ()
    assert identifiers.patient_id == "X1" and "X1" not in repr(identifiers)
    png = io.BytesIO()
    Image.fromarray(SMOOTH).save(png, "PNG")
    apart, identifiers = read_apart(png.getvalue(), name="x")
    assert np.array_equal(np.asarray(apart.image), SMOOTH) and identifiers is None


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_rle_gives_the_same_values_as_uncompressed(kind):
    pixels = SMOOTH.astype(kind) * (1 if kind == np.uint8 else 257)
    header = header_of(pixels)
    header.compress(uid.RLELossless)
    assert np.array_equal(np.asarray(read_dicom(saved(header)).image), np.asarray(read_dicom(content_of(pixels)).image))


NO_OPERATIONS, SINGLE_BYTES, LONG_RUNS = b"\x80" * 60_000_000, b"\0\0" * 20_000_000, b"\x81\0" * 20_000_000


@pytest.mark.parametrize("packed", [NO_OPERATIONS, SINGLE_BYTES, LONG_RUNS], ids=["no-ops", "bytes", "runs"])
def test_hostile_rle_is_rejected_at_once(packed):
    frame = struct.pack("<16I", 2, 64, 64, *[0] * 13) + packed
    header = header_of(np.zeros((2, 2), np.uint16), uid.RLELossless, Rows=4000, Columns=4000)
    header.PixelData = encapsulate([frame])
    header["PixelData"].is_undefined_length = True
    content = saved(header)
    start = time.process_time()
    with pytest.raises(ImageRejected, match=r"^x: (is damaged or cut short|its compressed pixels are not the 4000 x)"):
        read_dicom(content, name="x")
    assert time.process_time() - start < 2
