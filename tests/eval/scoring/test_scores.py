"""All scores of a set of predictions, and paired differences."""

import dataclasses
import subprocess
import sys
import time

import numpy as np
import pytest

from data.reports.labeler.labeler import label_report
from eval.metrics.bleu import bleu
from eval.metrics.cider import cider
from eval.metrics.clinical import confusion_counts, f1_scores
from eval.metrics.errors import ERROR_KINDS, error_scores
from eval.metrics.rouge import rouge_l
from eval.predictions.prediction import Prediction
from eval.scoring import statistics
from eval.scoring.scores import METRICS, paired_difference, score_predictions, score_systems
from tests.helpers.predictions import of_other_patients, synthetic
from vlm.schema.findings import (
    CHANGES,
    UNKNOWN_CHANGES,
    UNKNOWN_SEVERITIES,
    UNLABELED_STUDY,
)
from vlm.schema.number_format import format_number

PREDICTIONS = synthetic(60)
SCORES = score_predictions(PREDICTIONS)
SHUFFLED = score_predictions(of_other_patients(PREDICTIONS), name="shuffled images")


def test_values_equal_the_separate_metrics():
    reports = [prediction.report for prediction in PREDICTIONS]
    references = [prediction.reference for prediction in PREDICTIONS]
    labels = [prediction.reference_labels for prediction in PREDICTIONS]
    clinical = f1_scores([label_report(report) for report in reports], labels)
    assert SCORES.metrics["macro_f1"].value == pytest.approx(clinical["macro_f1"])
    assert SCORES.metrics["micro_recall"].value == pytest.approx(clinical["micro_recall"])
    counts = confusion_counts([label_report(report) for report in reports], labels)[:, 3].sum(axis=0)
    assert SCORES.per_finding[3]["f1"].value == pytest.approx(2 * counts[0] / (2 * counts[0] + counts[1] + counts[2]))
    assert SCORES.per_finding[3]["support"] == counts[0] + counts[2]
    assert SCORES.metrics["bleu_4"].value == pytest.approx(bleu(reports, references).score[3])
    assert SCORES.metrics["cider"].value == pytest.approx(cider(reports, references).score)
    assert SCORES.metrics["rouge_l"].value == pytest.approx(rouge_l(reports, references).score)


def test_errors_are_averaged_over_the_studies_with_a_reference():
    predictions = [*PREDICTIONS[:20], *(dataclasses.replace(one, reference="") for one in PREDICTIONS[20:])]
    scores = score_predictions(predictions, num_resamples=50)
    found = error_scores(*zip(*((one.report, one.reference) for one in PREDICTIONS[:20]), strict=True))
    assert scores.metrics["error_score"].value == pytest.approx(found.scores.mean())
    assert scores.metrics["error_harm"].value == pytest.approx(found.harms.mean())
    assert scores.per_study["error_score"][:20] == pytest.approx(found.scores)
    assert np.isnan(scores.per_study["error_score"][20:]).all()
    assert [error["kind"] for error in scores.errors] == list(ERROR_KINDS)
    assert [error["num_errors"] for error in scores.errors] == found.counts.sum(axis=0).tolist()
    sides = scores.errors[ERROR_KINDS.index("wrong side")]
    assert sides["num_errors"] > 0
    assert sides["rate"].value == pytest.approx(sides["num_errors"] / 20)
    assert sides["rate"].low < sides["rate"].value < sides["rate"].high


def test_every_metric_is_inside_its_interval():
    for metric in METRICS:
        estimate = SCORES.metrics[metric]
        assert estimate.low < estimate.value < estimate.high, metric


def test_other_convention_for_uncertain_is_also_scored():
    uncertain = [
        dataclasses.replace(
            prediction, reference_labels=tuple(3 if code else 0 for code in prediction.reference_labels)
        )
        for prediction in PREDICTIONS
    ]
    scores = score_predictions(uncertain, num_resamples=10)
    assert scores.metrics["macro_f1"].value == pytest.approx(SCORES.metrics["macro_f1"].value)
    assert scores.other_convention["macro_f1"].value is None
    assert (scores.convention, scores.other_convention_name) == (
        "uncertain counts as positive",
        "uncertain counts as negative",
    )


def test_studies_without_reference_are_not_in_the_text_scores_and_give_a_note():
    without = [dataclasses.replace(prediction, reference="") for prediction in PREDICTIONS[:20]] + PREDICTIONS[20:]
    scores = score_predictions(without, num_resamples=10)
    expected = score_predictions(PREDICTIONS[20:], num_resamples=10)
    assert scores.metrics["bleu_1"].value == expected.metrics["bleu_1"].value
    assert scores.metrics["macro_f1"].value == SCORES.metrics["macro_f1"].value
    assert np.isnan(scores.per_study["cider"][:20]).all()
    assert "text scores use 40 of 60 studies, those with a reference report" in scores.notes


