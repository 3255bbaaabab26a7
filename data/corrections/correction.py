"""A correction: the report that a model wrote for a study and the version that a reader saved; hashes of images."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image

from vlm.schema.findings import FINDING_INDEX, FINDINGS, LABEL_CODES, NUM_FINDINGS, POSITIVE, UNCERTAIN, UNLABELED
from vlm.schema.preprocessing import Preprocessing

MAX_READER_CHARACTERS = 100
_BESIDE_NO_FINDING = (FINDING_INDEX["No Finding"], FINDING_INDEX["Support Devices"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Correction:
    """Generated and corrected report of one study. The model wrote `original_findings` and `original_impression`, the
    reader saved `findings` and `impression`.

    Raises:
        ValueError: the name of the reader is not one short line of text, or the states contradict each other.
    """

    view_positions: tuple[str, ...]
    indication: str = ""
    original_findings: str = ""
    original_impression: str = ""
    findings: str = ""
    impression: str = ""
    probabilities: tuple[float, ...]
    thresholds: tuple[float, ...]
    states: tuple[int, ...]
    """CheXbert's code of each finding that the reader changed or confirmed; UNLABELED for the others."""
    preprocessing: Preprocessing
    """How the images were preprocessed."""
    model_name: str
    model_hash: str
    reader: str = ""
    """Name that the reader chose; may be empty."""
    subject_id: str = ""
    """Pseudonym of the patient, if known; studies that share it, or an image, stay in the same split."""
    prior_view_positions: tuple[str, ...] = ()
    """Those of the prior study that the model compared with; empty without one."""
    prior_report: str = ""
    """As `compose_report` writes it; "" if unknown."""
    prior_interval_days: int | None = None
    """Days from the prior study to this one; None if unknown."""

    def __post_init__(self):
        for name in ("probabilities", "thresholds", "states"):
            if (found := len(getattr(self, name))) != NUM_FINDINGS:
                raise ValueError(f"{name} has {found} values; give one for each of the {NUM_FINDINGS} findings")
        if unknown := sorted(set(self.states) - LABEL_CODES):
            raise ValueError(f"states has {unknown[0]}; the state of a finding is one of {sorted(LABEL_CODES)}")
        if len(self.reader) > MAX_READER_CHARACTERS or not self.reader.isprintable():
            raise ValueError(
                f"the reader's name has {len(self.reader)} characters, or characters that cannot be printed; give one "
                f"line of at most {MAX_READER_CHARACTERS} characters"
            )
        if not self.prior_view_positions and (self.prior_report, self.prior_interval_days) != ("", None):
            raise ValueError("there is a prior report or interval, but no prior image; give the images too")
        if self.prior_interval_days is not None and self.prior_interval_days < 0:
            raise ValueError(
                f"prior_interval_days is {self.prior_interval_days}; a prior study is earlier, so give 0 or more"
            )
        if self.states[FINDING_INDEX["No Finding"]] == POSITIVE:
            for index, state in enumerate(self.states):
                if index not in _BESIDE_NO_FINDING and state in (POSITIVE, UNCERTAIN):
                    raise ValueError(f"No Finding contradicts {FINDINGS[index]}; clear one of them")

    @property
    def report_is_empty(self) -> bool:
        return not self.findings.strip() and not self.impression.strip()

    @property
    def is_empty(self) -> bool:
        """Whether it has neither a report nor a finding."""
        return self.report_is_empty and set(self.states) == {UNLABELED}


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedCorrection:
    """A correction in the store. `number` rises in the order of saving, `saved_at` is UTC, and `images` are the hashes
    of the images, which are also their file names; `prior_images` are those of the prior study."""

    number: int
    saved_at: str
    program_version: str
    images: tuple[str, ...]
    prior_images: tuple[str, ...] = ()
    correction: Correction

    @property
    def study(self) -> str:
        return study_hash(self.images)


def image_hash(image: Image.Image) -> str:
    """SHA-256 of the size and pixels of a gray image; it does not depend on the compression of the file."""
    return hashlib.sha256(f"{image.width} x {image.height}\n".encode() + image.tobytes()).hexdigest()


def study_hash(images: Iterable[str]) -> str:
    """Hash that identifies a study: made from the hashes of its images, in any order."""
    return hashlib.sha256("\n".join(sorted(images)).encode()).hexdigest()
