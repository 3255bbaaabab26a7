"""Consistency of reports: rates against manual counts, intervals, and excluded studies."""

import json
import subprocess
import sys

import numpy as np
import pytest

from eval.checks.consistency import RATES, consistency, consistency_document
from eval.report.tables import consistency_lines
from vlm.schema.findings import FINDING_INDEX, FINDINGS

EFFUSION, EDEMA = FINDING_INDEX["Pleural Effusion"], FINDING_INDEX["Edema"]
REPORTS = [
    "No effusion. Small left effusion.",
    "The lungs are clear. The lungs are clear. The heart is normal.",
    "Compared to the prior study, the edema has increased. No effusion.",
    "",
]


def rates(found, weights=None):
    weights = np.ones((1, len(found.contradictions))) if weights is None else np.array([weights], dtype=float)
    return {name: values[0] for name, values in found.statistic(weights).items()}


def test_rates_match_manual_counts():
    found = rates(consistency(REPORTS, ["a b c d e"] * 4))
    assert found["contradiction_rate"] == pytest.approx(1 / 3)  # the empty report is not counted
    assert found["prior_report_rate"] == pytest.approx(1 / 3)
    assert found["prior_sentence_rate"] == pytest.approx(1 / 7)
    assert found["repeated_sentence_rate"] == pytest.approx(1 / 7)
    assert found["length_ratio"] == pytest.approx((5 + 12 + 11 + 0) / 20)
    assert np.isnan(found["disagreement_rate"])


def test_reports_of_studies_with_a_prior_may_mention_it():
    found = consistency(REPORTS, ["a b c d e"] * 4, has_prior=[False, False, True, True])
    assert rates(found)["prior_report_rate"] == 0
    assert found.prior_sentences == ((), (), (), ())
    one_without = consistency(REPORTS, ["a b c d e"] * 4, has_prior=[True, False, False, True])
    assert rates(one_without)["prior_report_rate"] == 1 / 2
    assert rates(one_without)["prior_sentence_rate"] == 1 / 5
    assert np.isnan(rates(consistency(REPORTS, REPORTS, has_prior=[True] * 4))["prior_report_rate"])


def test_examples_are_listed_per_study():
    found = consistency(REPORTS, REPORTS)
    assert [len(one) for one in found.contradictions] == [1, 0, 0, 0]
    assert found.repeated_sentences[1] == ("The lungs are clear.",)
    assert found.prior_sentences[2] == ("Compared to the prior study, the edema has increased.",)


def test_disagreements_are_counted_in_both_directions():
    probabilities = np.zeros((3, 14))
    probabilities[0, EDEMA] = 0.7
    probabilities[2, EFFUSION] = np.nan
    probabilities[:, FINDING_INDEX["No Finding"]] = [0.0, 1.0, 0.0]
    found = consistency(["Left effusion.", "The lungs are clear.", "Left effusion."], [""] * 3, probabilities)
    assert np.argwhere(found.report_only).tolist() == [[0, EFFUSION]]
    assert np.argwhere(found.classifier_only).tolist() == [[0, EDEMA]]
    assert found.is_compared.sum() == 3 * 14 - 1
    assert rates(found)["disagreement_rate"] == pytest.approx(2 / 41)
    disagreements = (found.report_only | found.classifier_only)[:, EFFUSION].sum()
    assert disagreements / found.is_compared[:, EFFUSION].sum() == pytest.approx(1 / 2)


def test_thresholds_define_positive_predictions_of_the_classifier():
    probabilities = np.full((1, 14), 0.3)
    arguments = [["Left effusion."], [""], probabilities]
    assert consistency(*arguments).classifier_only.sum() == 0
    assert consistency(*arguments, [0.2] * 14).classifier_only.sum() == 13
    assert consistency(*arguments, np.where(np.arange(14) == EDEMA, 0.2, 0.9)[None]).classifier_only.sum() == 1


def test_uncertain_findings_follow_the_convention():
    probabilities = np.zeros((1, 14))
    arguments = [["Possible left effusion."], [""], probabilities]
    assert consistency(*arguments).report_only[0, EFFUSION]
    assert not consistency(*arguments, uncertain_is_positive=False).report_only[0, EFFUSION]


def test_weights_repeat_studies():
    found = consistency(["No effusion. Left effusion.", "Clear."], ["one two", "one two three four"])
    weighted = rates(found, [3, 1])
    assert weighted["contradiction_rate"] == pytest.approx(3 / 4)
    assert weighted["length_ratio"] == pytest.approx((3 * 4 + 1) / (3 * 2 + 4))


def test_rates_are_undefined_without_studies_or_text():
    for found in (consistency([], []), consistency([""], [""])):
        assert all(np.isnan(rates(found)[name]) for name in RATES)


def test_document_is_json_with_intervals_and_examples():
    found = consistency(REPORTS * 10, ["a b c d e"] * 40)
    names = [f"study{number}" for number in range(40)]
    of_references = consistency(["Clear lungs."] * 40, ["Clear lungs."] * 40)
    document = consistency_document(found, names, names, references=of_references, num_resamples=100)
    json.dumps(document, allow_nan=False)
    rate = document["rates"]["contradiction_rate"]
    assert 0 < rate["low"] < rate["value"] < rate["high"] < 1
    assert document["rates"]["disagreement_rate"]["value"] is None
    assert document["contradictions"][1] == {
        "study_id": "study4",
        "finding": "Pleural Effusion",
        "stated": "Small left effusion.",
        "denied": "No effusion.",
    }
    assert len(document["prior_sentences"]) == 10
    assert [one["finding"] for one in document["per_finding"]] == list(FINDINGS)
    line = consistency_lines({"consistency": document})[2]
    assert line.startswith("- Reports that state and deny the same finding: 33.3% [")
    assert line.endswith("] (reference reports: 0.0% [0.0%, 0.0%])")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"references": ["a"]}, "2 reports but 1 references"),
        ({"probabilities": np.zeros((2, 13))}, r"probabilities are \(2, 13\) but reference labels \(2, 14\)"),
        (
            {"probabilities": np.zeros((2, 14)), "thresholds": [0.5] * 3},
            r"thresholds are \(3,\) but must be one per",
        ),
    ],
)
def test_lists_of_wrong_length_are_rejected(arguments, message):
    with pytest.raises(ValueError, match=message):
        consistency(**({"reports": ["a", "b"], "references": ["a", "b"]} | arguments))


def test_checks_do_not_import_torch_or_transformers():
    modules = "eval.checks.consistency, eval.checks.grounding, eval.retrieval.index, eval.controls.control"
    code = f"import sys, {modules}; print({{'torch', 'transformers'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
