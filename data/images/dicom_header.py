"""Attributes of a DICOM header: kind of image, view position, and ids that group files into studies.

- `RADIOGRAPH_ATTRIBUTES`: whether this is a chest radiograph, and its view position.
- `GROUPING_ATTRIBUTES`: ids. They group files into studies and match reports, and are used for nothing else.
- `IDENTITY_ATTRIBUTES`: words that are removed from the report of the study, and are used for nothing else.

Messages never quote identifying values.
"""

import re
import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom import uid
from pydicom.multival import MultiValue

from data.images.pixels import MAX_FILE_BYTES, ImageRejected, is_dicom

RADIOGRAPH_ATTRIBUTES = (
    *("Modality", "BodyPartExamined", "AnatomicRegionSequence", "BurnedInAnnotation"),
    *("ViewPosition", "ViewCodeSequence", "PatientOrientation", "SeriesDescription", "ProtocolName"),
)
GROUPING_ATTRIBUTES = ("StudyInstanceUID", "SOPInstanceUID", "PatientID", "AccessionNumber")
IDENTITY_ATTRIBUTES = (
    *("PatientName", "PatientID", "OtherPatientNames", "OtherPatientIDs", "PatientBirthName", "PatientMotherBirthName"),
    *("PatientAddress", "PatientTelephoneNumbers", "ResponsiblePerson", "AccessionNumber", "InstitutionName"),
    *("ReferringPhysicianName", "RequestingPhysician", "PerformingPhysicianName", "NameOfPhysiciansReadingStudy"),
    *("PhysiciansOfRecord", "OperatorsName"),
)
RADIOGRAPH_MODALITIES = ("CR", "DX", "DR", "RG")
"""Computed and digital radiography, and digitized films. DR is not in the standard, but is in use."""
CHEST_WORDS = ("CHEST", "THORAX", "TORAX", "LUNG")
_UNSPECIFIED = frozenset({"", "UNKNOWN", "NONE", "NA", "OTHER", "DEFAULT"})

HEAD_BYTES = 4096
"""The file meta information, with the transfer syntax, is within the first bytes."""
MAX_IDENTITY_CHARACTERS = 200

