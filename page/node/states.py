"""States of studies and results, and what the parts of the node pass to each other."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

RECEIVED, STABLE, REPORTED, SENT, REJECTED, FAILED = "received", "stable", "reported", "sent", "rejected", "failed"
STATES = (RECEIVED, STABLE, REPORTED, SENT, REJECTED, FAILED)
"""States of a study."""
WAITING = "waiting"
"""State of a result until it is sent or failed."""
FHIR = "fhir"
"""Kind of a result that goes to a FHIR server; all other kinds are DICOM files for the archive."""
NEW, CHANGED, REPEATED = "new", "changed", "repeated"
"""An image that was received: first time; with other content than before; again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StableStudy:
    """A study to be read. `images` are the files by SOP instance UID; `num_removed` more are no longer on disk."""

    uid: str
    revision: int
    images: Mapping[str, Path]
    num_removed: int
    version: int
    """Version of the last report; 0 without one."""
    report_key: str
    """What the last report was made of."""
    previous: Mapping[str, tuple[str, str, str]]
    """SOP class, series and instance UID of the last report of each kind."""
    used_uids: frozenset[str] = frozenset()
    """Instance UIDs of all earlier results."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """A file to send: DICOM, or JSON of kind FHIR, which has no SOP class and its own UID as `sop_uid`."""

    kind: str
    sop_class_uid: str
    series_uid: str
    sop_uid: str
    content: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitingResult:
    """A result on disk that was not sent yet."""

    sop_uid: str
    sop_class_uid: str
    study_uid: str
    kind: str
    path: Path
    attempts: int
    refusals: int


def pseudonym(study_uid: str) -> str:
    """A name for a study in logs and on the status page, from which the study cannot be found in an archive."""
    return f"study-{hashlib.sha256(study_uid.encode()).hexdigest()[:12]}"
