"""Scores of words: those of a second process are those of this one."""

import numpy as np

from eval.scoring import words
from eval.scoring.words import word_scorer, word_statistics

REPORTS = ["no effusion", "the heart is large", "", "clear lungs"]
REFERENCES = ["no pleural effusion", "the heart is normal", "edema", ""]


def test_second_process_gives_the_same_scores_for_each_system(monkeypatch):
    monkeypatch.setattr(words, "MIN_STUDIES", 4)
    systems = [REPORTS, REPORTS[::-1]]
    with word_scorer(len(REPORTS)) as score_words:
        waiting = [score_words(reports, REFERENCES) for reports in systems]
        found = [wait() for wait in waiting]
    for statistics, reports in zip(found, systems, strict=True):
        expected = word_statistics(reports, REFERENCES)
        assert statistics.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_array_equal(statistics[name], values, err_msg=name)


def test_study_without_reference_has_no_scores():
    statistics = word_statistics(REPORTS, REFERENCES)
    assert all(not values[3].any() for values in statistics.values())
    assert statistics["rouge_l"][0] > 0
    assert word_statistics(REPORTS, [""] * 4) == {}
