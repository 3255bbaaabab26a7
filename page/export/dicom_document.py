"""What the DICOM objects of a report share: the study they belong to, the images they refer to, and their UIDs.

An object belongs to the study of its images, so it is only possible for images that are DICOM with their UIDs.
"""

from dataclasses import dataclass
from io import BytesIO
from uuid import NAMESPACE_OID, uuid5

import highdicom
from pydicom import Dataset

from data.images.dicom.identifiers import DicomIdentifiers
from page.export.text import export_json
from page.study.record import StudyRecord

MANUFACTURER = "cxrscribe"
_WESTERN, _UNICODE = "ISO_IR 100", "ISO_IR 192"
"""Character sets; many archives only support the first, so the second is used only if necessary."""
_SERIES_NUMBER = 9000
"""Higher than those of the images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentPlace:
    """The series and the UID of an object."""

    series_instance_uid: str
    sop_instance_uid: str
    series_number: int = _SERIES_NUMBER
    instance_number: int = 1
    predecessor: Dataset | None = None
    """The version of the object that this one replaces, as `reference` makes it."""


def document_uid(of: str) -> str:
    """The UID for a text: the same text gives the same UID."""
    return highdicom.UID.from_uuid(str(uuid5(NAMESPACE_OID, f"cxrscribe {of}")))


def source_images(record: StudyRecord) -> list[DicomIdentifiers]:
    """The images that an object can refer to, each once.

    Raises:
        ValueError: no image is DICOM with its UIDs, or they belong to several studies or patients.
    """
    source = record.source  # rejects images of several patients
    held = [view.identifiers for view in record.views if view.identifiers]
    referred = {identifiers.sop_instance_uid: identifiers for identifiers in held if identifiers.refers_to_an_image}
    if source is None or not referred:
        raise ValueError(
            "a DICOM structured report must refer to images in an archive, and none of these is DICOM with its "
            "study, series and instance UIDs; read the original DICOM files, or export as PDF, FHIR, JSON or text"
        )
    return list(referred.values())


def prior_images(record: StudyRecord) -> list[DicomIdentifiers]:
    """The images of the prior study that an object can refer to, each once."""
    held = [view.identifiers for view in record.prior.images if view.identifiers] if record.prior else []
    return list({one.sop_instance_uid: one for one in held if one.refers_to_an_image}.values())


def place_by_content(record: StudyRecord, *, include_identity: bool) -> DocumentPlace:
    """A place whose UIDs depend on all texts of the record, so that another text is another object."""
    key = f"{source_images(record)[0].study_instance_uid} {export_json(record, include_identity=include_identity)}"
    return DocumentPlace(
        series_instance_uid=document_uid(f"series {key}"), sop_instance_uid=document_uid(f"instance {key}")
    )


def evidence(identifiers: DicomIdentifiers) -> Dataset:
    """The part of an image's header that a reference to it needs; it names the patient if `identifiers` do."""
    header = reference(
        identifiers.study_instance_uid,
        identifiers.series_instance_uid,
        identifiers.sop_class_uid,
        identifiers.sop_instance_uid,
    )
    header.PatientID, header.PatientName = identifiers.patient_id, identifiers.patient_name
    header.PatientBirthDate, header.PatientSex = identifiers.patient_birth_date, identifiers.patient_sex
    header.StudyDate, header.StudyTime = identifiers.study_date, identifiers.study_time
    header.AccessionNumber = identifiers.accession_number
    header.StudyID = header.ReferringPhysicianName = ""
    return header


def reference(study_uid: str, series_uid: str, sop_class_uid: str, sop_uid: str) -> Dataset:
    """The UIDs with which an object is found in an archive."""
    header = Dataset()
    header.StudyInstanceUID, header.SeriesInstanceUID = study_uid, series_uid
    header.SOPClassUID, header.SOPInstanceUID = sop_class_uid, sop_uid
    return header


def character_set(text: str) -> str:
    """The value of SpecificCharacterSet with which this text can be written."""
    return _WESTERN if text.encode("latin-1", "ignore").decode("latin-1") == text else _UNICODE


def equipment(record: StudyRecord) -> dict[str, str]:
    """The model as the equipment that made an object, as highdicom names the values."""
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": record.model.name[-64:],
        "software_versions": record.model.program_version,
        "device_serial_number": record.model.hash[:64],
    }


def add_times(document: Dataset, record: StudyRecord) -> None:
    """Set all times of an object to that of the report; highdicom uses the time of the export.

    They are in the time zone of this machine: the zone of an object also holds for its StudyTime, a local time.
    """
    issued_at = record.issued_at.astimezone()
    document.ContentDate = document.InstanceCreationDate = document.SeriesDate = issued_at.date()
    document.ContentTime = document.InstanceCreationTime = document.SeriesTime = issued_at.time()
    document.TimezoneOffsetFromUTC = f"{issued_at:%z}"
    for contribution in document.get("ContributingEquipmentSequence", []):
        contribution.ContributionDateTime = record.issued_at


def saved(document: Dataset) -> bytes:
    """The object as a file."""
    buffer = BytesIO()
    document.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
