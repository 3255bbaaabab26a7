"""One finished reading as an immutable record, for exports, corrections and lists.

    record = study_record(reading, generator)
    without_identity(record)       # what is exported by default

All texts of a record are plain text (`page.study.plain_text`). DICOM identifiers are only held in memory.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

from data.corrections.correction import image_hash, study_hash
from data.images.dicom.identifiers import DicomIdentifiers
from data.reports.deidentify import remove_identity
from data.reports.structure import structured_findings
from page.study.edit import Edit, edited_reading
from page.study.findings import (
    STATE_WORDS,
    RecordedFinding,
    by_probability,
    calibration_note,
    changed,
    finding_rows,
)
from page.study.plain_text import plain_line, plain_text
from page.study.prior import PriorStudy
from page.study.read import StudyReading
from page.study.upload import UploadedImage
from vlm.checkpoint.store import checkpoint_hash
from vlm.explain.attention import heatmaps, overlay_heatmap
from vlm.generator import ReportGenerator
from vlm.operating_point import BEST_F1, OperatingPoint
from vlm.precision import Precision
from vlm.schema.findings import FINDINGS, UNLABELED, UNLABELED_STUDY

NOT_A_DEVICE = "Not a medical device. For research and teaching only, not for diagnosis or treatment."
CUT_OFF = "The report reached the maximum length and is cut off."


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelIdentity:
    """The model that read a study: checkpoint name and the hash of its weights and settings."""

    name: str
    hash: str
    program_version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyRecord:
    """A finished reading of one study."""

    views: tuple[UploadedImage, ...]
    """The images as the model saw them; their names may identify the patient."""
    prior: PriorStudy | None = None
    """The study that it is compared with."""
    indication: str
    findings: str
    impression: str
    finding_rows: tuple[RecordedFinding, ...]
    num_calibration_studies: int
    """0: the probabilities are not calibrated."""
    operating_point: OperatingPoint = BEST_F1
    """What the thresholds of the findings were chosen for."""
    warnings: tuple[str, ...]
    """Reasons to distrust the study or the report, one sentence each."""
    ood_not_checked: str = ""
    """See StudyReading."""
    attention_maps: np.ndarray = field(repr=False)
    """See vlm.generator.StudyReport."""
    square: int
    """Side of the model's square input, in pixels; attention maps cover this square."""
    model: ModelIdentity
    read_at: datetime
    """The time of the reading, with a time zone."""
    edit: Edit | None = None
    """How a reader left the report; `findings` and `impression` are then the reader's."""
    original: tuple[str, str] = ("", "")
    """Findings and impression as the model wrote them."""
    has_identity: bool = True
    by_system: bool = False
    """Exports write the findings by organ system; `findings` stays as it is."""

    @property
    def written_findings(self) -> str:
        """The findings as exports write them."""
        return structured_findings(self.findings, self.impression) if self.by_system else self.findings

    @property
    def untrained_findings(self) -> tuple[str, ...]:
        """Findings without training labels."""
        trained = {row.finding for row in self.finding_rows}
        return tuple(finding for finding in FINDINGS if finding not in trained)

    @property
    def changes(self) -> list[RecordedFinding]:
        """See `page.study.findings.changed`."""
        return changed(self.finding_rows)

    @property
    def by_probability(self) -> list[RecordedFinding]:
        return by_probability(self.finding_rows)

    @property
    def status(self) -> str:
        """The first sentence of every export."""
        if self.edit is None:
            return "Preliminary. Written by a machine and not checked by a person."
        edited = " and edited" if self.is_edited else ""
        if not self.is_signed:
            return f"Preliminary. Written by a machine{edited}; not signed, because the reader gave no name."
        return f"{self.code.capitalize()}. Written by a machine{edited}, and checked by {self.checked_by}."

    @property
    def code(self) -> str:
        """The status as FHIR names it: final once a reader signed it, amended if another check was signed before."""
        if not self.is_signed:
            return "preliminary"
        return "amended" if self.edit.is_amendment else "final"

    @property
    def title(self) -> str:
        return "Chest X-ray report: " + ("checked by a reader" if self.is_signed else "preliminary draft")

    @property
    def is_edited(self) -> bool:
        """A reader changed the text or set a finding."""
        return self.edit is not None and ((self.findings, self.impression) != self.original or bool(self.reader_states))

    @property
    def is_signed(self) -> bool:
        """A reader checked the report and gave a name."""
        return self.edit is not None and bool(self.edit.reader)

    @property
    def checked_by(self) -> str:
        """Name of the reader and time; "" if nobody checked the report."""
        return f"{self.edit.reader}, {self.edit.checked_at:%Y-%m-%d %H:%M %Z}" if self.is_signed else ""

    @property
    def issued_at(self) -> datetime:
        return self.edit.checked_at if self.edit else self.read_at

    @property
    def reader_states(self) -> dict[str, str]:
        """What the reader set findings to, also those without training labels."""
        states = zip(FINDINGS, self.edit.states if self.edit else (), strict=False)
        return {finding: STATE_WORDS[state] for finding, state in states if state != UNLABELED}

    @property
    def calibration_note(self) -> str:
        note = calibration_note(self.num_calibration_studies, self.operating_point)
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


