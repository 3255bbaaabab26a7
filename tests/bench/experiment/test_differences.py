"""Paired differences between experiments from their saved predictions."""

import json

import pytest

from bench.experiment.recipe import add_differences
from eval.predictions.prediction import Prediction, write_lines

TRUE = ("The heart is enlarged.", "There is a left pleural effusion.", "Right pneumothorax.", "The lungs are clear.")


@pytest.fixture
def experiments(tmp_path):
    """`experiments(full=…, other=…)`: reports of each on four studies; returns the records."""

    def save(**reports):
        paths = []
        for name, written in reports.items():
            lines = [
                Prediction(study_id=f"s{number}", report=report, reference=TRUE[number], reference_labels=(0,) * 14)
                for number, report in enumerate(written)
            ]
            folder = tmp_path / "work" / name / "on_synthetic"
            folder.mkdir(parents=True)
            write_lines(folder / "predictions.jsonl", lines)
            path = tmp_path / f"{name}.json"
            path.write_text(json.dumps({"name": name, "evaluations": {"synthetic": {"differences": {}}}}))
            paths.append(path)
        return paths

    return save


def differences_in(path):
    return json.loads(path.read_text())["evaluations"]["synthetic"]["differences"]


def test_record_gets_its_paired_difference_to_the_full_experiment(experiments, tmp_path):
    worse = ("Normal.", "Normal.", "Normal.", TRUE[3])
    full, same, other = experiments(full=TRUE, same=TRUE, other=worse)
    add_differences([full, same, other], tmp_path / "work", "full")
    assert differences_in(full) == {}
    assert differences_in(same)["full"]["cider"] == {"value": 0, "low": 0, "high": 0, "num_undefined": 0}
    assert differences_in(other)["full"]["cider"]["high"] < 0
    assert "macro_auroc" not in differences_in(other)["full"]


def test_differences_need_predictions_of_both_and_are_kept(experiments, tmp_path):
    full, other = experiments(full=TRUE, other=TRUE)
    add_differences([other], tmp_path / "work", "absent")
    assert differences_in(other) == {}
    other.write_text(json.dumps({"name": "other", "evaluations": {"synthetic": {"differences": {"full": "saved"}}}}))
    add_differences([full, other], tmp_path / "work", "full")
    assert differences_in(other) == {"full": "saved"}
