"""METEOR with exact and stem matches, compared with nltk with an empty WordNet and with a manual calculation."""

import numpy as np
import pytest
from nltk.translate.meteor_score import meteor_score

from eval.metrics.meteor import METEOR_NAME, meteor


class EmptyWordNet:
    def synsets(self, word):
        return []


def test_meteor_equals_nltk_without_synonyms(report_pairs):
    pairs = zip(*report_pairs, strict=True)
    expected = [
        meteor_score([reference.split()], prediction.split(), wordnet=EmptyWordNet()) for prediction, reference in pairs
    ]
    score = meteor(*report_pairs, normalization="none")
    np.testing.assert_allclose(score.per_study, expected, atol=1e-9)
    assert score.score == pytest.approx(np.mean(expected), abs=1e-9)


def test_meteor_equals_manual_calculation():
    # 3 of 4 predicted and 3 of 3 reference words match ("effusions" by its stem), in 1 chunk.
    precision, recall = 3 / 4, 3 / 3
    mean = precision * recall / (0.9 * precision + 0.1 * recall)
    expected = mean * (1 - 0.5 * (1 / 3) ** 3)
    assert meteor(["no pleural effusions today"], ["no pleural effusion"]).score == pytest.approx(expected)


def test_name_states_that_only_exact_and_stem_matches_are_used():
    assert "exact and stem only" in METEOR_NAME
