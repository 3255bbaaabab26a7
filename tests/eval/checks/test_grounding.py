"""The pointing game: scored findings, hits, and baselines that do not use the image."""

import json

import numpy as np
import pytest

from eval.checks.grounding import (
    CENTER,
    FREQUENT,
    MODEL,
    frequent_locations,
    grounding,
    grounding_document,
)
from vlm.schema.findings import FINDING_INDEX, FINDINGS

EFFUSION, EDEMA = FINDING_INDEX["Pleural Effusion"], FINDING_INDEX["Edema"]
LEFT_BASE = (0, 0.6, 0.7, 0.9, 0.9)


def labels(*positive):
    return [int(index in positive) for index in range(14)]


def peaks(**points):
    """Peaks of all findings: the corner of the first view, except for the given points."""
    return [points.get(f"f{index}", (0, 0.0, 0.0)) for index in range(14)]


def test_peak_inside_a_box_of_the_finding_is_a_hit():
    result = grounding(
        [peaks(f9=(0, 0.7, 0.8)), peaks(f9=(0, 0.2, 0.8))],
        [[(EFFUSION, *LEFT_BASE)], [(EFFUSION, *LEFT_BASE)]],
        [labels(EFFUSION), labels(EFFUSION)],
    )
    assert result.is_scored[:, EFFUSION].tolist() == [True, True]
    assert result.is_scored.sum() == 2
    assert result.hits[MODEL][:, EFFUSION].tolist() == [True, False]


def test_any_box_of_the_same_finding_counts():
    boxes = [(EFFUSION, 0, 0.1, 0.7, 0.3, 0.9), (EFFUSION, *LEFT_BASE), (EDEMA, 0, 0.0, 0.0, 0.05, 0.05)]
    result = grounding([peaks(f9=(0, 0.7, 0.8), f4=(0, 0.7, 0.8))], [boxes], [labels(EFFUSION, EDEMA)])
    assert result.hits[MODEL][0, [EFFUSION, EDEMA]].tolist() == [True, False]


def test_peak_in_the_wrong_view_is_not_a_hit():
    result = grounding([peaks(f9=(1, 0.7, 0.8))], [[(EFFUSION, *LEFT_BASE)]], [labels(EFFUSION)])
    assert not result.hits[MODEL].any()


def test_only_positive_findings_with_a_box_and_a_peak_are_scored():
    box = [(EFFUSION, *LEFT_BASE)]
    uncertain = [3 if index == EFFUSION else 0 for index in range(14)]
    result = grounding(
        [peaks(), peaks(), peaks(), None],
        [box, box, [], box],
        [labels(EDEMA), uncertain, labels(EFFUSION), labels(EFFUSION)],
    )
    assert not result.is_scored.any()
    assert grounding_document(result, ["a", "b", "c", "d"]) is None


def test_center_baseline_uses_the_view_of_the_box():
    boxes = [[(EDEMA, 1, 0.4, 0.4, 0.6, 0.6)], [(EDEMA, 1, 0.4, 0.4, 0.49, 0.6)]]
    result = grounding([peaks(), peaks()], boxes, [labels(EDEMA)] * 2)
    assert result.hits[CENTER][:, EDEMA].tolist() == [True, False]


def test_frequent_location_is_inside_most_training_boxes_and_not_between_left_and_right():
    left, right = (EFFUSION, *LEFT_BASE), (EFFUSION, 0, 0.1, 0.7, 0.3, 0.9)
    lateral = (EFFUSION, 1, 0.0, 0.0, 0.2, 0.2)
    locations = frequent_locations([[left], [right, lateral], [left]], [["PA"], ["AP", "LATERAL"], ["PA"]])
    assert locations[EFFUSION, False] == pytest.approx((0.75, 0.8), abs=0.02)
    assert locations[EFFUSION, True] == pytest.approx((0.1, 0.1), abs=0.02)
    result = grounding(
        [peaks(), peaks(), peaks()],
        [[left], [right], [lateral]],
        [labels(EFFUSION)] * 3,
        view_positions=[["PA"], ["PA"], ["PA", "LL"]],
        frequent=locations,
    )
    assert result.hits[FREQUENT][:, EFFUSION].tolist() == [True, False, True]


def test_finding_without_training_boxes_uses_the_center():
    result = grounding(
        [peaks()], [[(EDEMA, 0, 0.4, 0.4, 0.6, 0.6)]], [labels(EDEMA)], view_positions=[["PA"]], frequent={}
    )
    assert result.hits[FREQUENT][0, EDEMA]


def test_document_is_json_with_counts_and_intervals():
    num_studies = 40
    points = [peaks(f9=(0, 0.7, 0.8) if study % 4 else (0, 0.2, 0.2)) for study in range(num_studies)]
    result = grounding(points, [[(EFFUSION, *LEFT_BASE)]] * num_studies, [labels(EFFUSION)] * num_studies)
    document = grounding_document(result, [f"s{study}" for study in range(num_studies)], num_resamples=200)
    json.dumps(document, allow_nan=False)
    effusion = document["per_finding"][EFFUSION]
    assert (effusion["finding"], effusion["num_scored"], effusion["num_hits"]) == (
        "Pleural Effusion",
        40,
        {MODEL: 30, CENTER: 0},
    )
    assert effusion["share"][MODEL]["value"] == 0.75
    assert 0.5 < effusion["share"][MODEL]["low"] < 0.75 < effusion["share"][MODEL]["high"] < 1
    assert document["all"][MODEL] == effusion["share"][MODEL]
    assert document["differences"][CENTER]["value"] == 0.75
    assert document["per_finding"][FINDINGS.index("Fracture")]["share"][MODEL]["value"] is None


def test_weighted_shares_are_hits_divided_by_scored_findings():
    result = grounding([peaks(f9=(0, 0.7, 0.8)), peaks()], [[(EFFUSION, *LEFT_BASE)]] * 2, [labels(EFFUSION)] * 2)
    shares = result.statistic(np.array([[1.0, 1.0], [3.0, 1.0], [0.0, 0.0]]))[f"{MODEL}, all"]
    assert shares[:2].tolist() == [0.5, 0.75]
    assert np.isnan(shares[2])
