"""The rule for the best epoch: noise is a tie, the loss breaks ties, and a model that ignores the image is reported."""

import numpy as np
import pytest

from train.loop.selection import image_is_unused, is_better, same_report_macro_f1
from train.run.state import ValidationResult

NUM_STUDIES = 160
SUBJECTS = [f"patient {number // 2}" for number in range(NUM_STUDIES)]


def result(*, correct, cider, loss, auroc_noise=1.0, seed=0):
    """Reports of which the first `correct` studies have the finding right; half of all studies are positive."""
    rng = np.random.default_rng(seed)
    positive = np.arange(NUM_STUDIES) % 2 == 0
    labels = np.tile(positive[:, None], (1, 14)).astype(int)
    is_right = np.arange(NUM_STUDIES) < correct
    counts = np.stack([positive & is_right, ~positive & ~is_right, positive & ~is_right], axis=-1)
    scores = np.full(NUM_STUDIES, cider) + rng.normal(0, 0.5, NUM_STUDIES)
    probabilities = 1 / (1 + np.exp(-(labels + rng.normal(0, auroc_noise, labels.shape))))
    return ValidationResult(
        metrics={
            "report_macro_f1": correct / NUM_STUDIES,
            "report_cider": cider,
            "finding_macro_auroc": 1 / (1 + auroc_noise),
        },
        loss=loss,
        studies={
            "counts": np.tile(counts[:, None].astype(int), (1, 14, 1)),
            "cider": scores,
            "number": np.arange(NUM_STUDIES),
            "probabilities": probabilities,
            "labels": labels,
        },
    )


def test_small_difference_of_a_metric_is_a_tie_that_the_loss_decides():
    """160 studies, CIDEr .002 higher: the epoch with the lower loss is better."""
    early, late = result(correct=80, cider=0.502, loss=1.9), result(correct=81, cider=0.5, loss=1.2, seed=1)
    assert is_better(late, early, SUBJECTS)
    assert not is_better(early, late, SUBJECTS)


def test_large_difference_of_a_metric_decides_against_the_loss():
    good, bad = result(correct=150, cider=0.5, loss=2.0), result(correct=80, cider=0.5, loss=1.0)
    assert is_better(good, bad, SUBJECTS)
    assert not is_better(bad, good, SUBJECTS)


def test_cider_decides_when_macro_f1_is_a_tie_and_auroc_when_both_are():
    one, other = result(correct=80, cider=1.5, loss=2.0), result(correct=81, cider=0.5, loss=1.0)
    assert is_better(one, other, SUBJECTS) and not is_better(other, one, SUBJECTS)
    one, other = (result(correct=80, cider=0.5, loss=loss, auroc_noise=noise) for loss, noise in ((2, 0.5), (1, 9.0)))
    assert is_better(one, other, SUBJECTS) and not is_better(other, one, SUBJECTS)


def test_first_validation_is_the_best_and_equal_losses_keep_the_earlier_epoch():
    only_loss = ValidationResult(metrics={"loss": 2.0}, loss=2.0)
    assert is_better(only_loss, None)
    assert not is_better(only_loss, only_loss)
    assert is_better(ValidationResult(metrics={"loss": 1.9}, loss=1.9), only_loss)
    assert not is_better(ValidationResult(metrics={"loss": 2.1}, loss=2.1), only_loss)


def test_epoch_with_reports_is_better_than_one_without():
    reports = result(correct=10, cider=0.1, loss=9.0)
    silent = ValidationResult(
        metrics={"report_macro_f1": None, "report_cider": None, "finding_macro_auroc": 0.8},
        loss=0.5,
        studies={name: reports.studies[name] for name in ("probabilities", "labels")},
    )
    assert is_better(reports, silent, SUBJECTS)
    assert not is_better(silent, reports, SUBJECTS)


def test_a_single_patient_has_no_interval_so_the_loss_decides():
    good, bad = result(correct=150, cider=0.5, loss=2.0), result(correct=80, cider=0.5, loss=1.0)
    assert is_better(bad, good, ["the same"] * NUM_STUDIES)


def test_same_report_has_the_macro_f1_of_the_best_single_answer():
    labels = np.zeros((4, 14), dtype=int)
    labels[:3, 0] = 1  # said of everybody: 3 right, 1 wrong, F1 6/7
    labels[3, 1] = 1  # F1 2/5
    assert same_report_macro_f1(labels) == pytest.approx((6 / 7 + 0) / 2)
    labels[0, 1] = 1  # the first study states both: F1 6/7 and 2 * 2 / (2 * 2 + 2)
    assert same_report_macro_f1(labels) == pytest.approx((6 / 7 + 4 / 6) / 2)
    assert same_report_macro_f1(np.zeros((4, 14), dtype=int)) is None


def validation(macro_f1, same):
    return {"step": 1, "validation": {"report_macro_f1": macro_f1}, "same_report_macro_f1": same}


def test_run_that_never_beats_the_same_report_gets_a_warning():
    steps = [{"step": 1, "loss": 1.0}, {"step": 1, "validation": {"report_macro_f1": None}}]
    message = image_is_unused([*steps, validation(0.1, 0.3), validation(0.3, 0.3)])
    assert "never rose above 0.300" in message and "highest: 0.300" in message
    assert image_is_unused([*steps, validation(0.1, 0.3), validation(0.31, 0.3)]) == ""
    assert image_is_unused(steps) == ""
    assert image_is_unused([{"step": 1, "validation": {"loss": 2.0}}]) == ""
