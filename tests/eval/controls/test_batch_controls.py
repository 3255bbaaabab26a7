"""Controls of the batch evaluation: what the model is shown, and which reports are copied."""

import pytest

from eval.predictions.generate import GRAY
from eval.predictions.prediction import Prediction, read_lines
from tests.helpers.fake_generator import FakeGenerator, make_row


def test_model_that_reads_the_image_is_perfect_and_the_shuffled_control_is_not(run_batch, capsys, metrics):
    document = metrics(run_batch())
    assert document["systems"]["model"]["metrics"]["macro_f1"]["value"] == 1.0
    assert document["systems"]["model"]["metrics"]["macro_auroc"]["value"] == 1.0
    assert document["systems"]["shuffled images"]["metrics"]["macro_f1"]["value"] < 0.7
    assert document["verdict"]["uses_image"] == "yes"
    assert list(document["systems"]) == [
        "model",
        "shuffled images",
        "blank images",
        "nearest neighbor",
        "random report",
        "constant by macro-F1",
        "constant sentence",
        "constant by BLEU-4",
        "most frequent report",
    ]
    assert "The reports depend on the image" in " ".join(capsys.readouterr().out.split())


def test_shuffled_studies_get_other_patients_images_and_keep_their_own_indication(run_batch):
    generator = FakeGenerator()
    folder = run_batch("--controls", "shuffled", generator=generator)
    own = {prediction.study_id: prediction for prediction in read_lines(folder / "predictions.jsonl", Prediction)}
    shuffled = read_lines(folder / "predictions_shuffled_images.jsonl", Prediction)
    assert [prediction.study_id for prediction in shuffled] == list(own)
    for prediction in shuffled:
        assert prediction.control == "shuffled images"
        assert own[prediction.image_study_id].subject_id != prediction.subject_id
        assert prediction.report == own[prediction.image_study_id].report
        assert prediction.probabilities == own[prediction.image_study_id].probabilities
        assert prediction.reference == own[prediction.study_id].reference
    rows = [make_row(number, "test") for number in range(16)]
    regenerated = [
        int(prediction.study_id[-2:])
        for prediction in shuffled
        if rows[int(prediction.study_id[-2:])]["indication"] != rows[int(prediction.image_study_id[-2:])]["indication"]
    ]
    asked_again = generator.indications[16 : 16 + len(regenerated)]
    assert asked_again == [rows[number]["indication"] for number in regenerated]


def test_constant_controls_come_from_validation_and_training_reports(run_batch, fake_studies, metrics):
    reports = metrics(run_batch())["control_reports"]
    assert reports["constant sentence"].removeprefix("Findings: ").startswith(("There is", "The lungs"))
    names = ("constant by macro-F1", "constant sentence", "constant by BLEU-4", "most frequent report")
    assert tuple(reports) == names


def test_blank_images_run_once_per_indication_and_number_of_views(run_batch, metrics):
    generator = FakeGenerator()
    folder = run_batch("--controls", "blank", generator=generator)
    blank = read_lines(folder / "predictions_blank_images.jsonl", Prediction)
    assert generator.shown[16:20] == [GRAY] * 4
    assert {(row["indication"], len(row["images"])) for row in (make_row(n, "test") for n in range(16))} == set(
        zip(generator.indications[16:20], (1, 2, 1, 2), strict=True)
    )
    assert [prediction.study_id for prediction in blank] == [f"test{number:02d}" for number in range(16)]
    assert {prediction.report for prediction in blank} == {"Findings: The lungs are clear."}
    assert blank[12].reference == "Findings: There is rib fracture. Impression: Seen on this study."
    assert metrics(folder)["systems"]["blank images"]["distinct_ratio"] == 1 / 16


def test_mismatched_views_are_the_same_images_with_wrong_positions(run_batch):
    generator = FakeGenerator()
    folder = run_batch("--controls", "mismatched", generator=generator)
    assert generator.shown[16:32] == list(range(16))
    assert generator.positions[:2] == [["PA"], ["PA", "LATERAL"]]
    assert generator.positions[16:18] == [["LATERAL"], ["LATERAL", "PA"]]
    [first, *_] = read_lines(folder / "predictions_mismatched_views.jsonl", Prediction)
    assert (first.control, first.image_study_id, first.view_positions) == ("mismatched views", "", ("PA",))


def test_nearest_neighbor_is_a_training_study_and_features_are_computed_once(run_batch):
    generator = FakeGenerator()
    folder = run_batch("--controls", "nearest", generator=generator)
    nearest = read_lines(folder / "predictions_nearest_neighbor.jsonl", Prediction)
    # Studies 0 to 5 of training have the bits 0 to 2 of their number; of equals the first is taken.
    assert [prediction.neighbor_study_id for prediction in nearest[:6]] == [f"train{n:02d}" for n in range(6)]
    assert nearest[3].report == "Findings: There is pulmonary edema. There is pleural effusion."
    assert nearest[3].similarity == 1.0
    assert nearest[3].probabilities is None
    assert generator.num_features == 16 + 6
    again = FakeGenerator()
    run_batch("--controls", "nearest", generator=again)
    assert again.num_features == 0
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    assert names == ["features_pool.safetensors", "features_test.safetensors"]


def test_neighbor_pool_limits_the_training_studies(run_batch):
    generator = FakeGenerator()
    run_batch("--controls", "nearest", "--neighbor-pool", "2", generator=generator)
    assert generator.num_features == 16 + 2


def test_baseline_checkpoint_is_a_control_on_the_same_studies(run_batch, tmp_path, monkeypatch, metrics):
    baseline = tmp_path / "lstm"
    baseline.mkdir()
    (baseline / "config.json").write_text("{}")
    other = FakeGenerator()
    other._report = lambda row: FakeGenerator._report(other, make_row(0, "test"))
    folder = run_batch("--controls", "--baseline", str(baseline), generator=FakeGenerator(broken=(2,)), baseline=other)
    document = metrics(folder)
    assert list(document["systems"]) == ["model", "baseline"]
    assert document["systems"]["baseline"]["num_studies"] == 15
    assert document["systems"]["baseline"]["distinct_ratio"] == 1 / 15
    assert 2 not in other.shown
    (baseline / "config.json").write_text('{"other": 1}')
    with pytest.raises(ValueError, match=r"baseline contains another run: checkpoint .*lstm"):
        run_batch("--controls", "--baseline", str(baseline), generator=FakeGenerator(broken=(2,)), baseline=other)


def test_missing_baseline_is_rejected_before_any_report_is_generated(run_batch, tmp_path):
    generator = FakeGenerator()
    with pytest.raises(ValueError, match="nowhere is neither a checkpoint folder nor a hub repository"):
        run_batch("--baseline", str(tmp_path / "nowhere"), generator=generator)
    assert generator.shown == []
    assert not (tmp_path / "out").exists()


def test_index_of_similar_studies_does_not_change_the_checkpoint(run_batch, tmp_path):
    run_batch("--controls")
    (tmp_path / "checkpoint" / "similar_studies.safetensors").write_bytes(b"features")
    run_batch("--controls")


def test_verdict_is_unknown_without_the_shuffled_control(run_batch, metrics):
    document = metrics(run_batch("--controls"))
    assert document["verdict"]["image"] == (
        "It is unknown whether the reports depend on the image: the control was not requested."
    )
    assert "shuffled images" not in document["systems"]
