"""Real report language on phantoms: the data set, upper controls, training steps, and the whole program."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import eval.batch
from bench.experiment.attempts import StepError
from bench.rendered_iu import __main__ as rendered_iu
from bench.rendered_iu import training as rendered_iu_training
from bench.rendered_iu.studies import PhantomSource, RawPhantomStudy, prepare, read_studies
from bench.rendered_iu.training import TrainingOptions, code_items, drawn_items, steps, train, upper_controls
from data.pipeline.raw_study import ImageOptions
from data.reports.clean import TextOptions
from data.study import load_studies
from eval.predictions.prediction import Prediction
from train import finetune
from vlm.schema.findings import FINDING_INDEX, NEGATIVE, POSITIVE

CODES = (["normal"], ["Cardiomegaly/mild"], ["Pleural Effusion/left", "Scoliosis"], ["Scoliosis"], ["No Indexing"])
TEXTS = (
    "The lungs are clear.",
    "The heart is mildly enlarged. No XXXX effusion.",
    "There is a left pleural effusion.",
    "Curved spine.",
    "No acute disease.",
)


def report_of(number, split, **changed):
    return {
        "id": f"CXR{number}",
        "split": split,
        "indication": "cough",
        "comparison": "",
        "findings": TEXTS[number % 5],
        "impression": f"Impression {number % 7}.",
        "mesh": CODES[number % 5],
        "exam": "Xray Chest PA and Lateral",
        "images": [{"id": "a", "projection": "Frontal"}, {"id": "b", "projection": "Lateral"}][: 1 + number % 2],
    } | changed


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    path = tmp_path_factory.mktemp("iu") / "reports.jsonl"
    given = [report_of(number, "train") for number in range(1, 31)]
    given += [report_of(number, "val") for number in range(31, 37)]
    given.append(report_of(40, None, images=[], exam=None))
    path.write_text("".join(json.dumps(report) + "\n" for report in given), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def dataset(reports, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "studies"
    text_options = TextOptions(placeholders="unify")
    prepare(
        PhantomSource(reports=reports, size=64), out, text_options=text_options, seed=0, console=Console(quiet=True)
    )
    return out


def test_val_becomes_test_and_a_tenth_of_train_becomes_validation(dataset):
    splits = load_studies(dataset)
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 27, "validation": 3, "test": 6}
    assert splits["test"]["study_id"][:] == [f"CXR{number}" for number in range(31, 37)]


def test_study_has_its_text_labels_and_views(dataset):
    rows = {row["study_id"]: row for split in load_studies(dataset).values() for row in split}
    enlarged = rows["CXR31"]
    assert enlarged["findings"] == "The heart is mildly enlarged. No ___ effusion."
    assert enlarged["mesh_terms"] == ["Cardiomegaly/mild"]
    assert enlarged["view_positions"] == ["PA", "LATERAL"]
    assert rows["CXR32"]["view_positions"] == ["PA"]
    assert enlarged["labels"][FINDING_INDEX["Cardiomegaly"]] == POSITIVE
    assert enlarged["labels"][FINDING_INDEX["Pleural Effusion"]] == NEGATIVE
    assert {box["finding"] for box in enlarged["boxes"]} == {FINDING_INDEX["Cardiomegaly"]}


def test_phantom_depends_on_the_codes_and_not_on_the_text(reports):
    given = next(study for study in read_studies(reports) if study.study_id == "CXR31")

    def drawn(**changed):
        raw_study = RawPhantomStudy(
            study_id="CXR31", subject_id="CXR31", split="test", given=replace(given, **changed), size=64
        )
        return [np.asarray(image) for image in raw_study.study(ImageOptions()).images]

    own, other_text = drawn(), drawn(findings="Large pneumothorax.", impression="", indication="")
    assert all(np.array_equal(*pair) for pair in zip(own, other_text, strict=True))
    assert not np.array_equal(own[0], drawn(codes=("normal",))[0])
    assert np.array_equal(drawn(codes=("normal",))[0], drawn(codes=("Scoliosis",))[0])


def test_study_without_projections_gets_a_frontal_view(reports):
    assert read_studies(reports)[-1].view_positions == ("FRONTAL",)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: Expecting"),
        (json.dumps(report_of(1, "val", mesh="normal")), "line 2: mesh is 'normal', not a list"),
        (json.dumps({"id": "CXR1"}), "line 2: lacks 'indication'"),
        (json.dumps(report_of(1, "val", id="X1")), "line 2: 'X1' is not a study of Open-i"),
        (json.dumps(report_of(2, "train")), 'no studies of the split "train" or "val"'),
    ],
)
def test_invalid_file_is_named_with_its_line(tmp_path, line, message):
    path = tmp_path / "reports.jsonl"
    path.write_text(f"{json.dumps(report_of(1, 'train'))}\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_studies(path)


def test_missing_reports_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"missing\.jsonl: no such file"):
        read_studies(tmp_path / "missing.jsonl")


def test_upper_controls_copy_a_report_with_the_same_codes(dataset):
    splits = load_studies(dataset)
    predictions = [Prediction(study_id=study_id, report="") for study_id in splits["test"]["study_id"]]
    by_codes, by_drawing = upper_controls(predictions, splits)
    for prediction, codes in zip(by_codes.predictions, splits["test"]["mesh_terms"], strict=True):
        expected = TEXTS[CODES.index(codes)].replace("XXXX", "___")
        assert prediction.report.startswith(f"Findings: {expected}")
    # Scoliosis is not drawn, so its phantom is normal: only the codes differ.
    normal, curved = (
        next(
            prediction.report
            for prediction, codes in zip(by_drawing.predictions, splits["test"]["mesh_terms"], strict=True)
            if codes == wanted
        )
        for wanted in (["normal"], ["Scoliosis"])
    )
    assert normal == curved


def test_codes_with_the_same_heading_match_by_half():
    assert code_items(("Opacity/lung/left",)) & code_items(("Opacity/lung/right",)) == {"opacity"}
    assert drawn_items(("normal", "Scoliosis")) == frozenset()


def test_each_step_starts_from_the_previous_one_and_runs_once(tmp_path, monkeypatch):
    # A fake finetune.py that records its flags; its first run is killed.
    fake_program = tmp_path / "train" / "finetune.py"
    fake_program.parent.mkdir()
    fake_program.write_text(
        """
