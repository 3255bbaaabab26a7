"""The verdict and its facts: do the reports depend on the image and use the prior study, and what does better?"""

import dataclasses

from eval.predictions.prediction import Prediction
from eval.scoring.scores import paired_difference, score_predictions
from eval.scoring.verdict import (
    baseline_facts,
    constant_facts,
    constant_verdict,
    image_verdict,
    outperformed_by,
    prior_facts,
    prior_verdict,
    report_verdict,
    severity_facts,
)
from tests.helpers.predictions import of_other_patients, synthetic
from vlm.schema.number_format import format_number

PREDICTIONS = synthetic(60)
SCORES = score_predictions(PREDICTIONS)
SHUFFLED = score_predictions(of_other_patients(PREDICTIONS), name="shuffled images")


def test_verdict_if_reports_depend_on_the_image():
    verdict = image_verdict(SCORES, SHUFFLED)
    assert verdict.grade == "yes"
    assert verdict.sentence.startswith(
        f"The reports depend on the image: macro-F1 (14) {format_number(SCORES.metrics['macro_f1'].value)} against "
        f"{format_number(SHUFFLED.metrics['macro_f1'].value)} with shuffled images; paired difference ."
    )


def test_verdict_if_reports_depend_slightly_on_the_image():
    nearly_constant = [
        prediction if number % 12 == 0 else dataclasses.replace(prediction, report="edema. fracture. pneumonia")
        for number, prediction in enumerate(synthetic(400))
    ]
    scores = score_predictions(nearly_constant)
    shuffled = score_predictions(of_other_patients(nearly_constant), name="shuffled images")
    verdict = image_verdict(scores, shuffled)
    assert verdict.grade == "slightly"
    assert verdict.sentence.startswith("The reports depend on the image, but only slightly: ")


def test_verdict_if_reports_do_not_depend_on_the_image():
    constant = [dataclasses.replace(prediction, report="edema. fracture") for prediction in PREDICTIONS]
    scores = score_predictions(constant)
    verdict = image_verdict(scores, score_predictions(constant, name="shuffled images"))
    assert verdict.grade == "no"
    assert verdict.sentence.startswith("There is no sign that the reports depend on the image: macro-F1 (14) ")
    assert verdict.sentence.endswith("paired difference .000 [.000, .000], which includes 0.")


def test_verdict_if_images_of_other_patients_score_higher():
    verdict = image_verdict(SHUFFLED, SCORES)
    assert verdict.grade == "no"
    assert verdict.sentence.endswith("so other patients' images do better.")


def test_systems_significantly_better_than_the_model_are_named():
    weak = score_predictions(synthetic(60, error_rate=0.3))
    close = score_predictions(synthetic(60, error_rate=0.31), name="close one")
    others = {"close one": close, "nearest neighbor": SCORES, "shuffled images": SHUFFLED}
    sentence = outperformed_by(weak, others)
    difference = paired_difference(weak, SCORES, "macro_f1")
    figures = (
        f"{format_number(SCORES.metrics['macro_f1'].value)} against {format_number(weak.metrics['macro_f1'].value)}"
    )
    assert sentence.startswith(
        f"The nearest neighbor does better than the model in macro-F1 (14): {figures}, paired difference {difference}."
    )
    assert "in CIDEr" in sentence
    assert "close one" not in sentence
    assert "shuffled images" not in sentence
    assert outperformed_by(SCORES, others) == ""


def test_verdict_without_reference_reports_uses_the_probabilities():
    no_text = [dataclasses.replace(prediction, reference="", report="edema") for prediction in PREDICTIONS]
    scores = score_predictions(no_text)
    rotated = [*no_text[7:], *no_text[:7]]
    others = [
        dataclasses.replace(own, probabilities=other.probabilities) for own, other in zip(no_text, rotated, strict=True)
    ]
    shuffled = score_predictions(others, name="shuffled images")
    verdict = image_verdict(scores, shuffled)
    assert verdict.sentence.startswith("The finding probabilities depend on the image: macro AUROC (probabilities) ")
    assert image_verdict(scores, scores).sentence.startswith("There is no sign that the finding probabilities depend")


def test_verdict_without_a_control_has_the_reason():
    verdict = image_verdict(SCORES, None, "2 of 3 studies are of subject 'a'")
    assert verdict.grade == "unknown"
    assert verdict.sentence == (
        "It is unknown whether the reports depend on the image: 2 of 3 studies are of subject 'a'."
    )


def test_verdict_against_the_constant_sentence():
    constant = [dataclasses.replace(prediction, report="edema. fracture") for prediction in PREDICTIONS]
    scores = score_predictions(constant, name="constant sentence")
    assert constant_verdict(SCORES, scores).startswith("The text is closer to the references than one constant report")
    assert constant_verdict(scores, SCORES).startswith("The text is not shown to be closer")


def test_facts_compare_the_model_with_the_baseline_for_each_metric():
    worse = score_predictions(synthetic(60, error_rate=0.4), name="baseline")
    findings, sides, wording = baseline_facts(SCORES, worse)
    assert findings.startswith("Better than the baseline in macro-F1 (14): ")
    assert sides.startswith("Better than the baseline in laterality agreement")
    assert wording.startswith("Better than the baseline in CIDEr: ")
    assert baseline_facts(worse, dataclasses.replace(SCORES, name="baseline"))[0].startswith("Worse than the baseline")
    assert baseline_facts(SCORES, dataclasses.replace(SCORES, name="baseline"))[0].startswith("No better than")
    assert baseline_facts(SCORES, None) == ()


