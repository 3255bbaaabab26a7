"""The batch evaluation end to end on tiny studies, with a fake generator that reads the answer from the image.

The fake has the signature of vlm.generator.ReportGenerator.generate; the tests are about what happens to the reports.
"""

import dataclasses
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import datasets
import pytest

import eval.batch
from data.study import FEATURES
from eval.predictions.generate import GRAY, GenerationRun, Job, write_predictions
from eval.predictions.prediction import Prediction, Rejection, read_lines
from tests.helpers.fake_generator import FakeGenerator, make_row
from vlm.generator import GenerationOptions
from vlm.schema.findings import FINDINGS
from vlm.schema.preprocessing import Preprocessing


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "studies"
    splits = {
        split: datasets.Dataset.from_list([make_row(number, split) for number in range(size)], features=FEATURES)
        for split, size in (("train", 6), ("validation", 6), ("test", 16))
    }
    datasets.DatasetDict(splits).save_to_disk(folder)
    return folder


@pytest.fixture
def run(dataset, tmp_path, monkeypatch):
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{}")

    def run_batch(*flags, generator=None, output="out", checkpoint=checkpoint, dataset=dataset, baseline=None):
        generator = generator or FakeGenerator()

        def load(name):
            return generator if name == str(checkpoint) else baseline

        monkeypatch.setattr(eval.batch.ReportGenerator, "from_pretrained", lambda name, device: load(name))
        argv = ["--checkpoint", str(checkpoint), "--dataset", str(dataset), "--output-dir", str(tmp_path / output)]
        eval.batch.main([*argv, "--batch-size", "3", "--num-resamples", "50", *flags])
        return tmp_path / output

    return run_batch


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def test_each_study_is_a_line_with_all_that_scoring_needs(run):
    predictions = read_lines(run() / "predictions.jsonl", Prediction)
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


def test_model_that_reads_the_image_is_perfect_and_the_shuffled_control_is_not(run, capsys):
    document = metrics(run())
    assert document["systems"]["model"]["metrics"]["macro_f1"]["value"] == 1.0
    assert document["systems"]["model"]["metrics"]["macro_auroc"]["value"] == 1.0
    assert document["systems"]["shuffled images"]["metrics"]["macro_f1"]["value"] < 0.7
    assert document["verdict"]["uses_image"] == "yes"
    assert list(document["systems"]) == [
        "model",
        "shuffled images",
        "blank images",
        "nearest neighbour",
        "random report",
        "constant by macro-F1",
        "constant sentence",
        "constant by BLEU-4",
        "most frequent report",
    ]
    assert "The reports depend on the image" in " ".join(capsys.readouterr().out.split())


def test_shuffled_studies_get_other_patients_images_and_keep_their_own_indication(run):
    generator = FakeGenerator()
    folder = run("--controls", "shuffled", generator=generator)
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


def test_constant_controls_come_from_validation_and_training_reports(run, dataset):
    reports = metrics(run())["control_reports"]
    assert reports["constant sentence"].removeprefix("Findings: ").startswith(("There is", "The lungs"))
    names = ("constant by macro-F1", "constant sentence", "constant by BLEU-4", "most frequent report")
    assert tuple(reports) == names


def test_blank_images_run_once_per_indication_and_number_of_views(run):
    generator = FakeGenerator()
    folder = run("--controls", "blank", generator=generator)
    blank = read_lines(folder / "predictions_blank_images.jsonl", Prediction)
    assert generator.seen[16:20] == [GRAY] * 4
    assert {(row["indication"], len(row["images"])) for row in (make_row(n, "test") for n in range(16))} == set(
        zip(generator.indications[16:20], (1, 2, 1, 2), strict=True)
    )
    assert [prediction.study_id for prediction in blank] == [f"test{number:02d}" for number in range(16)]
    assert {prediction.report for prediction in blank} == {"Findings: The lungs are clear."}
    assert blank[12].reference == "Findings: There is rib fracture. Impression: Seen on this study."
    assert metrics(folder)["systems"]["blank images"]["distinct_ratio"] == 1 / 16


