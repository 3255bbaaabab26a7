"""Laterality (left or right) of findings in reports."""

import numpy as np
import pytest

from eval.checks.consistency import consistency
from eval.metrics.laterality import (
    laterality_conflicts,
    laterality_counts,
    laterality_scores,
    report_sentences,
    stated_laterality,
    stated_sentences,
)
from eval.predictions.prediction import Prediction
from eval.scoring.scores import score_predictions
from eval.scoring.verdict import laterality_facts
from vlm.schema.findings import FINDING_INDEX, FINDINGS, NUM_FINDINGS

REFERENCE = "Findings: There is a small left pneumothorax. No right pleural effusion."


@pytest.mark.parametrize(
    ("report", "counts"),
    [
        ("Findings: Left apical pneumothorax. Right rib fracture.", [1, 1, 0]),
        ("Findings: Right apical pneumothorax.", [1, 0, 1]),
        ("Findings: Bilateral pneumothoraces.", [1, 0, 0]),
        ("Findings: Left pneumothorax. Impression: Right pneumothorax.", [1, 0, 0]),
        ("Findings: There is a pneumothorax.", [1, 0, 0]),
        ("Findings: The lungs are clear. No left pneumothorax.", [0, 0, 0]),
        ("", [0, 0, 0]),
    ],
)
def test_laterality_is_read_from_sentences_that_state_the_finding(report, counts):
    assert laterality_counts([report], [REFERENCE]).tolist() == [counts]


def test_denied_finding_has_no_laterality_and_stated_finding_may_have_none():
    sides = stated_laterality(REFERENCE)
    assert sides[FINDING_INDEX["Pneumothorax"]] == {"left"}
    assert sides[FINDING_INDEX["Pleural Effusion"]] is None
    assert stated_laterality("Findings: There is an effusion.")[FINDING_INDEX["Pleural Effusion"]] == set()


def test_two_findings_of_one_sentence_have_their_own_sides():
    sides = stated_laterality("Findings: Small left nodule and extensive right lower lobe pneumonia.")
    assert sides[FINDING_INDEX["Lung Lesion"]] == {"left"}
    assert sides[FINDING_INDEX["Pneumonia"]] == {"right"}
    reversed_sides = "Findings: Small right nodule and extensive left lower lobe pneumonia."
    reference = "Findings: Extensive right lower lobe pneumonia. Small nodule on the left."
    assert laterality_counts([reversed_sides], [reference]).tolist() == [[2, 0, 2]]


def test_devices_without_a_side_have_no_laterality():
    devices = FINDING_INDEX["Support Devices"]
    assert stated_laterality("Findings: Endotracheal tube. The right PICC ends in the SVC.")[devices] == {"right"}
    assert stated_laterality("Findings: An endotracheal tube is in place.")[devices] is None
    assert stated_laterality("Findings: There is a chest tube.")[devices] == set()


def test_bilateral_reference_findings_are_not_counted():
    counts = laterality_counts(["Findings: Left effusion."], ["Findings: Bilateral effusions."])
    assert counts.tolist() == [[0, 0, 0]]
    assert np.isnan(laterality_scores(counts.sum(axis=0))["laterality_agreement"])


@pytest.mark.parametrize(
    ("report", "conflicts"),
    [
        ("Findings: Left pneumothorax. Impression: Right pneumothorax.", ["Pneumothorax"]),
        ("Findings: Left pneumothorax. Impression: Left pneumothorax.", []),
        ("Findings: Bilateral effusions. Impression: Right effusion.", []),
        ("Findings: There is an effusion. Impression: Right effusion.", []),
        ("Findings: Left effusion. Right rib fracture. Impression: Left rib fracture. Left effusion.", ["Fracture"]),
        ("Findings: No left effusion. Impression: Right effusion.", []),
        ("Findings: Left nodule and right pneumonia. Impression: Right pneumonia, left nodule.", []),
        ("Findings: Left nodule and right pneumonia. Impression: Left pneumonia.", ["Pneumonia"]),
    ],
)
def test_impression_with_the_opposite_laterality_is_a_conflict(report, conflicts):
    assert [FINDINGS[finding] for finding in laterality_conflicts(report)] == conflicts
    found = consistency([report], [report])
    assert found.parts["laterality_conflict_rate"].tolist() == [bool(conflicts)]


def _scores(reports, name="model"):
    labels = [1 if finding == "Pneumothorax" else 0 for finding in FINDINGS]
    assert len(labels) == NUM_FINDINGS
    predictions = [
        Prediction(
            study_id=f"s{number}",
            subject_id=f"p{number}",
            report=f"Findings: {report}",
            reference=REFERENCE,
            reference_labels=tuple(labels),
        )
        for number, report in enumerate(reports)
    ]
    return score_predictions(predictions, name=name, num_resamples=200)


def test_evaluation_reports_laterality_with_its_control():
    right = _scores(["Left pneumothorax."] * 30 + ["Right pneumothorax."] * 2)
    wrong = _scores(["Left pneumothorax."] * 16 + ["Right pneumothorax."] * 16, name="shuffled images")
    assert right.metrics["laterality_agreement"].value == pytest.approx(30 / 32)
    assert right.metrics["laterality_reversal"].value == pytest.approx(2 / 32)
    (fact,) = laterality_facts(right, wrong)
    assert fact.startswith("Laterality (left or right) of 32 stated findings: .938 [")
    assert "with shuffled images .500 [" in fact
    assert "guess" not in fact
    assert "may be guesses" in laterality_facts(wrong, None)[0]
    assert laterality_facts(_scores(["The lungs are clear."] * 3), wrong) == ()


@pytest.mark.parametrize(
    "report",
    [
        "Findings: The heart is large. No effusion. Impression: Cardiomegaly.",
        "The heart is large. No effusion. Impression: Cardiomegaly.",
    ],
)
def test_headings_are_not_part_of_a_sentence(report):
    assert report_sentences(report) == ["The heart is large.", "No effusion.", "Cardiomegaly."]


def test_full_stops_after_a_space_end_sentences():
    assert report_sentences("the heart is large . no effusion .") == ["the heart is large .", "no effusion ."]


def test_each_sentence_has_its_section_and_stated_findings():
    sentences = stated_sentences("Findings: The heart is large. No effusion. Impression: Cardiomegaly.")
    assert [sentence.section for sentence in sentences] == ["Findings", "Findings", "Impression"]
    cardiomegaly = (FINDING_INDEX["Cardiomegaly"],)
    assert [sentence.findings for sentence in sentences] == [cardiomegaly, (), cardiomegaly]
