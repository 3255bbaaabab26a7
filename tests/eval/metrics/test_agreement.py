"""Agreement in all four states, compared with scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score

from eval.metrics.clinical import state_agreement, state_counts
from vlm.schema.findings import FINDING_INDEX

random = np.random.default_rng(0)
PREDICTED = random.integers(0, 4, size=(50, 14))
LABELED_REFERENCE = np.where(random.random((50, 14)) < 0.5, PREDICTED, random.integers(0, 4, size=(50, 14)))


def without_no_finding(labels: np.ndarray) -> np.ndarray:
    return np.delete(labels, FINDING_INDEX["No Finding"], axis=1).ravel()


def test_share_and_kappa_equal_scikit_learn():
    scores = state_agreement(state_counts(PREDICTED, LABELED_REFERENCE).sum(axis=0))
    pair = without_no_finding(LABELED_REFERENCE), without_no_finding(PREDICTED)
    assert scores["state_agreement"] == pytest.approx(accuracy_score(*pair))
    assert scores["state_kappa"] == pytest.approx(cohen_kappa_score(*pair))


def test_masked_findings_do_not_count():
    masked = LABELED_REFERENCE.copy()
    masked[20:] = -100
    np.testing.assert_array_equal(state_counts(PREDICTED, masked)[20:], 0)
    assert state_counts(PREDICTED, masked).sum() == 20 * 13


def test_denied_and_not_mentioned_are_different_states():
    counts = state_counts(np.zeros((1, 14)), np.full((1, 14), 2)).sum(axis=0)
    assert counts[2, 0] == 13
    assert state_agreement(counts)["state_agreement"] == 0


def test_agreement_without_labels_and_kappa_of_one_state_are_undefined():
    assert np.isnan(state_agreement(np.zeros((4, 4)))["state_agreement"])
    same = state_agreement(state_counts(np.zeros((3, 14)), np.zeros((3, 14))).sum(axis=0))
    assert same["state_agreement"] == 1
    assert np.isnan(same["state_kappa"])
