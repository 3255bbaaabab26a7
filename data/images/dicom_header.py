"""Attributes of a DICOM header: kind of image, view position, and ids that group files into studies.

- `RADIOGRAPH_ATTRIBUTES`: whether this is a chest radiograph, and its view position.
- `GROUPING_ATTRIBUTES`: ids. They group files into studies and match reports, and are used for nothing else.

Values are read one by one, because pydicom would reject a whole file for one wrong character. Messages never quote
identifying values, nor words that are not in the standard.
"""

import itertools
import logging
import math
import re
import unicodedata
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom import uid
from pydicom.datadict import dictionary_VR
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

from data.images.orientation import plane_of
from data.images.pixels import MAX_FILE_BYTES, ImageRejected, is_dicom

# Its messages and warnings quote values of headers, which may name a patient.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

RADIOGRAPH_ATTRIBUTES = (
    *("SOPClassUID", "PresentationIntentType", "Modality", "BodyPartExamined", "AnatomicRegionSequence"),
    *("BurnedInAnnotation", "ViewPosition", "ViewCodeSequence", "PatientOrientation", "SeriesDescription"),
    "ProtocolName",
)
GROUPING_ATTRIBUTES = ("StudyInstanceUID", "SOPInstanceUID", "PatientID", "AccessionNumber")
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

HEAD_BYTES = 4096
"""The file meta information, with the transfer syntax, is within the first bytes."""
INDEX_BYTES = 2**20
"""Most headers end within these bytes; the pixels are not read for an index."""
_PIXEL_DATA_BYTES = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")
MAX_ELEMENTS = 10_000
"""Elements of a header, and items of its sequences. A radiograph has about 150."""
MAX_VALUE_BYTES = 2**18
"""What is read of a value; the largest are lookup tables of 128 KiB."""
_PIXEL_DATA = 0x7FE00010
MAX_ID_CHARACTERS = 200

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
_BINARY = {"SS": "<i2", "UL": "<u4", "SL": "<i4", "FL": "<f4", "FD": "<f8"} | dict.fromkeys(
    ("US", "OW", "US or SS", "US or OW", "US or SS or OW"), "<u2"
)
"""How numbers are stored, by VR; the other VRs are texts."""


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
            content = head + file.read(INDEX_BYTES)
            if not any(tag in content for tag in _PIXEL_DATA_BYTES):
                content += file.read()
        return _file_header(read_tags(content, (*GROUPING_ATTRIBUTES, *RADIOGRAPH_ATTRIBUTES)))
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
    """The directions of the rows and of the columns (`data.images.orientation`), or other words of the header."""
    return tuple(text.upper() for text in texts_in(header, "PatientOrientation"))


def photometric_of(header: pydicom.Dataset) -> str:
    """The photometric interpretation; "" if it is absent or unknown."""
    stated = " ".join(texts_in(header, "PhotometricInterpretation")).upper()
    return stated if stated in _PHOTOMETRIC_INTERPRETATIONS else ""


def codes(header: pydicom.Dataset, attribute: str) -> tuple[str, ...]:
    """The values of an attribute that are DICOM code strings. Free text might name a person, so it is dropped."""
    return tuple(text for text in texts_in(header, attribute) if re.fullmatch(r"[A-Z][A-Z0-9_]{0,15}", text))


def texts_in(header: pydicom.Dataset, attribute: str) -> tuple[str, ...]:
    """The values of a text attribute. Bytes that are not UTF-8 count as Latin-1, whatever SpecificCharacterSet says; so
    wrong bytes cost no more than their own letters."""
    value = _element(header, attribute)[1]
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            value = value.decode("latin-1")
    values = value.split("\\") if isinstance(value, str) else value if isinstance(value, list | MultiValue) else []
    return tuple(str(text).strip(" \0\n\r\t") for text in values)


