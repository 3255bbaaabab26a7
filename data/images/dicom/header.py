"""Attributes of a DICOM header: kind of image, view position, and ids that group files into studies.

- `RADIOGRAPH_ATTRIBUTES`: whether this is a chest radiograph, and its view position.
- `GROUPING_ATTRIBUTES`: ids. They group files into studies and match reports, and are used for nothing else.
- `TIME_ATTRIBUTES`: when the study was made. They order the studies of a patient, and are not stored.

Messages never quote identifying values, nor words that are not in the standard.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom import uid

from data.images.dicom.orientation import plane_of
from data.images.dicom.values import HEAD_BYTES, codes, id_texts, items_of, read_tags, texts_in
from data.images.pixels import MAX_FILE_BYTES, ImageRejected, is_dicom

RADIOGRAPH_ATTRIBUTES = (
    *("SOPClassUID", "PresentationIntentType", "Modality", "BodyPartExamined", "AnatomicRegionSequence"),
    *("BurnedInAnnotation", "ViewPosition", "ViewCodeSequence", "PatientOrientation", "SeriesDescription"),
    "ProtocolName",
)
GROUPING_ATTRIBUTES = ("StudyInstanceUID", "SOPInstanceUID", "PatientID", "AccessionNumber")
TIME_ATTRIBUTES = ("StudyDate", "StudyTime")
RADIOGRAPH_MODALITIES = ("CR", "DX", "DR", "RG")
"""Computed and digital radiography, and digitized films. DR is not in the standard, but is in use."""
OTHER_MODALITIES = (
    "AR ASMT AU BDUS BI BMD CFM CT CTPROTOCOL DMS DG DOC ECG EEG EMG EOG EPS ES FID GM HC HD IO IOL IVOCT IVUS KER "
    "KO LEN LS M3D MG MR NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS OT PA PLAN POS PR PT PX REG RESP RF RTDOSE "
    "RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA XA "
    "XAPROTOCOL XC"
)
"""The other modalities of PS3.3, C.7.3.1.1.1. Unknown words are not quoted: free text might name a person."""
BODY_PARTS = (
    "ABDOMEN ABDOMENPELVIS ADRENAL ANKLE AORTA ARM ARTERY AXILLA BACK BLADDER BRAIN BREAST BRONCHUS BUTTOCK "
    "CALCANEUS CALF CAROTID CEREBELLUM CERVIX CLAVICLE COCCYX COLON CSPINE CTSPINE EAR ELBOW ESOPHAGUS EXTREMITY "
    "EYE FACE FEMUR FINGER FOOT FOREARM GALLBLADDER HAND HEAD HEADNECK HEART HIP HUMERUS ILEUM ILIUM JAW JEJUNUM "
    "KIDNEY KNEE LARYNX LEG LIVER LSPINE LSSPINE LUMBAR MANDIBLE MAXILLA MEDIASTINUM MOUTH NECK NOSE ORBIT OVARY "
    "PANCREAS PAROTID PATELLA PELVIS PENIS PHARYNX PROSTATE RADIUS RECTUM RIB SACRUM SCALP SCAPULA SCROTUM SHOULDER "
    "SIJOINT SKULL SPINE SPLEEN SSPINE STERNUM STOMACH TESTIS THIGH THUMB THYMUS THYROID TIBIA TLSPINE TMJ TOE "
    "TONGUE TRACHEA TSPINE ULNA URETER URETHRA UTERUS VAGINA VEIN VULVA WHOLEBODY WRIST"
)
"""The other parts of the body in PS3.16, annex L."""
_CHEST = re.compile(
    r"CHEST|T(HO|O|A?[^A-Z]{1,3})RAX|TORACE|TORAKS|LUNG|PULM|POUMON|POLMON|POITRINE|BRUSTKORB|KLATKA|HRUDN|GOGUS|ГРУД|胸|흉부"
)
"""Words for the chest without accents. An accent that was saved in another character set may be any characters."""
_PHOTOMETRIC_INTERPRETATIONS = frozenset(
    {
        *("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "HSV", "ARGB", "CMYK", "XYB"),
        *("YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT"),
    }
)
_CHEST_CODES = frozenset({"T-D3000", "51185008", "43799004", "816094009", "T-28000", "39607008"})
"""SNOMED codes of the thorax and the lungs."""
CHEST = "CHEST"
_FOR_PROCESSING = frozenset(
    {
        uid.DigitalXRayImageStorageForProcessing,
        uid.DigitalMammographyXRayImageStorageForProcessing,
        uid.DigitalIntraOralXRayImageStorageForProcessing,
    }
)
_UNSPECIFIED = frozenset({"", "UNKNOWN", "NONE", "NA", "OTHER", "DEFAULT"})

INDEX_BYTES = 2**20
"""Most headers end within these bytes; the pixels are not read for an index."""
_PIXEL_DATA_BYTES = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")

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
    study_time: str = ""
    """YYYYMMDDHHMMSS, or YYYYMMDD without a valid time; "" without a valid date."""
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
            content = head + file.read(INDEX_BYTES)
            if not any(tag in content for tag in _PIXEL_DATA_BYTES):
                content += file.read()
        return _file_header(read_tags(content, (*GROUPING_ATTRIBUTES, *TIME_ATTRIBUTES, *RADIOGRAPH_ATTRIBUTES)))
    except ImageRejected as error:
        return FileHeader(error=str(error).removeprefix("it: "))
    except OSError as error:
        return FileHeader(error=f"cannot be read ({error.strerror})")
    except Exception:  # pydicom raises many types, and may quote values
        return FileHeader(error="is damaged or cut short DICOM; fetch or export it again")


def check_radiograph(header: pydicom.Dataset, *, name: str) -> None:
    """Raises ImageRejected if the header says that this is not a chest radiograph that is meant for viewing."""
    modality, body_part = modality_of(header), body_part_of(header)
    if modality and modality not in RADIOGRAPH_MODALITIES:
        raise ImageRejected(
            f"{name}: is not a radiograph (Modality {modality}; {', '.join(RADIOGRAPH_MODALITIES)} are)"
        )
    if body_part not in ("", CHEST):
        raise ImageRejected(f"{name}: shows another part of the body than the chest (BodyPartExamined {body_part})")
    if _is_for_processing(header):
        raise ImageRejected(
            f"{name}: is raw data of the detector (FOR PROCESSING), not meant for viewing; export the image FOR "
            "PRESENTATION"
        )


def modality_of(header: pydicom.Dataset) -> str:
    """The modality, or OTHER for a word that is none."""
    modality = " ".join(codes(header, "Modality"))
    return modality if modality in ("", *RADIOGRAPH_MODALITIES, *OTHER_MODALITIES.split()) else "OTHER"


def body_part_of(header: pydicom.Dataset) -> str:
    """CHEST, another part of BODY_PARTS, ELSEWHERE for other words, or "" if the header does not say."""
    words = _without_accents(texts_in(header, "BodyPartExamined"))
    if words in _UNSPECIFIED:
        for region in items_of(header, "AnatomicRegionSequence"):
            words = _without_accents([*texts_in(region, "CodeMeaning"), ""])
            if not _CHEST_CODES.isdisjoint(texts_in(region, "CodeValue")):
                return CHEST
    if words in _UNSPECIFIED:
        return ""
    return CHEST if _CHEST.search(words) else words if words in BODY_PARTS.split() else "ELSEWHERE"


def _without_accents(texts: Iterable[str]) -> str:
    decomposed = unicodedata.normalize("NFKD", " ".join(texts).upper())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter)).strip()


def _is_for_processing(header: pydicom.Dataset) -> bool:
    intent = " ".join(texts_in(header, "PresentationIntentType")).upper()
    return intent == "FOR PROCESSING" or (not intent and header.get("SOPClassUID") in _FOR_PROCESSING)


def view_position_of(header: pydicom.Dataset) -> str:
    """The view from ViewPosition, ViewCodeSequence, descriptions or PatientOrientation; "UNKNOWN" if none says."""
    position = " ".join(codes(header, "ViewPosition"))
    if position in VIEW_POSITIONS:
        return position
    for code in items_of(header, "ViewCodeSequence"):
        meaning = " ".join(texts_in(code, "CodeMeaning")).lower()
        if meaning in _VIEW_OF_MEANING:
            return _VIEW_OF_MEANING[meaning]
    oriented = plane_of(patient_orientation_of(header)) or "UNKNOWN"
    for attribute in ("ViewPosition", "SeriesDescription", "ProtocolName"):
        words = _WORD.findall(" ".join(texts_in(header, attribute)).upper())
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


def patient_orientation_of(header: pydicom.Dataset) -> tuple[str, ...]:
    """The directions of the rows and of the columns (`data.images.dicom.orientation`), or other words of the header."""
    return tuple(text.upper() for text in texts_in(header, "PatientOrientation"))


def photometric_of(header: pydicom.Dataset) -> str:
    """The photometric interpretation; "" if it is absent or unknown."""
    stated = " ".join(texts_in(header, "PhotometricInterpretation")).upper()
    return stated if stated in _PHOTOMETRIC_INTERPRETATIONS else ""


_DATE, _CLOCK = re.compile(r"\d{8}"), re.compile(r"\d{2,6}")


def _study_time(header: pydicom.Dataset) -> str:
    """StudyDate and StudyTime as 14 digits, or StudyDate as 8 if there is no time; "" stands for a missing date."""
    date, clock = (" ".join(id_texts(header, attribute)) for attribute in TIME_ATTRIBUTES)
    date, clock = date.replace(".", ""), clock.partition(".")[0].replace(":", "")
    if not _DATE.fullmatch(date):
        return ""
    return date + (clock.ljust(6, "0") if _CLOCK.fullmatch(clock) else "")


def _file_header(header: pydicom.Dataset) -> FileHeader:
    kind = header.file_meta.get("MediaStorageSOPClassUID") if "file_meta" in header.__dict__ else None
    problem = ""
    try:
        check_radiograph(header, name="it")
    except ImageRejected as error:
        problem = str(error).removeprefix("it: ")
    ids = {attribute: " ".join(id_texts(header, attribute)) for attribute in GROUPING_ATTRIBUTES}
    if not ids["StudyInstanceUID"]:
        problem = problem or "has no StudyInstanceUID, so it belongs to no study"
    return FileHeader(
        study_instance_uid=ids["StudyInstanceUID"],
        sop_instance_uid=ids["SOPInstanceUID"],
        patient_id=ids["PatientID"],
        accession_number=ids["AccessionNumber"],
        study_time=_study_time(header),
        is_directory=kind == uid.MediaStorageDirectoryStorage,
        error=problem,
    )
