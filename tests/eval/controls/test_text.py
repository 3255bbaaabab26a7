"""Controls that need only text: no control of a patient is chosen with the patient's own reports."""

from collections import Counter

import pytest

from eval.controls.control import CONSTANT, CONSTANT_BLEU, CONSTANT_F1, MOST_FREQUENT, RANDOM
from eval.controls.text import text_controls
from eval.predictions.prediction import Prediction
from eval.scoring.verdict import SHUFFLED_REPORTS

PREDICTIONS = [
    Prediction(
        study_id=f"s{number}",
        subject_id=f"p{number // 2}",
        report=f"prediction {number}",
        reference=f"The heart is large in patient number {number // 2} and so on.",
        probabilities=(number / 20,) * 14,
    )
    for number in range(20)
]


def controls_of(predictions, control_reports=None):
    """Controls by name, and notes."""
    controls, notes = text_controls(predictions, control_reports, normalization="plain")
    return {control.name: control for control in controls}, notes


def number_of(text: str) -> int:
    return int("".join(filter(str.isdigit, text)))


def test_shuffled_reports_are_all_used_and_go_to_other_patients():
    shuffled = controls_of(PREDICTIONS)[0][SHUFFLED_REPORTS].predictions
    assert Counter(one.report for one in shuffled) == Counter(one.report for one in PREDICTIONS)
    for own, given in zip(PREDICTIONS, shuffled, strict=True):
        assert (own.study_id, own.reference) == (given.study_id, given.reference)
        assert number_of(given.report) // 2 != number_of(own.subject_id)
        assert given.probabilities == (number_of(given.report) / 20,) * 14


def test_no_patient_gets_their_own_reference_as_a_control():
    controls, notes = controls_of(PREDICTIONS)
    for name in (RANDOM, CONSTANT, CONSTANT_BLEU, CONSTANT_F1, MOST_FREQUENT):
        for own, given in zip(PREDICTIONS, controls[name].predictions, strict=True):
            assert number_of(given.report) != number_of(own.subject_id), name
            assert given.probabilities is None
    assert "chosen on the references of other patients in five groups" in notes[0]


def test_given_control_reports_are_used():
    given = ["Edema is seen.", "Edema is seen.", "The lungs are clear today."]
    controls, notes = controls_of(PREDICTIONS, given)
    assert controls[MOST_FREQUENT].report == "Edema is seen."
    assert {one.report for one in controls[CONSTANT].predictions} == {controls[CONSTANT].report}
    assert {one.report for one in controls[RANDOM].predictions} <= set(given)
    assert notes == []


@pytest.mark.parametrize("number", [1, 2])
def test_single_patient_has_no_controls_and_a_note(number):
    controls, notes = controls_of(PREDICTIONS[:number])
    assert {control.predictions for control in controls.values()} == {None}
    reason = "reports cannot be shuffled because one patient has more than half of the studies"
    assert controls[SHUFFLED_REPORTS].reason == reason
    assert notes == ["no constant controls: there is only one patient and no --control-reports"]
