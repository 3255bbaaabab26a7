"""BLEU, compared with pycocoevalcap on the same words and with a manual calculation."""

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu_scorer import BleuScorer

from eval.metrics.bleu import MAX_ORDER, bleu, bleu_from_statistics, matched_ngrams, ngram_counts


@pytest.mark.parametrize("one_study", [False, True])
def test_bleu_equals_pycocoevalcap(report_pairs, one_study):
    predictions, references = (reports[:1] for reports in report_pairs) if one_study else report_pairs
    scorer = BleuScorer(n=4)
    for prediction, reference in zip(predictions, references, strict=True):
        scorer += (prediction, [reference])
    expected, expected_per_study = scorer.compute_score(option="closest")
    score = bleu(predictions, references, normalization="none")
    np.testing.assert_allclose(score.score, expected, atol=1e-9)
    np.testing.assert_allclose(score.per_study, np.transpose(expected_per_study), atol=1e-9)


def test_bleu_equals_manual_calculation():
    # 3 of 4 words and 2 of 3 pairs match; the prediction is as long as the reference.
    scores = bleu(["no pleural effusion today"], ["no pleural effusion seen"]).score
    assert scores[0] == pytest.approx(3 / 4)
    assert scores[1] == pytest.approx((3 / 4 * 2 / 3) ** 0.5)


def test_short_prediction_has_a_brevity_penalty():
    assert bleu(["no effusion"], ["no effusion is seen"]).score[0] == pytest.approx(np.exp(1 - 4 / 2))


def test_corpus_bleu_is_computed_from_summed_statistics(report_pairs):
    score = bleu(*report_pairs)
    np.testing.assert_allclose(bleu_from_statistics(score.statistics.sum(axis=0)), score.score)
    assert score.score[3] != pytest.approx(score.per_study[:, 3].mean(), abs=1e-3)


def test_empty_predictions_score_zero():
    assert bleu(["", ""], ["no effusion", "clear"]).score == pytest.approx([0.0] * 4)


def test_headings_case_and_punctuation_do_not_change_the_scores():
    plain, styled = "the heart is large 1.5 cm nodule", "Findings: The HEART is large. Impression: 1.5-cm nodule!"
    assert bleu([styled], [plain]).score == pytest.approx([1.0] * 4)


def matched_one_by_one(prediction, reference):
    matched = ngram_counts(prediction) & ngram_counts(reference)
    return [sum(count for ngram, count in matched.items() if len(ngram) == order + 1) for order in range(MAX_ORDER)]


def test_matches_of_all_studies_are_those_of_each_pair(report_pairs):
    words = [[text.split() for text in texts] for texts in report_pairs]
    expected = [matched_one_by_one(*pair) for pair in zip(*words, strict=True)]
    assert matched_ngrams(*words).tolist() == expected
    assert matched_ngrams(*words, max_order=2).tolist() == [matched[:2] for matched in expected]


def test_matches_are_counted_among_many_different_words():
    # The numbers of 4-grams of 20,000 words, times the number of texts, need more than 63 bits.
    many = [f"word{number}" for number in range(20_000)]
    predictions = [many, *(many[start : start + 9] for start in range(0, 1000, 10))]
    references = [many[::-1], *(many[start + 2 : start + 12] for start in range(0, 1000, 10))]
    expected = [matched_one_by_one(*pair) for pair in zip(predictions, references, strict=True)]
    assert matched_ngrams(predictions, references).tolist() == expected
