"""BLEU, ROUGE-L and CIDEr against pycocoevalcap on the same words, and by hand."""

import random

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu_scorer import BleuScorer
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from eval.normalization import normalize_report
from eval.overlap import CiderReferences, bleu, bleu_from_statistics, cider, rouge_l

LANGUAGE = "the heart is normal in size no pleural effusion or pneumothorax left lower lobe opacity small large"
WORDS = LANGUAGE.split()


def random_reports(seed: int, number: int = 40) -> list[str]:
    chooser = random.Random(seed)
    return [" ".join(chooser.choices(WORDS, k=chooser.randint(1, 45))) for _ in range(number)]


PREDICTIONS = ["", "effusion", *random_reports(1)]
REFERENCES = ["the heart is large", "no effusion", *random_reports(2)]


def as_coco(reports: list[str]) -> dict[int, list[str]]:
    return {study: [report] for study, report in enumerate(reports)}


def test_bleu_equals_pycocoevalcap():
    scorer = BleuScorer(n=4)
    for prediction, reference in zip(PREDICTIONS, REFERENCES, strict=True):
        scorer += (prediction, [reference])
    expected, expected_per_study = scorer.compute_score(option="closest")
    score = bleu(PREDICTIONS, REFERENCES)
    np.testing.assert_allclose(score.scores, expected, atol=1e-9)
    np.testing.assert_allclose(score.per_study, np.transpose(expected_per_study), atol=1e-9)


def test_rouge_l_equals_pycocoevalcap():
    expected, expected_per_study = Rouge().compute_score(as_coco(REFERENCES), as_coco(PREDICTIONS))
    score = rouge_l(PREDICTIONS, REFERENCES)
    assert score.score == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(score.per_study, expected_per_study, atol=1e-9)


def test_cider_equals_pycocoevalcap():
    expected, expected_per_study = Cider().compute_score(as_coco(REFERENCES), as_coco(PREDICTIONS))
    score = cider(PREDICTIONS, REFERENCES)
    assert score.score == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(score.per_study, expected_per_study, atol=1e-9)


def test_bleu_by_hand():
    # 3 of 4 words and 2 of 3 pairs match; the prediction is as long as the reference.
    scores = bleu(["no pleural effusion today"], ["no pleural effusion seen"]).scores
    assert scores[0] == pytest.approx(3 / 4)
    assert scores[1] == pytest.approx((3 / 4 * 2 / 3) ** 0.5)


def test_corpus_bleu_is_made_of_the_sums_of_the_studies_statistics():
    score = bleu(PREDICTIONS, REFERENCES)
    np.testing.assert_allclose(bleu_from_statistics(score.statistics.sum(axis=0)), score.scores)


def test_rouge_l_by_hand():
    # "heart is" in order: 2 of 3 predicted and 2 of 4 reference words.
    expected = (1 + 1.44) * (2 / 3) * (2 / 4) / (2 / 4 + 1.44 * 2 / 3)
    assert rouge_l(["heart is large"], ["the heart is normal"]).score == pytest.approx(expected)


def test_perfect_reports_reach_the_top_of_every_scale():
    reports = random_reports(3, number=5)
    long_reports = [f"{report} no focal consolidation seen {number}" for number, report in enumerate(reports)]
    assert bleu(long_reports, long_reports).scores == pytest.approx((1.0,) * 4)
    assert rouge_l(long_reports, long_reports).score == pytest.approx(1.0)
    assert cider(long_reports, long_reports).score == pytest.approx(10.0)


def test_cider_of_a_constant_against_all_equals_the_pairwise_one():
    words = [report.split() for report in REFERENCES]
    np.testing.assert_allclose(
        CiderReferences(words).score_against_all(words[3]),
        cider([REFERENCES[3]] * len(REFERENCES), REFERENCES).per_study,
    )


def test_headings_case_and_punctuation_do_not_change_the_scores():
    plain, styled = "the heart is large 1.5 cm nodule", "Findings: The HEART is large. Impression: 1.5-cm nodule!"
    assert normalize_report(styled) == plain
    assert bleu([styled], [plain]).scores == pytest.approx(bleu([plain], [plain]).scores)


def test_placeholders_are_no_words():
    assert normalize_report("seen by ___ at XXXX.") == "seen by at xxxx"


def test_normalization_none_keeps_the_text_as_given():
    assert normalize_report("Findings:  Clear.", "none") == "Findings: Clear."
    assert rouge_l(["Clear."], ["clear"], normalization="none").score == 0.0


def test_unknown_normalization_is_named():
    with pytest.raises(ValueError, match=r"normalization 'porter' is not known; choose one of plain, none"):
        cider(["a"], ["a"], normalization="porter")


def test_unequal_numbers_of_reports_are_refused():
    with pytest.raises(ValueError, match="1 predictions but 2 references"):
        bleu(["a"], ["a", "b"])


def test_nothing_to_score_is_refused():
    with pytest.raises(ValueError, match="0 predictions to score"):
        cider([], [])
