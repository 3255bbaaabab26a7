"""Controls that need only text: no control of a patient is chosen with the patient's own reports."""

from collections import Counter

import datasets
import pytest

from eval.controls.control import CONSTANT, CONSTANT_BLEU, CONSTANT_F1, MOST_FREQUENT, RANDOM, SOURCE
from eval.controls.text import split_controls, text_controls
from eval.predictions.prediction import Prediction
from eval.scoring.verdict import SHUFFLED_REPORTS
from vlm.schema.findings import FINDING_INDEX, NEGATIVE, POSITIVE, UNLABELED

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


def test_source_control_says_only_what_the_source_tells():
    opacity, normal = FINDING_INDEX["Lung Opacity"], FINDING_INDEX["No Finding"]

    def rows(split, sources):
        studies = [study(f"{split}{number}", source, number) for number, source in enumerate(sources)]
        return datasets.Dataset.from_list(studies)

    def study(name, source, number):
        labels = [UNLABELED] * 14
        labels[opacity] = POSITIVE if source == "hospital" and number % 4 else NEGATIVE
        labels[normal] = POSITIVE if source == "screening" else UNLABELED
        findings = "Opacity." if source == "hospital" else "Clear."
        texts = {"findings": findings, "impression": ""}
        return {"study_id": name, "subject_id": name, "source": source, "labels": labels, **texts}

    splits = {"train": rows("t", ["hospital"] * 8 + ["screening"] * 4), "test": rows("x", ["screening", "hospital"])}
    predictions = [Prediction(study_id=f"x{n}", subject_id=f"x{n}", report="?", reference="!") for n in (0, 1)]
    [control], notes = split_controls(predictions, splits, kinds=["source"])
    assert control.name == SOURCE and notes == []
    screening, hospital = control.predictions
    assert (screening.report, hospital.report) == ("Findings: Clear.", "Findings: Opacity.")
    assert (screening.probabilities[opacity], hospital.probabilities[opacity]) == (0.0, 0.75)
    assert (screening.probabilities[normal], hospital.probabilities[normal]) == (1.0, 1.0)  # unlabeled there: of all
    assert split_controls(predictions[:1], splits, kinds=["source"]) == ([], [])