def test_scores_without_labels_or_references_are_undefined():
    bare = [
        dataclasses.replace(
            prediction,
            reference="",
            reference_labels=UNLABELED_STUDY,
            reference_severities=UNKNOWN_SEVERITIES,
            reference_changes=UNKNOWN_CHANGES,
            probabilities=None,
        )
        for prediction in PREDICTIONS
    ]
    scores = score_predictions(bare, num_resamples=10)
    assert all(estimate.value is None for estimate in scores.metrics.values())
    assert scores.reference_distinct_ratio is None


def test_distinct_and_empty_reports_are_counted():
    reports = ["Heart large.", "heart large", "Lungs clear.", ""]
    scores = score_predictions(
        [Prediction(study_id=str(i), report=report, reference="heart") for i, report in enumerate(reports)],
        num_resamples=10,
    )
    assert (scores.num_distinct_reports, scores.distinct_ratio, scores.num_empty_reports) == (3, 0.75, 1)
    assert scores.reference_distinct_ratio == 0.25


def test_empty_list_is_rejected():
    with pytest.raises(ValueError, match="model: 0 predictions to score"):
        score_predictions([])


def test_systems_that_are_read_some_studies_at_a_time_have_the_same_scores(monkeypatch):
    # Two studies without a reference are all studies of a part.
    given = PREDICTIONS[:10] + [dataclasses.replace(one, reference="") for one in PREDICTIONS[10:12]] + PREDICTIONS[12:]
    systems = {"model": given, "shuffled": of_other_patients(given)}
    alone = {name: score_predictions(one, name=name, num_resamples=20) for name, one in systems.items()}
    monkeypatch.setattr(statistics, "STUDIES_AT_ONCE", 2)
    together = score_systems(systems, num_resamples=20)
    for name, scores in together.items():
        assert (scores.name, scores.metrics, scores.errors) == (name, alone[name].metrics, alone[name].errors)


def test_systems_with_different_numbers_of_studies_are_rejected():
    with pytest.raises(ValueError, match="the same studies to all"):
        score_systems({"model": PREDICTIONS, "other": PREDICTIONS[1:]})


def test_interval_of_a_paired_difference_is_narrower_than_both_intervals():
    worse = score_predictions(synthetic(60, error_rate=0.12))
    difference = paired_difference(SCORES, worse, "macro_f1")
    first, second = SCORES.metrics["macro_f1"], worse.metrics["macro_f1"]
    assert difference.value == pytest.approx(first.value - second.value)
    assert difference.high - difference.low < (first.high - first.low) + (second.high - second.low)


def test_comparison_on_different_studies_is_rejected():
    with pytest.raises(ValueError, match=r"model \(60 studies\) and other \(10\) were not scored on the same studies"):
        paired_difference(SCORES, score_predictions(PREDICTIONS[:10], name="other"), "cider")


def test_numbers_are_printed_without_a_leading_zero():
    assert [format_number(value) for value in (0.1234, -0.05, 1.0, 12.5, 0.9996, None)] == [
        ".123", "-.050", "1.000", "12.500", "1.000", "–",
    ]  # fmt: skip
    assert str(SCORES.metrics["macro_f1"]).count(".") == 3


def test_six_hundred_reports_are_scored_with_intervals_in_seconds():
    started = time.process_time()
    score_predictions(synthetic(600))
    assert time.process_time() - started < 10


def test_scoring_does_not_import_torch_or_the_model():
    program = (
        "import sys, data.reports.labeler.labeler, eval.controls.control, eval.report.page; "
        "import eval.scoring.scores, eval.scoring.verdict; "
        "print([name for name in ('torch', 'transformers', 'datasets', 'vlm.generator') if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_single_patient_has_scores_without_intervals():
    alone = [dataclasses.replace(prediction, subject_id="one") for prediction in PREDICTIONS]
    scores = score_predictions(alone, num_resamples=10)
    assert scores.metrics["macro_f1"].value == SCORES.metrics["macro_f1"].value
    assert scores.metrics["macro_f1"].low is None
    assert "all studies are of one patient, so there are no intervals" in scores.notes
    few = score_predictions(PREDICTIONS[:6], num_resamples=10)
    assert any(note.startswith("only 3 patients: the intervals are too narrow") for note in few.notes)


def test_resamples_without_a_rare_finding_are_counted():
    rare = [
        dataclasses.replace(prediction, reference_labels=(int(number == 0), *prediction.reference_labels[1:]))
        for number, prediction in enumerate(PREDICTIONS)
    ]
    finding = score_predictions(rare, num_resamples=200).per_finding[0]
    assert finding["support"] == 1
    # A given patient of 30 is not in (29/30)^30 of the resamples.
    assert finding["recall"].num_undefined == pytest.approx(200 * 0.36, abs=30)


def test_scores_of_changes_by_state_add_up():
    by_state = {one["state"]: one for one in SCORES.changes}
    assert list(by_state) == list(CHANGES[1:])
    assert sum(one["support"] for one in by_state.values()) > 0 == by_state["resolved"]["support"]
    known = np.concatenate([one.reference_changes for one in PREDICTIONS])
    assert [one["num_known"] for one in by_state.values()] == [int((known == code).sum()) for code in range(1, 6)]
    assert by_state["resolved"]["f1"].value is None
