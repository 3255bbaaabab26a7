"""The report on the command line: same as on the page, with nothing else on standard output."""

import errno
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import page.report
from eval.checks.contradictions import Contradiction
from page.report import BLOCKED, ReportOptions, main
from page.study.image_warnings import LOOKS_LATERAL
from page.study.plain_text import plain_text
from page.study.prior import prior_study, read_prior_files
from page.study.read import DEFAULT_GENERATION, choose_views, read_files
from page.study.record import CUT_OFF, study_record
from tests.helpers.view_checks import everything_looks_lateral
from vlm.checkpoint.store import load_checkpoint, save_checkpoint
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.operating_point import OperatingPoint, RocCurve
from vlm.uncertainty import NO_CHECK, save_curves, save_ood_detector


@pytest.fixture
def image(tmp_path, images):
    path = tmp_path / "chest.png"
    images[0].save(path)
    return path


def run(checkpoint, *arguments):
    return main([*map(str, arguments), "--checkpoint", str(checkpoint), "--max-new-tokens", "12"])


def test_report_is_the_same_as_on_the_page(tiny_checkpoint, image, capfdbinary):
    arguments = (image, "--indication", "cough", "--view-positions", "PA")
    assert run(tiny_checkpoint, *arguments) == 0
    generator, options = (
        ReportGenerator.from_pretrained(tiny_checkpoint),
        replace(DEFAULT_GENERATION, max_new_tokens=12),
    )
    *_, reading = read_files(generator, [image], views=["PA"], indication="cough", options=options)
    printed = capfdbinary.readouterr()
    assert printed.out.decode() == f"{reading.report.report}\n"
    assert reading.report.report.strip()
    model, *warnings = printed.err.decode().splitlines()
    assert model == f"Model: {tiny_checkpoint}"
    assert warnings[0] == f"warning: Not checked whether the images resemble those of the training: {NO_CHECK}."
    assert warnings[-2:] == [
        f"warning: {CUT_OFF}",
        "the end of the report is missing; a larger --max-new-tokens writes it",
    ]


def test_other_formats_are_the_same_files_as_on_the_page(tiny_checkpoint, image, tmp_path):
    output = tmp_path / "report.json"
    assert run(tiny_checkpoint, image, image, "--format", "json", "--output", output) == 0
    document = json.loads(output.read_text(encoding="utf-8"))
    assert document["schema"] == "cxrscribe-report"
    assert [image["name"] for image in document["images"]] == ["image 1", "image 2"]
    assert run(tiny_checkpoint, image, "--format", "json", "--include-identity", "--output", output) == 0
    assert json.loads(output.read_text(encoding="utf-8"))["images"][0]["name"] == "chest.png"


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("r.pdf", b"%PDF-"),
        ("R.JSON", b'{\n  "schema": "cxrscribe-report"'),
        ("r.fhir.json", b'{\n  "resourceType": "DiagnosticReport"'),
        ("r.txt", b"Findings: "),
        ("r", b"Findings: "),
    ],
)
def test_format_follows_the_name_of_the_output(tiny_checkpoint, image, tmp_path, monkeypatch, name, start):
    def read_with_findings(*arguments, **settings):
        *_, reading = read_files(*arguments, **settings)
        yield replace(reading, report=replace(reading.report, report="Findings: Clear.", findings="Clear."))

    monkeypatch.setattr("page.report.read_files", read_with_findings)
    assert run(tiny_checkpoint, image, "--output", tmp_path / name) == 0
    assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("output", "format", "written"),
    [
        ("r.dcm", "auto", "sr"),
        ("r.sr.dcm", "auto", "sr"),
        ("r.json", "fhir", "fhir"),
        ("r.txt", "text", "text"),
        ("r.md", "pdf", "pdf"),
        (None, "auto", "report"),
    ],
)
def test_given_format_that_fits_the_output_is_kept(output, format, written):
    output = output and Path(output)
    assert ReportOptions(images=(Path("a"),), output=output, format=format).written_format == written


@pytest.mark.parametrize(
    ("output", "format", "fitting"),
    [
        ("r.pdf", "report", "pdf"),
        ("r.json", "pdf", "json or fhir"),
        ("r.fhir.json", "json", "fhir"),
        ("r.dcm", "text", "sr"),
    ],
)
def test_format_that_contradicts_the_name_of_the_output_is_rejected(output, format, fitting):
    message = f"--format {format} does not fit --output {output}, which is a file for --format {fitting}; change one"
    with pytest.raises(ValueError, match=re.escape(message)):
        ReportOptions(images=(Path("a"),), output=Path(output), format=format)


