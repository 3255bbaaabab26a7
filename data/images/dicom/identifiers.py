"""Read the identifiers of the patient and the study from a DICOM file.

They are used for two purposes: an exported report must belong to the study it was written for, and names are removed
from the report of a study (`read_identities`). They are kept in memory, `repr` does not show them, and they are not
written to data sets or logs.
"""

import re
import unicodedata
from dataclasses import dataclass, field, replace
from datetime import datetime

import pydicom
from pydicom.multival import MultiValue

from data.images.dicom.header import modality_of
from data.images.dicom.values import id_texts, parse_header, read_tags, texts_in
from data.images.pixels import MAX_FILE_BYTES, ImageRejected, is_dicom
from vlm.schema.demographics import Demographics, parse_age, parse_manufacturer, parse_sex

IDENTITY_ATTRIBUTES = (
    *("PatientName", "PatientID", "OtherPatientNames", "OtherPatientIDs", "PatientBirthName", "PatientMotherBirthName"),
    *("PatientAddress", "PatientTelephoneNumbers", "ResponsiblePerson", "AccessionNumber", "InstitutionName"),
    *("ReferringPhysicianName", "RequestingPhysician", "PerformingPhysicianName", "NameOfPhysiciansReadingStudy"),
    *("PhysiciansOfRecord", "OperatorsName"),
)
DEMOGRAPHIC_ATTRIBUTES = ("PatientSex", "PatientAge", "PatientBirthDate", "StudyDate", "Manufacturer")
_DATE = re.compile(r"\d{8}")
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_PERSONAL = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate", "StudyTime")
_PATTERNS = {
    **dict.fromkeys(_UIDS, re.compile(r"(?=.{1,64}\Z)[0-2](\.(0|[1-9]\d*))+")),
    "StudyTime": re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?"),
    "PatientSex": re.compile(r"[MFO]"),
}
"""The format of valid values in the standard (PS3.5, 6.2)."""
_DATES = ("PatientBirthDate", "StudyDate")
_MAX_CHARACTERS = {"PatientName": 194, "AccessionNumber": 16}
"""Maximum lengths. A name has up to three representations of 64 characters; the default is 64."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomIdentifiers:
    """A value is empty if the file has none, or if it does not follow the standard."""

    study_instance_uid: str = field(default="", repr=False)
    series_instance_uid: str = field(default="", repr=False)
    sop_instance_uid: str = field(default="", repr=False)
    sop_class_uid: str = field(default="", repr=False)
    modality: str = ""
    patient_id: str = field(default="", repr=False)
    patient_name: str = field(default="", repr=False)
    """Parts separated by "^", family name first."""
    patient_birth_date: str = field(default="", repr=False)
    patient_sex: str = field(default="", repr=False)
    accession_number: str = field(default="", repr=False)
    study_date: str = field(default="", repr=False)
    study_time: str = field(default="", repr=False)

    @property
    def refers_to_an_image(self) -> bool:
        """Whether these identifiers are enough to find the image in an archive."""
        return all((self.study_instance_uid, self.series_instance_uid, self.sop_instance_uid, self.sop_class_uid))

    @property
    def personal_words(self) -> tuple[str, ...]:
        """Words that must not be in a de-identified text."""
        return tuple(filter(None, (self.patient_name, self.patient_id, self.accession_number)))

    def without_person(self) -> "DicomIdentifiers":
        """Only the UIDs and the modality. People with access to the archive can still find the patient there."""
        blank = dict.fromkeys(("patient_id", "patient_name", "patient_birth_date", "patient_sex"), "")
        return replace(self, **blank, accession_number="", study_date="", study_time="")


def iso_date(date: str) -> str:
    """Convert a date in a header to the form 2026-11-20; empty stays empty."""
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if date else ""


def dicom_identifiers(content: bytes) -> DicomIdentifiers | None:
    """The identifiers in the content of a file; None if it is not DICOM. If they cannot be read, all are empty, because
    the image may still be readable."""
    if not is_dicom(content):
        return None
    if len(content) > MAX_FILE_BYTES:
        return DicomIdentifiers()
    try:
        header = read_tags(content, (*_UIDS, *_PERSONAL, "Modality", "SpecificCharacterSet"))
        values = {attribute: _value(header, attribute) for attribute in (*_UIDS, *_PERSONAL)}
        modality = modality_of(header)
    except Exception:  # pydicom raises many types, and may quote values
        return DicomIdentifiers()
    return DicomIdentifiers(
        study_instance_uid=values["StudyInstanceUID"],
        series_instance_uid=values["SeriesInstanceUID"],
        sop_instance_uid=values["SOPInstanceUID"],
        sop_class_uid=values["SOPClassUID"],
        modality=modality,
        patient_id=values["PatientID"],
        patient_name=values["PatientName"],
        patient_birth_date=values["PatientBirthDate"],
        patient_sex=values["PatientSex"],
        accession_number=values["AccessionNumber"],
        study_date=values["StudyDate"],
        study_time=values["StudyTime"],
    )


def read_identities(content: bytes, *, name: str) -> tuple[str, ...]:
    """Read names and ids from the header; they are removed from the report."""
    try:
        header = read_tags(content, IDENTITY_ATTRIBUTES)
        texts = [text for attribute in IDENTITY_ATTRIBUTES for text in id_texts(header, attribute)]
    except Exception as error:
        # Unreadable names could not be removed from the report.
        raise ImageRejected(f"{name}: the names in its header are damaged DICOM; export it again") from error
    return tuple(dict.fromkeys(texts))


def read_demographics(content: bytes) -> tuple[Demographics, tuple[str, ...]]:
    """Sex and age of the patient and the manufacturer, with a note for each value that cannot be read and counts as
    unknown. The values are not quoted. Without PatientAge, the age is the time from birth to the study."""
    values, notes = {}, []
    header = parse_header(content, DEMOGRAPHIC_ATTRIBUTES, name="it", stop_before_pixels=True)
    texts = {name: next(iter(texts_in(header, name)), "") for name in DEMOGRAPHIC_ATTRIBUTES}
    age = texts["PatientAge"] or _age(texts["PatientBirthDate"], texts["StudyDate"])
    given = {"sex": (parse_sex, texts["PatientSex"]), "age": (parse_age, age)}
    for name, (parse, text) in given.items():
        try:
            values[name] = parse(text)
        except ValueError:
            notes.append(f"has an unusable Patient{name.title()} in its DICOM header, which counts as unknown")
    return Demographics(**values, manufacturer=parse_manufacturer(texts["Manufacturer"])), tuple(notes)


def _age(birth: str, study: str) -> str:
    """Whole years between two dates (YYYYMMDD); "" if one of them is none."""
    if not (_DATE.fullmatch(birth) and _DATE.fullmatch(study) and birth <= study):
        return ""
    return str(int(study[:4]) - int(birth[:4]) - (study[4:] < birth[4:]))


def _value(header: pydicom.Dataset, attribute: str) -> str:
    """A single valid value, else "". Long values are not shortened, because that would make another identifier."""
    value = header.get(attribute) or ""
    text = "" if isinstance(value, list | MultiValue) else str(value).strip().strip("\0").strip()
    if attribute in _DATES:
        return text if _is_date(text) else ""
    pattern = _PATTERNS.get(attribute)
    if pattern is not None:
        return text if pattern.fullmatch(text) else ""
    has_controls = "\\" in text or any(unicodedata.category(character)[0] == "C" for character in text)
    return "" if has_controls or len(text) > _MAX_CHARACTERS.get(attribute, 64) else text


def _is_date(text: str) -> bool:
    try:
        return len(text) == 8 and text.isascii() and bool(datetime.strptime(text, "%Y%m%d"))
    except ValueError:
        return False
