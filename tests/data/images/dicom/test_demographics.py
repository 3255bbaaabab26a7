"""Sex, age and manufacturer from a DICOM header."""

import pytest

from data.images.read import read_view
from tests.helpers.dicom.files import dicom  # noqa: F401 (a fixture)
from vlm.schema.demographics import Demographics


def view(path):
    return read_view(path, max_side=64)


def test_sex_age_and_manufacturer_are_read(dicom):  # noqa: F811
    path = dicom(PatientSex="F", PatientAge="045Y", Manufacturer="Agfa")
    assert view(path).demographics == Demographics(sex="F", age=45, manufacturer="Agfa")
    assert view(dicom()).demographics == Demographics()


@pytest.mark.parametrize(
    ("birth", "study", "age"),
    [
        ("19500630", "20200629", 69),
        ("19500630", "20200630", 70),
        ("19000101", "20200101", 90),
        ("20210101", "20200101", None),
    ],
)
def test_age_is_the_time_from_birth_to_the_study_if_the_header_has_none(dicom, birth, study, age):  # noqa: F811
    assert view(dicom(PatientBirthDate=birth, StudyDate=study)).demographics.age == age


def test_an_unusable_value_is_unknown_with_a_note_that_does_not_quote_it(dicom):  # noqa: F811
    path = dicom(PatientSex="F", PatientAge="045Y")
    path.write_bytes(path.read_bytes().replace(b"045Y", b"JANE"))
    read = view(path)
    assert read.demographics == Demographics(sex="F")
    assert read.notes == ("has an unusable PatientAge in its DICOM header, which counts as unknown",)
