"""The report on the command line: what the page says, nothing else on standard output, and mistakes by name."""

import json
from dataclasses import replace

import pytest

from page.report import WITHHELD, main
from page.study.read import read_files
from vlm.checkpoint.store import load_checkpoint, save_checkpoint
from vlm.generator import GenerationOptions, ReportGenerator


@pytest.fixture
def image(tmp_path, images):
    path = tmp_path / "chest.png"
    images[0].save(path)
    return path


def run(checkpoint, *arguments):
    return main([*map(str, arguments), "--checkpoint", str(checkpoint), "--max-new-tokens", "12"])


def test_the_report_is_the_one_that_the_page_writes(tiny_checkpoint, image, capfdbinary):
    arguments = (image, "--indication", "cough", "--view-positions", "PA")
    assert run(tiny_checkpoint, *arguments) == 0
    generator, options = ReportGenerator.from_pretrained(tiny_checkpoint), GenerationOptions(max_new_tokens=12)
    *_, reading = read_files(generator, [image], views=["PA"], indication="cough", options=options)
    printed = capfdbinary.readouterr()
    assert printed.out.decode() == f"{reading.report.report}\n"
    assert reading.report.report.strip()
    assert printed.err.decode() == f"Model: {tiny_checkpoint}\n"


def test_other_formats_are_the_files_of_the_page(tiny_checkpoint, image, tmp_path):
    output = tmp_path / "report.json"
    assert run(tiny_checkpoint, image, image, "--format", "json", "--output", output) == 0
    document = json.loads(output.read_text(encoding="utf-8"))
    assert document["schema"] == "cxrscribe-report"
    assert [image["name"] for image in document["images"]] == ["image 1", "image 2"]
    assert run(tiny_checkpoint, image, "--format", "json", "--include-identity", "--output", output) == 0
    assert json.loads(output.read_text(encoding="utf-8"))["images"][0]["name"] == "chest.png"


def test_a_doubtful_study_gets_its_report_only_on_request(tiny_checkpoint, dicom, capfdbinary):
    knee = dicom(BodyPartExamined="KNEE")
    assert run(tiny_checkpoint, knee) == WITHHELD
    printed = capfdbinary.readouterr()
    assert printed.out == b""
    assert b"shows another part of the body than the chest" in printed.err
    assert b"--write-anyway" in printed.err
    assert run(tiny_checkpoint, knee, "--write-anyway") == 0
    printed = capfdbinary.readouterr()
    assert printed.out.strip()
    assert b"warning: scan: shows another part of the body" in printed.err


def test_a_model_that_only_classifies_prints_no_noise(tiny_checkpoint, image, tmp_path, capfdbinary):
    checkpoint = load_checkpoint(tiny_checkpoint)
    checkpoint.model.config = replace(checkpoint.model.config, writes_reports=False)
    save_checkpoint(tmp_path / "classifier", checkpoint)
    with pytest.raises(ValueError, match=r"classifier only classifies, .*; --format text or json gives its findings"):
        run(tmp_path / "classifier", image)
    assert run(tmp_path / "classifier", image, "--format", "text") == 0
    printed = capfdbinary.readouterr().out.decode()
    assert "This model only classifies: it has learned no reports, so it wrote none." in printed
    assert "FINDINGS BY PROBABILITY" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.png"], "nowhere.png: does not exist"),
        (["chest.png", "chest.png", "--view-positions", "PA", "AP", "PA"], "3 view positions for 2 images"),
    ],
)
def test_mistakes_are_named(tiny_checkpoint, image, monkeypatch, arguments, message):
    monkeypatch.chdir(image.parent)
    with pytest.raises(ValueError, match=message):
        run(tiny_checkpoint, *arguments)


def test_no_image_and_an_endless_indication_are_rejected_before_the_model_is_loaded(capsys):
    with pytest.raises(SystemExit):
        main([])
    with pytest.raises(SystemExit):
        main(["chest.png", "--indication", "x" * 1001])
    printed = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "no image is given; name the files of one study" in printed
    assert "--indication has 1001 characters; shorten it to 1000 at most" in printed
