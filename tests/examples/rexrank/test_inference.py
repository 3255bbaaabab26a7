"""ReXrank's contract: the same studies with predictions, resumed runs, and studies that cannot be read."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from eval.predictions.files import open_report_file
from vlm.generator import GenerationOptions, ReportGenerator

PROGRAM = Path(__file__).parents[3] / "examples/rexrank/inference.py"
INPUT = """{
    "p10_s1": {
        "image_path": ["/p10/s1/front.png", "/p10/s1/side.png"],
        "key_image_path": "/p10/s1/front.png",
        "frontal_lateral": ["Frontal", "Lateral"],
        "context": "<context>Age:50-60.Gender:M.Indication: cough and fever. Comparison: None.</context>",
        "section_findings": "The heart is enlarged.",
        "section_impression": NaN,
        "report": "Findings: The heart is enlarged. Impression: None"
    },
    "p11_s2": {
        "image_path": ["p11/s2/front.png"],
        "key_image_path": "p11/s2/front.png",
        "frontal_lateral": ["Frontal"],
        "context": "Age:NaN.Gender:F.Indication: chest pain for days",
        "section_findings": NaN,
        "section_impression": "No acute cardiopulmonary abnormality.",
        "report": "Findings: None Impression: No acute cardiopulmonary abnormality."
    },
    "p12_s3": {
        "image_path": ["p12/s3/a.png", "p12/s3/b.png"],
        "key_image_path": "p12/s3/a.png",
        "frontal_lateral": ["Lateral", "Frontal"],
        "context": NaN,
        "section_findings": "The lungs are clear.",
        "section_impression": "No pneumothorax.",
        "report": "Findings: The lungs are clear. Impression: No pneumothorax."
    }
}
"""


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("rexrank_inference", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def work(tmp_path, images):
    """The input file and its images."""
    (tmp_path / "test.json").write_text(INPUT)
    paths = [path for study in json.loads(INPUT).values() for path in study["image_path"]]
    for path, image in zip(paths, images, strict=False):
        file = tmp_path / "images" / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        image.resize((64, 64)).save(file)
    return tmp_path


@pytest.fixture
def run(program, work, tiny_checkpoint):
    def run(*options, output="out.json"):
        paths = {"--input_json_file": "test.json", "--save_json_file": output, "--img_root_dir": "images"}
        flags = [text for flag, name in paths.items() for text in (flag, str(work / name))]
        status = program.main([*flags, "--checkpoint", str(tiny_checkpoint), "--max_new_tokens", "12", *options])
        return status, json.loads((work / output).read_text())

    return run


def predictions_of(output):
    return {study_id: study.get("model_prediction") for study_id, study in output.items()}


def test_output_is_the_input_with_the_reports_of_the_generator(run, work, tiny_checkpoint, images):
    status, output = run("--batch_size", "2")
    assert status == 0
    generator = ReportGenerator.from_pretrained(tiny_checkpoint)
    small = [image.resize((64, 64)) for image in images]
    expected = generator.generate(
        [small[:2], small[2:3], small[3:5]],
        view_positions=[["PA", "LATERAL"], ["PA"], ["LATERAL", "PA"]],
        indications=["cough and fever.", "chest pain for days", ""],
        options=GenerationOptions(max_new_tokens=12),
    )
    assert list(predictions_of(output).values()) == [report.report for report in expected]
    assert len({report.report for report in expected}) == 3
    without = {
        study_id: {k: v for k, v in study.items() if k != "model_prediction"} for study_id, study in output.items()
    }
    assert json.dumps(without) == json.dumps(json.loads(INPUT))  # as text, because NaN differs from itself
    assert open_report_file(work / "out.json", frozenset({"model_prediction"})).format.startswith("ReXrank's")


def test_paths_may_be_given_without_flags(run, program, work, tiny_checkpoint):
    _, output = run()
    paths = [str(work / name) for name in ("test.json", "other.json", "images")]
    assert program.main([*paths, "--checkpoint", str(tiny_checkpoint), "--max_new_tokens", "12"]) == 0
    assert predictions_of(json.loads((work / "other.json").read_text())) == predictions_of(output)


def test_a_stopped_run_keeps_its_reports_and_resumes(run, work, monkeypatch, capsys):
    _, complete = run(output="complete.json")
    generate, calls = ReportGenerator.generate, []

    def stop_at_the_second(self, *arguments, **options):
        calls.append(None)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return generate(self, *arguments, **options)

    monkeypatch.setattr(ReportGenerator, "generate", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run("--batch_size", "1")
    stopped = json.loads((work / "out.json").read_text())
    assert list(map(bool, predictions_of(stopped).values())) == [True, False, False]
    stopped["p10_s1"]["model_prediction"] = "kept"
    (work / "out.json").write_text(json.dumps(stopped))
    capsys.readouterr()
    status, output = run("--batch_size", "1")
    assert status == 0 and "has the reports of 1 of 3 studies" in capsys.readouterr().err
    assert predictions_of(output) == predictions_of(complete) | {"p10_s1": "kept"}
    assert len(calls) == 4


def test_a_study_that_cannot_be_read_keeps_its_entry_and_the_status_says_so(run, work, capsys):
    _, complete = run(output="complete.json")
    (work / "images/p10/s1/side.png").unlink()
    studies = json.loads(INPUT)
    studies["p12_s3"]["image_path"], studies["p12_s3"]["key_image_path"] = [], None
    (work / "test.json").write_text(json.dumps(studies))
    capsys.readouterr()
    status, output = run()
    errors = capsys.readouterr().err
    assert status == 1
    assert list(output) == list(studies)
    assert json.dumps(output["p10_s1"]) == json.dumps(studies["p10_s1"])
    assert predictions_of(output)["p11_s2"] == predictions_of(complete)["p11_s2"]
    assert "study p10_s1 has no report: " in errors and "side.png" in errors
    assert "study p12_s3 has no report: its image_path is []; give a list of paths" in errors
    assert "3 studies = 1 with a report + 2 that could not be read" in errors


@pytest.mark.parametrize(
    ("context", "indication"),
    [
        ("Age:50-60.Gender:M.Indication: Cough. Comparison: None.", "Cough."),
        ("<context>Age:60-70.Gender:F.Indication: ___ with CHF and dyspnea.</context>", "___ with CHF and dyspnea."),
        ("Indication: INDICATION: Fall.\nComparison: ___.", "Fall."),
        ("Age:50-60.Gender:M.", ""),
        ("Age:50-60.Gender:M.Indication: None.Comparison: None.", ""),
        ("Cough and fever.", "Cough and fever."),
        ("", ""),
        (float("nan"), ""),
        (None, ""),
    ],
)
def test_indication_is_read_from_the_context(program, context, indication):
    assert program.indication_of(context) == indication


def test_mistakes_are_named(run, program, work, capsys):
    for arguments in ([str(work / "test.json")], ["--save_json_file", "out.json", "a", "b", "c"]):
        with pytest.raises(SystemExit) as left:
            program.main(arguments)
        assert left.value.code == 2 and "or the three paths in this order" in capsys.readouterr().err
    (work / "out.json").write_text('{"another": {}}')
    with pytest.raises(ValueError, match="has the study another, which is not in the input; name another"):
        run()
    (work / "test.json").write_text(INPUT[:200])
    with pytest.raises(ValueError, match=r"test\.json is not valid JSON .* it may be cut off"):
        run()
    (work / "test.json").write_text('["a.png"]')
    with pytest.raises(ValueError, match=r"test\.json is not an object from study ids to studies"):
        run()
