"""Controls that need only text, no model.

For a file of predictions (`text_controls`):

- shuffled reports: each study gets the prediction written for another patient;
- random report: each study gets the reference report of another patient;
- constant reports: the best by macro-F1, by CIDEr and by BLEU-4, and the most frequent one.

Constants are chosen on separate control reports (training or validation). Without control reports, patients are split
into five groups, and the constants of each group are chosen on the references of the other four.

For a data set (`split_controls`), constants are chosen on validation and training reports, never on test.
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
"""Name of the best constant report by each metric."""
NUM_GROUPS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class TextControls:
    """`predictions` and constant `reports` by control; `not_shuffled` says why there are no shuffled reports."""

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
    """All possible controls for these predictions; `notes` describe them and say why one is missing.

    `control_reports` are reports of studies that are not scored.
    """
    subject_ids = subjects_of(predictions)
    controls: dict[str, list[Prediction]] = {}
    notes: list[str] = []
    not_shuffled = ""
    try:
        donors = derangement(subject_ids, seed)
    except ValueError:
        not_shuffled = "reports cannot be shuffled because one patient has more than half of the studies"
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
        notes.append("no constant controls: there is only one patient and no --control-reports")
        return TextControls(predictions=controls, reports={}, notes=tuple(notes), not_shuffled=not_shuffled)
    crossed, shown = _crossed(predictions, subject_ids, choose, seed)
    notes.append(
        "constant controls were chosen on the references of other patients in five groups, because no "
        "--control-reports were given; the report shown is that of the first group"
    )
    return TextControls(predictions=controls | crossed, reports=shown, notes=tuple(notes), not_shuffled=not_shuffled)


def _crossed(
    predictions: Sequence[Prediction],
    subject_ids: Sequence[str],
    choose: Callable[[Sequence[str]], dict[str, str]],
    seed: int,
) -> tuple[dict[str, list[Prediction]], dict[str, str]]:
    """Each group of patients gets the reports chosen on the references of the other groups."""
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
    """The controls of these kinds ("random", "constant", "frequent"), and notes."""
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
                f"'{MOST_FREQUENT}' is not informative: all training reports differ, so it is the alphabetically first"
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
