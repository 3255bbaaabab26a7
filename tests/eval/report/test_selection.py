"""The studies on the page: selected by score or at random."""

import math

from eval.predictions.prediction import Prediction
from eval.report.selection import BEST, RANDOM, WORST, select_studies

WORDS = {"edema": 4, "effusion": 9}


def label_by_word(report):
    return [int(finding in {number for word, number in WORDS.items() if word in report}) for finding in range(14)]


def study(name, report, truth):
    return Prediction(study_id=name, report=report, reference=truth, reference_labels=tuple(label_by_word(truth)))


RIGHT = [study(f"right{number}", "edema", "edema") for number in range(3)]
HALF = [study(f"half{number}", "edema", "edema and effusion") for number in range(3)]
WRONG = [study(f"wrong{number}", "edema", "effusion") for number in range(3)]
NORMAL = [study(f"normal{number}", "clear", "clear") for number in range(3)]
ALL = NORMAL + RIGHT + WRONG + HALF


def select(predictions, number, text_scores=None, seed=0):
    text_scores = text_scores or [0.5] * len(predictions)
    return select_studies(predictions, {"rouge_l": text_scores}, number, seed=seed)


def names(selected, group):
    return [one.prediction.study_id for one in selected if one.group == group]


def test_a_third_each_is_worst_best_and_random():
    selected = select(ALL, 9)
    assert names(selected, WORST) == ["wrong0", "wrong1", "wrong2"]
    assert names(selected, BEST) == ["right2", "right1", "right0"]
    assert len(names(selected, RANDOM)) == 3
    assert len({one.prediction.study_id for one in selected}) == 9


def test_reason_holds_the_scores():
    reasons = {one.prediction.study_id: one.reason for one in select(ALL, 12)}
    assert reasons["wrong0"] == "F1 of its findings 0.00, ROUGE-L 0.500"
    assert reasons["half1"] == "F1 of its findings 0.67, ROUGE-L 0.500"


def test_text_score_breaks_ties():
    assert names(select(WRONG + RIGHT, 3, [0.3, 0.1, 0.2, 0.3, 0.9, 0.2]), WORST) == ["wrong1"]
    assert names(select(WRONG + RIGHT, 3, [0.3, 0.1, 0.2, 0.3, 0.9, 0.2]), BEST) == ["right1"]


def test_studies_without_findings_are_neither_best_nor_worst():
    selected = select(NORMAL + RIGHT[:1], 4)
    assert names(selected, BEST) == ["right0"]
    assert len(names(selected, RANDOM)) == 3


def test_text_score_ranks_without_labels():
    plain = [Prediction(study_id=name, report="edema", reference="edema") for name in "abc"]
    selected = select(plain, 3, [0.2, 0.9, 0.1])
    assert [one.prediction.study_id for one in selected] == ["c", "b", "a"]
    assert selected[0].reason == "ROUGE-L 0.100"


def test_all_are_random_without_references():
    plain = [Prediction(study_id=name, report="edema") for name in "abcdef"]
    selected = select(plain, 3, [math.nan] * 6)
    assert {one.group for one in selected} == {RANDOM}
    assert len(selected) == 3
    assert selected == select(plain, 3, [math.nan] * 6)
    assert selected != select(plain, 3, [math.nan] * 6, seed=4)


def test_few_studies_are_shown_once_and_zero_is_allowed():
    assert sorted(one.prediction.study_id for one in select(RIGHT[:2], 9)) == ["right0", "right1"]
    assert select(ALL, 0) == []
