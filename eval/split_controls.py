"""Controls of text that a data set gives for one of its splits: chosen on validation and training, never on test.

The best validation report for all by CIDEr, BLEU-4 and macro-F1; the most frequent training report for all; a training
report of another patient drawn by lot for each. For somebody's bare file of predictions see `eval.text_controls`.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

import datasets

from eval.constant_reports import LabelReport, best_constants
from eval.controls import (
    MOST_FREQUENT,
    RANDOM,
    Control,
    all_different,
    most_frequent_report,
    random_reports,
    with_reports,
)
from eval.predictions import Prediction
from eval.text_controls import CONSTANTS
from vlm.schema.report_format import compose_report


def split_controls(
    predictions: Sequence[Prediction],
    splits: datasets.DatasetDict,
    label_report: LabelReport,
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
        best = best_constants(validation, label_report, uncertain_is_positive=uncertain_is_positive, seed=seed)
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


def split_reports(splits: datasets.DatasetDict, split: str) -> list[str]:
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