def test_mismatched_views_are_the_same_images_with_wrong_positions(run):
    generator = FakeGenerator()
    folder = run("--controls", "mismatched", generator=generator)
    assert generator.seen[16:32] == list(range(16))
    assert generator.positions[:2] == [["PA"], ["PA", "LATERAL"]]
    assert generator.positions[16:18] == [["LATERAL"], ["LATERAL", "PA"]]
    [first, *_] = read_lines(folder / "predictions_mismatched_views.jsonl", Prediction)
    assert (first.control, first.image_study_id, first.view_positions) == ("mismatched views", "", ("PA",))


def test_nearest_neighbour_is_a_training_study_and_features_are_computed_once(run):
    generator = FakeGenerator()
    folder = run("--controls", "nearest", generator=generator)
    nearest = read_lines(folder / "predictions_nearest_neighbour.jsonl", Prediction)
    # Studies 0 to 5 of training have the bits 0 to 2 of their number; of equals the first is taken.
    assert [prediction.neighbour_study_id for prediction in nearest[:6]] == [f"train{n:02d}" for n in range(6)]
    assert nearest[3].report == "Findings: There is pulmonary edema. There is pleural effusion."
    assert nearest[3].similarity == 1.0
    assert nearest[3].probabilities is None
    assert generator.num_features == 16 + 6
    again = FakeGenerator()
    run("--controls", "nearest", generator=again)
    assert again.num_features == 0
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    assert names == ["features_pool.safetensors", "features_test.safetensors"]


def test_neighbour_pool_limits_the_training_studies(run):
    generator = FakeGenerator()
    run("--controls", "nearest", "--neighbour-pool", "2", generator=generator)
    assert generator.num_features == 16 + 2


def test_baseline_checkpoint_is_a_control_on_the_same_studies(run, tmp_path, monkeypatch):
    baseline = tmp_path / "lstm"
    baseline.mkdir()
    (baseline / "config.json").write_text("{}")
    other = FakeGenerator()
    other._report = lambda row: FakeGenerator._report(other, make_row(0, "test"))
    folder = run("--controls", "--baseline", str(baseline), generator=FakeGenerator(broken=(2,)), baseline=other)
    document = metrics(folder)
    assert list(document["systems"]) == ["model", "baseline"]
    assert document["systems"]["baseline"]["num_studies"] == 15
    assert document["systems"]["baseline"]["distinct_ratio"] == 1 / 15
    assert 2 not in other.seen
    (baseline / "config.json").write_text('{"other": 1}')
    with pytest.raises(ValueError, match=r"baseline contains another run: checkpoint .*lstm"):
        run("--controls", "--baseline", str(baseline), generator=FakeGenerator(broken=(2,)), baseline=other)


def test_missing_baseline_is_rejected_before_any_report_is_generated(run, tmp_path):
    generator = FakeGenerator()
    with pytest.raises(ValueError, match="nowhere is neither a checkpoint folder nor a hub repository"):
        run("--baseline", str(tmp_path / "nowhere"), generator=generator)
    assert generator.seen == []
    assert not (tmp_path / "out").exists()


def test_index_of_similar_studies_does_not_change_the_checkpoint(run, tmp_path):
    run("--controls")
    (tmp_path / "checkpoint" / "similar_studies.safetensors").write_bytes(b"features")
    run("--controls")


def test_controls_are_added_to_a_finished_run(run):
    run("--controls")
    generator = FakeGenerator()
    folder = run("--controls", "shuffled", "constant", generator=generator)
    assert set(generator.seen[: len(generator.seen)]) <= set(range(16))
    assert metrics(folder)["verdict"]["uses_image"] == "yes"
    assert len(metrics(folder)["systems"]) == 5


def test_consistency_is_reported_with_that_of_the_references(run, capsys):
    found = metrics(run("--controls"))["consistency"]
    assert found["rates"]["contradiction_rate"]["value"] == 0.0
    assert found["rates"]["disagreement_rate"]["value"] == 0.0
    assert found["references"]["length_ratio"]["value"] == 1.0
    assert "Reports that state and deny the same finding: 0.0% [0.0%, 0.0%]" in " ".join(
        capsys.readouterr().out.split()
    )


