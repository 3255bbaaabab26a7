"""Source `corrections` of `data.prepare`: corrections that readers saved on the web page.

    python -m data.prepare corrections --root corrections --split-fractions 1 0 0 --out prepared
    accelerate launch train/finetune.py --dataset DATA --extra-dataset prepared --init-from CHECKPOINT --output-dir RUN

Each study counts once, with its newest correction. If several readers corrected a study, a note says how often their
newest corrections agree. The report is the edited one. The label of a finding is the one the reader set or confirmed;
labels of other findings come from the edited report. Studies that share an image or a patient are in the same split.
A prior study that was saved with a correction is kept with the study.
"""

import dataclasses
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.corrections.correction import Correction, SavedCorrection, image_hash
from data.corrections.store import CorrectionKey, image_file, list_corrections, open_table, read_correction
from data.images.read import read_image
from data.pipeline.raw_study import (
    FileStudy,
    ImageOptions,
    PlanContext,
    RawFileStudy,
    RawPrior,
    Rejection,
    SourcePlan,
)
from data.reports.labeler.labeler import label_sections, with_no_finding
from data.study import split_subjects
from vlm.schema.findings import FINDING_INDEX, NUM_FINDINGS, POSITIVE, UNCERTAIN, UNLABELED, UNLABELED_STUDY
from vlm.schema.preprocessing import Preprocessing
from vlm.schema.report_format import split_report

SOURCE = "corrections"


