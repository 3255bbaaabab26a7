"""Constant reports: each is the best in its own metric, compared with an exhaustive search."""

import random

import numpy as np
import pytest

from data.reports.labeler.labeler import label_report
from eval.controls.control import best_by_bleu_4, best_by_macro_f1, best_constants
from eval.metrics.bleu import bleu
from eval.metrics.cider import cider
from eval.metrics.clinical import f1_scores

SENTENCES = (
    "The heart is enlarged.",
    "The heart is normal in size.",
    "The lungs are clear.",
    "There is a small left pleural effusion.",
    "No pleural effusion.",
    "No pneumothorax.",
    "There is edema.",
)


def synthetic_reports(seed: int, number: int = 25) -> list[str]:
    chooser = random.Random(seed)
    return [" ".join(chooser.choices(SENTENCES, k=chooser.randint(1, 5))) for _ in range(number)]


@pytest.mark.parametrize("seed", range(3))
def test_constant_by_bleu_is_the_best_of_all_reports(seed):
    reports = synthetic_reports(seed)
    scores = {report: bleu([report] * len(reports), reports).score[3] for report in reports}
    assert scores[best_by_bleu_4(reports)] == pytest.approx(max(scores.values()))


@pytest.mark.parametrize("seed", range(3))
def test_constant_by_macro_f1_is_the_best_of_all_reports(seed):
    reports = synthetic_reports(seed)
    truth = [label_report(report) for report in reports]
    scores = {report: f1_scores([label_report(report)] * len(reports), truth)["macro_f1"] for report in reports}
    assert scores[best_by_macro_f1(reports)] == pytest.approx(max(scores.values()))


def test_each_constant_is_the_best_of_the_three_in_its_own_metric():
    reports = synthetic_reports(7, 40)
    constants = best_constants(reports)
    truth = [label_report(report) for report in reports]
    for metric, score in {
        "macro_f1": lambda report: f1_scores([label_report(report)] * 40, truth)["macro_f1"],
        "cider": lambda report: cider([report] * 40, reports).score,
        "bleu_4": lambda report: bleu([report] * 40, reports).score[3],
    }.items():
        assert score(constants[metric]) == pytest.approx(max(map(score, constants.values()))), metric


def test_no_constants_without_reports():
    assert best_constants([]) == {}
    assert best_constants(["", "..."]) == {}


def test_choice_does_not_depend_on_the_order():
    reports = synthetic_reports(3)
    assert best_constants(reports) == best_constants(reports[::-1])
    assert np.unique(reports).size > 10
