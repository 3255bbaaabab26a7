"""CIDEr-D, compared with pycocoevalcap on the same words; plain CIDEr, compared with its formula."""

from collections import Counter

import numpy as np
import pytest
from pycocoevalcap.cider.cider import Cider

from eval.metrics.cider import CiderReferences, cider, plain_cider


def test_cider_equals_pycocoevalcap(report_pairs):
    predictions, references = ({study: [report] for study, report in enumerate(reports)} for reports in report_pairs)
    expected, expected_per_study = Cider().compute_score(references, predictions)
    score = cider(*report_pairs, normalization="none")
    assert score.score == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(score.per_study, expected_per_study, atol=1e-9)


def test_plain_cider_is_the_mean_cosine_of_weighted_ngrams(report_pairs):
    report_pairs = tuple(reports[-60:] for reports in report_pairs)
    predictions, references = ([report.split() for report in reports] for reports in report_pairs)

    def vectors(reports, order, vocabulary):
        counts = [Counter(zip(*(words[start:] for start in range(order)), strict=False)) for words in reports]
        return np.array([[count[ngram] for ngram in vocabulary] for count in counts], dtype=float)

    expected = np.zeros(len(references))
    for order in range(1, 5):
        shared = (zip(*(words[start:] for start in range(order)), strict=False) for words in predictions + references)
        vocabulary = sorted({ngram for ngrams in shared for ngram in ngrams})
        predicted, reference = (vectors(reports, order, vocabulary) for reports in (predictions, references))
        rarity = np.log(len(references) / np.maximum(1, (reference > 0).sum(axis=0)))
        predicted, reference = predicted * rarity, reference * rarity
        norms = np.linalg.norm(predicted, axis=1) * np.linalg.norm(reference, axis=1)
        expected += np.divide((predicted * reference).sum(axis=1), norms, out=np.zeros(len(norms)), where=norms > 0)
    score = plain_cider(*report_pairs, normalization="none")
    np.testing.assert_allclose(score.per_study, 10 * expected / 4, atol=1e-9)


def test_only_clipped_cider_penalizes_repetition():
    references = ["no pleural effusion", "clear lungs today", "large heart"]
    repeated = ["no pleural effusion " * 5, *references[1:]]
    assert cider(repeated, references).per_study[0] < 0.5 * plain_cider(repeated, references).per_study[0]


def test_equal_long_reports_score_ten():
    reports = [f"no focal consolidation number {number} in this report" for number in range(4)]
    assert cider(reports, reports).score == pytest.approx(10.0)
    assert plain_cider(reports, reports).score == pytest.approx(10.0)


@pytest.mark.parametrize("references", [["no effusion is seen"], ["clear lungs", "Clear lungs."]])
def test_without_two_different_references_the_score_is_undefined(references):
    score = cider(references, references)
    assert score.score is None
    assert np.isnan(score.per_study).all()


def test_cider_of_one_report_against_all_equals_pairwise_cider(report_pairs):
    references = report_pairs[1][:40]
    words = [report.split() for report in references]
    np.testing.assert_allclose(
        CiderReferences(words).score_against_all(3),
        cider([references[3]] * len(references), references, normalization="none").per_study,
    )
