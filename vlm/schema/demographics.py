"""Sex and age of a patient and manufacturer of the machine, for scores by subgroup; as in a table or a DICOM header.

Ages are whole years, and 90 stands for 90 and above: HIPAA's Safe Harbor (45 CFR 164.514(b)(2)(i)(C)) requires this of
de-identified data.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

SEXES = ("", "F", "M", "O")
"""Unknown, female, male, other: the codes of DICOM's PatientSex."""
MAX_AGE = 90
_SEX_OF_WORD = {"F": "F", "FEMALE": "F", "M": "M", "MALE": "M", "O": "O", "OTHER": "O"}
_UNKNOWN = frozenset({"", "NAN", "NONE", "NULL", "UNKNOWN", "U", "N/A", "NA", "?"})
_AGE = re.compile(r"(\d{1,3})(?:\.\d*)?\s*(Y|YEARS?|M|MONTHS?|W|WEEKS?|D|DAYS?|\+)?")
_PER_YEAR = {"M": 12, "W": 52, "D": 365}
_OLDEST = 130
MAX_MANUFACTURER_CHARACTERS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Demographics:
    """What is known about the patient and the machine: a code in SEXES, years up to MAX_AGE, one line of text."""

    sex: str = ""
    age: int | None = None
    manufacturer: str = ""

    def __post_init__(self):
        if self.sex not in SEXES:
            raise ValueError(f"sex is {self.sex!r}; it must be one of {SEXES}")
        if self.age is not None and not 0 <= self.age <= MAX_AGE:
            raise ValueError(f"age is {self.age}; it must be from 0 to {MAX_AGE}, which stands for {MAX_AGE} and above")

    def or_else(self, other: "Demographics") -> "Demographics":
        """These values, and those of `other` for what is unknown here."""
        return Demographics(
            sex=self.sex or other.sex,
            age=other.age if self.age is None else self.age,
            manufacturer=self.manufacturer or other.manufacturer,
        )


NOTHING_KNOWN = Demographics()


def parse_sex(value: Any) -> str:
    """The code of a sex; "" if it is blank or unknown. Raises ValueError for any other word."""
    word = _word(value)
    if word in _UNKNOWN:
        return ""
    if word not in _SEX_OF_WORD:
        raise ValueError(f"sex is {value!r}; use {', '.join(SEXES[1:])} or leave it blank")
    return _SEX_OF_WORD[word]


def parse_age(value: Any) -> int | None:
    """Years, at most MAX_AGE; None if blank or unknown. Accepts years (57, "57", "57.5", "90+") and DICOM's PatientAge
    ("057Y", "018M", "003W", "010D"). Raises ValueError for anything else."""
    word = _word(value)
    if word in _UNKNOWN:
        return None
    match = _AGE.fullmatch(word)
    years = int(match[1]) // _PER_YEAR.get((match[2] or "Y")[0], 1) if match else _OLDEST + 1
    if years > _OLDEST:
        raise ValueError(f"age is {value!r}; give years from 0 to {_OLDEST}, or leave it blank")
    return min(years, MAX_AGE)


def parse_manufacturer(value: Any) -> str:
    """The name as one line; "" if it is blank or unknown."""
    text = " ".join(str(value or "").split())[:MAX_MANUFACTURER_CHARACTERS]
    return "" if text.upper() in _UNKNOWN else text


def _word(value: Any) -> str:
    is_missing = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if is_missing else str(value).strip().upper()
