"""Precision, recall and F1 of findings, compared with scikit-learn, and their conventions."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from eval.metrics.clinical import f1_scores, scores_from_counts
from vlm.schema.findings import FINDING_INDEX, FINDINGS

random = np.random.default_rng(0)
PREDICTED = random.integers(0, 4, size=(60, 14))
REFERENCE = random.integers(0, 4, size=(60, 14))


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
        assert getattr(scores, f"{average}_precision") == pytest.approx(precision)
        assert getattr(scores, f"{average}_recall") == pytest.approx(recall)
        assert getattr(scores, f"{average}_f1") == pytest.approx(f1)
    precision, recall, f1, support = precision_recall_fscore_support(truth, predicted, zero_division=0)
    for index, finding in enumerate(scores.per_finding):
        assert finding.finding == FINDINGS[index]
        assert (finding.precision, finding.recall, finding.f1) == pytest.approx(
            (precision[index], recall[index], f1[index])
        )
        assert finding.support == support[index]


def test_five_finding_average_uses_the_five_chexpert_findings():
    scores = f1_scores(PREDICTED, REFERENCE)
    five = [scores.per_finding[index].f1 for index in (1, 4, 5, 7, 9)]
    assert scores.macro_f1_5 == pytest.approx(np.mean(five))
    truth, predicted = (np.isin(labels, [1, 3])[:, [1, 4, 5, 7, 9]] for labels in (REFERENCE, PREDICTED))
    for average in ("micro", "macro"):
        precision, recall, f1, _ = precision_recall_fscore_support(truth, predicted, average=average, zero_division=0)
        of_five = [getattr(scores, f"{average}_{score}_5") for score in ("precision", "recall", "f1")]
        assert of_five == pytest.approx([precision, recall, f1])


def test_convention_for_uncertain_is_named_and_changes_the_scores():
    predicted, reference = labels_of("Edema", [1, 1]), labels_of("Edema", [3, 1])
    predicted[predicted == -100] = 0
    counted = f1_scores(predicted, reference)
    assert (counted.macro_f1, counted.convention) == (1.0, "uncertain counts as positive")
    not_counted = f1_scores(predicted, reference, uncertain_is_positive=False)
    assert (not_counted.macro_f1, not_counted.convention) == (pytest.approx(2 / 3), "uncertain counts as negative")


def test_masked_references_are_not_counted():
    masked = REFERENCE.copy()
    masked[30:] = -100
    np.testing.assert_equal(f1_scores(PREDICTED, masked).counts[30:], 0)
    assert f1_scores(PREDICTED, masked).macro_f1 == f1_scores(PREDICTED[:30], REFERENCE[:30]).macro_f1


def test_finding_without_positives_is_undefined_and_not_in_the_macro_average():
    reference = REFERENCE.copy()
    reference[:, FINDING_INDEX["Fracture"]] = 0
    scores = f1_scores(PREDICTED, reference)
    fracture = scores.per_finding[FINDING_INDEX["Fracture"]]
    assert (fracture.f1, fracture.precision, fracture.recall, fracture.support) == (None, None, None, 0)
    assert fracture.num_predicted > 0
    others = [finding.f1 for finding in scores.per_finding if finding.finding != "Fracture"]
    assert scores.macro_f1 == pytest.approx(np.mean(others))
    assert scores.note == "macro over 13 of 14 findings; without a positive reference, so undefined: Fracture"


def test_finding_never_predicted_scores_zero():
    scores = f1_scores(np.zeros((2, 14)), labels_of("Edema", [1, 0]))
    edema = scores.per_finding[FINDING_INDEX["Edema"]]
    assert (edema.precision, edema.recall, edema.f1) == (0.0, 0.0, 0.0)


def test_scores_without_labels_are_undefined_and_not_zero():
    scores = f1_scores(PREDICTED, np.full((60, 14), -100))
    assert scores.macro_f1 is None
    assert scores.micro_f1 is None


def test_several_resamples_are_scored_at_once():
    counts = f1_scores(PREDICTED, REFERENCE).counts
    both = np.stack([counts[:20].sum(axis=0), counts[20:].sum(axis=0)])
    expected = [f1_scores(PREDICTED[part], REFERENCE[part]).macro_f1 for part in (slice(20), slice(20, None))]
    np.testing.assert_allclose(scores_from_counts(both)["macro_f1"], expected)


def test_labels_of_wrong_width_are_rejected():
    with pytest.raises(ValueError, match=r"predicted labels must be \[studies, 14\] .* got shape \(60, 13\)"):
        f1_scores(PREDICTED[:, :13], REFERENCE)
