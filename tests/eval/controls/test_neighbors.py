"""Reports of the nearest neighbor, with a tiny model and synthetic studies, and reuse of its features."""

import datasets
import numpy as np
import pytest

from data.study import FEATURES, load_studies
from eval.controls.neighbors import main, neighbor_predictions
from eval.predictions.prediction import Prediction, read_lines
from eval.retrieval.index import FeatureIndex, load_index
from vlm.generator import ReportGenerator
from vlm.schema.report_format import compose_report


def run(tiny_checkpoint, dataset, output, *flags):
    main(["--checkpoint", str(tiny_checkpoint), "--dataset", str(dataset), "--output", str(output), *flags])
    return read_lines(output, Prediction)


def test_each_study_gets_the_report_of_the_most_similar_training_study(
    tiny_checkpoint, small_dataset, small_studies, tmp_path
):
    predictions = run(tiny_checkpoint, small_dataset, tmp_path / "out" / "neighbors.jsonl")
    assert [prediction.study_id for prediction in predictions] == small_studies["test"]["study_id"][:]
    generator = ReportGenerator.from_pretrained(tiny_checkpoint)
    train, test = (
        generator.features(rows["images"][:], view_positions=rows["view_positions"][:])
        for rows in (small_studies["train"], small_studies["test"])
    )
    for prediction, cosines in zip(predictions, test @ train.T, strict=True):
        row = small_studies["train"][int(cosines.argmax())]
        assert prediction.neighbor_study_id == row["study_id"]
        assert prediction.report == compose_report(findings=row["findings"], impression=row["impression"])
        assert prediction.similarity == pytest.approx(cosines.max(), abs=2e-3)
        assert prediction.control == "nearest neighbor"


def test_features_are_reused_for_the_same_studies_only(tiny_checkpoint, small_dataset, tmp_path, monkeypatch):
    run(tiny_checkpoint, small_dataset, tmp_path / "n.jsonl", "--index", str(tmp_path / "index.safetensors"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.safetensors", "n.jsonl", "n.test.safetensors"]
    index = load_index(tmp_path / "index.safetensors")
    assert len(index.study_ids) == 16
    monkeypatch.setattr(ReportGenerator, "features", lambda *arguments, **options: pytest.fail("computed again"))
    again = run(tiny_checkpoint, small_dataset, tmp_path / "n.jsonl", "--index", str(tmp_path / "index.safetensors"))
    assert len(again) == 6
    monkeypatch.undo()
    run(tiny_checkpoint, small_dataset, tmp_path / "n.jsonl", "--split", "validation")
    assert load_index(tmp_path / "n.validation.safetensors").study_ids != index.study_ids


def test_killed_run_resumes_with_the_next_piece(tiny_checkpoint, small_dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("eval.retrieval.features.STUDIES_PER_PIECE", 6)
    features, num_computed = ReportGenerator.features, []

    def features_until_killed(self, images, **options):
        if sum(num_computed) >= 12:
            raise KeyboardInterrupt
        num_computed.append(len(images))
        return features(self, images, **options)

    monkeypatch.setattr(ReportGenerator, "features", features_until_killed)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_checkpoint, small_dataset, tmp_path / "n.jsonl")
    num_computed.clear()
    monkeypatch.setattr(
        ReportGenerator,
        "features",
        lambda self, images, **o: num_computed.append(len(images)) or features(self, images, **o),
    )
    killed = run(tiny_checkpoint, small_dataset, tmp_path / "n.jsonl")
    assert sum(num_computed) == 4 + 6  # the remaining training studies, and the test studies
    assert killed == run(tiny_checkpoint, small_dataset, tmp_path / "whole" / "n.jsonl")
    assert not list(tmp_path.glob("*piece*"))


def test_neighbor_in_the_training_split_is_never_the_same_study(tiny_checkpoint, small_dataset, tmp_path):
    predictions = run(tiny_checkpoint, small_dataset, tmp_path / "n.jsonl", "--split", "train")
    assert len(predictions) == 16
    assert all(prediction.neighbor_study_id != prediction.study_id for prediction in predictions)


def test_study_with_a_broken_image_is_skipped_with_a_message(tiny_checkpoint, small_studies, tmp_path, caplog):
    row = small_studies["test"].cast_column("images", datasets.List(datasets.Image(decode=False)))[0]
    row["images"] = [{"bytes": b"no image", "path": None}]
    good = small_studies["train"].select(range(3))
    splits = {"train": good, "test": datasets.Dataset.from_list([row], features=FEATURES)}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "broken")
    assert run(tiny_checkpoint, tmp_path / "broken", tmp_path / "n.jsonl") == []
    assert f"study {row['study_id']} has no features" in caplog.text


def test_training_study_without_report_is_not_used(small_studies):
    training = small_studies["train"].select(range(2))
    without_report = training.map(
        lambda row, number: {"findings": "", "impression": ""} if number == 0 else {}, with_indices=True
    )
    index = FeatureIndex(features=np.eye(2)[:1], study_ids=(small_studies["test"][0]["study_id"],), subject_ids=("x",))
    pool = FeatureIndex(features=np.eye(2), study_ids=tuple(training["study_id"]), subject_ids=("a", "b"))
    for rows, expected in ((training, 0), (without_report, 1)):
        [prediction] = neighbor_predictions(small_studies["test"], index, rows, pool)
        assert prediction.neighbor_study_id == training[expected]["study_id"]


def test_data_set_without_training_studies_is_rejected(tiny_checkpoint, small_dataset, tmp_path):
    only_test = datasets.DatasetDict({"test": load_studies(small_dataset)["test"]})
    only_test.save_to_disk(tmp_path / "only")
    with pytest.raises(ValueError, match=r"only has no studies in split 'train', which are needed for neighbors"):
        run(tiny_checkpoint, tmp_path / "only", tmp_path / "n.jsonl")


def test_index_file_that_is_no_index_is_kept(tiny_checkpoint, small_dataset, tmp_path):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes((tiny_checkpoint / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"weights.safetensors is damaged or not an index of features"):
        run(tiny_checkpoint, small_dataset, tmp_path / "n.jsonl", "--index", str(weights))
    assert weights.read_bytes() == (tiny_checkpoint / "model.safetensors").read_bytes()
