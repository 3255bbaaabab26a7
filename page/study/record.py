"""A study that was read, as it is taken away, corrected or listed: a finished `Reading` in, one frozen record out.

    record = study_record(reading, generator, model_identity(generator), read_at=datetime.now(UTC))
    without_identity(record)       # what leaves the house unless somebody asks for more

Its texts are plain text (see `page.study.record`). The DICOM identifiers of the images are held in memory alone.

Text from files, visitors and the model as plain text: any string in, one out that no format can stumble over.

Control characters end a DICOM value or an XML document, and marks of writing direction make a text read as another
one than it is; both are left out. Markup is left as it is: each format escapes it in its own way.
"""

import unicodedata
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

from data.corrections.correction import image_hash, study_hash
from data.images.dicom_identifiers import DicomIdentifiers
from data.reports.deidentify import remove_identity
from page.study.read import Reading
from vlm.checkpoint.store import checkpoint_hash
from vlm.explain.attention import heatmaps, overlay_heatmap
from vlm.generator import ReportGenerator
from vlm.schema.findings import BLANK, FINDINGS, NEGATIVE, POSITIVE, UNCERTAIN, VIEW_KINDS, view_index

_LEFT_OUT = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_JOINERS = "\u200c\u200d"
"""Of category Cf, but some scripts cannot be written without."""


def plain_text(text: str) -> str:
    """Lines of plain text; runs of blanks become one, and there is no blank at either end of a line."""
    lines = (plain_line(line) for line in text.splitlines())
    return "\n".join(lines).strip("\n")


def plain_line(text: str) -> str:
    """One line of plain text."""
    kept = (
        " " if character.isspace() else character
        for character in text
        if character.isspace() or character in _JOINERS or unicodedata.category(character) not in _LEFT_OUT
    )
    return " ".join("".join(kept).split())


