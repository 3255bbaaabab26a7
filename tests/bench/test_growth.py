"""Growth: the figures of a program are those of its own process; simulated studies can be prepared and scored."""

import json

import pytest

from bench import growth
from bench.speed.simulated import write_predictions, write_studies
from eval.predictions.prediction import Prediction, read_lines
from vlm.schema.findings import POSITIVE, UNCERTAIN


def test_figures_of_a_program_are_saved_and_kept(tmp_path, capsys):
    output = tmp_path / "growth.json"
    for number in ("4", "3"):
        growth.main(["--numbers", number, "--only", "prepare", "--output", str(output)])
    assert "4 studies, data.prepare table" in capsys.readouterr().out
    measured = json.loads(output.read_text())["programs"]["data.prepare table"]
    assert list(measured) == ["3", "4"]
    for figures in measured.values():
        assert 0.1 < figures["cpu_seconds"] < 60
        assert 20 < figures["peak_mib"] < 2000


def test_failed_program_is_named_with_its_message(tmp_path):
    with pytest.raises(RuntimeError, match=r"(?s)data.audit .*missing ended with status 2.*missing"):
        growth._run(tmp_path / "figures.json", ["data.audit", str(tmp_path / "missing")])


def test_wrong_options_are_rejected():
    with pytest.raises(ValueError, match="--only train is not measured; choose from prepare, audit, drafts, score"):
        growth.GrowthOptions(only=("train",))
    with pytest.raises(ValueError, match="--numbers are"):
        growth.GrowthOptions(numbers=(0,))


def test_simulated_studies_are_the_same_for_every_number(tmp_path):
    few, many = (write_studies(tmp_path / str(number), number) for number in (3, 5))
    assert many.read_text().startswith(few.read_text())
    images = [path.read_bytes() for path in (tmp_path / "5" / "images").iterdir()]
    assert len(set(images)) == 5


def test_simulated_predictions_agree_with_their_reference_more_than_by_chance(tmp_path):
    write_predictions(tmp_path / "predictions.jsonl", 60)
    predictions = read_lines(tmp_path / "predictions.jsonl", Prediction)
    assert len({prediction.report for prediction in predictions}) > 50
    present, absent = [], []
    for prediction in predictions:
        for label, probability in zip(prediction.reference_labels, prediction.probabilities, strict=True):
            (present if label in (POSITIVE, UNCERTAIN) else absent).append(probability)
    assert sum(present) / len(present) > sum(absent) / len(absent) + 0.1
