"""Controls that need no model, only text: what a file of predictions is held against.

- shuffled reports: each study gets the prediction that was written for another patient;
- random report: each study gets the true report of another patient;
- one report for everybody, the best by macro-F1, by CIDEr and by BLEU-4, and the most frequent one.

The last are chosen on reports given for it (those of training or validation studies). Without such, they are chosen
on the references of other patients: the patients are dealt into five groups, and each group gets what is best for the
other four.

Controls of text that a data set gives for one of its splits: chosen on validation and training, never on test.

The best validation report for all by CIDEr, BLEU-4 and macro-F1; the most frequent training report for all; a training
report of another patient drawn by lot for each. For somebody's bare file of predictions see `eval.controls.text`.
"""

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from eval.controls.control import (
    CONSTANT,
    CONSTANT_BLEU,
    CONSTANT_F1,
    MOST_FREQUENT,
    RANDOM,
    Control,
    all_different,
    best_constants,
    derangement,
    most_frequent_report,
    random_reports,
    with_reports,
)
from eval.predictions.prediction import Prediction
from eval.scoring.statistics import subjects_of
from eval.scoring.verdict import SHUFFLED_REPORTS
from vlm.schema.report_format import compose_report

CONSTANTS = {"macro_f1": CONSTANT_F1, "cider": CONSTANT, "bleu_4": CONSTANT_BLEU}
"""Names of the constants, by the metric that each is best at."""
NUM_GROUPS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class TextControls:
    """`predictions` of each control, by its name; `reports`: the text of those that give one to all; `not_shuffled`:
    why there are no shuffled reports."""

    predictions: dict[str, list[Prediction]]
    reports: dict[str, str]
    notes: tuple[str, ...]
    not_shuffled: str = ""


def text_controls(
    predictions: Sequence[Prediction],
    control_reports: Sequence[str] | None,
    *,
    normalization: str,
    uncertain_is_positive: bool = True,
    seed: int = 0,
) -> TextControls:
    """All controls that can be had for these predictions; `notes` say how, and why one cannot.

    `control_reports` are reports of studies that are not scored here; None where there are none.
    """
    subject_ids = subjects_of(predictions)
    controls: dict[str, list[Prediction]] = {}
    notes: list[str] = []
    not_shuffled = ""
    try:
        donors = derangement(subject_ids, seed)
    except ValueError:
        not_shuffled = "reports cannot be shuffled, as one patient has more than half of the studies"
        notes.append(not_shuffled)
    else:
        controls[SHUFFLED_REPORTS] = [
            replace(own, report=predictions[donor].report, probabilities=predictions[donor].probabilities)
            for own, donor in zip(predictions, donors, strict=True)
        ]
        chooser = random.Random(seed)
        others = derangement(subject_ids, seed + 1)
        drawn = [
            chooser.choice(control_reports) if control_reports else predictions[other].reference for other in others
        ]
        controls[RANDOM] = with_reports(predictions, drawn)

    def choose(reports: Sequence[str]) -> dict[str, str]:
        constants = best_constants(
            reports,
            normalization=normalization,
            uncertain_is_positive=uncertain_is_positive,
            seed=seed,
        )
        named = {CONSTANTS[metric]: report for metric, report in constants.items()}
        frequent = most_frequent_report(reports)
        return named if frequent is None else named | {MOST_FREQUENT: frequent}

    if control_reports:
        chosen = choose(control_reports)
        controls |= {name: with_reports(predictions, [report] * len(predictions)) for name, report in chosen.items()}
        return TextControls(predictions=controls, reports=chosen, notes=tuple(notes), not_shuffled=not_shuffled)
    if len(set(subject_ids)) < 2:
        notes.append("no controls of one report for everybody: there is a single patient, and no --control-reports")
        return TextControls(predictions=controls, reports={}, notes=tuple(notes), not_shuffled=not_shuffled)
    crossed, shown = _crossed(predictions, subject_ids, choose, seed)
    notes.append(
        "controls of one report for everybody were chosen on the references of other patients, in five groups, as no "
        "--control-reports were given; a report shown is that of the first group"
    )
    return TextControls(predictions=controls | crossed, reports=shown, notes=tuple(notes), not_shuffled=not_shuffled)


def _crossed(
    predictions: Sequence[Prediction],
    subject_ids: Sequence[str],
    choose: Callable[[Sequence[str]], dict[str, str]],
    seed: int,
) -> tuple[dict[str, list[Prediction]], dict[str, str]]:
    """Each group of patients gets what is chosen on the references of the others."""
    subjects = sorted(set(subject_ids))
    random.Random(seed).shuffle(subjects)
    num_groups = min(NUM_GROUPS, len(subjects))
    group_of = {subject: number % num_groups for number, subject in enumerate(subjects)}
    groups = [group_of[subject] for subject in subject_ids]
    chosen = [
        choose([prediction.reference for prediction, group in zip(predictions, groups, strict=True) if group != own])
        for own in range(num_groups)
    ]
    names = [name for name in chosen[0] if all(name in reports for reports in chosen)]
    crossed = {name: with_reports(predictions, [chosen[group][name] for group in groups]) for name in names}
    return crossed, {name: chosen[0][name] for name in names}


def split_controls(
    predictions: Sequence[Prediction],
    splits: Mapping[str, Any],
    *,
    kinds: Collection[str],
    uncertain_is_positive: bool = True,
    seed: int = 0,
) -> tuple[list[Control], list[str]]:
    """The controls of these kinds ("random", "constant", "frequent"), and notes on what they are worth."""
    controls, notes = [], []
    validation, training = split_reports(splits, "validation"), split_reports(splits, "train")
    no_training = "the training split has no reports"
    if "random" in kinds:
        drawn = random_reports(
            [prediction.subject_id for prediction in predictions],
            training,
            splits["train"]["subject_id"][:] if training else [],
            seed,
        )
        controls.append(_control(RANDOM, predictions, drawn, f"{no_training} of other patients"))
    if "constant" in kinds:
        best = best_constants(validation, uncertain_is_positive=uncertain_is_positive, seed=seed)
        for metric, name in CONSTANTS.items():
            reports = [best[metric]] * len(predictions) if metric in best else None
            controls.append(_control(name, predictions, reports, "the validation split has no reports"))
    if "frequent" in kinds:
        report = most_frequent_report(training)
        reports = None if report is None else [report] * len(predictions)
        controls.append(_control(MOST_FREQUENT, predictions, reports, no_training))
        if report is not None and all_different(training):
            notes.append(
                f"'{MOST_FREQUENT}' means nothing here: all training reports differ, so it is the first by its letters"
            )
    return controls, notes


def split_reports(splits: Mapping[str, Any], split: str) -> list[str]:
    """The reports of a split, in order, "" for a study without one; none where there is no such split."""
    if split not in splits:
        return []
    columns = zip(splits[split]["findings"][:], splits[split]["impression"][:], strict=True)
    return [compose_report(findings=findings, impression=impression) for findings, impression in columns]


def _control(name: str, predictions: Sequence[Prediction], reports: Sequence[str] | None, reason: str) -> Control:
    if reports is None:
        return Control(name=name, predictions=None, reason=reason)
    given = (replace(prediction, control=name) for prediction in with_reports(predictions, reports))
    return Control(name=name, predictions=tuple(given))
