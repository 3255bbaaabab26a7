"""One finished reading as an immutable record, for exports, corrections and lists.

    record = study_record(reading, generator)
    without_identity(record)       # what is exported by default

All texts of a record are plain text: without control characters, which end a DICOM value or an XML document, and
without direction marks, which change how a text reads. Each export escapes markup itself. DICOM identifiers are only
held in memory.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

from data.corrections.correction import image_hash, study_hash
from data.images.dicom_identifiers import DicomIdentifiers
from data.reports.deidentify import remove_identity
from page.study.read import StudyReading
from page.study.upload import UploadedImage
from vlm.checkpoint.store import checkpoint_hash
from vlm.explain.attention import heatmaps, overlay_heatmap
from vlm.generator import ReportGenerator
from vlm.schema.findings import BLANK, FINDINGS, NEGATIVE, POSITIVE, UNCERTAIN
from vlm.schema.number_format import format_count, format_probability
from vlm.uncertainty import Calibration

NOT_A_DEVICE = "Not a medical device. For research and teaching only, not for diagnosis or treatment."
STATE_WORDS = {BLANK: "not mentioned", POSITIVE: "present", NEGATIVE: "absent", UNCERTAIN: "possible"}
"""What a report states about a finding, by CheXbert label."""
_REMOVED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_JOINERS = "\u200c\u200d"
"""Category Cf, but some scripts need them."""


def plain_text(text: str) -> str:
    """Lines of plain text without blanks at either end; runs of blanks become one."""
    return "\n".join(plain_line(line) for line in text.splitlines()).strip("\n")


def plain_line(text: str) -> str:
    """One line of plain text."""
    kept = (
        " " if character.isspace() else character
        for character in text
        if character.isspace() or character in _JOINERS or unicodedata.category(character) not in _REMOVED
    )
    return " ".join("".join(kept).split())


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelIdentity:
    """The model that read a study: checkpoint name and the hash of its weights and settings."""

    name: str
    hash: str
    program_version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedFinding:
    """The classifier's prediction for a finding, and the label of the written report (a CheXbert label)."""

    finding: str
    probability: float
    threshold: float
    label: int
    disagrees: bool
    low_confidence: bool = False

    @property
    def is_positive(self) -> bool:
        return self.probability >= self.threshold

    @property
    def prediction(self) -> str:
        return "positive" if self.is_positive else "negative"

    @property
    def percent(self) -> str:
        return format_probability(self.probability)

    @property
    def stated(self) -> str:
        """What the report states."""
        return STATE_WORDS[self.label]

    @property
    def statement(self) -> str:
        """The same, and whether the prediction disagrees."""
        return self.stated + (" (disagrees)" if self.disagrees else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyRecord:
    """A finished reading of one study."""

    views: tuple[UploadedImage, ...]
    """The images as the model saw them; their names may identify the patient."""
    indication: str
    findings: str
    impression: str
    finding_rows: tuple[RecordedFinding, ...]
    num_calibration_studies: int
    """0: the probabilities are not calibrated."""
    warnings: tuple[str, ...]
    """Reasons to distrust the study or the report, one sentence each."""
    attention_maps: np.ndarray = field(repr=False)
    """See vlm.generator.StudyReport."""
    square: int
    """Side of the model's square input, in pixels; attention maps cover this square."""
    model: ModelIdentity
    read_at: datetime
    """The time of the reading, with a time zone."""
    reader: str = ""
    """Who edited the report, if known."""
    is_edited: bool = False
    has_identity: bool = True

    @property
    def untrained_findings(self) -> tuple[str, ...]:
        """Findings without training labels."""
        trained = {row.finding for row in self.finding_rows}
        return tuple(finding for finding in FINDINGS if finding not in trained)

    @property
    def by_probability(self) -> list[RecordedFinding]:
        return by_probability(self.finding_rows)

    @property
    def status(self) -> str:
        """The first sentence of every export."""
        if not self.is_edited:
            return "Preliminary. Written by a machine and not checked by a person."
        by = f" by {self.reader}" if self.reader else ""
        return f"Preliminary. Written by a machine and edited{by}; not signed by a physician."

    @property
    def calibration_note(self) -> str:
        note = calibration_note(self.num_calibration_studies)
        if self.untrained_findings:
            note += f" The model was not trained on: {', '.join(self.untrained_findings)}."
        return note

    @property
    def source(self) -> DicomIdentifiers | None:
        """The identifiers of the study: those of its first DICOM image.

        Raises:
            ValueError: the images belong to several studies or patients.
        """
        found = [view.identifiers for view in self.views if view.identifiers]
        for attribute, owners in (("study_instance_uid", "studies"), ("patient_id", "patients")):
            number = len({getattr(identifiers, attribute) for identifiers in found} - {""})
            if number > 1:
                raise ValueError(
                    f"the images belong to {number} {owners} by their DICOM headers; read each one separately, "
                    "so that no report is attached to the wrong one"
                )
        return found[0] if found else None

    @property
    def pseudonym(self) -> str:
        """A name for the study that only depends on its images."""
        return "study-" + study_hash(image_hash(view.image) for view in self.views)[:12]

    @property
    def file_stem(self) -> str:
        """Name of exported files; does not identify the patient."""
        return f"{self.pseudonym}_{self.read_at:%Y%m%dT%H%M%S}"

    def heatmap(self, finding: str, view: int) -> Image.Image:
        """The image of that view with the heatmap of the finding."""
        index = FINDINGS.index(finding)
        sizes = [view.image.size for view in self.views]
        heat = heatmaps(self.attention_maps[index : index + 1], sizes, self.square)[view][0]
        return overlay_heatmap(self.views[view].image, heat)


def calibration_note(num_studies: int) -> str:
    """Whether the probabilities are calibrated, for the reader of a report."""
    if num_studies == 0:
        return "Probabilities are not calibrated: use them to rank findings, not as chances."
    studies = format_count(num_studies, "validation study", "validation studies")
    return (
        f"Probabilities are calibrated on {studies} similar to the training data; on other images they may be far off."
    )


@lru_cache(maxsize=4)
def model_identity(generator: ReportGenerator) -> ModelIdentity:
    """Reads all files of the checkpoint on the first call."""
    return ModelIdentity(
        # The full path may contain a user name, and the last part is often only "best".
        name=plain_line("/".join(Path(generator.name).parts[-2:])),
        hash=checkpoint_hash(generator.name),
        program_version=version("cxrscribe"),
    )


def finding_rows(reading: StudyReading, calibration: Calibration) -> tuple[RecordedFinding, ...]:
    """The findings with training labels, in the order of FINDINGS."""
    return tuple(
        RecordedFinding(
            finding=finding,
            probability=reading.report.finding_probabilities[index],
            threshold=calibration.thresholds[index],
            label=reading.labels[index],
            disagrees=reading.disagrees[index],
            low_confidence=reading.low_confidence[index],
        )
        for index, finding in enumerate(FINDINGS)
        if calibration.is_known[index]
    )


def by_probability(rows: Sequence[RecordedFinding]) -> list[RecordedFinding]:
    """Positive predictions first, then by probability."""
    return sorted(rows, key=lambda row: (not row.is_positive, -row.probability))


def study_record(reading: StudyReading | None, generator: ReportGenerator) -> StudyRecord:
    """The record of a finished reading.

    Raises:
        ValueError: there is no finished report.
    """
    if reading is None or not reading.has_report:
        raise ValueError("There is no finished report yet: write one first.")
    return StudyRecord(
        views=tuple(replace(image, name=plain_line(image.name)) for image in reading.images),
        indication=plain_text(reading.indication),
        findings=plain_text(reading.report.findings),
        impression=plain_text(reading.report.impression),
        finding_rows=finding_rows(reading, generator.calibration),
        num_calibration_studies=generator.calibration.num_studies,
        warnings=tuple(plain_line(warning) for warning in _warnings(reading)),
        attention_maps=reading.report.attention_maps,
        square=generator.config.image.size,
        model=model_identity(generator),
        read_at=reading.read_at,
    )


def without_identity(record: StudyRecord) -> StudyRecord:
    """The record without file names and patient data; names, dates and numbers in its texts become ___.

    DICOM UIDs stay, because a report needs them to refer to its study. They do not name a person, but someone with
    access to the archive can use them to find the patient.

    Raises:
        ValueError: a text is longer than `data.reports.deidentify` accepts.
    """
    names = {word for view in record.views if view.identifiers for word in view.identifiers.personal_words}
    views = tuple(
        replace(
            view,
            name=f"image {number}",
            warning="",
            identifiers=view.identifiers and view.identifiers.without_person(),
        )
        for number, view in enumerate(record.views, start=1)
    )

    def clean(text: str) -> str:
        for original, anonymous in zip(record.views, views, strict=True):
            if original.name:
                text = text.replace(original.name, anonymous.name)
        return remove_identity(text, names)[0]

    return replace(
        record,
        views=views,
        indication=clean(record.indication),
        findings=clean(record.findings),
        impression=clean(record.impression),
        warnings=tuple(clean(warning) for warning in record.warnings),
        has_identity=False,
    )


def _warnings(reading: StudyReading) -> list[str]:
    warnings = [*reading.image_warnings, *(note for image in reading.images for note in image.notes)]
    for found in reading.contradictions:
        warnings.append(f'The report both states and denies {found.finding}: "{found.stated}" / "{found.denied}"')
    if reading.prior_sentences:
        quoted = " ".join(f'"{sentence}"' for sentence in reading.prior_sentences)
        warnings.append(f"The report mentions a prior study, but none was given: {quoted}")
    if reading.report.is_truncated:
        warnings.append("The report reached the maximum length and is cut off.")
    if reading.only_classifies:
        warnings.append("This model only classifies: it was not trained on reports, so it wrote none.")
    elif not reading.report.report.strip():
        warnings.append("The model wrote nothing.")
    return warnings