def test_verdict_without_a_model_uses_shuffled_reports():
    verdict = report_verdict(SCORES, SHUFFLED)
    assert verdict.grade == "yes"
    assert verdict.sentence.startswith("The reports depend on the patient: macro-F1 (14) ")
    assert "image" not in verdict.sentence
    assert report_verdict(SHUFFLED, SCORES).sentence.startswith(
        "There is no sign that the reports depend on the patient"
    )
    assert report_verdict(SCORES, None, "one patient").sentence.endswith("depend on the patient: one patient.")


def test_verdict_distinguishes_wording_from_findings():
    words = [dataclasses.replace(prediction, report=f"patient {prediction.study_id}") for prediction in PREDICTIONS]
    words = [dataclasses.replace(one, reference=f"{one.reference} patient {one.study_id}") for one in words]
    scores = score_predictions(words)
    shuffled = score_predictions(of_other_patients(words), name="shuffled reports")
    verdict = report_verdict(scores, shuffled)
    assert verdict.grade == "slightly"
    assert verdict.sentence.startswith(
        "The wording depends on the patient, but there is no sign that the findings do: "
    )


def test_facts_compare_the_model_with_one_constant_report_for_each_metric():
    constant = [dataclasses.replace(prediction, report="edema. fracture") for prediction in PREDICTIONS]
    control = score_predictions(constant, name="constant sentence")
    better = constant_facts(SCORES, {"macro_f1": control, "bleu_4": control})
    assert [fact.split(" one")[0] for fact in better[2:]] == ["Better than", "Better than"]
    same = constant_facts(control, {"macro_f1": control})
    assert same[0].startswith("1 report for 30 patients (the references: ")
    assert same[2].startswith("No better than one constant report in macro-F1 (14): ")


def test_severities_of_shuffled_images_are_named_and_guesses_are_called_so():
    [fact] = severity_facts(SCORES, SHUFFLED)
    own, control = (scores.metrics["severity_agreement"] for scores in (SCORES, SHUFFLED))
    assert own.low > control.high
    assert fact.startswith("Severity (small, moderate or large) of ")
    assert f"{own} agree with the reference; with shuffled images {control} agree." in fact
    [guess] = severity_facts(SHUFFLED, SHUFFLED)
    assert guess.endswith("; the severities may be guesses.")
    silent = score_predictions([dataclasses.replace(one, report="clear lungs") for one in PREDICTIONS], num_resamples=5)
    assert severity_facts(silent, SHUFFLED) == ()
    assert silent.metrics["severity_accuracy"].value == SCORES.metrics["severity_accuracy"].value > 0.8


def with_reports_and_changes_of(others: list[Prediction]) -> list[Prediction]:
    return [
        dataclasses.replace(own, report=other.report, change_probabilities=other.change_probabilities)
        for own, other in zip(PREDICTIONS, others, strict=True)
    ]


ANOTHER_PRIOR = score_predictions(
    with_reports_and_changes_of(PREDICTIONS[10:] + PREDICTIONS[:10]), name="another prior", num_resamples=200
)


def test_reports_that_get_worse_with_another_prior_use_the_prior():
    model = score_predictions(PREDICTIONS, num_resamples=200)
    verdict = prior_verdict(model, ANOTHER_PRIOR)
    assert verdict.grade == "yes"
    value, other = (format_number(one.metrics["temporal_f1"].value) for one in (model, ANOTHER_PRIOR))
    assert verdict.sentence.startswith(
        f"The reports use the prior study: temporal F1 {value} against {other} with another patient's prior; paired "
    )


def test_reports_that_stay_the_same_with_another_prior_do_not_use_it():
    same = score_predictions(PREDICTIONS, name="another prior")
    verdict = prior_verdict(SCORES, same)
    assert verdict.grade == "no"
    assert verdict.sentence.startswith("There is no sign that the reports use the prior study: temporal F1 ")
    assert "which includes 0" in verdict.sentence
    worse = score_predictions(with_reports_and_changes_of(PREDICTIONS[10:] + PREDICTIONS[:10]))
    assert "so other patients' priors do better" in prior_verdict(worse, SCORES).sentence


def test_change_head_decides_if_no_reference_compares():
    without = [dataclasses.replace(one, reference="") for one in PREDICTIONS]
    others = [
        dataclasses.replace(own, change_probabilities=other.change_probabilities)
        for own, other in zip(without, without[10:] + without[:10], strict=True)
    ]
    model, another = (score_predictions(one, num_resamples=200) for one in (without, others))
    assert model.metrics["temporal_f1"].value is None
    sentence = prior_verdict(model, another).sentence
    assert sentence.startswith("The change probabilities depend on the prior study: change accuracy ")


def test_without_the_control_it_is_unknown_whether_the_prior_is_used():
    verdict = prior_verdict(SCORES, None, "the control was not requested")
    assert verdict.grade == "unknown"
    assert verdict.sentence.endswith("use the prior study: the control was not requested.")


def test_facts_on_priors_name_what_is_stated():
    rate = {"value": 0.9, "low": 0.8, "high": 1.0}
    rates = {
        "model": {"unchanged_share": rate | {"value": 0.3}, "mention_rate": rate},
        "own prior": {"unchanged_share": rate},
        "no prior": {"mention_rate": {"value": 0.0, "low": 0.0, "high": 0.0}},
    }
    own, none = prior_facts(rates)
    assert own.startswith("With the study as its own prior, 90.0% [80.0%, 100.0%] of the stated changes are")
    assert none.startswith("Without a prior study, 0.0%") and "with it, 90.0%" in none
    assert prior_facts({"model": {}}) == ()