def test_structured_report_has_its_findings_by_organ_system(tiny_checkpoint, image, tmp_path, monkeypatch, capfdbinary):
    findings = "No effusion. Lungs are clear."

    def read_with_findings(*arguments, **settings):
        *_, reading = read_files(*arguments, **settings)
        report = replace(reading.report, report=f"Findings: {findings} Impression: Normal.", findings=findings)
        yield replace(reading, report=report)

    monkeypatch.setattr("page.report.read_files", read_with_findings)
    assert run(tiny_checkpoint, image, "--structured") == 0
    by_system = "Lungs\nLungs are clear.\nPleura\nNo effusion."
    assert capfdbinary.readouterr().out.decode() == f"Findings:\n{by_system}\nImpression:\nNormal.\n"
    output = tmp_path / "report.json"
    for flags, expected in ((["--structured"], by_system), ([], findings)):
        assert run(tiny_checkpoint, image, "--format", "json", "--output", output, *flags) == 0
        assert json.loads(output.read_text(encoding="utf-8"))["findings"] == expected


def test_operating_point_and_candidates_are_those_of_the_page(tiny_checkpoint, image, tmp_path):
    checkpoint = shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")
    curve = RocCurve(thresholds=(0.99, 0.01), sensitivities=(0.1, 1.0), specificities=(1.0, 0.1))
    save_curves(checkpoint, (curve,) * 14)
    output = tmp_path / "report.json"
    flags = ("--operating-point", "sensitivity=.9", "--num-candidates", "3", "--format", "json", "--output", output)
    assert run(checkpoint, image, "--include-identity", *flags) == 0
    document = json.loads(output.read_text(encoding="utf-8"))
    assert document["operating_point"] == "sensitivity=0.9"
    assert {row["threshold"] for row in document["finding_probabilities"]} == {0.01}
    options = GenerationOptions(max_new_tokens=12, num_candidates=3)
    generator = ReportGenerator.from_pretrained(checkpoint).at(OperatingPoint.parse("sensitivity=.9"))
    *_, reading = read_files(generator, [image], options=options)
    assert document["findings"] == plain_text(reading.report.findings)


def test_contradictions_and_invented_comparisons_are_warnings(tiny_checkpoint, image, monkeypatch, capfdbinary):
    contradiction = Contradiction(finding="Edema", stated="Edema.", denied="No edema.")

    def read_with_problems(*arguments, **settings):
        *_, reading = read_files(*arguments, **settings)
        report = replace(reading.report, is_truncated=False)
        yield replace(reading, report=report, contradictions=(contradiction,), prior_sentences=("Unchanged.",))

    monkeypatch.setattr("page.report.read_files", read_with_problems)
    assert run(tiny_checkpoint, image) == 0
    printed = capfdbinary.readouterr().err.decode()
    assert 'warning: The report both states and denies Edema: "Edema." / "No edema."' in printed
    assert 'warning: The report mentions a prior study, but none was given: "Unchanged."' in printed
    assert CUT_OFF not in printed and "--max-new-tokens" not in printed


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--operating-point", "sensitivity=0.9"], r"has no ROC curves.*python -m train.fit_roc adds"),
        (["--operating-point", "recall"], "unknown operating point 'recall'"),
        (["--num-candidates", "0"], "--num-candidates is 0; give 1 to 16"),
        (["--num-candidates", "17"], "--num-candidates is 17; give 1 to 16"),
    ],
)
def test_impossible_settings_are_rejected(tiny_checkpoint, image, flags, message, capsys):
    with pytest.raises((ValueError, SystemExit)) as error:
        run(tiny_checkpoint, image, *flags)
    assert re.search(message, str(error.value) + " ".join(capsys.readouterr().err.split()))


def test_study_with_image_warnings_gets_its_report_only_on_request(tiny_checkpoint, dicom, capfdbinary):
    knee = dicom(BodyPartExamined="KNEE")
    assert run(tiny_checkpoint, knee) == BLOCKED
    printed = capfdbinary.readouterr()
    assert printed.out == b""
    assert b"shows another part of the body than the chest" in printed.err
    assert b"--write-anyway" in printed.err
    assert run(tiny_checkpoint, knee, "--write-anyway") == 0
    printed = capfdbinary.readouterr()
    assert printed.out.strip()
    assert b"warning: scan: shows another part of the body" in printed.err


def test_image_that_looks_lateral_is_read_after_its_view_is_chosen_or_on_request(
    tiny_checkpoint, image, tmp_path, capfdbinary
):
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    save_ood_detector(folder, everything_looks_lateral())
    assert run(folder, image, "--view-positions", "PA") == BLOCKED
    assert f"warning: chest.png: {LOOKS_LATERAL}" in capfdbinary.readouterr().err.decode()
    assert run(folder, image, image, "--view-positions", "PA", "lateral", "--write-anyway") == 0
    assert capfdbinary.readouterr().err.decode().count(LOOKS_LATERAL) == 1
    output = tmp_path / "report.json"
    assert run(folder, image, "--write-anyway", "--format", "json", "--output", output) == 0
    assert f"image 1: {LOOKS_LATERAL}" in json.loads(output.read_text(encoding="utf-8"))["warnings"]