import os, pathlib, sys
flags = dict(flag.partition("=")[::2] for flag in sys.argv[1:])
folder = pathlib.Path(flags["--output-dir"])
folder.mkdir(parents=True, exist_ok=True)
(folder / "training_config.json").touch()
if not pathlib.Path("killed").exists():
    pathlib.Path("killed").touch()
    os.kill(os.getpid(), 9)
with open("ran", "a") as file:
    print(folder.name, *sys.argv[1:], file=file)
"""
    )
    monkeypatch.setattr(rendered_iu_training, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    options = TrainingOptions(init_from="", extra_dataset=Path("synthetic"))

    def run_training(options):
        return train(options, Path("studies"), tmp_path, seed=0, console=Console(quiet=True))

    with pytest.raises(StepError, match="seeing ended with status -9"):
        run_training(options)
    trained = run_training(options)
    (_, *seeing), (_, *writing), (_, *joining) = (line.split() for line in Path("ran").read_text().splitlines())
    assert "--resume" in seeing
    assert {"--encoder=cnn", "--extra-dataset=synthetic", "--no-lora"} <= set(seeing)
    assert f"--init-from={tmp_path / 'seeing' / 'best'}" in writing
    assert f"--init-from={tmp_path / 'writing' / 'best'}" in joining
    assert not {"--no-lora", "--extra-dataset=synthetic"} & set(joining)
    assert trained.checkpoint == tmp_path / "reports" / "best"
    assert run_training(options) == trained
    assert len(Path("ran").read_text().splitlines()) == 3
    with pytest.raises(ValueError, match=r"'seeing' was done with other arguments .*--batch-size=8"):
        run_training(replace(options, batch_size=8))


def test_checkpoint_to_start_from_has_its_own_sizes():
    own = steps(TrainingOptions(init_from="weights"))["seeing"]
    assert "--init-from=weights" in own
    assert not [flag for flag in own if flag.startswith(("--encoder", "--decoder", "--vocab-size", "--image-size"))]


def test_program_writes_figures_and_describes_the_images(reports, tmp_path, monkeypatch, capsys):
    programs = {
        "finetune.py": (finetune.main, "--num-validation-reports=2"),
        "batch.py": (eval.batch.main, "--num-page-studies=0"),
    }
    done = []

    def run_here(folder, step, arguments, *, threads):
        if step not in done:
            main, few = programs[Path(arguments[0]).name]
            main([*arguments[1:], few])
            done.append(step)

    for module in (rendered_iu, rendered_iu_training):
        monkeypatch.setattr(module, "run_step", run_here)
    output = tmp_path / "results" / "figures.json"
    arguments = [f"--reports={reports}", f"--work={tmp_path / 'work'}", f"--output={output}", "--size=64"]
    arguments += [
        "--init-from=",
        "--encoder=nano",
        "--image-size=32",
        "--vocab-size=300",
        "--precision=no",
        "--max-new-tokens=8",
    ]
    arguments += ["--findings-epochs=1", "--text-only-epochs=1", "--report-epochs=1", "--num-resamples=5"]
    rendered_iu.main(arguments)
    document = json.loads(output.read_text(encoding="utf-8"))
    assert "phantoms" in document["verdict"]["facts"][0]
    assert "15 of 29 codes of findings could be drawn." in document["verdict"]["facts"][1]
    assert document["rendering"]["studies"] == {
        "normal": 7,
        "drawn whole": 8,
        "drawn in part": 7,
        "coded, but nothing of it has a form": 7,
        "not indexed": 7,
    }
    assert {"model", "shuffled images", "nearest neighbour", "constant sentence", "same codes"} <= set(
        document["systems"]
    )
    assert document["studies"]["written"] == 6
    first = output.read_text()
    rendered_iu.main(arguments)
    assert "exists already" in " ".join(capsys.readouterr().out.split())
    assert output.read_text() == first
    with pytest.raises(ValueError, match="studies was prepared with another size; give another --work"):
        rendered_iu.main([*arguments, "--size=80"])
