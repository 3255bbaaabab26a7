"""Precision, recall and F1 of findings, compared with scikit-learn, and their conventions."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from eval.metrics.clinical import confusion_counts, f1_scores, macro_note, scores_from_counts
from vlm.schema.findings import FINDING_INDEX

random = np.random.default_rng(0)
PREDICTED = random.integers(0, 4, size=(60, 14))
REFERENCE = random.integers(0, 4, size=(60, 14))


def finding_scores(predicted, reference, uncertain_is_positive=True) -> dict[str, np.ndarray]:
    """Scores of each finding [14] over all studies."""
    return scores_from_counts(confusion_counts(predicted, reference, uncertain_is_positive).sum(axis=0))


def labels_of(finding: str, states: list[int]) -> np.ndarray:
    """One study per state; all other findings are masked."""
    labels = np.full((len(states), 14), -100)
    labels[:, FINDING_INDEX[finding]] = states
    return labels


@pytest.mark.parametrize(("uncertain_is_positive", "positive_codes"), [(True, [1, 3]), (False, [1])])
def test_f1_equals_scikit_learn(uncertain_is_positive, positive_codes):
    scores = f1_scores(PREDICTED, REFERENCE, uncertain_is_positive)
    truth, predicted = np.isin(REFERENCE, positive_codes), np.isin(PREDICTED, positive_codes)
    for average in ("micro", "macro"):
        precision, recall, f1, _ = precision_recall_fscore_support(truth, predicted, average=average, zero_division=0)
        assert scores[f"{average}_precision"] == pytest.approx(precision)
        assert scores[f"{average}_recall"] == pytest.approx(recall)
        assert scores[f"{average}_f1"] == pytest.approx(f1)
    per_finding = finding_scores(PREDICTED, REFERENCE, uncertain_is_positive)
    expected = precision_recall_fscore_support(truth, predicted, zero_division=0)
    for name, values in zip(("precision", "recall", "f1"), expected, strict=False):
        np.testing.assert_allclose(per_finding[name], values)


def test_five_finding_average_uses_the_five_chexpert_findings():
    scores = f1_scores(PREDICTED, REFERENCE)
    five = finding_scores(PREDICTED, REFERENCE)["f1"][[1, 4, 5, 7, 9]]
    assert scores["macro_f1_5"] == pytest.approx(np.mean(five))
    truth, predicted = (np.isin(labels, [1, 3])[:, [1, 4, 5, 7, 9]] for labels in (REFERENCE, PREDICTED))
    for average in ("micro", "macro"):
        precision, recall, f1, _ = precision_recall_fscore_support(truth, predicted, average=average, zero_division=0)
        of_five = [scores[f"{average}_{score}_5"] for score in ("precision", "recall", "f1")]
        assert of_five == pytest.approx([precision, recall, f1])


def test_convention_for_uncertain_changes_the_scores():
    predicted, reference = labels_of("Edema", [1, 1]), labels_of("Edema", [3, 1])
    predicted[predicted == -100] = 0
    assert f1_scores(predicted, reference)["macro_f1"] == 1.0
    assert f1_scores(predicted, reference, uncertain_is_positive=False)["macro_f1"] == pytest.approx(2 / 3)


def test_masked_references_are_not_counted():
    masked = REFERENCE.copy()
    masked[30:] = -100
    np.testing.assert_equal(confusion_counts(PREDICTED, masked)[30:], 0)
    assert f1_scores(PREDICTED, masked) == f1_scores(PREDICTED[:30], REFERENCE[:30])


def test_finding_without_positives_is_undefined_and_not_in_the_macro_average():
    reference = REFERENCE.copy()
    reference[:, FINDING_INDEX["Fracture"]] = 0
    f1 = finding_scores(PREDICTED, reference)["f1"]
    is_fracture = np.arange(14) == FINDING_INDEX["Fracture"]
    np.testing.assert_equal(np.isnan(f1), is_fracture)
    assert f1_scores(PREDICTED, reference)["macro_f1"] == pytest.approx(f1[~is_fracture].mean())
    note = macro_note(~is_fracture, "a positive reference")
    assert note == "macro over 13 of 14 findings; without a positive reference, so undefined: Fracture"


def test_finding_never_predicted_scores_zero():
    scores = finding_scores(np.zeros((2, 14)), labels_of("Edema", [1, 0]))
    assert [scores[name][FINDING_INDEX["Edema"]] for name in ("precision", "recall", "f1")] == [0.0, 0.0, 0.0]


def test_scores_without_labels_are_undefined_and_not_zero():
    scores = f1_scores(PREDICTED, np.full((60, 14), -100))
    assert set(scores.values()) == {None}


def test_several_resamples_are_scored_at_once():
    counts = confusion_counts(PREDICTED, REFERENCE)
    both = np.stack([counts[:20].sum(axis=0), counts[20:].sum(axis=0)])
    expected = [f1_scores(PREDICTED[part], REFERENCE[part])["macro_f1"] for part in (slice(20), slice(20, None))]
    np.testing.assert_allclose(scores_from_counts(both)["macro_f1"], expected)


def test_labels_of_wrong_width_are_rejected():
    with pytest.raises(ValueError, match=r"predicted labels must be \[studies, 14\] .* got shape \(60, 13\)"):
        f1_scores(PREDICTED[:, :13], REFERENCE)
