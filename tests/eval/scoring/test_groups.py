"""Scores per group of studies."""

from dataclasses import replace

import numpy as np
import pytest

from eval.predictions.prediction import Prediction
from eval.scoring.groups import length_groups, scores_by_group, study_groups
from eval.scoring.scores import score_predictions
from eval.scoring.statistics import GROUP_METRICS

TEXTS = ["edema is seen", "no edema at all in this patient", "fracture of a rib seen", "clear"]


def label(report: str) -> tuple[int, ...]:
    return tuple(
        int(name in report) for name in ["none"] * 4 + ["edema"] + ["none"] * 6 + ["fracture", "none", "clear"]
    )


PREDICTIONS = [
    Prediction(
        study_id=str(number),
        report=TEXTS[(number + number // 7) % 4],
        reference=TEXTS[number % 4],
        reference_labels=label(TEXTS[number % 4]),
        source=["x", "y", "y"][number % 3],
        view_positions=("PA", "LATERAL") if number % 2 else ("AP",),
    )
    for number in range(24)
]
SCORES = score_predictions(PREDICTIONS, num_resamples=20)


def test_scores_of_a_group_equal_the_scores_of_its_studies():
    groups = scores_by_group(SCORES, study_groups(PREDICTIONS), num_resamples=20)
    assert [(group["group"], group["num_studies"]) for group in groups["source"]] == [("y", 16), ("x", 8)]
    assert {group["group"] for group in groups["view"]} == {"AP", "LATERAL and PA"}
    kinds = [(group["group"], group["num_studies"]) for group in groups["kinds of views"]]
    assert kinds == [("frontal and lateral", 12), ("frontal only", 12)]
    alone = score_predictions([one for one in PREDICTIONS if one.source == "x"], num_resamples=20)
    for metric in ("macro_f1", "micro_f1", "rouge_l", "bleu_4"):
        assert groups["source"][1]["metrics"][metric]["value"] == pytest.approx(alone.metrics[metric].value)


def test_figures_of_groups_are_those_of_all_figures():
    rng = np.random.default_rng(0)
    probabilities = rng.random((len(PREDICTIONS), 14))
    given = [replace(one, probabilities=tuple(row)) for one, row in zip(PREDICTIONS, probabilities, strict=True)]
    statistics = score_predictions(given, num_resamples=2).statistics
    weights = rng.integers(0, 3, (5, len(PREDICTIONS))).astype(float)
    figures, of_groups = statistics.figures(weights), statistics.group_figures(weights)
    assert set(of_groups) == set(GROUP_METRICS)
    for name, values in of_groups.items():
        np.testing.assert_array_equal(values, figures[name], err_msg=name)


def test_single_group_is_omitted_and_small_groups_are_merged():
    groups = scores_by_group(
        SCORES, {"one": ["a"] * 24, "many": [f"g{number // 1}" for number in range(24)]}, num_resamples=2
    )
    assert list(groups) == ["many"]
    assert len(groups["many"]) == 12
    assert (groups["many"][-1]["group"], groups["many"][-1]["num_studies"]) == ("other", 13)


def test_lengths_are_split_into_thirds():
    names = length_groups(["w " * number for number in range(1, 31)])
    assert names[0] == "1 to 10 words"
    assert names[-1] == "21 words and more"
    assert np.unique(names, return_counts=True)[1].tolist() == [10, 10, 10]
    assert length_groups(["a b", "c d", ""]) == ["any length", "any length", "no report"]
    assert length_groups(["", ""]) == ["no report", "no report"]
