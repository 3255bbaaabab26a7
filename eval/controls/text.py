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
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from eval.controls.control import (
    CONSTANTS,
    MOST_FREQUENT,
    RANDOM,
    SOURCE,
    Control,
    all_different,
    best_constants,
    derangement,
    most_frequent_report,
    random_reports,
    text_control,
)
from eval.metrics.clinical import divide, is_positive
from eval.predictions.prediction import Prediction
from eval.scoring.statistics import subjects_of
from eval.scoring.verdict import SHUFFLED_REPORTS
from vlm.schema.findings import UNLABELED
from vlm.schema.report_format import reports_of

NUM_GROUPS = 5

_SHUFFLED = ("report", "probabilities", "severity_probabilities", "change_probabilities", "has_prior")
"""What a study gets from another study in the shuffled control."""


def text_controls(
    predictions: Sequence[Prediction],
    control_reports: Sequence[str] | None,
    *,
    normalization: str,
    uncertain_is_positive: bool = True,
    seed: int = 0,
) -> tuple[list[Control], list[str]]:
    """All possible controls for these predictions, and notes on them.

    `control_reports` are reports of studies that are not scored.
    """
    subject_ids = subjects_of(predictions)
    controls = []
    try:
        donors, others = (derangement(subject_ids, seed + number) for number in (0, 1))
    except ValueError:
        reason = "reports cannot be shuffled because one patient has more than half of the studies"
        controls += [Control(name=name, predictions=None, reason=reason) for name in (SHUFFLED_REPORTS, RANDOM)]
    else:
        shuffled = (
            replace(own, **{name: getattr(predictions[donor], name) for name in _SHUFFLED})
            for own, donor in zip(predictions, donors, strict=True)
        )
        controls.append(Control(name=SHUFFLED_REPORTS, predictions=tuple(shuffled)))
        chooser = random.Random(seed)
        drawn = [
            chooser.choice(control_reports) if control_reports else predictions[other].reference for other in others
        ]
        controls.append(text_control(RANDOM, predictions, drawn))

    def choose(reports: Sequence[str]) -> dict[str, str]:
        constants = best_constants(
            reports, normalization=normalization, uncertain_is_positive=uncertain_is_positive, seed=seed
        )
        named = {CONSTANTS[metric]: report for metric, report in constants.items()}
        frequent = most_frequent_report(reports)
        return named if frequent is None else named | {MOST_FREQUENT: frequent}

    if control_reports:
        chosen = choose(control_reports)
        return controls + [_constant(name, predictions, report) for name, report in chosen.items()], []
    if len(set(subject_ids)) < 2:
        return controls, ["no constant controls: there is only one patient and no --control-reports"]
    note = (
        "constant controls were chosen on the references of other patients in five groups, because no "
        "--control-reports were given; the report shown is that of the first group"
    )
    return controls + _crossed(predictions, subject_ids, choose, seed), [note]


def _crossed(
    predictions: Sequence[Prediction],
    subject_ids: Sequence[str],
    choose: Callable[[Sequence[str]], dict[str, str]],
    seed: int,
) -> list[Control]:
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
    return [
        text_control(name, predictions, [chosen[group][name] for group in groups], shown=shown)
        for name, shown in chosen[0].items()
        if all(name in reports for reports in chosen)
    ]


def split_controls(
    predictions: Sequence[Prediction],
    splits: Mapping[str, Any],
    *,
    kinds: Collection[str],
    uncertain_is_positive: bool = True,
    seed: int = 0,
) -> tuple[list[Control], list[str]]:
    """The controls of these kinds ("random", "constant", "frequent", "source"), and notes.

    "source" is only given if the studies have several sources.
    """
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
        if drawn is None:
            controls.append(Control(name=RANDOM, predictions=None, reason=f"{no_training} of other patients"))
        else:
            controls.append(text_control(RANDOM, predictions, drawn))
    if "constant" in kinds:
        best = best_constants(validation, uncertain_is_positive=uncertain_is_positive, seed=seed)
        controls += [
            _constant(name, predictions, best.get(metric), "the validation split has no reports")
            for metric, name in CONSTANTS.items()
        ]
    if "frequent" in kinds:
        report = most_frequent_report(training)
        controls.append(_constant(MOST_FREQUENT, predictions, report, no_training))
        if report is not None and all_different(training):
            notes.append(
                f"'{MOST_FREQUENT}' is not informative: all training reports differ, so it is the alphabetically first"
            )
    if "source" in kinds and "train" in splits:
        sources = {study: source for rows in splits.values() for study, source in _sources(rows)}
        own = [sources[prediction.study_id] for prediction in predictions]
        if len(set(own)) > 1:
            controls.append(_source_control(predictions, own, splits["train"], training))
    return controls, notes


def _sources(rows: Any) -> Iterator[tuple[str, str]]:
    return zip(rows["study_id"][:], rows["source"][:], strict=True)


def _source_control(
    predictions: Sequence[Prediction], sources: Sequence[str], training: Any, reports: Sequence[str]
) -> Control:
    """Reports and probabilities that depend on the source alone; a source without labels gets those of all studies."""
    labels, source_of = np.array(training["labels"][:]), np.array(training["source"][:])
    positive, labeled = is_positive(labels, True), labels != UNLABELED

    def frequencies(rows: np.ndarray) -> np.ndarray:
        return divide(positive[rows].sum(axis=0), labeled[rows].sum(axis=0))

    everywhere = np.nan_to_num(frequencies(np.ones(len(labels), dtype=bool)))
    probabilities, report_of = {}, {}
    for source in set(sources):
        own = source_of == source
        known = frequencies(own)
        probabilities[source] = tuple(np.where(np.isnan(known), everywhere, known).tolist())
        report_of[source] = most_frequent_report([reports[row] for row in np.flatnonzero(own)]) or ""
    control = text_control(SOURCE, predictions, [report_of[source] for source in sources])
    given = (
        replace(prediction, probabilities=probabilities[source])
        for prediction, source in zip(control.predictions, sources, strict=True)
    )
    return replace(control, predictions=tuple(given))


def split_reports(splits: Mapping[str, Any], split: str) -> list[str]:
    """The reports of a split, in order, "" for a study without one; none where there is no such split."""
    return reports_of(splits[split]) if split in splits else []


def _constant(name: str, predictions: Sequence[Prediction], report: str | None, reason: str = "") -> Control:
    if report is None:
        return Control(name=name, predictions=None, reason=reason)
    return text_control(name, predictions, [report] * len(predictions), shown=report)