@dataclass(frozen=True, kw_only=True, slots=True)
class CorrectionsSource:
    """Corrected reports that readers saved on the web page."""

    root: Path
    """Folder that the web page was started with as --corrections."""
    license: str = ""
    """License of the images, saved with each study."""

    def plan(self, context: PlanContext) -> SourcePlan:
        with open_table(self.root) as table:
            entries = list_corrections(table)
            if not entries:
                raise ValueError(f"--root {self.root} holds no correction yet; correct a study on the web page first")
            newest = newest_by_study(entries)
            subject_of, notes = _survey(table, newest)
        split_of = split_subjects(subject_of.values(), fractions=context.split_fractions, seed=context.seed)
        names = sorted({entry.reader or "without a name" for entry in entries})
        return SourcePlan(
            num_studies=len(newest),
            raw_studies=self._raw_studies(newest, subject_of, split_of),
            notes=(f"corrections: {len(entries)}, studies: {len(newest)}, readers: {', '.join(names)}.", *notes),
        )

    def _raw_studies(
        self,
        newest: Mapping[str, Sequence[CorrectionKey]],
        subject_of: Mapping[str, str],
        split_of: Mapping[str, str],
    ) -> Iterator["RawCorrectedStudy | Rejection"]:
        with open_table(self.root) as table:
            for study, by_reader in newest.items():
                study_id = f"correction-{study[:16]}"
                files, split = (), split_of.get(subject_of.get(study, ""), "")
                try:
                    saved = read_correction(table, by_reader[-1].number)
                    correction, files = saved.correction, tuple(map(image_file, saved.images))
                    if correction.is_empty:
                        raise ValueError("its report is empty and no finding is set, so nothing can be learned from it")
                except ValueError as error:
                    yield Rejection(study_id=study_id, split=split, reason=str(error), files=files)
                    continue
                ids = {"study_id": study_id, "subject_id": subject_of[study], "split": split, "image_root": self.root}
                yield RawCorrectedStudy(
                    **ids,
                    files=files,
                    view_positions=correction.view_positions,
                    indication=correction.indication,
                    findings=correction.findings,
                    impression=correction.impression,
                    labels=corrected_labels(correction),
                    preprocessing=correction.preprocessing,
                    prior=_prior(saved, ids),
                    source=SOURCE,
                    license=self.license,
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class RawCorrectedStudy(RawFileStudy):
    """A corrected study. Its images are stored after the model's preprocessing, so they must not be processed again."""

    preprocessing: Preprocessing

    def study(self, options: ImageOptions) -> FileStudy:
        if options.preprocessing != self.preprocessing:
            raise ValueError(
                "its images were saved for a model that was trained with "
                f"{_flags(self.preprocessing)}; prepare corrections with the same options"
            )
        for file in self.files:
            path = self.image_root / file
            if image_hash(read_image(path)) != path.stem:
                raise ValueError(f"{path} is not the image that was corrected; restore it from a copy of the folder")
        return dataclasses.replace(RawFileStudy.study(self, options), is_preprocessed=True)


def _prior(saved: SavedCorrection, ids: Mapping[str, Any]) -> RawPrior | None:
    """The prior study that was saved with the correction; `ids` are those of the study."""
    correction = saved.correction
    if not saved.prior_images:
        return None
    sections = split_report(correction.prior_report)
    raw_study = RawCorrectedStudy(
        **ids,
        files=tuple(map(image_file, saved.prior_images)),
        view_positions=correction.prior_view_positions,
        findings=sections.findings,
        impression=sections.impression,
        preprocessing=correction.preprocessing,
    )
    return RawPrior(raw_study=raw_study, interval_days=correction.prior_interval_days)


def newest_by_study(entries: Iterable[CorrectionKey]) -> dict[str, list[CorrectionKey]]:
    """Each reader's newest correction of each study, oldest first. Studies are ordered by their first correction."""
    studies: dict[str, dict[str, CorrectionKey]] = {}
    for entry in sorted(entries, key=lambda entry: entry.number):
        by_reader = studies.setdefault(entry.study, {})
        by_reader.pop(entry.reader, None)
        by_reader[entry.reader] = entry
    return {study: list(by_reader.values()) for study, by_reader in studies.items()}


def corrected_labels(correction: Correction) -> tuple[int, ...]:
    """The labels that the reader set, and those of the edited report for other findings. No Finding follows from both,
    unless the reader set it."""
    stated = UNLABELED_STUDY
    if not correction.report_is_empty:
        stated = label_sections(correction.findings, correction.impression)
    labels = _with_states(stated, correction.states)
    if labels == tuple(stated) or correction.states[FINDING_INDEX["No Finding"]] != UNLABELED:
        return labels
    if correction.report_is_empty and not {POSITIVE, UNCERTAIN} & set(labels):
        return labels  # the other findings are not labeled, so they may be present
    return with_no_finding(list(labels))


def link_subjects(marks: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """A subject for each study, given the marks (image or patient ids) of each study.

    Studies that share a mark, directly or through other studies, get the same subject: the first of all their marks.
    """
    parents: dict[str, str] = {}

    def first_of(mark: str) -> str:
        while (parent := parents.setdefault(mark, mark)) != mark:
            parents[mark] = mark = parents[parent]
        return mark

    for first, *others in map(list, marks.values()):
        for mark in others:
            one, other = sorted((first_of(first), first_of(mark)))
            parents[other] = one
    return {study: first_of(next(iter(own))) for study, own in marks.items()}


def _survey(
    table: sqlite3.Connection, newest: Mapping[str, Sequence[CorrectionKey]]
) -> tuple[dict[str, str], list[str]]:
    """The subject of each readable study, and notes about all of them."""
    marks, num_contradicted, num_shared, num_agreed = {}, 0, 0, 0
    for study, by_reader in newest.items():
        try:
            saved = [read_correction(table, entry.number) for entry in by_reader]
        except ValueError:
            continue  # it is rejected later, with the reason
        marks[study] = _marks(saved[-1])
        num_contradicted += _is_contradicted(saved[-1].correction)
        if len(saved) > 1:
            labels = [corrected_labels(each.correction) for each in saved]
            num_shared += 1
            num_agreed += sum(len(set(states)) == 1 for states in zip(*labels, strict=True))
    notes = []
    if num_contradicted:
        notes.append(
            f"studies with a finding that was set differently from the edited report: {num_contradicted}; the label is "
            "as set, and the report stays as edited."
        )
    if num_shared:
        notes.append(
            f"studies corrected by several readers: {num_shared}; all readers agree on {num_agreed} of "
            f"{num_shared * NUM_FINDINGS} findings; the newest correction counts."
        )
    return link_subjects(marks), notes


def _marks(saved: SavedCorrection) -> list[str]:
    """Identifiers of the patient: the subject id, if known, and the images, also those of the prior study."""
    known = [saved.correction.subject_id] if saved.correction.subject_id else []
    return [*known, *(f"image-{name[:16]}" for name in (*saved.images, *saved.prior_images))]


def _is_contradicted(correction: Correction) -> bool:
    if correction.report_is_empty:
        return False
    stated = label_sections(correction.findings, correction.impression)
    return _with_states(stated, correction.states) != stated


def _with_states(stated: Sequence[int], states: Sequence[int]) -> tuple[int, ...]:
    """The states that were set, and those of the report for the other findings."""
    pairs = zip(stated, states, strict=True)
    return tuple(label if state == UNLABELED else state for label, state in pairs)


def _flags(preprocessing: Preprocessing) -> str:
    """The preprocessing as command-line flags of `data.prepare`."""
    options = {name: value for name, value in dataclasses.asdict(preprocessing).items() if value not in (False, "none")}
    flags = (f"--{name.replace('_', '-')}{'' if value is True else f' {value}'}" for name, value in options.items())
    return " ".join(flags) or "no preprocessing"
