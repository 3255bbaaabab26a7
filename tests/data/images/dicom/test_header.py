"""Which DICOM files are chest radiographs for viewing; only words of the standard are quoted; hostile headers."""

import gc
import time

import numpy as np
import pydicom
import pytest
from pydicom import dcmread, uid
from pydicom.dataset import Dataset

from data.images.dicom.header import read_file_header
from data.images.dicom.read import read_dicom
from data.images.pixels import ImageRejected
from data.images.read import read_apart, read_view
from tests.helpers.dicom.files import content_of, header_of, saved

GRAY = np.random.default_rng(0).integers(0, 256, size=(40, 32), dtype=np.uint8)


def problem_of(content: bytes) -> str:
    return read_dicom(content, name="x").problem


def with_body_part(raw: bytes) -> bytes:
    content = content_of(GRAY, BodyPartExamined="B" * (len(raw) + len(raw) % 2))
    return content.replace(b"B" * (len(raw) + len(raw) % 2), raw + b" " * (len(raw) % 2))


@pytest.mark.parametrize(
    "text",
    [
        "CHEST",
        "THORAX",
        "TORAX",
        "TÓRAX",
        "tórax",
        "Thorax AP",
        "PORT_CHEST",
        "LUNGS",
        "TORACE",
        "POITRINE",
        "胸部",
        "",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_chest_is_recognized_in_several_languages_and_character_sets(text, encoding):
    assert problem_of(with_body_part(text.encode(encoding, "ignore"))) == ""


def test_accent_that_was_replaced_is_still_a_chest():
    assert problem_of(with_body_part(b"T?RAX")) == ""
    assert problem_of(with_body_part("TÓRAX".encode().decode("latin-1").encode("utf-8"))) == ""


@pytest.mark.parametrize("text", ["KNEE", "TSPINE", "ABDOMEN"])
def test_other_body_part_of_the_standard_is_named(text):
    reason = f"shows another part of the body than the chest (BodyPartExamined {text})"
    assert problem_of(with_body_part(text.encode())) == reason


@pytest.mark.parametrize("text", [b"DOEJANE", b"Doe^Jane", b"THORACIC SPINE"])
def test_words_that_are_not_in_the_standard_are_not_quoted(text):
    assert problem_of(with_body_part(text)).endswith("(BodyPartExamined ELSEWHERE)")
    content = content_of(GRAY, Modality="DOEJANE", ViewPosition="DOEJANE")
    assert problem_of(content).startswith("is not a radiograph (Modality OTHER;")
    assert read_dicom(content).view_position == "UNKNOWN"


def test_region_can_be_a_code():
    chest, knee = Dataset(), Dataset()
    chest.CodeValue, chest.CodeMeaning = "51185008", "Doe^Jane"
    knee.CodeValue, knee.CodeMeaning = "72696002", "Knee"
    assert problem_of(content_of(GRAY, AnatomicRegionSequence=[chest])) == ""
    assert problem_of(content_of(GRAY, AnatomicRegionSequence=[knee])).endswith("(BodyPartExamined KNEE)")


@pytest.mark.parametrize(
    ("attributes", "is_raw"),
    [
        ({"PresentationIntentType": "FOR PROCESSING"}, True),
        ({"SOPClassUID": uid.DigitalXRayImageStorageForProcessing}, True),
        (
            {"SOPClassUID": uid.DigitalXRayImageStorageForProcessing, "PresentationIntentType": "FOR PRESENTATION"},
            False,
        ),
        ({"PresentationIntentType": ""}, False),
    ],
)
def test_raw_data_of_a_detector_is_no_image_for_viewing(attributes, is_raw):
    content = content_of(GRAY, **attributes)
    assert ("is raw data of the detector (FOR PROCESSING)" in problem_of(content)) is is_raw
    if is_raw:
        with pytest.raises(ImageRejected, match=r"^x: is raw data of the detector"):
            read_view(content, max_side=1024, name="x")


def many_items(syntax: str) -> bytes:
    header = header_of(GRAY, syntax, ReferencedStudySequence=[Dataset() for _ in range(20_000)])
    return saved(header)


def many_elements(undefined_length: bool) -> bytes:
    header = header_of(GRAY)
    item = Dataset()
    for number in range(30_000):
        (item if undefined_length else header).add_new((0x0009 + 2 * (number >> 12), number & 0xFFF), "LO", "")
    if undefined_length:
        header.ViewCodeSequence = [item]
        header["ViewCodeSequence"].is_undefined_length = True
    return saved(header)


def many_meta_elements() -> bytes:
    content = content_of(GRAY)
    return content[:132] + b"\x02\x00\x02\x01LO\x00\x00" * 20_000 + content[132:]


@pytest.mark.parametrize(
    "content",
    [
        many_items(uid.ExplicitVRLittleEndian),
        many_items(uid.ImplicitVRLittleEndian),
        many_items(uid.ExplicitVRBigEndian),
        many_elements(undefined_length=False),
        many_meta_elements(),
    ],
)
def test_header_of_countless_parts_is_rejected_at_once(content):
    for read in (lambda: read_view(content, max_side=1024, name="x"), lambda: read_apart(content, name="x")):
        start = time.process_time()
        with pytest.raises(ImageRejected, match=r"x: has more than 10,000 elements or items in its header"):
            read()
        assert time.process_time() - start < 1


def test_long_item_costs_less_than_the_time_limit():
    content = many_elements(undefined_length=True)
    gc.collect()
    gc.freeze()  # else the garbage collector also goes through the objects of all tests before
    try:
        start = time.process_time()
        assert read_view(content, max_side=1024).view_position == "UNKNOWN"
        assert time.process_time() - start < 2
    finally:
        gc.unfreeze()


def test_jpeg_ls_that_is_cut_short_is_rejected_at_once():
    header = header_of(GRAY)
    header.compress(uid.JPEGLSLossless)
    frame = header.PixelData[8:]
    header.PixelData = header.PixelData[: len(frame) // 2]
    start = time.process_time()
    with pytest.raises(ImageRejected, match=r"x: (its compressed pixels are cut short|is damaged or cut short)"):
        read_view(saved(header), max_side=1024, name="x")
    assert time.process_time() - start < 1


def test_ids_behind_a_long_private_element_are_indexed(tmp_path):
    header = header_of(GRAY, StudyInstanceUID="1.2.3", PresentationIntentType="FOR PRESENTATION")
    header.add_new((0x0009, 0x1001), "OB", bytes(3 * 2**20))
    (tmp_path / "scan").write_bytes(saved(header))
    found = read_file_header(tmp_path / "scan")
    assert (found.study_instance_uid, found.error) == ("1.2.3", "")


@pytest.mark.parametrize("num_samples", [2, 3])
def test_gray_image_of_several_samples_is_rejected_for_what_it_is(num_samples):
    with pytest.raises(ImageRejected, match=rf"^x: has {num_samples} samples per pixel \(SamplesPerPixel\), but is"):
        read_dicom(content_of(GRAY, SamplesPerPixel=num_samples), name="x")


def test_unusual_values_of_the_header_are_not_quoted_in_warnings(tmp_path, recwarn):
    ids = {
        "SOPClassUID": "1.2.Jane.Doe",
        "StudyInstanceUID": "1.2.Jane",
        "SOPInstanceUID": "1..2",
        "PatientID": "\x01" * 99,
    }
    (tmp_path / "scan").write_bytes(content_of(GRAY, BodyPartExamined="CHEST"))
    header = dcmread(tmp_path / "scan")
    with pydicom.config.disable_value_validation():
        for attribute, value in ids.items():
            setattr(header, attribute, value)
        header.save_as(tmp_path / "scan")
    read_view(tmp_path / "scan", max_side=1024)
    assert read_file_header(tmp_path / "scan").study_instance_uid == "1.2.Jane"
    assert [str(warning.message) for warning in recwarn] == []


def test_file_without_pixels_may_be_cut_short():
    content = content_of(GRAY)
    with pytest.raises(ImageRejected, match=r"^x: is DICOM without pixels .* cut short; .* or export it again$"):
        read_dicom(content[: content.index(b"\xe0\x7f\x10\x00")], name="x")


@pytest.mark.parametrize("tag", [b"\x08\x00\x3e\x10", b"\x20\x00\x20\x00"], ids=["description", "orientation"])
def test_value_of_megabytes_is_read_at_once(tag):
    value = b"L\\" * 15_000_000
    element = tag + b"UT\0\0" + len(value).to_bytes(4, "little") + value
    content = content_of(GRAY)
    position = content.index(b"\x10\x00\x10\x00PN" if tag[0] == 8 else b"\x28\x00\x02\x00US")
    start = time.process_time()
    image = read_dicom(content[:position] + element + content[position:]).image
    assert image.size == (32, 40) and time.process_time() - start < 1
