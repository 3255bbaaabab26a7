"""One uploaded file: its image for the model, its view position and its warnings."""

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from data.images.pixels import ImageRejected
from page.study.upload import UploadedImage
from page.study.upload import read_upload as read_bytes
from tests.helpers.dicom.files import GRAY
from vlm.schema.preprocessing import Preprocessing, preprocess

CLAHE = Preprocessing(clahe=True)


def read_upload(path, view="auto", preprocessing=None) -> UploadedImage:
    return read_bytes(path.read_bytes(), path.name, preprocessing).with_view(view)


@pytest.fixture
def png(tmp_path):
    path = tmp_path / "chest.png"
    Image.fromarray(GRAY).save(path)
    return path


def test_auto_uses_the_view_position_of_the_dicom_header(dicom):
    assert read_upload(dicom(ViewPosition="AP")).view_position == "AP"


def test_chosen_view_position_overrides_the_header(dicom):
    assert read_upload(dicom(ViewPosition="AP"), "lateral").view_position == "LATERAL"


def test_view_of_a_file_without_a_header_is_unknown(png):
    assert read_upload(png).view_position == "UNKNOWN"


def test_unknown_view_is_rejected_with_the_choices(png):
    with pytest.raises(ValueError, match="view position 'oblique' is not known; choose one of auto, PA, AP, lateral"):
        read_upload(png, "oblique")


def test_dicom_of_another_body_part_is_read_with_a_warning(dicom):
    warning = read_upload(dicom(BodyPartExamined="KNEE")).warning
    assert warning == "scan: shows another part of the body than the chest (BodyPartExamined KNEE)."


def test_dicom_of_another_modality_is_read_with_a_warning(dicom):
    assert "is not a radiograph (Modality MG; CR, DX" in read_upload(dicom(Modality="MG")).warning


@pytest.mark.parametrize("body_part", ["CHEST", "PORT_CHEST", "THORAX", ""])
def test_chest_radiograph_has_no_warning(dicom, body_part):
    assert read_upload(dicom(BodyPartExamined=body_part)).warning == ""


def test_patient_name_is_not_in_the_representation(dicom):
    path = dicom(ViewPosition="PA")
    assert dcmread(path).PatientName == "Doe^Jane"
    image = read_upload(path)
    assert "Doe" not in repr([image, image.image.info])


def test_messages_name_the_file_without_its_folder(tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("no image")
    with pytest.raises(ImageRejected, match=r"^notes\.png: its content is none of PNG"):
        read_upload(path)


def test_images_are_preprocessed_with_the_given_settings(png):
    expected = preprocess(Image.fromarray(GRAY), CLAHE)
    assert not np.array_equal(np.asarray(expected), GRAY)
    assert np.array_equal(np.asarray(read_upload(png, "auto", CLAHE).image), np.asarray(expected))


def test_what_was_done_to_an_image_is_noted(dicom):
    path = dicom(PatientOrientation=["R", "F"], ViewPosition="PA")
    image = read_upload(path)
    assert np.array_equal(np.asarray(image.image), GRAY[:, ::-1])
    (note,) = image.notes
    assert note.startswith("scan: was turned to the standard view (rows to L, columns to F;") and image.warning == ""


def test_raw_data_of_a_detector_has_a_warning(dicom):
    warning = read_upload(dicom(PresentationIntentType="FOR PROCESSING")).warning
    assert warning.startswith("scan: is raw data of the detector (FOR PROCESSING), not meant for viewing")
