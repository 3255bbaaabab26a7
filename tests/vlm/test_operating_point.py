"""Operating points: thresholds from ROC curves, with rates counted independently."""

import json
from dataclasses import replace

import numpy as np
import pytest

from vlm.operating_point import BEST_F1, OperatingPoint, RocCurve, roc_curve
from vlm.schema.findings import NUM_FINDINGS
from vlm.uncertainty import ROC, Calibration, load_calibration, save_calibration


@pytest.fixture(scope="module")
def studies():
    """Probabilities of 400 studies, many of them equal, and which are positive."""
    rng = np.random.default_rng(0)
    positive = rng.random(400) < 0.3
    return (rng.normal(positive * 1.5, 1.0) * 0.1 + 0.5).clip(0, 1).round(2), positive


def rates(probabilities, positive, threshold):
    predicted = probabilities >= threshold
    return predicted[positive].mean(), 1 - predicted[~positive].mean()


@pytest.mark.parametrize("target", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_threshold_reaches_its_target_and_is_the_best_that_does(studies, target):
    curve = roc_curve(*studies)
    all_rates = [rates(*studies, threshold) for threshold in np.linspace(0, 1.005, 202)]
    sensitivity, specificity = rates(*studies, curve.at(OperatingPoint(rate="sensitivity", target=target)))
    assert sensitivity >= target
    assert specificity == pytest.approx(max(other for rate, other in all_rates if rate >= target))
    sensitivity, specificity = rates(*studies, curve.at(OperatingPoint(rate="specificity", target=target)))
    assert specificity >= target
    assert sensitivity == pytest.approx(max(rate for rate, other in all_rates if other >= target))


def test_curve_has_the_rates_of_its_thresholds_and_few_points(studies):
    curve = roc_curve(*studies)
    assert len(curve.thresholds) <= 200
    assert list(curve.thresholds) == sorted(curve.thresholds, reverse=True)
    for number, threshold in enumerate(curve.thresholds):
        expected = rates(*studies, threshold)
        assert (curve.sensitivities[number], curve.specificities[number]) == pytest.approx(expected, abs=1e-6)
    assert curve.rates_at(curve.thresholds[3]) == (curve.sensitivities[3], curve.specificities[3])


def test_certain_and_equal_probabilities_have_a_curve():
    positive = np.arange(20) < 10
    for probabilities in (positive.astype(float), np.full(20, 0.4), np.ones(20), np.zeros(20)):
        curve = roc_curve(probabilities, positive)
        threshold = curve.at(OperatingPoint(rate="sensitivity", target=0.9))
        assert rates(probabilities, positive, threshold)[0] >= 0.9


def test_too_few_cases_have_no_curve():
    positive = np.arange(20) < 4
    for cases in (positive, ~positive):
        assert roc_curve(np.linspace(0, 1, 20), cases) == RocCurve()
    assert RocCurve().rates_at(0.5) is None


@pytest.mark.parametrize("text", ["f1", "sensitivity=0.9", "specificity=0.85"])
def test_operating_point_is_read_and_written(text):
    assert str(OperatingPoint.parse(text)) == text


def test_short_numbers_and_spaces_are_read():
    assert OperatingPoint.parse(" sensitivity=.9 ") == OperatingPoint(rate="sensitivity", target=0.9)


@pytest.mark.parametrize(
    "text", ["", "f2", "f1=0.5", "recall=0.9", "sensitivity", "sensitivity=", "specificity=90", "sensitivity=nan"]
)
def test_unknown_operating_point_is_rejected_with_the_choices(text):
    with pytest.raises(ValueError, match=rf"operating point '{text}'.*give f1, or a target such as sensitivity=0.9"):
        OperatingPoint.parse(text)


@pytest.fixture
def calibration(studies):
    curves = (roc_curve(*studies), *[RocCurve()] * (NUM_FINDINGS - 1))
    return Calibration(temperature=1.5, num_studies=400, decides_reports=True, curves=curves)


def test_calibration_moves_the_thresholds_of_findings_with_a_curve(calibration):
    point = OperatingPoint(rate="specificity", target=0.9)
    moved = calibration.at(point)
    assert moved.thresholds == (calibration.curves[0].at(point), *(0.5,) * 13)
    assert moved.operating_point == point
    threshold = moved.thresholds[0]
    assert moved.decision_logits[0] == pytest.approx(1.5 * np.log(threshold / (1 - threshold)))
    assert calibration.at(BEST_F1) is calibration
    with pytest.raises(ValueError, match="start from those of the checkpoint"):
        moved.at(OperatingPoint(rate="sensitivity", target=0.9))


def test_calibration_without_curves_is_rejected_with_the_fix():
    with pytest.raises(ValueError, match=r"no thresholds for sensitivity=0.9; python -m train.fit_roc adds"):
        Calibration().at(OperatingPoint.parse("sensitivity=0.9"))


def test_calibration_is_saved_with_its_curves_in_a_file_of_their_own(calibration, tmp_path):
    save_calibration(tmp_path, calibration)
    assert load_calibration(tmp_path) == calibration
    assert "curves" not in json.loads((tmp_path / "calibration.json").read_text())
    (tmp_path / ROC).unlink()
    assert load_calibration(tmp_path) == replace(calibration, curves=())


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "is not valid JSON"),
        ('{"curves": []}', "^$"),
        ('{"curves": [{}]}', "needs 14 ROC curves or none, got 1"),
        ('{"curves": [{"thresholds": [0.5]}]}', "as many thresholds as rates"),
        ('{"curves": [{"thresholds": [2], "sensitivities": [1], "specificities": [1]}]}', r"must be in \[0, 1\]"),
    ],
)
def test_damaged_curves_are_named(content, problem, tmp_path):
    save_calibration(tmp_path, Calibration())
    (tmp_path / ROC).write_text(content)
    if problem == "^$":  # no curves at all are allowed
        assert load_calibration(tmp_path) == Calibration()
        return
    with pytest.raises(ValueError, match=rf"roc.json.*{problem}"):
        load_calibration(tmp_path)
