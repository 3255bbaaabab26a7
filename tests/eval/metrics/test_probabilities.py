"""Ranking and calibration of probabilities, compared with scikit-learn and with manual calculations."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from eval.metrics.probabilities import curves, macro_auroc, pooled_calibration_error, probability_scores
from vlm.schema.findings import FINDING_INDEX

random = np.random.default_rng(0)
REFERENCE = random.integers(0, 4, size=(60, 14))
TRUTH = np.isin(REFERENCE, [1, 3])
PROBABILITIES = random.random((60, 14)).round(1)  # rounded to create ties
EDEMA = FINDING_INDEX["Edema"]


def labels_of(finding: str, states: list[int]) -> np.ndarray:
    """One study per state; all other findings are masked."""
    labels = np.full((len(states), 14), -100)
    labels[:, FINDING_INDEX[finding]] = states
    return labels


def once(num_studies: int) -> np.ndarray:
    return np.ones((1, num_studies))


def test_auroc_equals_scikit_learn_with_ties():
    truth = np.isin(REFERENCE, [1, 3])
    expected = [roc_auc_score(truth[:, index], PROBABILITIES[:, index]) for index in range(14)]
    assert probability_scores(PROBABILITIES, REFERENCE, once(60))["auroc"][0] == pytest.approx(expected)
    assert macro_auroc(PROBABILITIES, REFERENCE) == pytest.approx(np.mean(expected))


def test_weighted_auroc_equals_scikit_learn():
    weights = random.integers(0, 4, size=(3, 60)).astype(float)
    values = probability_scores(PROBABILITIES, REFERENCE, weights)["auroc"]
    truth = np.isin(REFERENCE, [1, 3])
    for row, weight in zip(values, weights, strict=True):
        expected = [roc_auc_score(truth[:, i], PROBABILITIES[:, i], sample_weight=weight) for i in range(14)]
        np.testing.assert_allclose(row, expected)


def test_auroc_without_positive_and_negative_references_is_undefined():
    probabilities = [[0.1] * 14, [0.9] * 14]
    assert np.isnan(probability_scores(probabilities, labels_of("Edema", [1, 1]), once(2))["auroc"]).all()
    assert macro_auroc(probabilities, labels_of("Edema", [1, 1])) is None
    assert macro_auroc(probabilities, labels_of("Edema", [0, 1])) == 1.0


def test_nan_probability_is_rejected_with_its_study_and_finding():
    probabilities = PROBABILITIES.copy()
    probabilities[7, 4] = np.nan
    with pytest.raises(ValueError, match="probability of Edema for study number 7 is not a number"):
        macro_auroc(probabilities, REFERENCE)


def test_weighted_average_precision_and_brier_score_equal_scikit_learn():
    weights = random.integers(0, 4, size=(3, 60)).astype(float)
    scores = probability_scores(PROBABILITIES, REFERENCE, weights)
    for row, weight in enumerate(weights):
        for finding in range(14):
            pair = TRUTH[:, finding], PROBABILITIES[:, finding]
            precision = average_precision_score(*pair, sample_weight=weight)
            assert scores["average_precision"][row, finding] == pytest.approx(precision)
            assert scores["brier"][row, finding] == pytest.approx(brier_score_loss(*pair, sample_weight=weight))


def test_calibration_error_is_the_mean_gap_over_fifteen_bins():
    probabilities = np.full((4, 14), 0.0)
    probabilities[:, EDEMA] = [0.14, 0.19, 0.95, 1.0]
    scores = probability_scores(probabilities, labels_of("Edema", [0, 1, 1, 1]), once(4))
    # Bin 2/15 to 3/15: mean .165, observed .5. Bin 14/15 to 1: mean .975, observed 1.
    assert scores["calibration_error"][0, EDEMA] == pytest.approx((2 * 0.335 + 2 * 0.025) / 4)


def test_perfect_calibration_has_no_error():
    probabilities = np.zeros((10, 14))
    probabilities[:, EDEMA] = 0.3
    labels = labels_of("Edema", [1] * 3 + [0] * 7)
    assert probability_scores(probabilities, labels, once(10))["calibration_error"][0, EDEMA] == pytest.approx(0)


def test_pooled_calibration_error_pools_bins_over_labeled_findings():
    probabilities, labels = np.zeros((4, 14)), labels_of("Edema", [0, 1, 1, 1])
    probabilities[:, EDEMA] = [0.14, 0.19, 0.95, 1.0]
    labels[:2, 0], probabilities[:2, 0] = [1, 0], [0.15, 0.5]
    # Bin 2/15 to 3/15: .14 and .19 and .15, two positive; bin 7/15 to 8/15: .5, negative; bin 14/15 to 1 as above.
    gap = abs(0.14 + 0.19 + 0.15 - 2) + abs(0.5 - 0) + abs(0.95 + 1 - 2)
    assert pooled_calibration_error(probabilities, labels, once(4)) == pytest.approx([gap / 6])
    doubled = pooled_calibration_error(np.repeat(probabilities, 2, 0), np.repeat(labels, 2, 0), once(8))
    assert pooled_calibration_error(probabilities, labels, 2 * once(4)) == pytest.approx(doubled)
    nothing = np.full((4, 14), -100)
    assert np.isnan(pooled_calibration_error(probabilities, nothing, once(4))).all()


def test_errors_of_opposite_sign_cancel_only_in_the_pooled_calibration_error():
    probabilities, labels = np.full((10, 14), 0.5), np.full((10, 14), -100)
    labels[:, 0], labels[:, EDEMA] = 0, 1
    assert pooled_calibration_error(probabilities, labels, once(10)) == pytest.approx([0])
    assert probability_scores(probabilities, labels, once(10))["calibration_error"][0, EDEMA] == pytest.approx(0.5)


@pytest.mark.parametrize("states", [[0, 0], [1, 1]])
def test_ranking_metrics_are_undefined_without_positives_or_negatives(states):
    scores = probability_scores([[0.1] * 14, [0.9] * 14], labels_of("Edema", states), once(2))
    assert np.isnan(scores["auroc"]).all()
    assert np.isnan(scores["average_precision"]).all()
    assert scores["brier"][0, EDEMA] == pytest.approx(0.41)
    assert np.isnan(np.delete(scores["brier"], EDEMA, axis=1)).all()


def test_resample_without_positives_or_negatives_is_undefined():
    weights = np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]])
    scores = probability_scores([[0.1] * 14, [0.9] * 14], labels_of("Edema", [0, 1]), weights)
    for score in ("auroc", "average_precision"):
        np.testing.assert_array_equal(scores[score][:, EDEMA], [1, np.nan, np.nan])


def test_finding_without_probabilities_is_undefined():
    probabilities = PROBABILITIES.copy()
    probabilities[:, EDEMA] = np.nan
    scores = probability_scores(probabilities, REFERENCE, once(60))
    for score in scores.values():
        assert np.isnan(score[0, EDEMA])
        assert not np.isnan(np.delete(score, EDEMA, axis=1)).any()


def test_roc_curve_goes_from_corner_to_corner_in_at_most_100_points():
    many = np.random.default_rng(1)
    probabilities, reference = many.random((1000, 14)), many.integers(0, 2, size=(1000, 14))
    drawn = curves(probabilities, reference)["Edema"]
    assert drawn["roc"][0] == [0, 0]
    assert drawn["roc"][-1] == [1, 1]
    assert 50 < len(drawn["roc"]) <= 100
    assert drawn["roc"] == sorted(drawn["roc"])


def test_reliability_bins_have_predicted_and_observed_rates():
    probabilities = np.zeros((4, 14))
    probabilities[:, EDEMA] = [0.14, 0.19, 0.95, 1.0]
    drawn = curves(probabilities, labels_of("Edema", [0, 1, 1, 1]))
    assert list(drawn) == ["Edema"]
    assert drawn["Edema"]["reliability"] == [
        {"mean_probability": 0.165, "observed": 0.5, "num_studies": 2},
        {"mean_probability": 0.975, "observed": 1.0, "num_studies": 2},
    ]
