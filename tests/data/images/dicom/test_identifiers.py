"""Identifiers of a DICOM file: valid values are read, invalid ones are not, and repr shows none."""

import zlib
from io import BytesIO

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset

from data.images.dicom.identifiers import DicomIdentifiers, dicom_identifiers, iso_date

VALUES = {
    "StudyInstanceUID": "1.2.3",
    "SeriesInstanceUID": "1.2.4",
    "SOPInstanceUID": "1.2.5",
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1",
    "Modality": "CR",
    "PatientID": "PID 1",
    "PatientName": "Müller^Änne",
    "PatientBirthDate": "19560712",
    "PatientSex": "F",
    "AccessionNumber": "A1",
    "StudyDate": "20260102",
    "StudyTime": "101112.5",
}


def content_of(*, character_set="ISO_IR 100", **changes) -> bytes:
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID, header.file_meta.MediaStorageSOPInstanceUID = "1.2", "1.3"
    header.SpecificCharacterSet = character_set
    with pydicom.config.disable_value_validation():
        for name, value in (VALUES | changes).items():
            setattr(header, name, value)
        buffer = BytesIO()
        header.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_every_identifier_is_read_in_the_character_set_of_the_file():
    assert dicom_identifiers(content_of()) == DicomIdentifiers(
        study_instance_uid="1.2.3",
        series_instance_uid="1.2.4",
        sop_instance_uid="1.2.5",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
        modality="CR",
        patient_id="PID 1",
        patient_name="Müller^Änne",
        patient_birth_date="19560712",
        patient_sex="F",
        accession_number="A1",
        study_date="20260102",
        study_time="101112.5",
    )


def test_other_files_have_no_identifiers():
    assert dicom_identifiers(b"\x89PNG\r\n\x1a\n") is None


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("StudyInstanceUID", "1.2.<b>"),
        ("StudyInstanceUID", "1.02"),
        ("StudyInstanceUID", "1." + "2" * 64),
        ("StudyInstanceUID", ["1.2", "1.3"]),
        ("PatientBirthDate", "19561399"),
        ("PatientBirthDate", "1956"),
        ("StudyTime", "2561"),
        ("PatientSex", "X"),
        ("PatientID", "a\x1bb"),
        ("PatientID", "x" * 65),
        ("PatientID", ["A1", "B2"]),
        ("PatientName", ["Doe^Jane", "Roe^Ann"]),
        ("AccessionNumber", "x" * 17),
    ],
)
def test_invalid_values_are_left_empty(attribute, value):
    held = dicom_identifiers(content_of(**{attribute: value}))
    whole = dicom_identifiers(content_of())
    differing = [name for name in DicomIdentifiers.__slots__ if getattr(held, name) != getattr(whole, name)]
    assert [getattr(held, name) for name in differing] == [""]


def test_a_damaged_header_has_empty_identifiers():
    assert dicom_identifiers(content_of()[:150]) == DicomIdentifiers()


def test_a_deflated_file_is_not_decompressed():
    plain = content_of()
    start = plain.index(b"\x08\x00\x05\x00")
    deflate = zlib.compressobj(wbits=-15)
    packed = plain[:start].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99") + deflate.compress(
        plain[start:]
    )
    assert dicom_identifiers(packed + deflate.flush()) == DicomIdentifiers()


def test_without_person_keeps_only_uids_and_modality():
    nameless = dicom_identifiers(content_of()).without_person()
    assert nameless == DicomIdentifiers(
        study_instance_uid="1.2.3",
        series_instance_uid="1.2.4",
        sop_instance_uid="1.2.5",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
        modality="CR",
    )
    assert nameless.refers_to_an_image
    assert nameless.personal_words == ()


def test_repr_shows_no_identifiers():
    assert repr(dicom_identifiers(content_of())) == "DicomIdentifiers(modality='CR')"


def test_dates_are_written_as_iso_8601():
    assert (iso_date("20261120"), iso_date("")) == ("2026-11-20", "")
