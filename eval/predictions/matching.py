"""Match predictions and references by study: what can be scored, what is rejected and why, and notes for the user.

Nothing is dropped silently: rows of predictions = scored - filled in + rejected. Also checks whether reports are
English, because the labeler uses English rules.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from data.reports.labeler.labeler import label_report
from data.reports.language import looks_english
from eval.predictions.columns import ROW_NUMBERS
from eval.predictions.entries import ReportEntry
from eval.predictions.files import POSITION
from eval.predictions.prediction import Prediction, Rejection
from eval.predictions.tables import ReportTable
from vlm.schema.findings import UNLABELED_STUDY

_GIVE_IDS = "give both files a column with study ids (study_id)"
MissingPredictions = Literal["leave-out", "empty", "error"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Matched:
    """`predictions` with their references; `num_filled` of them are empty and replace missing predictions.

    `num_given`: rows of predictions; `num_references`: studies with a reference; `num_missing`: those without a
    prediction.
    """

    predictions: list[Prediction]
    rejected: list[Rejection]
    num_given: int
    num_references: int
    num_missing: int
    num_filled: int
    notes: tuple[str, ...]


def match(predictions: ReportTable, references: ReportTable, missing: MissingPredictions = "leave-out") -> Matched:
    """Match each prediction with the reference of its study, in the order of the references.

    Raises:
        ValueError: no study is in both files, a study has two different reports, a file without study ids does not
            fit the other one, or a reference has no prediction and `missing` is "error".
    """
    rejected: list[Rejection] = []
    unused: list[Rejection] = []
    truths = _by_study(references, unused, "reference")
    given = _by_study(predictions, rejected, "prediction")
    notes = []
    if unused:
        notes.append(
            f"{len(unused)} rows of the references cannot be used, the first ({unused[0].study_id!r}): "
            f"{unused[0].reason}"
        )
    if _is_by_position(predictions, references):
        given = _by_position(predictions, references, given, truths)
        notes.append(f"predictions were matched by position: {predictions.file.path} has no study ids")
    absent = [study_id for study_id in truths if study_id not in given]
    strangers = [study_id for study_id in given if study_id not in truths]
    if len(strangers) == len(given):
        raise ValueError(
            f"none of {len(given)} predicted studies is among the {len(truths)} references: predictions are of "
            f"{_first(given)}, references of {_first(truths)}; choose the right columns (--prediction-id-column, "
            "--reference-id-column) or files"
        )
    if absent and missing == "error":
        raise ValueError(f"{len(absent)} of {len(truths)} references have no prediction, first {_first(absent)}")
    rejected += [Rejection(study_id=study_id, reason="no reference has this study_id") for study_id in strangers]
    if strangers:
        notes.append(f"{len(strangers)} predictions have no reference and are not scored, first {_first(strangers)}")
    if absent:
        fate = (
            "count as empty"
            if missing == "empty"
            else "are left out, which favors a system that skips difficult studies"
        )
        notes.append(f"{len(absent)} of {len(truths)} references have no prediction and {fate}; first {_first(absent)}")
    scored, num_filled = [], 0
    for study_id, truth in truths.items():
        prediction = given.get(study_id)
        if prediction is None and missing != "empty":
            continue
        if not truth.report.strip() and truth.labels in (None, UNLABELED_STUDY):
            if prediction is not None:
                rejected.append(Rejection(study_id=study_id, reason="its reference is empty"))
            continue
        num_filled += prediction is None
        scored.append(_scored(study_id, prediction or ReportEntry(number=0, study_id=study_id), truth))
    if not scored:
        raise ValueError(f"no study can be scored; the first reason: {rejected[0].reason}")
    return Matched(
        predictions=scored,
        rejected=rejected,
        num_given=len(predictions.entries),
        num_references=len(truths),
        num_missing=len(absent),
        num_filled=num_filled,
        notes=(*notes, *_text_notes(scored, rejected)),
    )


def _by_study(table: ReportTable, rejected: list[Rejection], what: str) -> dict[str, ReportEntry]:
    """Entries by study, in order. Unreadable and repeated rows are rejected."""
    entries: dict[str, ReportEntry] = {}
    conflicts = []
    for entry in table.entries:
        if entry.error:
            rejected.append(Rejection(study_id=entry.study_id, reason=entry.error))
        elif entry.study_id not in entries:
            entries[entry.study_id] = entry
        elif entries[entry.study_id].report == entry.report:
            rejected.append(Rejection(study_id=entry.study_id, reason=f"row {entry.number} repeats the same {what}"))
        else:
            conflicts.append((entry.study_id, entries[entry.study_id].number, entry.number))
    if conflicts:
        study_id, first, second = conflicts[0]
        raise ValueError(
            f"{table.file.path}: {len(conflicts)} rows have a second, different {what} for a study; the first is study "
            f"{study_id!r} in rows {first} and {second}: keep one of each"
        )
    if not entries:
        raise ValueError(f"{table.file.path}: no row can be used; the first reason: {table.entries[0].error}")
    return entries


def _is_by_position(predictions: ReportTable, references: ReportTable) -> bool:
    """Whether rows belong together by their position, because the predictions have only row numbers, which are not
    those of the references.

    Raises:
        ValueError: row numbers decide, and the files cannot have the same studies in the same order.
    """
    lists = [table for table in (predictions, references) if _id_column(table) == POSITION]
    numbered = [table for table in (predictions, references) if _id_column(table) in ROW_NUMBERS]
    if len(numbered) < 2 and not lists:
        return False
    unnamed, other = (predictions, references) if predictions in numbered else (references, predictions)
    if len(unnamed.entries) != len(other.entries):
        raise ValueError(
            f"{unnamed.file.path} has no study ids and {len(unnamed.entries)} reports, but {other.file.path} has "
            f"{len(other.entries)} rows; only lists of equal length can be matched by position: {_GIVE_IDS}"
        )
    if predictions in numbered:
        return len(lists) == 1
    names, numbers = ({entry.study_id for entry in table.entries if not entry.error} for table in (other, unnamed))
    if names & numbers and names - numbers and numbers - names:
        raise ValueError(
            f"{unnamed.file.path} has no study ids, and the ids of {other.file.path} are not its row numbers 1 to "
            f"{len(unnamed.entries)} (first {_first(sorted(names - numbers))}): {_GIVE_IDS}"
        )
    return False


def _id_column(table: ReportTable) -> str:
    return table.record["study_id_column"].strip().lower()


def _by_position(
    predictions: ReportTable,
    references: ReportTable,
    given: Mapping[str, ReportEntry],
    truths: Mapping[str, ReportEntry],
) -> dict[str, ReportEntry]:
    if not len(given) == len(truths) == len(references.entries):
        raise ValueError(
            f"{predictions.file.path} has no study ids, and of its {len(given)} rows and the "
            f"{len(references.entries)} rows of {references.file.path} some cannot be used, so they cannot be matched "
            f"by position: {_GIVE_IDS}"
        )
    return dict(zip(truths, given.values(), strict=True))


def _scored(study_id: str, prediction: ReportEntry, truth: ReportEntry) -> Prediction:
    labels = truth.labels
    if labels is None:
        labels = label_report(truth.report)
    return Prediction(
        study_id=study_id,
        subject_id=truth.subject_id or prediction.subject_id,
        report=prediction.report,
        probabilities=prediction.probabilities,
        thresholds=prediction.thresholds,
        peaks=prediction.peaks,
        boxes=truth.boxes or prediction.boxes,
        reference=truth.report,
        reference_labels=labels,
        has_prior=prediction.has_prior or truth.has_prior,
        view_positions=truth.view_positions or prediction.view_positions,
        source=truth.source or prediction.source,
    )


def _text_notes(scored: Sequence[Prediction], rejected: Sequence[Rejection]) -> list[str]:
    notes = []
    if len({prediction.probabilities is None for prediction in scored}) == 2:
        notes.append("studies without prediction have no probabilities, so none are scored")
    for what, name in (("report", "predictions"), ("reference", "references")):
        empty = [prediction.study_id for prediction in scored if not re.search(r"\w", getattr(prediction, what))]
        if empty:
            verb = "is" if len(empty) == 1 else "are"
            notes.append(
                f"{len(empty)} of {len(scored)} {name} {verb} empty (no words) and {verb} scored as empty, first "
                f"{_first(empty)}"
            )
    for what in ("report", "reference"):
        foreign = [prediction.study_id for prediction in scored if not looks_english(getattr(prediction, what))]
        if foreign:
            name = {"report": "predictions", "reference": "references"}[what]
            notes.append(
                f"{len(foreign)} of {len(scored)} {name} may not be English, first {_first(foreign)}: the labeler "
                "uses English rules and finds nothing in other text"
            )
    if rejected:
        notes.append(f"{len(rejected)} rows rejected, the first ({rejected[0].study_id!r}): {rejected[0].reason}")
    return notes


def _first(study_ids, number: int = 3) -> str:
    names = [repr(study_id) for study_id in list(study_ids)[:number]]
    return ", ".join(names) + (", …" if len(study_ids) > number else "")
