"""The controls: what they choose, and whose images go to whom."""

import random

import numpy as np
import pytest

from eval.controls.control import all_different, constant_sentence, derangement, most_frequent_report, random_reports
from eval.metrics.cider import cider


def test_the_constant_sentence_has_the_best_cider_on_validation():
    references = [
        "Heart is large.",
        "No effusion seen today.",
        "Heart is normal. No effusion.",
        "Lungs are clear today.",
    ]
    chosen = constant_sentence(references)
    scores = {reference: cider([reference] * 4, references).score for reference in references}
    assert scores[chosen] == max(scores.values())


def test_the_constant_sentence_does_not_depend_on_the_order_of_equal_splits():
    words = ["heart", "large", "normal", "lungs", "clear", "effusion"]
    chooser = random.Random(0)
    references = [" ".join(chooser.choices(words, k=6)) for _ in range(30)]
    assert constant_sentence(references) == constant_sentence(references[::-1])


def test_large_validation_splits_are_sampled():
    references = [f"report number {number} of a large split" for number in range(1000)]
    assert constant_sentence(references) in references


def test_without_validation_reports_there_is_no_constant_sentence():
    assert constant_sentence(["", " "]) is None


def test_the_most_frequent_report_ignores_headings_and_case():
    references = ["Lungs clear.", "Findings: heart large.", "Impression: HEART LARGE", "Lungs not clear.", ""]
    assert most_frequent_report(references) == "Findings: heart large."


def test_of_equally_frequent_reports_the_alphabetically_first_is_taken():
    assert most_frequent_report(["b", "a", "b", "a", "c"]) == "a"
    assert most_frequent_report([""]) is None


def test_it_is_told_when_no_report_is_more_frequent_than_another():
    assert all_different(["Lungs clear.", "Heart large.", "", ""])
    assert not all_different(["Lungs clear.", "Findings: lungs clear"])


def test_random_reports_are_of_other_patients_and_never_empty():
    subjects = ["a", "b", "a", "", "c"] * 20
    reports = {"a": "report of a", "b": "report of b", "d": " "}
    drawn = random_reports(subjects, list(reports.values()), list(reports), seed=1)
    assert drawn == random_reports(subjects, list(reports.values()), list(reports), seed=1)
    assert drawn != random_reports(subjects, list(reports.values()), list(reports), seed=2)
    assert {report for subject, report in zip(subjects, drawn, strict=True) if subject == "a"} == {"report of b"}
    assert set(drawn) == {"report of a", "report of b"}


def test_without_a_report_of_another_patient_nothing_is_drawn():
    assert random_reports(["a"], ["report of a"], ["a"]) is None
    assert random_reports(["a"], [""], ["b"]) is None


@pytest.mark.parametrize("seed", range(5))
def test_shuffling_gives_every_study_the_images_of_another_patient(seed):
    chooser = random.Random(seed)
    subjects = [f"subject {chooser.randint(0, 8)}" for _ in range(40)]
    donors = derangement(subjects, seed)
    assert sorted(donors) == list(range(40))
    assert all(subjects[study] != subjects[donor] for study, donor in enumerate(donors))


def test_shuffling_works_up_to_half_of_the_studies_of_one_patient():
    subjects = ["a", "b", "a", "c"]
    assert all(subjects[study] != subjects[donor] for study, donor in enumerate(derangement(subjects)))


def test_shuffling_mixes_patients_rather_than_shifting_the_list():
    donors = np.array(derangement([str(study) for study in range(50)]))
    assert len(set((donors - np.arange(50)) % 50)) > 10


def test_one_patient_alone_cannot_be_shuffled():
    with pytest.raises(ValueError, match="2 of 3 studies are of subject 'a'; evaluate studies of more patients"):
        derangement(["a", "b", "a"])