VIEW_POSITIONS = frozenset({"AP", "PA", "LL", "RL", "RLD", "LLD", "RLO", "LLO", "LATERAL"})
_VIEW_OF_MEANING = {
    "antero-posterior": "AP",
    "postero-anterior": "PA",
    "left lateral": "LL",
    "right lateral": "RL",
    "lateral": "LATERAL",
}
_VIEW_OF_WORD = {"PA": "PA", "AP": "AP", "LAT": "LATERAL", "LATERAL": "LATERAL", "LL": "LL", "RL": "RL"}
_WORD = re.compile(r"[A-Z]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class FileHeader:
    """Ids of a file in an archive. `error` is the reason why the file cannot be used; `is_directory` marks the list of
    files on a DICOM disc. All other fields identify the patient or study."""

    study_instance_uid: str = ""
    sop_instance_uid: str = ""
    patient_id: str = ""
    accession_number: str = ""
    is_directory: bool = False
    error: str = ""


def read_file_header(path: Path) -> FileHeader | None:
    """Read the header of a file without its pixels; None for a file that is not DICOM."""
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                return FileHeader(error="is empty (0 bytes); fetch or export it again")
            head = file.read(HEAD_BYTES)
            if not is_dicom(head):
                return None
            if path.stat().st_size > MAX_FILE_BYTES:
                return FileHeader(error=f"has {path.stat().st_size} bytes; the limit is {MAX_FILE_BYTES}")
            if uid.DeflatedExplicitVRLittleEndian.encode() in head:
                return FileHeader(error="is deflated DICOM, which is not read; export it uncompressed")
            file.seek(0)
            return _file_header(read_tags(file, (*GROUPING_ATTRIBUTES, *RADIOGRAPH_ATTRIBUTES)))
    except OSError as error:
        return FileHeader(error=f"cannot be read ({error.strerror})")
    except Exception:  # pydicom raises many types, and may quote values
        return FileHeader(error="is damaged or cut short DICOM; fetch or export it again")


def read_identities(content: bytes, *, name: str) -> tuple[str, ...]:
    """Read names and ids from the header; they are removed from the report."""
    try:
        header = read_tags(BytesIO(content), IDENTITY_ATTRIBUTES)
        texts = [text for attribute in IDENTITY_ATTRIBUTES for text in _texts(header, attribute)]
    except Exception as error:
        # Unreadable names could not be removed from the report.
        raise ImageRejected(f"{name}: the names in its header are damaged DICOM; export it again") from error
    return tuple(dict.fromkeys(texts))


def check_radiograph(modality: str, body_part: str, *, name: str) -> None:
    """Raises ImageRejected if the header says that this is not a chest radiograph."""
    if modality and modality not in RADIOGRAPH_MODALITIES:
        raise ImageRejected(
            f"{name}: is not a radiograph (Modality {modality}; {', '.join(RADIOGRAPH_MODALITIES)} are)"
        )
    if body_part not in _UNSPECIFIED and not any(word in body_part for word in CHEST_WORDS):
        raise ImageRejected(f"{name}: shows another part of the body than the chest (BodyPartExamined {body_part})")


def modality_of(header: pydicom.Dataset) -> str:
    return " ".join(codes(header, "Modality"))


def body_part_of(header: pydicom.Dataset) -> str:
    """The body part as a code. Free text might name a person, so only "CHEST" or "ELSEWHERE" is returned for it."""
    code = " ".join(codes(header, "BodyPartExamined"))
    if code not in _UNSPECIFIED:
        return code
    text = str(header.get("BodyPartExamined") or "")
    if text.upper() in _UNSPECIFIED:
        regions = header.get("AnatomicRegionSequence") or []
        text = " ".join(str(region.get("CodeMeaning", "")) for region in regions)
    if not text.strip() or text.upper() in _UNSPECIFIED:
        return ""
    return "CHEST" if any(word in text.upper() for word in CHEST_WORDS) else "ELSEWHERE"


def view_position_of(header: pydicom.Dataset) -> str:
    """The view from ViewPosition, ViewCodeSequence, descriptions or PatientOrientation; "UNKNOWN" if none says."""
    position = " ".join(codes(header, "ViewPosition"))
    if position in VIEW_POSITIONS:
        return position
    for code in header.get("ViewCodeSequence") or []:
        meaning = str(code.get("CodeMeaning", "")).strip().lower()
        if meaning in _VIEW_OF_MEANING:
            return _VIEW_OF_MEANING[meaning]
    # If rows run to the left or right of the patient, the view is frontal.
    rows = (codes(header, "PatientOrientation") or ("",))[0][:1]
    oriented = {"L": "FRONTAL", "R": "FRONTAL", "A": "LATERAL", "P": "LATERAL"}.get(rows, "UNKNOWN")
    for attribute in ("ViewPosition", "SeriesDescription", "ProtocolName"):
        words = _WORD.findall(str(header.get(attribute) or "").upper())
        named = {_VIEW_OF_WORD[word] for word in words if word in _VIEW_OF_WORD}
        # "PA and lateral" names the views of the study, not of this image.
        if len(named) == 1:
            view = named.pop()
            is_frontal = view in ("PA", "AP")
            if oriented == "UNKNOWN" or is_frontal == (oriented == "FRONTAL"):
                return view
    return oriented


def has_burned_in_text(header: pydicom.Dataset) -> bool:
    return codes(header, "BurnedInAnnotation") == ("YES",)


def codes(header: pydicom.Dataset, attribute: str) -> tuple[str, ...]:
    """The values of an attribute that are DICOM code strings. Free text might name a person, so it is dropped."""
    value = header.get(attribute)
    values = [value] if isinstance(value, str) else list(value or [])
    return tuple(str(text) for text in values if re.fullmatch(r"[A-Z][A-Z0-9_]{0,15}", str(text)))


def read_tags(file: BinaryIO, attributes: tuple[str, ...]) -> pydicom.Dataset:
    # pydicom would quote unusual values in warnings.
    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = pydicom.dcmread(file, specific_tags=list(attributes), stop_before_pixels=True, force=True)
        header.decode()
    return header


def _file_header(header: pydicom.Dataset) -> FileHeader:
    kind = header.file_meta.get("MediaStorageSOPClassUID") if "file_meta" in header.__dict__ else None
    problem = ""
    try:
        check_radiograph(modality_of(header), body_part_of(header), name="it")
    except ImageRejected as error:
        problem = str(error).removeprefix("it: ")
    ids = {attribute: " ".join(_texts(header, attribute)) for attribute in GROUPING_ATTRIBUTES}
    if not ids["StudyInstanceUID"]:
        problem = problem or "has no StudyInstanceUID, so it belongs to no study"
    return FileHeader(
        study_instance_uid=ids["StudyInstanceUID"],
        sop_instance_uid=ids["SOPInstanceUID"],
        patient_id=ids["PatientID"],
        accession_number=ids["AccessionNumber"],
        is_directory=kind == uid.MediaStorageDirectoryStorage,
        error=problem,
    )


def _texts(header: pydicom.Dataset, attribute: str) -> list[str]:
    value = header.get(attribute)
    values = list(value) if isinstance(value, list | tuple | MultiValue) else [] if value is None else [value]
    texts = [" ".join(str(text).split())[:MAX_IDENTITY_CHARACTERS] for text in values]
    return [text for text in texts if text]