_hash_of = lru_cache(maxsize=4)(checkpoint_hash)


def model_identity(generator: ReportGenerator) -> ModelIdentity:
    """Reads all files of the checkpoint on the first call."""
    return checkpoint_identity(generator.name, generator.precision)


def checkpoint_identity(checkpoint: str, precision: Precision = "fp32") -> ModelIdentity:
    """The identity of the model of a checkpoint; reads all its files on the first call."""
    note = f" ({precision})" * (precision != "fp32")
    return ModelIdentity(
        # A full path may contain a user name; the last part is often only "best".
        name=plain_line("/".join(Path(checkpoint).parts[-2:])) + note,
        hash=_hash_of(checkpoint),
        program_version=version("cxrscribe"),
    )


def study_record(reading: StudyReading | None, generator: ReportGenerator, edit: Edit | None = None) -> StudyRecord:
    """The record of a finished reading, or of the report as a reader left it.

    Raises:
        ValueError: there is no finished report.
    """
    if reading is None or not reading.has_report:
        raise ValueError("There is no finished report yet: write one first.")
    original = (plain_text(reading.report.findings), plain_text(reading.report.impression))
    if edit is not None:
        edit = replace(edit, reader=plain_line(edit.reader))
        reading = edited_reading(reading, edit)
    return StudyRecord(
        views=_plainly_named(reading.images),
        prior=reading.prior and replace(reading.prior, images=_plainly_named(reading.prior.images)),
        indication=plain_text(reading.indication),
        findings=plain_text(reading.report.findings),
        impression=plain_text(reading.report.impression),
        finding_rows=finding_rows(reading, edit.states if edit else UNLABELED_STUDY),
        num_calibration_studies=reading.calibration.num_studies,
        operating_point=reading.calibration.operating_point,
        warnings=tuple(plain_line(warning) for warning in _warnings(reading)),
        ood_not_checked=plain_line(reading.ood_not_checked),
        attention_maps=reading.report.attention_maps,
        square=generator.config.image.size,
        model=model_identity(generator),
        read_at=reading.read_at,
        edit=edit,
        original=original,
    )


def without_identity(record: StudyRecord) -> StudyRecord:
    """The record without file names and patient data; names, dates and numbers in its texts become ___.

    DICOM UIDs stay, because a report needs them to refer to its study. They do not name a person, but someone with
    access to the archive can use them to find the patient.

    Raises:
        ValueError: a text is longer than `data.reports.deidentify` accepts.
    """
    views, prior = _unnamed(record.views, "image"), record.prior
    prior_views = _unnamed(prior.images, "prior image") if prior else ()
    held = (*record.views, *(prior.images if prior else ()))
    names = {word for view in held if view.identifiers for word in view.identifiers.personal_words}

    # A file name without a dot, such as "1" or "lateral", may be a word of the report. It is only replaced at the start
    # of a warning.
    shown = {one.name: other.name for one, other in zip(held, (*views, *prior_views), strict=True) if one.name}
    found = sorted(shown, key=len, reverse=True)
    file_name = re.compile("|".join(re.escape(name) if "." in name else f"^{re.escape(name)}(?=: )" for name in found))

    def clean(text: str) -> str:
        return remove_identity(file_name.sub(lambda match: shown.get(match[0], ""), text), names)[0]

    return replace(
        record,
        views=views,
        prior=prior and replace(prior, images=prior_views, report=clean(prior.report)),
        indication=clean(record.indication),
        findings=clean(record.findings),
        impression=clean(record.impression),
        original=tuple(map(clean, record.original)),
        warnings=tuple(clean(warning) for warning in record.warnings),
        has_identity=False,
    )


def _plainly_named(images: Sequence[UploadedImage]) -> tuple[UploadedImage, ...]:
    return tuple(replace(image, name=plain_line(image.name)) for image in images)


def _unnamed(images: Sequence[UploadedImage], name: str) -> tuple[UploadedImage, ...]:
    """The images with numbers as names, without the person in the DICOM header."""
    return tuple(
        replace(
            view,
            name=f"{name} {number}",
            warning="",
            notes=(),
            identifiers=view.identifiers and view.identifiers.without_person(),
        )
        for number, view in enumerate(images, start=1)
    )


def _warnings(reading: StudyReading) -> list[str]:
    warnings = [*reading.image_warnings, *reading.notes]
    for found in reading.contradictions:
        warnings.append(f'The report both states and denies {found.finding}: "{found.stated}" / "{found.denied}"')
    if reading.invented_sentences:
        quoted = " ".join(f'"{sentence}"' for sentence in reading.invented_sentences)
        warnings.append(f"The report mentions a prior study, but none was given: {quoted}")
    if reading.report.is_truncated:
        warnings.append(CUT_OFF)
    if reading.only_classifies:
        warnings.append("This model only classifies: it was not trained on reports, so it wrote none.")
    elif not reading.report.report.strip():
        warnings.append("The model wrote nothing.")
    return warnings
