"""Change since the prior study: reports and the change head against the reference."""

import numpy as np
import pytest

from eval.checks.temporal import (
    STATES,
    change_decision_counts,
    change_scores,
    prior_counts,
    prior_document,
    temporal_counts,
    temporal_scores,
)
from vlm.schema.findings import CHANGES, FINDING_INDEX, UNKNOWN_CHANGE

REFERENCES = ["New left effusion. Edema has improved.", "Stable cardiomegaly.", "Clear lungs.", ""]
REPORTS = ["New right effusion. Worsening edema.", "Unchanged cardiomegaly.", "The effusion has resolved.", "New mass."]


def test_pairs_of_finding_and_change_are_counted_by_state():
    counts = temporal_counts(REPORTS, REFERENCES)
    assert counts.shape == (4, len(STATES), 3)
    both, report_only, reference_only = counts.sum(axis=0).T
    assert dict(zip(STATES, both, strict=True)) == {"new": 1, "worse": 0, "unchanged": 1, "better": 0, "resolved": 0}
    assert report_only[STATES.index("worse")] == 1 and report_only[STATES.index("resolved")] == 1
    assert reference_only.tolist() == [0, 0, 0, 1, 0]
    assert not counts[3].any()  # no reference


def test_the_same_change_of_another_finding_is_wrong():
    counts = temporal_counts(["New edema."], ["New effusion."])
    assert counts[0, STATES.index("new")].tolist() == [0, 1, 1]


def test_scores_pool_pairs_and_average_over_the_states_of_the_references():
    scores = temporal_scores(temporal_counts(REPORTS, REFERENCES).sum(axis=0))
    assert scores["temporal_precision"] == 2 / 4
    assert scores["temporal_recall"] == 2 / 3
    assert scores["temporal_f1"] == pytest.approx(4 / 7)
    assert scores["macro_temporal_f1"] == pytest.approx((1 + 1 + 0) / 3)  # new, unchanged, better
    assert np.isnan(scores["state f1"][[1, 4]]).all()


def test_scores_are_undefined_where_no_reference_compares():
    scores = temporal_scores(temporal_counts(["New effusion."], ["Effusion."]).sum(axis=0))
    assert all(np.isnan(values).all() for values in scores.values())
    silent = temporal_scores(temporal_counts(["Effusion."], ["New effusion."]).sum(axis=0))
    assert silent["temporal_f1"] == silent["temporal_precision"] == 0


def test_most_probable_change_is_scored_where_the_change_is_known_and_not_none():
    changes = np.full((3, 14), UNKNOWN_CHANGE)
    changes[0, :4] = [CHANGES.index(name) for name in ("new", "new", "worse", "none")]
    changes[1, FINDING_INDEX["Edema"]] = CHANGES.index("resolved")
    changes[2, 0] = CHANGES.index("new")
    probabilities = np.zeros((3, 14, len(CHANGES)))
    probabilities[..., CHANGES.index("new")] = 1
    probabilities[2] = np.nan  # a study without a prior
    scores = change_scores(change_decision_counts(probabilities, changes).sum(axis=0))
    assert scores["change_accuracy"] == 2 / 4
    assert scores["macro_change_accuracy"] == pytest.approx((1 + 0 + 0) / 3)
    assert np.isnan(change_scores(np.zeros((5, 2)))["change_accuracy"])


def test_rates_tell_what_the_reports_say_of_a_prior_study():
    reports = ["Stable cardiomegaly. New effusion.", "Clear lungs.", "Compared to the prior study, clear.", ""]
    still = np.eye(len(CHANGES))[[CHANGES.index("unchanged")] * 14]
    new = np.eye(len(CHANGES))[[CHANGES.index("new")] * 14]
    counts = prior_counts(reports, [still, new, None, None])
    assert counts["unchanged_share"].sum(axis=0).tolist() == [1, 2]
    assert counts["still_share"].tolist() == [[13, 13], [0, 13], [0, 0], [0, 0]]
    assert counts["mention_rate"].tolist() == [[1, 1], [0, 1], [1, 1], [0, 0]]
    document = prior_document({"model": counts}, ["a", "b", "c", "d"], num_resamples=20, seed=0)
    rates = document["systems"]["model"]
    assert document["num_studies"] == 4
    assert rates["mention_rate"]["value"] == pytest.approx(2 / 3) and rates["still_share"]["value"] == 0.5
