"""All scores of a set of predictions, paired differences and the verdict."""

import dataclasses
import subprocess
import sys
import time

import numpy as np
import pytest

from data.reports.labeler.labeler import label_report
from eval.metrics.bleu import bleu
from eval.metrics.cider import cider
from eval.metrics.clinical import confusion_counts, f1_scores
from eval.metrics.errors import ERROR_KINDS, error_scores
from eval.metrics.rouge import rouge_l
from eval.predictions.prediction import Prediction
from eval.scoring.scores import METRICS, paired_difference, score_predictions
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
from vlm.schema.findings import (
    CHANGES,
    FINDINGS,
    SEVERITIES,
    UNKNOWN_CHANGE,
    UNKNOWN_CHANGES,
    UNKNOWN_SEVERITIES,
    UNKNOWN_SEVERITY,
    UNLABELED_STUDY,
)
from vlm.schema.number_format import format_number

NAMES = [finding.lower() for finding in FINDINGS]
SIDES = ("left", "right")
CHANGED = ("", "new", "worsening", "unchanged", "improved")
"""Words of the first five of CHANGES."""


def synthetic(num_studies: int, seed: int = 0, error_rate: float = 0.1) -> list[Prediction]:
    random = np.random.default_rng(seed)
    predictions = []
    for study in range(num_studies):
        truth = random.random(14) < 0.3
        stated = truth ^ (random.random(14) < error_rate)
        sides = [SIDES[side] for side in random.integers(0, 2, 14)]
        written = [side if random.random() > error_rate else SIDES[side == "left"] for side in sides]
        severities, other = np.random.default_rng([seed, study]).integers(1, 4, (2, 14))
        changes, other_changes = np.random.default_rng([seed, study, 2]).integers(1, 5, (2, 14))
        stated_changes = np.where(
            np.random.default_rng([seed, study, 3]).random(14) > error_rate, changes, other_changes
        )
        guessed = np.where(np.random.default_rng([seed, study, 1]).random(14) > error_rate, severities, other)
        reference = "Findings: " + ". ".join(
            f"{CHANGED[change]} {SEVERITIES[severity]} {side} {name}"
            for change, severity, side, name, present in zip(changes, severities, sides, NAMES, truth, strict=True)
            if present
        )
        predictions.append(
            Prediction(
                study_id=f"study{study}",
                subject_id=f"subject{study // 2}",
                report=". ".join(
                    f"{CHANGED[change]} {SEVERITIES[severity]} {side} {name}"
                    for change, severity, side, name, present in zip(
                        stated_changes, guessed, written, NAMES, stated, strict=True
                    )
                    if present
                ),
                change_probabilities=tuple(map(tuple, np.eye(len(CHANGES))[stated_changes].tolist())),
                reference_changes=tuple(int(code) for code in np.where(truth, changes, UNKNOWN_CHANGE)),
                has_prior=True,
                severity_probabilities=tuple(map(tuple, np.eye(4)[guessed].tolist())),
                reference_severities=tuple(int(code) for code in np.where(truth, severities, UNKNOWN_SEVERITY)),
                probabilities=tuple(np.clip(truth + random.normal(0, 0.5, 14), 0, 1).tolist()),
                reference=reference if truth.any() else "Findings: clear lungs",
                reference_labels=tuple(int(present) for present in truth),
            )
        )
    return predictions


def of_other_patients(predictions: list[Prediction]) -> list[Prediction]:
    others = predictions[10:] + predictions[:10]
    return [dataclasses.replace(own, report=other.report) for own, other in zip(predictions, others, strict=True)]


PREDICTIONS = synthetic(60)
SCORES = score_predictions(PREDICTIONS)
SHUFFLED = score_predictions(of_other_patients(PREDICTIONS), name="shuffled images")


