"""chrF, compared with sacrebleu on the same text."""

import numpy as np
import pytest
from sacrebleu.metrics import CHRF

from eval.metrics.chrf import chrf, chrf_from_statistics


def test_chrf_equals_sacrebleu(report_pairs):
    predictions, references = report_pairs
    score = chrf(predictions, references, normalization="none")
    assert score.score == pytest.approx(CHRF().corpus_score(predictions, [references]).score / 100, abs=1e-9)
    expected = [CHRF().sentence_score(one, [other]).score / 100 for one, other in zip(*report_pairs, strict=True)]
    np.testing.assert_allclose(score.per_study, expected, atol=1e-9)


def test_corpus_chrf_is_computed_from_summed_statistics(report_pairs):
    score = chrf(*report_pairs)
    assert chrf_from_statistics(score.statistics.sum(axis=0)) == pytest.approx(score.score)


def test_different_ending_scores_higher_than_a_different_word():
    near, far = (chrf([prediction], ["effusions"]).score for prediction in ("effusion", "opacity"))
    assert 0.5 < near < 1
    assert far < 0.1


def test_empty_prediction_scores_zero():
    assert chrf([""], ["no effusion"]).score == 0.0


def test_statistics_of_a_pair_do_not_depend_on_the_other_pairs(report_pairs):
    pairs = [*zip(*report_pairs, strict=True), ("effusion " * 2000, "effusion"), ("", "")]
    together = chrf(*zip(*pairs, strict=True), "none").statistics
    alone = [chrf([prediction], [reference], "none").statistics[0] for prediction, reference in pairs]
    np.testing.assert_array_equal(together, alone)


def test_characters_outside_ascii_are_counted_the_same(report_pairs):
    predictions, references = report_pairs
    greek = [[text.translate({ord("e"): "ε", ord("n"): "ν"}) for text in texts] for texts in report_pairs]
    given, translated = chrf(predictions, references, "none"), chrf(*greek, "none")
    np.testing.assert_array_equal(translated.statistics, given.statistics)
