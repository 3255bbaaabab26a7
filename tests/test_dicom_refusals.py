"""DICOM files that cannot be read: refused in words, without the patient, before they fill the memory."""

import io
import logging

import pytest
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate
from test_dicom import DEEP, GRAY, content_of, header_of, saved

from data.codestream import picture_size, rle_sizes
from data.dicom import READ_ATTRIBUTES, read_dicom
from data.images import ImageRefused


def test_no_patient_attribute_is_read_and_none_reaches_the_picture():
    assert [attribute for attribute in READ_ATTRIBUTES if attribute.startswith("Patient")] == ["PatientOrientation"]
    dicom = read_dicom(content_of(GRAY, BodyPartExamined="JANE DOE"))
    assert (dicom.modality, dicom.body_part, dicom.image.info) == ("DX", "ELSEWHERE", {})
    assert "Doe" not in repr(dicom) and "JANE" not in repr(dicom)


def with_frame(frame: bytes, syntax: str) -> bytes:
    header = header_of(GRAY, syntax, PixelData=encapsulate([frame]))
    header["PixelData"].is_undefined_length = True
    return saved(header)


def without_pixels() -> bytes:
    header = header_of(GRAY)
    del header.PixelData
    file = io.BytesIO()
    header.save_as(file, enforce_file_format=True)
    return file.getvalue()


def compressed_with_other_rows() -> bytes:
    header = header_of(GRAY)
    header.compress(uid.JPEG2000Lossless)
    header.Rows += 1
    return saved(header)


COLOUR = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}


RLE_BOMB = (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56) + b"\x81\0" * 5000


REFUSED = {
    "several frames": (
        lambda: content_of(GRAY, NumberOfFrames=12, PixelData=GRAY.tobytes() * 12),
        "holds 12 frames; export the one to be read",
    ),
    "RGB": (
        lambda: content_of(GRAY, **COLOUR),
        r"is a colour picture \(PhotometricInterpretation RGB\), not a radiograph",
    ),
    "palette": (lambda: content_of(GRAY, PhotometricInterpretation="PALETTE COLOR"), "is a colour picture"),
    "no pixels": (without_pixels, r"is DICOM without pixels \(no PixelData\); name the files of the pictures"),
    "bomb": (
        lambda: content_of(GRAY, Rows=20_000, Columns=20_000),
        "20000 x 20000 pixels are more than the limit of 40,000,000",
    ),
    "too short": (
        lambda: content_of(GRAY, PixelData=GRAY.tobytes()[:-100]),
        "PixelData has 2972 bytes, 48 x 64 pixels need 3072; it is cut short, or the header is wrong: export it again",
    ),
    "too long": (
        lambda: content_of(GRAY, PixelData=GRAY.tobytes() + bytes(100)),
        "PixelData has 3172 bytes, 48 x 64 pixels need 3072",
    ),
    "end cut off": (lambda: content_of(GRAY)[:-100], "PixelData has 2972 bytes|is damaged or cut short DICOM"),
    "cut in the header": (lambda: content_of(GRAY)[:600], "is DICOM without pixels|is damaged or cut short DICOM"),
    "frame cut off": (
        lambda: with_frame(b"\xff\xd8\xff\xc0\0\x0b\x08\0\x40\0\x30\x01", uid.JPEGBaseline8Bit),
        "is damaged or cut short DICOM; fetch or export it again",
    ),
    "frame of another size": (compressed_with_other_rows, "its compressed pixels are not the 48 x 65 gray ones the h"),
    "RLE bomb": (lambda: with_frame(RLE_BOMB, uid.RLELossless), "its compressed pixels are not the 48 x 64 gray ones"),
    "12-bit lossy JPEG": (
        lambda: content_of(DEEP, uid.JPEGExtended12Bit, BitsStored=12, PixelData=encapsulate([b"frame"])),
        "is compressed as JPEG Extended.+, which cannot be read; export it uncompressed",
    ),
    "film": (lambda: with_frame(b"film", uid.MPEG2MPML), "is compressed as MPEG2.+, which cannot be read; export it u"),
    "1 bit": (lambda: content_of(GRAY, BitsAllocated=1, BitsStored=1), "has 1 bits a pixel in 1; 8 to 16 bits in 8 or"),
    "deflated": (lambda: content_of(GRAY, uid.DeflatedExplicitVRLittleEndian), "is deflated DICOM, which is not read"),
    "nonsense": (
        lambda: bytes(128) + b"DICM" + b"Doe^Jane" * 40,
        "is DICOM without pixels|is damaged or cut short DICOM",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_cannot_be_read_is_refused_in_words_without_the_patient(fault, caplog):
    caplog.set_level(logging.DEBUG)
    make, message = REFUSED[fault]
    content = make()
    with pytest.raises(ImageRefused, match=rf"scan\.dcm: ({message})") as caught:
        read_dicom(content, name="scan.dcm")
    told = str(caught.value) + caplog.text
    assert not any(word in told for word in ("Doe", "Jane", "MRN-4711", "Mercy"))


def test_a_compressed_picture_tells_its_size_before_it_is_decoded():
    file = io.BytesIO()
    Image.new("L", (30, 40)).save(file, "JPEG2000")
    assert picture_size(file.getvalue()) == (30, 40, 1)
    file = io.BytesIO()
    Image.new("RGB", (300, 40)).save(file, "JPEG", comment=b"before the frame header")
    assert picture_size(file.getvalue()) == (300, 40, 3)
    with pytest.raises(ValueError, match="no JPEG"):
        picture_size(b"text")


def test_the_expanded_size_of_rle_segments_is_counted():
    # A run of 4 (257 - 253), a literal of 3, and a byte that means nothing.
    segment = bytes([253, 9, 2, 1, 2, 3, 128])
    frame = (2).to_bytes(4, "little") + (64).to_bytes(4, "little") + (71).to_bytes(4, "little") + bytes(52)
    assert rle_sizes(frame + segment + segment[:2]) == [7, 4]