def numbers_in(header: pydicom.Dataset, attribute: str) -> tuple[float, ...]:
    """The values of a numeric attribute; NaN for one that is no finite number. A decimal comma counts as a point.

    pydicom would reject the whole file for one wrong character.
    """
    kind, value = _element(header, attribute)
    if isinstance(value, bytes) and kind in _BINARY:
        item = np.dtype(_BINARY[kind])
        if not getattr(header.get_item(attribute), "is_little_endian", True):
            item = item.newbyteorder(">")
        return tuple(np.frombuffer(value[: len(value) // item.itemsize * item.itemsize], item).tolist())
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    values = value.split("\\") if isinstance(value, str) else [value]
    if isinstance(value, list | tuple | MultiValue):
        values = value
    return tuple(_finite(number) for number in values if number is not None)


def first_number(header: pydicom.Dataset, attribute: str, default: float | None = None) -> float | None:
    """The first value of `numbers_in`, or `default` if there is none or it is no number."""
    first = next(iter(numbers_in(header, attribute)), math.nan)
    return default if math.isnan(first) else first


def items_of(header: pydicom.Dataset, attribute: str) -> list[pydicom.Dataset]:
    """The items of a sequence; none if it is absent or damaged."""
    try:
        return list(header.get(attribute) or [])
    except Exception:  # pydicom raises many types
        return []


def _element(header: pydicom.Dataset, attribute: str) -> tuple[str, Any]:
    """The VR and the start of the value of an attribute, bytes if pydicom has not converted them yet."""
    element = header.get_item(attribute)
    if element is None:
        return "", None
    known = element.VR not in (None, "UN")
    value = element.value[:MAX_VALUE_BYTES] if isinstance(element.value, bytes | str) else element.value
    return element.VR if known else dictionary_VR(element.tag), value


def _finite(value: Any) -> float:
    try:
        number = float(str(value).strip(" \0").replace(",", "."))
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def read_tags(content: bytes, attributes: tuple[str, ...]) -> pydicom.Dataset:
    """The attributes without the pixels. Raises ImageRejected as `parse_header`."""
    header = parse_header(content, attributes, name="it", stop_before_pixels=True)
    with warnings.catch_warnings():  # pydicom would quote unusual values
        warnings.simplefilter("ignore")
        header.decode()
    return header


def parse_header(content: bytes, attributes: tuple, *, name: str, stop_before_pixels: bool = False) -> pydicom.Dataset:
    """Parse DICOM; values are converted later, one by one.

    Raises:
        ImageRejected: it is deflated, or has more elements or items than a radiograph.
    """
    if uid.DeflatedExplicitVRLittleEndian.encode() in content:
        # pydicom would decompress all of it at once, whatever its size.
        raise ImageRejected(f"{name}: is deflated DICOM, which is not read; export it uncompressed")
    too_many = f"{name}: has more than {MAX_ELEMENTS:,} elements or items in its header; it is damaged: export it again"
    if _num_items(content) > MAX_ELEMENTS or _num_meta_elements(content) > MAX_ELEMENTS:
        raise ImageRejected(too_many)
    num_elements = itertools.count()

    def stop(tag: int, _vr: str | None, _length: int) -> bool:
        if next(num_elements) > MAX_ELEMENTS:
            raise ImageRejected(too_many)
        return stop_before_pixels and tag >= _PIXEL_DATA

    with warnings.catch_warnings():  # What a user should know is in our own notes.
        warnings.simplefilter("ignore")
        return pydicom.filereader.read_partial(BytesIO(content), stop, force=True, specific_tags=_tags(attributes))


@cache
def _tags(attributes: tuple) -> list[BaseTag]:
    return [Tag(attribute) for attribute in attributes]


def _num_items(content: bytes) -> int:
    """How often the tag of a sequence item occurs. Uncompressed pixels, the longest part, are not searched."""
    start = content.find(b"\xe0\x7f\x10\x00")
    length = int.from_bytes(content[start + 8 : start + 12], "little") if start >= 0 else 0
    end = start if start + length > len(content) - HEAD_BYTES and length < 2**32 - 1 else len(content)
    return content.count(b"\xfe\xff\x00\xe0", 0, end) + content.count(b"\xff\xfe\xe0\x00", 0, min(end, 2**20))


def _num_meta_elements(content: bytes) -> int:
    """Number of elements in the file meta information, which pydicom reads without a limit."""
    position = 132 if content[128:132] == b"DICM" else 0
    for number in range(MAX_ELEMENTS + 1):
        if content[position : position + 2] != b"\x02\x00":
            return number
        has_long_length = content[position + 4 : position + 6] in (b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC", b"UR")
        start, size = (position + 8, 4) if has_long_length else (position + 6, 2)
        position = start + size + int.from_bytes(content[start : start + size], "little")
    return MAX_ELEMENTS + 1


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
        is_directory=kind == uid.MediaStorageDirectoryStorage,
        error=problem,
    )


def id_texts(header: pydicom.Dataset, attribute: str) -> list[str]:
    value = header.get(attribute)
    values = list(value) if isinstance(value, list | tuple | MultiValue) else [] if value is None else [value]
    texts = [" ".join(str(text).split())[:MAX_ID_CHARACTERS] for text in values]
    return [text for text in texts if text]
