"""The batch evaluation end to end: predictions, rejected studies, scores, page."""

from types import SimpleNamespace

import datasets
import pytest

import eval.batch
from data.study import FEATURES
from eval.predictions.prediction import Prediction, Rejection, read_lines
from tests.helpers.fake_generator import FakeGenerator, make_row
from vlm.schema.findings import FINDINGS
from vlm.schema.preprocessing import Preprocessing


def test_each_study_is_a_line_with_all_that_scoring_needs(run_batch):
    predictions = read_lines(run_batch() / "predictions.jsonl", Prediction)
    assert [prediction.study_id for prediction in predictions] == [f"test{number:02d}" for number in range(16)]
    assert predictions[12] == Prediction(
        study_id="test12",
        subject_id="test-subject6",
        report="Findings: There is rib fracture.",
        findings="There is rib fracture.",
        probabilities=(*(0.1,) * 11, 0.9, 0.1, 0.1),
        reference="Findings: There is rib fracture. Impression: Seen on this study.",
        reference_labels=(*(0,) * 11, 1, 0, 0),
        thresholds=(0.5,) * 14,
        peaks=((0, 0.25, 0.25),) * 14,
        view_positions=("PA",),
        source="test",
        mean_token_log_probability=-1.0,
    )


def test_consistency_is_reported_with_that_of_the_references(run_batch, capsys, metrics):
    found = metrics(run_batch("--controls"))["consistency"]
    assert found["rates"]["contradiction_rate"]["value"] == 0.0
    assert found["rates"]["disagreement_rate"]["value"] == 0.0
    assert found["references"]["length_ratio"]["value"] == 1.0
    assert "Reports that state and deny the same finding: 0.0% [0.0%, 0.0%]" in " ".join(
        capsys.readouterr().out.split()
    )


def test_pointing_game_is_scored_if_there_are_boxes(run_batch, tmp_path, metrics):
    def boxed(number, split):
        box = [{"finding": 4, "view": 0, "box": [0.0, 0.0, 0.5, 0.5] if number % 4 == 1 else [0.6, 0.6, 1.0, 1.0]}]
        return make_row(number, split) | {"boxes": box if number % 2 else []}

    splits = {"train": 6, "test": 16}
    datasets.DatasetDict(
        {
            split: datasets.Dataset.from_list([boxed(number, split) for number in range(size)], features=FEATURES)
            for split, size in splits.items()
        }
    ).save_to_disk(tmp_path / "boxed")
    played = metrics(run_batch("--controls", dataset=tmp_path / "boxed"))["grounding"]
    assert played["num_scored"] == 8
    assert played["per_finding"][4]["num_hits"] == {"model": 4, "center of the view": 4, "most frequent location": 4}


def test_rejected_study_is_listed_with_its_reason_and_the_others_are_reported(run_batch, metrics):
    folder = run_batch(generator=FakeGenerator(broken=(5,)))
    assert read_lines(folder / "rejected.jsonl", Rejection) == [
        Rejection(study_id="test05", reason="the image is not a chest X-ray")
    ]
    assert metrics(folder)["studies"] == {"given": 16, "written": 15, "rejected": 1}
    assert len(read_lines(folder / "predictions.jsonl", Prediction)) == 15


def test_error_names_the_file_of_reasons_if_every_study_is_rejected(run_batch):
    with pytest.raises(ValueError, match=r"no study could be reported on; .*rejected.jsonl says why"):
        run_batch(generator=FakeGenerator(broken=range(16)))


def test_num_studies_limits_the_studies(run_batch, metrics):
    assert metrics(run_batch("--num-studies", "4"))["studies"]["given"] == 4


def test_error_for_an_empty_split_names_the_others(run_batch, tmp_path):
    splits = {"validation": datasets.Dataset.from_list([make_row(1, "validation")], features=FEATURES)}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "small")
    with pytest.raises(ValueError, match=r"has no studies in split 'test'; choose --split of: validation"):
        run_batch(dataset=tmp_path / "small")


def test_studies_without_references_are_reported_and_not_scored(run_batch, tmp_path, metrics):
    bare = [make_row(number, "test") | {"findings": "", "impression": "", "labels": [-100] * 14} for number in range(4)]
    datasets.DatasetDict({"test": datasets.Dataset.from_list(bare, features=FEATURES)}).save_to_disk(tmp_path / "bare")
    document = metrics(run_batch(dataset=tmp_path / "bare"))
    assert document["studies"]["written"] == 4
    assert document["systems"]["model"]["metrics"]["cider"]["value"] is None
    assert document["verdict"]["uses_image"] == "unknown"
    assert "no control 'constant sentence': the validation split has no reports" in document["notes"]


def test_flag_out_of_range_is_rejected(run_batch):
    with pytest.raises(ValueError, match="--batch-size is 0; give at least 1"):
        eval.batch.BatchConfig(checkpoint="c", dataset="d", output_dir="o", batch_size=0)


def test_different_preprocessing_gives_a_warning(run_batch, capsys):
    generator = FakeGenerator()
    generator.config = SimpleNamespace(preprocessing=Preprocessing(clahe=True), image=FakeGenerator.config.image)
    run_batch(generator=generator)
    assert "prepare the data set with the same options" in " ".join(capsys.readouterr().out.split())


def test_page_is_written(run_batch):
    page = (run_batch() / "report.html").read_text(encoding="utf-8")
    assert "The reports depend on the image" in page
    assert all(finding in page for finding in FINDINGS)


def test_subgroups_come_from_a_table_or_the_data_set(run_batch, metrics, tmp_path):
    table = tmp_path / "patients.csv"
    table.write_text("study_id,sex\n" + "".join(f"test{number:02d},F\n" for number in range(10)))
    folder = run_batch("--controls", "--subgroups", "sex", "source", "--subgroup-table", str(table))
    found = metrics(folder)["subgroups"]
    assert [(group["group"], group["num_studies"]) for group in found["sex"]["rejected"]] == [
        ("F", 10),
        ("not given", 6),
    ]
    assert [group["group"] for group in found["source"]["rejected"]] == ["test"]


def test_wrong_subgroup_column_is_rejected_before_any_report_is_generated(run_batch):
    generator = FakeGenerator()
    with pytest.raises(ValueError, match=r"--subgroups sourc: .* did you mean 'source'\?"):
        run_batch("--subgroups", "sourc", generator=generator)
    assert generator.shown == []