def test_values_equal_the_separate_metrics():
    reports = [prediction.report for prediction in PREDICTIONS]
    references = [prediction.reference for prediction in PREDICTIONS]
    labels = [prediction.reference_labels for prediction in PREDICTIONS]
    clinical = f1_scores([label_report(report) for report in reports], labels)
    assert SCORES.metrics["macro_f1"].value == pytest.approx(clinical["macro_f1"])
    assert SCORES.metrics["micro_recall"].value == pytest.approx(clinical["micro_recall"])
    counts = confusion_counts([label_report(report) for report in reports], labels)[:, 3].sum(axis=0)
    assert SCORES.per_finding[3]["f1"].value == pytest.approx(2 * counts[0] / (2 * counts[0] + counts[1] + counts[2]))
    assert SCORES.per_finding[3]["support"] == counts[0] + counts[2]
    assert SCORES.metrics["bleu_4"].value == pytest.approx(bleu(reports, references).score[3])
    assert SCORES.metrics["cider"].value == pytest.approx(cider(reports, references).score)
    assert SCORES.metrics["rouge_l"].value == pytest.approx(rouge_l(reports, references).score)


def test_errors_are_averaged_over_the_studies_with_a_reference():
    predictions = [*PREDICTIONS[:20], *(dataclasses.replace(one, reference="") for one in PREDICTIONS[20:])]
    scores = score_predictions(predictions, num_resamples=50)
    found = error_scores(*zip(*((one.report, one.reference) for one in PREDICTIONS[:20]), strict=True))
    assert scores.metrics["error_score"].value == pytest.approx(found.scores.mean())
    assert scores.metrics["error_harm"].value == pytest.approx(found.harms.mean())
    assert scores.per_study["error_score"][:20] == pytest.approx(found.scores)
    assert np.isnan(scores.per_study["error_score"][20:]).all()
    assert [error["kind"] for error in scores.errors] == list(ERROR_KINDS)
    assert [error["num_errors"] for error in scores.errors] == found.counts.sum(axis=0).tolist()
    sides = scores.errors[ERROR_KINDS.index("wrong side")]
    assert sides["num_errors"] > 0
    assert sides["rate"].value == pytest.approx(sides["num_errors"] / 20)
    assert sides["rate"].low < sides["rate"].value < sides["rate"].high


def test_every_metric_is_inside_its_interval():
    for metric in METRICS:
        estimate = SCORES.metrics[metric]
        assert estimate.low < estimate.value < estimate.high, metric


def test_other_convention_for_uncertain_is_also_scored():
    uncertain = [
        dataclasses.replace(
            prediction, reference_labels=tuple(3 if code else 0 for code in prediction.reference_labels)
        )
        for prediction in PREDICTIONS
    ]
    scores = score_predictions(uncertain, num_resamples=10)
    assert scores.metrics["macro_f1"].value == pytest.approx(SCORES.metrics["macro_f1"].value)
    assert scores.other_convention["macro_f1"].value is None
    assert (scores.convention, scores.other_convention_name) == (
        "uncertain counts as positive",
        "uncertain counts as negative",
    )


def test_studies_without_reference_are_not_in_the_text_scores_and_give_a_note():
    without = [dataclasses.replace(prediction, reference="") for prediction in PREDICTIONS[:20]] + PREDICTIONS[20:]
    scores = score_predictions(without, num_resamples=10)
    expected = score_predictions(PREDICTIONS[20:], num_resamples=10)
    assert scores.metrics["bleu_1"].value == expected.metrics["bleu_1"].value
    assert scores.metrics["macro_f1"].value == SCORES.metrics["macro_f1"].value
    assert np.isnan(scores.per_study["cider"][:20]).all()
    assert "text scores use 40 of 60 studies, those with a reference report" in scores.notes


def test_scores_without_labels_or_references_are_undefined():
    bare = [
        dataclasses.replace(
            prediction,
            reference="",
            reference_labels=UNLABELED_STUDY,
            reference_severities=UNKNOWN_SEVERITIES,
            reference_changes=UNKNOWN_CHANGES,
            probabilities=None,
        )
        for prediction in PREDICTIONS
    ]
    scores = score_predictions(bare, num_resamples=10)
    assert all(estimate.value is None for estimate in scores.metrics.values())
    assert scores.reference_distinct_ratio is None


