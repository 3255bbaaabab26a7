"""A correction: what a model wrote of a study and what a reader made of it; and the hashes its images go by."""

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
    """Original and edit of one study. `original_` is what the model wrote, the texts without it what the reader left.

    Raises:
        ValueError: a reader's name that is too long or no line of text, or states that contradict each other.
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
    """CheXbert's code of each finding that the reader flipped or confirmed, UNLABELED where the reader said nothing."""
    preprocessing: Preprocessing
    """What the images have been through."""
    model_name: str
    model_hash: str
    reader: str = ""
    """A name of the reader's choosing; may be empty."""
    subject_id: str = ""
    """Pseudonym of the patient, where one is known; studies that share it, or an image, stay in one split."""

    def __post_init__(self):
        for name in ("probabilities", "thresholds", "states"):
            if len(getattr(self, name)) != NUM_FINDINGS:
                raise ValueError(
                    f"{name} has {len(getattr(self, name))} values; one for each of {NUM_FINDINGS} findings"
                )
        if unknown := sorted(set(self.states) - LABEL_CODES):
            raise ValueError(f"states has {unknown[0]}; a finding's state is one of {sorted(LABEL_CODES)}")
        if len(self.reader) > MAX_READER_CHARACTERS or not self.reader.isprintable():
            raise ValueError(
                f"the reader's name has {len(self.reader)} characters or signs that cannot be shown; give one line of "
                f"{MAX_READER_CHARACTERS} characters at most"
            )
        if self.states[FINDING_INDEX["No Finding"]] == POSITIVE:
            for index, state in enumerate(self.states):
                if index not in _BESIDE_NO_FINDING and state in (POSITIVE, UNCERTAIN):
                    raise ValueError(f"No Finding cannot be present beside {FINDINGS[index]}; take one of them back")

    @property
    def report_is_empty(self) -> bool:
        return not self.findings.strip() and not self.impression.strip()

    @property
    def says_nothing(self) -> bool:
        """Neither a report nor a finding is left to learn from."""
        return self.report_is_empty and set(self.states) == {UNLABELED}


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedCorrection:
    """A correction as the store has it. `number` rises in the order of saving; `images` are the hashes of the images,
    each the name of a file; `saved_at` is UTC."""

    number: int
    saved_at: str
    program_version: str
    images: tuple[str, ...]
    correction: Correction

    @property
    def study(self) -> str:
        return study_hash(self.images)


def image_hash(image: Image.Image) -> str:
    """SHA-256 of a gray image's size and pixels: the same however its file was compressed."""
    return hashlib.sha256(f"{image.width} x {image.height}\n".encode() + image.tobytes()).hexdigest()


def study_hash(images: Iterable[str]) -> str:
    """What a study goes by: the hashes of its images, in any order."""
    return hashlib.sha256("\n".join(sorted(images)).encode()).hexdigest()