def test_pointing_game_is_scored_if_there_are_boxes(run, tmp_path):
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
    played = metrics(run("--controls", dataset=tmp_path / "boxed"))["grounding"]
    assert played["num_scored"] == 8
    assert played["per_finding"][4]["num_hits"] == {"model": 4, "center of the view": 4, "most frequent location": 4}


def test_killed_run_is_resumed(run):
    with pytest.raises(KeyboardInterrupt):
        run(generator=FakeGenerator(dies_after=3))
    generator = FakeGenerator()
    folder = run(generator=generator)
    assert generator.seen[:7] == [9, 10, 11, 12, 13, 14, 15]
    assert len(read_lines(folder / "predictions.jsonl", Prediction)) == 16
    again = FakeGenerator()
    run(generator=again)
    assert again.seen == []


def test_resumed_run_has_the_same_scores(run):
    with pytest.raises(KeyboardInterrupt):
        run(generator=FakeGenerator(dies_after=7), output="killed")
    killed, whole = metrics(run(output="killed")), metrics(run(output="whole"))
    assert killed == whole


def test_rejected_study_is_listed_with_its_reason_and_the_others_are_reported(run):
    folder = run(generator=FakeGenerator(broken=(5,)))
    assert read_lines(folder / "rejected.jsonl", Rejection) == [
        Rejection(study_id="test05", reason="the image is not a chest X-ray")
    ]
    assert metrics(folder)["studies"] == {"given": 16, "written": 15, "rejected": 1}
    assert len(read_lines(folder / "predictions.jsonl", Prediction)) == 15


def test_error_names_the_file_of_reasons_if_every_study_is_rejected(run):
    with pytest.raises(ValueError, match=r"no study could be reported on; .*rejected.jsonl says why"):
        run(generator=FakeGenerator(broken=range(16)))


def test_num_studies_limits_the_studies(run):
    assert metrics(run("--num-studies", "4"))["studies"]["given"] == 4


def test_verdict_is_unknown_without_the_shuffled_control(run):
    document = metrics(run("--controls"))
    assert document["verdict"]["image"] == (
        "It is unknown whether the reports depend on the image: the control was not requested."
    )
    assert "shuffled images" not in document["systems"]


def test_output_directory_of_another_checkpoint_is_rejected(run, tmp_path):
    run()
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"other": 1}')
    with pytest.raises(
        ValueError, match=r"out contains another run: checkpoint .*checkpoint \[.*\] \(requested: .*other \["
    ):
        run(checkpoint=other)


def test_moved_checkpoint_is_the_same_run(run, tmp_path):
    run()
    (tmp_path / "checkpoint").rename(tmp_path / "moved")
    run(checkpoint=tmp_path / "moved")


def test_output_directory_of_another_data_set_or_split_is_rejected(run, dataset, tmp_path):
    run()
    with pytest.raises(ValueError, match=r"contains another run: split test \(requested: validation\); give another"):
        run("--split", "validation")
    with pytest.raises(ValueError, match=r"contains another run: num_studies 0 \(requested: 3\)"):
        run("--num-studies", "3")
    fewer = {"test": datasets.load_from_disk(str(dataset))["test"].select(range(5))}
    datasets.DatasetDict(fewer).save_to_disk(tmp_path / "fewer")
    with pytest.raises(ValueError, match=r"contains another run: dataset .*studies \[.*\] \(requested: .*fewer \["):
        run(dataset=tmp_path / "fewer")


def test_predictions_without_a_run_record_are_rejected(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "predictions.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"contains predictions but no run.json; give another"):
        run()


def test_error_for_an_empty_split_names_the_others(run, tmp_path):
    splits = {"validation": datasets.Dataset.from_list([make_row(1, "validation")], features=FEATURES)}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "small")
    with pytest.raises(ValueError, match=r"has no studies in split 'test'; choose --split of: validation"):
        run(dataset=tmp_path / "small")