def test_distinct_and_empty_reports_are_counted():
    reports = ["Heart large.", "heart large", "Lungs clear.", ""]
    scores = score_predictions(
        [Prediction(study_id=str(i), report=report, reference="heart") for i, report in enumerate(reports)],
        num_resamples=10,
    )
    assert (scores.num_distinct_reports, scores.distinct_ratio, scores.num_empty_reports) == (3, 0.75, 1)
    assert scores.reference_distinct_ratio == 0.25


def test_empty_list_is_rejected():
    with pytest.raises(ValueError, match="model: 0 predictions to score"):
        score_predictions([])


def test_interval_of_a_paired_difference_is_narrower_than_both_intervals():
    worse = score_predictions(synthetic(60, error_rate=0.12))
    difference = paired_difference(SCORES, worse, "macro_f1")
    first, second = SCORES.metrics["macro_f1"], worse.metrics["macro_f1"]
    assert difference.value == pytest.approx(first.value - second.value)
    assert difference.high - difference.low < (first.high - first.low) + (second.high - second.low)


def test_comparison_on_different_studies_is_rejected():
    with pytest.raises(ValueError, match=r"model \(60 studies\) and other \(10\) were not scored on the same studies"):
        paired_difference(SCORES, score_predictions(PREDICTIONS[:10], name="other"), "cider")


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


def test_numbers_are_printed_without_a_leading_zero():
    assert [format_number(value) for value in (0.1234, -0.05, 1.0, 12.5, 0.9996, None)] == [
        ".123", "-.050", "1.000", "12.500", "1.000", "–",
    ]  # fmt: skip
    assert str(SCORES.metrics["macro_f1"]).count(".") == 3


def test_six_hundred_reports_are_scored_with_intervals_in_seconds():
    started = time.process_time()
    score_predictions(synthetic(600))
    assert time.process_time() - started < 10


def test_scoring_does_not_import_torch_or_the_model():
    program = (
        "import sys, data.reports.labeler.labeler, eval.controls.control, eval.report.page; "
        "import eval.scoring.scores, eval.scoring.verdict; "
        "print([name for name in ('torch', 'transformers', 'datasets', 'vlm.generator') if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


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


def test_single_patient_has_scores_without_intervals():
    alone = [dataclasses.replace(prediction, subject_id="one") for prediction in PREDICTIONS]
    scores = score_predictions(alone, num_resamples=10)
    assert scores.metrics["macro_f1"].value == SCORES.metrics["macro_f1"].value
    assert scores.metrics["macro_f1"].low is None
    assert "all studies are of one patient, so there are no intervals" in scores.notes
    few = score_predictions(PREDICTIONS[:6], num_resamples=10)
    assert any(note.startswith("only 3 patients: the intervals are too narrow") for note in few.notes)


def test_resamples_without_a_rare_finding_are_counted():
    rare = [
        dataclasses.replace(prediction, reference_labels=(int(number == 0), *prediction.reference_labels[1:]))
        for number, prediction in enumerate(PREDICTIONS)
    ]
    finding = score_predictions(rare, num_resamples=200).per_finding[0]
    assert finding["support"] == 1
    # A given patient of 30 is not in (29/30)^30 of the resamples.
    assert finding["recall"].num_undefined == pytest.approx(200 * 0.36, abs=30)


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


def test_scores_of_changes_by_state_add_up():
    by_state = {one["state"]: one for one in SCORES.changes}
    assert list(by_state) == list(CHANGES[1:])
    assert sum(one["support"] for one in by_state.values()) > 0 == by_state["resolved"]["support"]
    known = np.concatenate([one.reference_changes for one in PREDICTIONS])
    assert [one["num_known"] for one in by_state.values()] == [int((known == code).sum()) for code in range(1, 6)]
    assert by_state["resolved"]["f1"].value is None


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
