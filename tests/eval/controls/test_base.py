"""Choice of the control reports, and shuffling of images between patients."""

import random

import numpy as np
import pytest

from eval.controls.control import all_different, constant_sentence, derangement, most_frequent_report, random_reports
from eval.metrics.cider import cider


def test_constant_sentence_has_the_best_cider_on_validation():
    references = [
        "Heart is large.",
        "No effusion seen today.",
        "Heart is normal. No effusion.",
        "Lungs are clear today.",
    ]
    chosen = constant_sentence(references)
    scores = {reference: cider([reference] * 4, references).score for reference in references}
    assert scores[chosen] == max(scores.values())


def test_constant_sentence_does_not_depend_on_the_order_of_reports():
    words = ["heart", "large", "normal", "lungs", "clear", "effusion"]
    chooser = random.Random(0)
    references = [" ".join(chooser.choices(words, k=6)) for _ in range(30)]
    assert constant_sentence(references) == constant_sentence(references[::-1])


def test_large_validation_splits_are_sampled():
    references = [f"report number {number} of a large split" for number in range(1000)]
    assert constant_sentence(references) in references


def test_no_constant_sentence_without_validation_reports():
    assert constant_sentence(["", " "]) is None


def test_most_frequent_report_ignores_headings_and_case():
    references = ["Lungs clear.", "Findings: heart large.", "Impression: HEART LARGE", "Lungs not clear.", ""]
    assert most_frequent_report(references) == "Findings: heart large."


def test_ties_in_frequency_are_resolved_alphabetically():
    assert most_frequent_report(["b", "a", "b", "a", "c"]) == "a"
    assert most_frequent_report([""]) is None


def test_all_different_ignores_headings_and_empty_reports():
    assert all_different(["Lungs clear.", "Heart large.", "", ""])
    assert not all_different(["Lungs clear.", "Findings: lungs clear"])


def test_random_reports_come_from_other_patients_and_are_never_empty():
    subjects = ["a", "b", "a", "", "c"] * 20
    reports = {"a": "report of a", "b": "report of b", "d": " "}
    drawn = random_reports(subjects, list(reports.values()), list(reports), seed=1)
    assert drawn == random_reports(subjects, list(reports.values()), list(reports), seed=1)
    assert drawn != random_reports(subjects, list(reports.values()), list(reports), seed=2)
    assert {report for subject, report in zip(subjects, drawn, strict=True) if subject == "a"} == {"report of b"}
    assert set(drawn) == {"report of a", "report of b"}


def test_no_random_report_without_another_patient():
    assert random_reports(["a"], ["report of a"], ["a"]) is None
    assert random_reports(["a"], [""], ["b"]) is None


@pytest.mark.parametrize("seed", range(5))
def test_every_study_gets_the_images_of_another_patient(seed):
    chooser = random.Random(seed)
    subjects = [f"subject {chooser.randint(0, 8)}" for _ in range(40)]
    donors = derangement(subjects, seed)
    assert sorted(donors) == list(range(40))
    assert all(subjects[study] != subjects[donor] for study, donor in enumerate(donors))


def test_patient_with_half_of_the_studies_can_be_shuffled():
    subjects = ["a", "b", "a", "c"]
    assert all(subjects[study] != subjects[donor] for study, donor in enumerate(derangement(subjects)))


def test_shuffling_is_not_a_shift_of_the_list():
    donors = np.array(derangement([str(study) for study in range(50)]))
    assert len(set((donors - np.arange(50)) % 50)) > 10


def test_patient_with_most_studies_cannot_be_shuffled():
    with pytest.raises(ValueError, match="2 of 3 studies are of subject 'a'; evaluate studies of more patients"):
        derangement(["a", "b", "a"])
