"""The studies on the page: chosen by score and by lot, never by hand."""

import math

from eval.predictions.prediction import Prediction
from eval.report.selection import BEST, BY_LOT, WORST, choose_studies

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


def choose(predictions, number, likeness=None, seed=0):
    likeness = likeness or [0.5] * len(predictions)
    return choose_studies(predictions, likeness, number, likeness_name="ROUGE-L", seed=seed)


def names(choices, group):
    return [choice.study_id for choice in choices if choice.group == group]


def test_a_third_each_is_worst_best_and_drawn():
    choices = choose(ALL, 9)
    assert names(choices, WORST) == ["wrong0", "wrong1", "wrong2"]
    assert names(choices, BEST) == ["right2", "right1", "right0"]
    assert len(names(choices, BY_LOT)) == 3
    assert len({choice.study_id for choice in choices}) == 9


def test_the_score_is_told():
    reasons = {choice.study_id: choice.reason for choice in choose(ALL, 12)}
    assert reasons["wrong0"] == "F1 of its findings 0.00, ROUGE-L 0.500"
    assert reasons["half1"] == "F1 of its findings 0.67, ROUGE-L 0.500"


def test_between_equals_the_words_decide():
    assert names(choose(WRONG + RIGHT, 3, [0.3, 0.1, 0.2, 0.3, 0.9, 0.2]), WORST) == ["wrong1"]
    assert names(choose(WRONG + RIGHT, 3, [0.3, 0.1, 0.2, 0.3, 0.9, 0.2]), BEST) == ["right1"]


def test_where_both_find_nothing_there_is_no_best_or_worst():
    choices = choose(NORMAL + RIGHT[:1], 4)
    assert names(choices, BEST) == ["right0"]
    assert len(names(choices, BY_LOT)) == 3


def test_without_labels_the_words_alone_rank():
    plain = [Prediction(study_id=name, report="edema", reference="edema") for name in "abc"]
    choices = choose(plain, 3, [0.2, 0.9, 0.1])
    assert [choice.study_id for choice in choices] == ["c", "b", "a"]
    assert choices[0].reason == "ROUGE-L 0.100"


def test_without_any_truth_all_are_drawn():
    plain = [Prediction(study_id=name, report="edema") for name in "abcdef"]
    choices = choose(plain, 3, [math.nan] * 6)
    assert {choice.group for choice in choices} == {BY_LOT}
    assert len(choices) == 3
    assert choices == choose(plain, 3, [math.nan] * 6)
    assert choices != choose(plain, 3, [math.nan] * 6, seed=4)


def test_few_studies_are_shown_once_and_none_may_be_asked_for():
    assert sorted(choice.study_id for choice in choose(RIGHT[:2], 9)) == ["right0", "right1"]
    assert choose(ALL, 0) == []
