"""Both versions of ROUGE-L, compared with their reference packages and with a manual calculation."""

import numpy as np
import pytest
from pycocoevalcap.rouge.rouge import Rouge
from rouge_score.rouge_scorer import RougeScorer

from eval.metrics.rouge import rouge_l, stemmed_rouge_l


def test_rouge_l_equals_pycocoevalcap(report_pairs):
    predictions, references = ({study: [report] for study, report in enumerate(reports)} for reports in report_pairs)
    expected, expected_per_study = Rouge().compute_score(references, predictions)
    score = rouge_l(*report_pairs, normalization="none")
    assert score.score == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(score.per_study, expected_per_study, atol=1e-9)


def test_stemmed_rouge_l_equals_rouge_score(report_pairs):
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    pairs = zip(*report_pairs, strict=True)
    expected = [scorer.score(reference, prediction)["rougeL"].fmeasure for prediction, reference in pairs]
    score = stemmed_rouge_l(*report_pairs, normalization="none")
    np.testing.assert_allclose(score.per_study, expected, atol=1e-9)
    assert score.score == pytest.approx(np.mean(expected), abs=1e-9)


def test_rouge_l_equals_manual_calculation():
    # "heart is" in order: 2 of 3 predicted and 2 of 4 reference words.
    expected = (1 + 1.44) * (2 / 3) * (2 / 4) / (2 / 4 + 1.44 * 2 / 3)
    assert rouge_l(["heart is large"], ["the heart is normal"]).score == pytest.approx(expected)


def test_only_stemmed_rouge_l_ignores_word_endings():
    assert rouge_l(["effusions"], ["effusion"]).score == 0.0
    assert stemmed_rouge_l(["effusions"], ["effusion"]).score == 1.0


def test_words_in_reverse_order_match_once():
    assert stemmed_rouge_l(["c b a"], ["a b c"]).score == pytest.approx(1 / 3)