def test_model_that_only_classifies_rejects_the_report_format(tiny_checkpoint, image, tmp_path, capfdbinary):
    checkpoint = load_checkpoint(tiny_checkpoint)
    checkpoint.model.config = replace(checkpoint.model.config, writes_reports=False)
    save_checkpoint(tmp_path / "classifier", checkpoint)
    with pytest.raises(ValueError, match=r"classifier only classifies, .*; use --format text or json"):
        run(tmp_path / "classifier", image)
    assert run(tmp_path / "classifier", image, "--format", "text") == 0
    printed = capfdbinary.readouterr().out.decode()
    assert "This model only classifies: it was not trained on reports, so it wrote none." in printed
    assert "FINDINGS BY PROBABILITY" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chest.png", "chest.png", "--view-positions", "PA", "AP", "PA"], "3 view positions for 2 images"),
    ],
)
def test_input_errors_are_named(tiny_checkpoint, image, monkeypatch, arguments, message):
    monkeypatch.chdir(image.parent)
    with pytest.raises(ValueError, match=message):
        run(tiny_checkpoint, *arguments)


def test_mistyped_path_is_rejected_before_the_model_is_loaded(image, monkeypatch):
    monkeypatch.setattr(
        ReportGenerator, "from_pretrained", lambda *arguments, **settings: pytest.fail("the model was loaded")
    )
    with pytest.raises(ValueError, match=r"chets.png: does not exist"):
        run("anywhere", image, image.with_name("chets.png"))


def test_missing_image_and_long_indication_are_rejected_before_the_model_is_loaded(capsys):
    with pytest.raises(SystemExit):
        main([])
    with pytest.raises(SystemExit):
        main(["chest.png", "--indication", "x" * 1001])
    printed = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "no image is given; name the files of one study" in printed
    assert "--indication has 1001 characters; shorten it to 1000 at most" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.png"], "nowhere.png: does not exist; check the path"),
        (["."], r"\.: is a folder; .* a table for all its studies with --output reports.csv"),
        (["chest.png", "--output", "."], r"--output \. is a folder; name a file in it"),
        (["chest.png", "--output", "no/report.txt"], "--output no/report.txt is in a folder that does not exist"),
    ],
)
def test_mistyped_path_is_found_before_the_model_is_loaded(image, monkeypatch, arguments, message):
    monkeypatch.chdir(image.parent)
    monkeypatch.setattr(page.report, "ReportGenerator", None)
    with pytest.raises(ValueError, match=message):
        run("no checkpoint either", *arguments)


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.ENOSPC, "No space left on device"), (errno.EROFS, "Read-only file system")]
)
def test_disk_that_cannot_be_written_is_named_and_the_old_report_stays(
    tiny_checkpoint, image, tmp_path, monkeypatch, number, reason
):
    def fail(path, content):
        raise OSError(number, reason)

    output = tmp_path / "report.txt"
    output.write_text("old")
    monkeypatch.setattr(page.report, "write_atomically", fail)
    with pytest.raises(ValueError, match=rf"--output {output} cannot be written \({reason}\)"):
        run(tiny_checkpoint, image, "--output", output)
    assert output.read_text() == "old"


@pytest.mark.parametrize("output", [[], ["--output", "/dev/full"]])
def test_full_disk_gives_one_line_and_no_traceback(tiny_checkpoint, image, output):
    command = [sys.executable, "-m", "page.report", str(image), "--checkpoint", str(tiny_checkpoint), *output]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*command, "--max-new-tokens", "4"], stdout=full, stderr=subprocess.PIPE, text=True)
    where = "--output /dev/full" if output else "standard output"
    model, *_, error = done.stderr.splitlines()
    assert model.startswith("Model: ")
    assert error.startswith(f"error: {where} cannot be written (No space left on device)")
    assert done.returncode == 2


@pytest.fixture
def files(tmp_path, images):
    """The images of a study and of its prior study, beside before.txt."""
    paths = [tmp_path / "now.png", tmp_path / "before.png"]
    for path, image in zip(paths, images, strict=False):
        image.save(path)
    (tmp_path / "before.txt").write_text("FINDINGS: The heart is enlarged.", encoding="utf-8")
    return paths


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
    *_, reading = read_files(generator, [now], prior=prior, options=GenerationOptions(max_new_tokens=12))
    states = [(row["finding"], row["state"]) for row in document["changes"]]
    assert states == [(row.finding, row.change[0]) for row in _compared(reading, generator)]
    assert len({state for _, state in states}) > 1


def _compared(reading, generator):
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
def test_wrong_options_for_a_prior_study_are_explained(
    prior_checkpoint, files, tmp_path, monkeypatch, flags, message, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises((ValueError, SystemExit)) as error:
        run(prior_checkpoint, "now.png", *flags)
    assert re.search(message, str(error.value) + " ".join(capsys.readouterr().err.split()))
