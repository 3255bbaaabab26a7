"""Controls that need no model, only text: what a file of predictions is held against.

- shuffled reports: each study gets the prediction that was written for another patient;
- random report: each study gets the true report of another patient;
- one report for everybody, the best by macro-F1, by CIDEr and by BLEU-4, and the most frequent one.

The last are chosen on reports given for it (those of training or validation studies). Without such, they are chosen
on the references of other patients: the patients are dealt into five groups, and each group gets what is best for the
other four.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from eval.constant_reports import LabelReport, best_constants
from eval.controls import (
    CONSTANT,
    CONSTANT_BLEU,
    CONSTANT_F1,
    MOST_FREQUENT,
    RANDOM,
    derangement,
    most_frequent_report,
    with_reports,
)
from eval.predictions import Prediction
from eval.verdict import SHUFFLED_REPORTS

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
    label_report: LabelReport,
    *,
    normalization: str,
    uncertain_is_positive: bool = True,
    seed: int = 0,
) -> TextControls:
    """All controls that can be had for these predictions; `notes` say how, and why one cannot.

    `control_reports` are reports of studies that are not scored here; None where there are none.
    """
    subject_ids = [prediction.subject_id or f"study {prediction.study_id}" for prediction in predictions]
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
            label_report,
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
