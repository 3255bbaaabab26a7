"""The folder of a batch evaluation: killed runs are resumed, other runs are rejected, controls can be added."""

import json

import datasets
import pytest

from eval.predictions.prediction import Prediction, read_lines
from tests.helpers.fake_generator import FakeGenerator


def test_controls_are_added_to_a_finished_run(run_batch, metrics):
    run_batch("--controls")
    generator = FakeGenerator()
    folder = run_batch("--controls", "shuffled", "constant", generator=generator)
    assert set(generator.shown[: len(generator.shown)]) <= set(range(16))
    assert metrics(folder)["verdict"]["uses_image"] == "yes"
    assert len(metrics(folder)["systems"]) == 5


def test_killed_run_is_resumed(run_batch):
    with pytest.raises(KeyboardInterrupt):
        run_batch(generator=FakeGenerator(dies_after=3))
    generator = FakeGenerator()
    folder = run_batch(generator=generator)
    assert generator.shown[:7] == [9, 10, 11, 12, 13, 14, 15]
    assert len(read_lines(folder / "predictions.jsonl", Prediction)) == 16
    again = FakeGenerator()
    run_batch(generator=again)
    assert again.shown == []


def test_resumed_run_has_the_same_scores(run_batch, metrics):
    with pytest.raises(KeyboardInterrupt):
        run_batch(generator=FakeGenerator(dies_after=7), output="killed")
    killed, whole = metrics(run_batch(output="killed")), metrics(run_batch(output="whole"))
    assert killed == whole


def test_output_directory_of_another_checkpoint_is_rejected(run_batch, tmp_path):
    run_batch()
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"other": 1}')
    with pytest.raises(
        ValueError, match=r"out contains another run: checkpoint .*checkpoint \[.*\] \(requested: .*other \["
    ):
        run_batch(checkpoint=other)


def test_operating_point_needs_curves_and_leaves_no_folder_without_them(run_batch, tmp_path):
    (tmp_path / "checkpoint" / "calibration.json").write_text("{}")
    with pytest.raises(ValueError, match=r"no thresholds for sensitivity=0.9; python -m train.fit_roc adds"):
        run_batch("--operating-point", "sensitivity=0.9", output="new")
    assert not (tmp_path / "new").exists()


def test_output_directory_of_another_operating_point_is_rejected(run_batch, tmp_path):
    folder = run_batch()
    record = json.loads((folder / "run.json").read_text())
    assert record["operating_point"] == "f1"
    (folder / "run.json").write_text(json.dumps(record | {"operating_point": "specificity=0.9"}))
    with pytest.raises(ValueError, match=r"another run: operating_point specificity=0.9 \(requested: f1\)"):
        run_batch()


def test_moved_checkpoint_is_the_same_run(run_batch, tmp_path):
    run_batch()
    (tmp_path / "checkpoint").rename(tmp_path / "moved")
    run_batch(checkpoint=tmp_path / "moved")


def test_output_directory_of_another_data_set_or_split_is_rejected(run_batch, fake_studies, tmp_path):
    run_batch()
    with pytest.raises(ValueError, match=r"contains another run: split test \(requested: validation\); give another"):
        run_batch("--split", "validation")
    with pytest.raises(ValueError, match=r"contains another run: num_studies 0 \(requested: 3\)"):
        run_batch("--num-studies", "3")
    fewer = {"test": datasets.load_from_disk(str(fake_studies))["test"].select(range(5))}
    datasets.DatasetDict(fewer).save_to_disk(tmp_path / "fewer")
    with pytest.raises(ValueError, match=r"contains another run: dataset .*studies \[.*\] \(requested: .*fewer \["):
        run_batch(dataset=tmp_path / "fewer")


def test_predictions_without_a_run_record_are_rejected(run_batch, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "predictions.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"contains predictions but no run.json; give another"):
        run_batch()
