"""Decisions of a classifier, compared with scikit-learn and with manual counts."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, recall_score

from eval.metrics.probabilities import decision_counts, decision_scores
from vlm.schema.findings import FINDING_INDEX, UNLABELED

random = np.random.default_rng(0)
REFERENCE = random.integers(0, 4, size=(60, 14))
PROBABILITIES = random.random((60, 14)).round(1)
THRESHOLDS = random.random(14).round(1)
EDEMA = FINDING_INDEX["Edema"]


def only_edema(states, probabilities):
    labels = np.full((len(states), 14), UNLABELED)
    labels[:, EDEMA] = states
    return np.repeat(np.array(probabilities)[:, None], 14, axis=1), labels


@pytest.mark.parametrize("uncertain_is_positive", [True, False])
def test_scores_equal_scikit_learn_under_both_conventions(uncertain_is_positive):
    counts = decision_counts(PROBABILITIES, REFERENCE, THRESHOLDS, uncertain_is_positive)
    scores = decision_scores(counts.sum(axis=0))
    truth = np.isin(REFERENCE, [1, 3] if uncertain_is_positive else [1])
    predicted = PROBABILITIES >= THRESHOLDS
    for finding in range(14):
        pair = truth[:, finding], predicted[:, finding]
        assert scores["accuracy"][finding] == pytest.approx(accuracy_score(*pair))
        assert scores["balanced_accuracy"][finding] == pytest.approx(balanced_accuracy_score(*pair))
        assert scores["sensitivity"][finding] == pytest.approx(recall_score(*pair))
        assert scores["specificity"][finding] == pytest.approx(recall_score(*pair, pos_label=0))
    assert scores["micro_accuracy"] == pytest.approx(accuracy_score(truth.ravel(), predicted.ravel()))
    assert scores["macro_sensitivity"] == pytest.approx(scores["sensitivity"].mean())


def test_finding_is_positive_from_its_threshold_which_defaults_to_one_half():
    probabilities, labels = only_edema([1, 1], [0.5, 0.49])
    assert decision_counts(probabilities, labels)[:, EDEMA].tolist() == [[1, 0, 0, 0], [0, 0, 1, 0]]
    by_study = np.array([[0.6] * 14, [0.4] * 14])
    assert decision_counts(probabilities, labels, by_study)[:, EDEMA].tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]


def test_unlabeled_findings_and_missing_probabilities_are_not_counted():
    probabilities, labels = only_edema([1, 0, 2], [0.9, 0.9, np.nan])
    counts = decision_counts(probabilities, labels)
    assert counts[:, EDEMA].sum(axis=0).tolist() == [1, 1, 0, 0]
    assert np.delete(counts, EDEMA, axis=1).sum() == 0
    scores = decision_scores(counts.sum(axis=0))
    assert np.isnan(np.delete(scores["accuracy"], EDEMA)).all()
    assert scores["macro_accuracy"] == scores["micro_accuracy"] == 0.5


def test_specificity_and_balanced_accuracy_are_undefined_without_negatives():
    probabilities, labels = only_edema([1, 1], [0.9, 0.1])
    scores = decision_scores(decision_counts(probabilities, labels).sum(axis=0))
    assert scores["sensitivity"][EDEMA] == scores["accuracy"][EDEMA] == 0.5
    assert np.isnan(scores["specificity"][EDEMA]) and np.isnan(scores["balanced_accuracy"][EDEMA])


def test_arrays_of_wrong_shape_are_rejected():
    with pytest.raises(ValueError, match=r"probabilities are \(60, 14\) but reference labels \(59, 14\)"):
        decision_counts(PROBABILITIES, REFERENCE[1:])
    with pytest.raises(ValueError, match=r"thresholds are \(3,\) but must be one per finding, or \(60, 14\)"):
        decision_counts(PROBABILITIES, REFERENCE, [0.5] * 3)