def test_studies_without_references_are_reported_and_not_scored(run, tmp_path):
    bare = [make_row(number, "test") | {"findings": "", "impression": "", "labels": [-100] * 14} for number in range(4)]
    datasets.DatasetDict({"test": datasets.Dataset.from_list(bare, features=FEATURES)}).save_to_disk(tmp_path / "bare")
    document = metrics(run(dataset=tmp_path / "bare"))
    assert document["studies"]["written"] == 4
    assert document["systems"]["model"]["metrics"]["cider"]["value"] is None
    assert document["verdict"]["uses_image"] == "unknown"
    assert "no control 'constant sentence': the validation split has no reports" in document["notes"]


def test_flag_out_of_range_is_rejected(run):
    with pytest.raises(ValueError, match="--batch-size is 0; give at least 1"):
        eval.batch.BatchConfig(checkpoint="c", dataset="d", output_dir="o", batch_size=0)


@dataclasses.dataclass
class OneOfTwo:
    """One of two processes, as a thread: a fake of accelerate's PartialState with a real barrier."""

    process_index: int
    barrier: threading.Barrier
    num_processes: int = 2

    @property
    def is_main_process(self) -> bool:
        return self.process_index == 0

    def wait_for_everyone(self):
        self.barrier.wait(timeout=30)


def test_two_processes_share_the_studies_and_one_merges_them(dataset, tmp_path):
    studies = datasets.load_from_disk(str(dataset))["test"]
    generators = [FakeGenerator(broken=(3,)), FakeGenerator(broken=(3,))]
    barrier = threading.Barrier(2)

    def share(index):
        run = GenerationRun(
            generator=generators[index],
            studies=studies,
            folder=tmp_path,
            options=GenerationOptions(),
            batch_size=4,
            processes=OneOfTwo(index, barrier),
            track=lambda total, description: lambda amount: None,
        )
        return write_predictions(run, [Job(study=row, images_of=row) for row in range(16)])

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(share, (0, 1))
    assert first == second
    assert generators[0].seen == list(range(0, 16, 2))
    assert list(first.predictions) == [f"test{number:02d}" for number in range(16) if number != 3]
    assert [rejection.study_id for rejection in first.rejections] == ["test03"]
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.jsonl"]


TWO_PROCESSES = """
import os, pathlib, sys
import eval.batch
from tests.helpers.fake_generator import FakeGenerator
generator = FakeGenerator()
eval.batch.ReportGenerator.from_pretrained = lambda name, device: generator
eval.batch.main(sys.argv[1:])
pathlib.Path(__file__).with_name("seen" + os.environ["RANK"]).write_text(str(len(generator.seen)))
"""


def test_two_launched_processes_share_the_studies(dataset, tmp_path):
    (tmp_path / "script.py").write_text(TWO_PROCESSES)
    paths = [str(Path(__file__).parents[2])]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    flags = {"checkpoint": "c", "dataset": dataset, "output-dir": tmp_path / "out", "num-resamples": 5}
    argv = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    launched = subprocess.run(
        [*torchrun, str(tmp_path / "script.py"), *argv, "--controls"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert launched.returncode == 0, launched.stderr[-2000:]
    assert [(tmp_path / f"seen{rank}").read_text() for rank in (0, 1)] == ["8", "8"]
    assert launched.stdout.count("16 of 16 studies reported, 0 rejected") == 1
    assert len(read_lines(tmp_path / "out" / "predictions.jsonl", Prediction)) == 16


def test_different_preprocessing_gives_a_warning(run, capsys):
    generator = FakeGenerator()
    generator.config = SimpleNamespace(preprocessing=Preprocessing(clahe=True), image=FakeGenerator.config.image)
    run(generator=generator)
    assert "prepare the data set with the same options" in " ".join(capsys.readouterr().out.split())


def test_page_is_written(run):
    page = (run() / "report.html").read_text(encoding="utf-8")
    assert "The reports depend on the image" in page
    assert all(finding in page for finding in FINDINGS)