NOT_A_DEVICE = "Not a medical device: for research and teaching; no diagnosis or treatment may rest on it."
STATE_WORDS = {BLANK: "not mentioned", POSITIVE: "present", NEGATIVE: "absent", UNCERTAIN: "possible"}
"""What a report says of a finding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelIdentity:
    """Which model read a study: the checkpoint's name and the hash of its weights and settings."""

    name: str
    hash: str
    program_version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedView:
    """An image as the model was shown it, 8-bit gray."""

    name: str
    """Of its file; may name the patient."""
    image: Image.Image
    view_position: str
    identifiers: DicomIdentifiers | None = field(default=None, repr=False)

    @property
    def kind(self) -> str:
        return VIEW_KINDS[view_index(self.view_position)]


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedFinding:
    """A finding as the classifier sees it and as the report states it (a CheXbert code)."""

    finding: str
    probability: float
    threshold: float
    stated: int
    disagrees: bool

    @property
    def is_called(self) -> bool:
        return self.probability >= self.threshold

    @property
    def percent(self) -> str:
        """The probability, rounded but never to certainty."""
        rounded = f"{self.probability:.0%}"
        return {"0%": "<1%", "100%": ">99%"}.get(rounded, rounded)

    @property
    def agreement(self) -> str:
        """What the report says of it, and whether that is another thing than the classifier's."""
        return STATE_WORDS[self.stated] + (" (disagrees)" if self.disagrees else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyRecord:
    """A study that was read, once."""

    views: tuple[RecordedView, ...]
    indication: str
    findings: str
    impression: str
    finding_rows: tuple[RecordedFinding, ...]
    """Those that the model knows, in the order of vlm.schema.findings.FINDINGS."""
    num_calibration_studies: int
    """0: the probabilities are not calibrated."""
    warnings: tuple[str, ...]
    """Why to doubt the study or the report, a sentence each."""
    attention_maps: np.ndarray = field(repr=False)
    """As of vlm.generator.StudyReport."""
    square: int
    """Side of the model's square, in which attention lies."""
    model: ModelIdentity
    read_at: datetime
    """With a time zone."""
    reader: str = ""
    """Who edited the report, if somebody did."""
    is_edited: bool = False
    has_identity: bool = True
    not_learned: tuple[str, ...] = ()
    """The other findings: the model's data said nothing of them."""

    @property
    def is_calibrated(self) -> bool:
        return self.num_calibration_studies > 0

    @property
    def status(self) -> str:
        """What every export says first."""
        if not self.is_edited:
            return "Preliminary. Written by a machine and checked by nobody."
        by = f" by {self.reader}" if self.reader else ""
        return f"Preliminary. Written by a machine and edited{by}; not signed by a physician."

    @property
    def calibration_note(self) -> str:
        note = "Probabilities are not calibrated: read them as a ranking, not as chances."
        if self.is_calibrated:
            note = (
                f"Probabilities are calibrated on {self.num_calibration_studies} validation studies of the kind that "
                "the model was trained on; on other images they may be far off."
            )
        if self.not_learned:
            note += f" The model has learned nothing of: {', '.join(self.not_learned)}."
        return note

    @property
    def source(self) -> DicomIdentifiers | None:
        """The identifiers of the study: those of its first DICOM image.

        Raises:
            ValueError: the images belong to several studies or patients.
        """
        held = [view.identifiers for view in self.views if view.identifiers]
        for what in ("study_instance_uid", "patient_id"):
            number = len({getattr(identifiers, what) for identifiers in held} - {""})
            if number > 1:
                owners = "studies" if what == "study_instance_uid" else "patients"
                raise ValueError(
                    f"the images belong to {number} {owners} by their DICOM headers; read each by itself, "
                    "so that no report goes to the wrong one"
                )
        return held[0] if held else None

    @property
    def pseudonym(self) -> str:
        """A name for the study that follows from its images alone."""
        return "study-" + study_hash(image_hash(view.image) for view in self.views)[:12]

    @property
    def file_stem(self) -> str:
        """Of the files it is taken away in; tells nobody who it is about."""
        return f"{self.pseudonym}_{self.read_at:%Y%m%dT%H%M%S}"

    def heatmap(self, finding: str, view: int) -> Image.Image:
        """The image of that view with the finding's heat laid over it."""
        index = FINDINGS.index(finding)
        sizes = [view.image.size for view in self.views]
        heat = heatmaps(self.attention_maps[index : index + 1], sizes, self.square)[view][0]
        return overlay_heatmap(self.views[view].image, heat)


def model_identity(generator: ReportGenerator) -> ModelIdentity:
    """Takes as long as it takes to read the checkpoint's files once."""
    return ModelIdentity(
        # The whole path may name its user, and the last part is often just "best".
        name=plain_line("/".join(Path(generator.name).parts[-2:])),
        hash=checkpoint_hash(generator.name),
        program_version=version("cxrscribe"),
    )


def study_record(
    reading: Reading,
    generator: ReportGenerator,
    model: ModelIdentity,
    *,
    read_at: datetime,
    reader: str = "",
    is_edited: bool = False,
) -> StudyRecord:
    """What is known of a study once it is read. Of one whose report was edited, the reading holds the edited report
    and what `page.study.read.complete` found in it.

    Raises:
        ValueError: the reading has no finished report, or the time has no zone.
    """
    if not reading.is_done or reading.report is None:
        raise ValueError("there is no finished report to take away; have it written first")
    if read_at.tzinfo is None:
        raise ValueError(f"read_at {read_at} has no time zone; give one, such as datetime.now(UTC)")
    report, calibration = reading.report, generator.calibration
    rows = zip(
        FINDINGS,
        report.finding_probabilities,
        calibration.thresholds,
        reading.labels,
        reading.disagrees,
        calibration.is_known,
        strict=True,
    )
    return StudyRecord(
        views=tuple(
            RecordedView(
                name=plain_line(image.name),
                image=image.image,
                view_position=image.view_position,
                identifiers=image.identifiers,
            )
            for image in reading.images
        ),
        indication=plain_text(reading.indication),
        findings=plain_text(report.findings),
        impression=plain_text(report.impression),
        finding_rows=tuple(
            RecordedFinding(
                finding=finding, probability=probability, threshold=threshold, stated=stated, disagrees=disagrees
            )
            for finding, probability, threshold, stated, disagrees, is_known in rows
            if is_known
        ),
        not_learned=tuple(
            finding for finding, is_known in zip(FINDINGS, calibration.is_known, strict=True) if not is_known
        ),
        num_calibration_studies=calibration.num_studies,
        warnings=tuple(plain_line(warning) for warning in _warnings(reading)),
        attention_maps=report.attention_maps,
        square=generator.config.image.size,
        model=model,
        read_at=read_at,
        reader=plain_line(reader),
        is_edited=is_edited,
    )


def without_identity(record: StudyRecord) -> StudyRecord:
    """The record without file names and patient; names, dates and numbers in its texts become ___.

    The UIDs of DICOM images stay: a report that refers to its study cannot do without. They name nobody, but whoever
    has the archive can look the patient up by them.

    Raises:
        ValueError: a text is longer than `data.reports.deidentify` reads.
    """
    names = {word for view in record.views if view.identifiers for word in view.identifiers.personal_words}
    views = tuple(
        replace(view, name=f"image {number}", identifiers=view.identifiers and view.identifiers.without_person())
        for number, view in enumerate(record.views, start=1)
    )

    def cleaned(text: str) -> str:
        for named, nameless in zip(record.views, views, strict=True):
            if named.name:
                text = text.replace(named.name, nameless.name)
        return remove_identity(text, names)[0]

    return replace(
        record,
        views=views,
        indication=cleaned(record.indication),
        findings=cleaned(record.findings),
        impression=cleaned(record.impression),
        warnings=tuple(cleaned(warning) for warning in record.warnings),
        has_identity=False,
    )


def _warnings(reading: Reading) -> list[str]:
    warnings = list(reading.doubts)
    for contradiction in reading.contradictions:
        warnings.append(
            f'The report states and denies {contradiction.finding}: "{contradiction.stated}" / "{contradiction.denied}"'
        )
    if reading.prior_sentences:
        quoted = " ".join(f'"{sentence}"' for sentence in reading.prior_sentences)
        warnings.append(f"The report speaks of a prior study, though none was given: {quoted}")
    if reading.report.is_truncated:
        warnings.append("The report reached its longest length and breaks off.")
    if reading.only_classifies:
        warnings.append("This model only classifies: it has learned no reports, so it wrote none.")
    elif not reading.report.report.strip():
        warnings.append("The model wrote nothing.")
    return warnings
