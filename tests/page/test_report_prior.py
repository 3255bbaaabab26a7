"""The command line with a prior study."""

import json
import re

import pytest

from page.report import main
from page.study.prior import prior_study, read_prior_files
from page.study.read import choose_views, read_files
from vlm.generator import GenerationOptions, ReportGenerator


@pytest.fixture
def files(tmp_path, images):
    paths = [tmp_path / "now.png", tmp_path / "before.png"]
    for path, image in zip(paths, images, strict=False):
        image.save(path)
    (tmp_path / "before.txt").write_text("FINDINGS: The heart is enlarged.", encoding="utf-8")
    return paths


def run(checkpoint, *arguments):
    return main([*map(str, arguments), "--checkpoint", str(checkpoint), "--max-new-tokens", "8"])


def test_report_is_written_with_the_prior_study(prior_checkpoint, files, tmp_path):
    now, before = files
    output = tmp_path / "report.json"
    flags = ("--prior", before, "--prior-report", tmp_path / "before.txt", "--prior-days", "30")
    flags += ("--prior-view-positions", "AP", "--format", "json", "--output", output, "--include-identity")
    assert run(prior_checkpoint, now, *flags) == 0
    document = json.loads(output.read_text(encoding="utf-8"))
    assert [image["name"] for image in document["prior"]["images"]] == ["prior before.png"]
    assert document["prior"]["report"] == "Findings: The heart is enlarged."
    assert document["prior"]["interval_days"] == 30
    generator = ReportGenerator.from_pretrained(prior_checkpoint)
    images = choose_views(read_prior_files([before]), ["AP"])
    prior = prior_study(images, report="FINDINGS: The heart is enlarged.", interval_days=30)
    *_, reading = read_files(generator, [now], prior=prior, options=GenerationOptions(max_new_tokens=8))
    states = [(row["finding"], row["state"]) for row in document["changes"]]
    assert states == [(row.finding, row.change[0]) for row in _compared(reading, generator)]
    assert len({state for _, state in states}) > 1


def _compared(reading, generator):
    from page.study.record import study_record

    return [row for row in study_record(reading, generator).finding_rows if row.change]


def test_checkpoint_without_prior_support_says_so(tiny_checkpoint, files, tmp_path):
    (tmp_path / "damaged.png").write_bytes(b"not read")
    with pytest.raises(ValueError, match="was trained without prior studies and cannot compare"):
        run(tiny_checkpoint, files[0], "--prior", tmp_path / "damaged.png")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--prior-days", "3"], "--prior-days needs --prior"),
        (["--prior-report", "before.txt"], "--prior-report needs --prior"),
        (["--prior", "nowhere.png"], "nowhere.png: does not exist"),
        (["--prior", "before.png", "--prior-days", "-2"], "--prior-days is -2; give 0 to 36525"),
        (["--prior", "before.png", "--prior-report", "binary.txt"], "binary.txt is no readable text file in UTF-8"),
        (["--prior", "now.png"], "is the study itself"),
        (["--prior", "before.png", "--output", "reports.csv"], "--prior is for one study, and --output reports.csv"),
    ],
)
def test_wrong_options_are_explained(prior_checkpoint, files, tmp_path, monkeypatch, flags, message, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises((ValueError, SystemExit)) as error:
        run(prior_checkpoint, "now.png", *flags)
    assert re.search(message, str(error.value) + " ".join(capsys.readouterr().err.split()))
