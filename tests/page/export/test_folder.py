"""A folder of studies as a table: one row a study, exports, and going on after an interruption."""

import csv
import io
import json
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from pydicom import dcmread

import page.export.folder
from page.report import ReportOptions
from page.report import main as report_program
from page.study.read import StudyInput, read_files, read_studies
from page.study.row import study_row
from page.study.upload import UploadedImage, read_upload
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.operating_point import OperatingPoint, RocCurve
from vlm.schema.findings import FINDINGS, NUM_FINDINGS
from vlm.uncertainty import save_curves

SHORT = ["--max-new-tokens", "6"]


@pytest.fixture
def folder(tmp_path, images, dicom):
    """Six studies: a pair, a DICOM file, a blank image, a damaged file, and the same image twice."""
    root = tmp_path / "in"
    (root / "pair").mkdir(parents=True)
    for name, number in (("pair/1.png", 0), ("pair/2.png", 1), ("same.png", 2), ("same_again.png", 2)):
        images[number].save(root / name)
    Image.new("L", (40, 40), 90).save(root / "blank.png")
    scan = dicom(StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4")
    (root / "scan").write_bytes(scan.read_bytes())
    (root / "cut.png").write_bytes((root / "same.png").read_bytes()[:60])
    return root


def run(checkpoint, *arguments):
    return report_program([*map(str, arguments), "--checkpoint", str(checkpoint), *SHORT])


def rows_of(path):
    return {row["study"]: row for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())}


def test_every_study_has_one_row_and_its_exports(tiny_checkpoint, folder, capsys):
    output, exports = folder / "reports.jsonl", folder / "exports"  # both inside the folder, but no studies of it
    arguments = (folder, "--output", output, "--exports", "json", "sr", "--export-folder", exports)
    assert run(tiny_checkpoint, *arguments) == 0
    assert capsys.readouterr().out == f"6 studies = 4 read + 1 blocked + 1 rejected. {output}\n"
    rows = rows_of(output)
    assert {name: row["state"] for name, row in rows.items()} == {
        "pair": "read",
        "scan": "read",
        "same.png": "read",
        "same_again.png": "read",
        "blank.png": "blocked",
        "cut.png": "rejected",
    }
    assert rows["pair"]["files"] == ["pair/1.png", "pair/2.png"]
    assert rows["pair"]["report"] and rows["pair"]["Pneumonia"] is not None
    assert rows["cut.png"]["reason"].startswith("cut.png: ")
    assert rows["same.png"]["images_hash"] == rows["same_again.png"]["images_hash"] != ""
    assert [len(row["exports"]) for row in (rows["scan"], rows["pair"], rows["blank.png"])] == [2, 1, 0]
    assert rows["pair"]["reason"].startswith("Not exported as sr: a DICOM structured report must refer to images")
    named = sorted(name for row in rows.values() for name in row["exports"])
    assert named == sorted(path.name for path in exports.iterdir())
    assert len(set(named)) == len(named) == 5
    document = json.loads((exports / rows["scan"]["exports"][0]).read_text(encoding="utf-8"))
    assert document["findings"] == rows["scan"]["findings"]
    assert "scan" not in json.dumps(document)


def test_interrupted_table_continues_and_reads_no_study_twice(tiny_checkpoint, folder, tmp_path, monkeypatch, capsys):
    output, read, real = tmp_path / "reports.csv", [], page.export.folder.read_sources

    def stop_at_the_fourth(generator, sources, options):
        if len(read) == 3:
            raise KeyboardInterrupt
        read.append(sources[0].name)
        return real(generator, sources, options)

    monkeypatch.setattr(page.export.folder, "read_sources", stop_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_checkpoint, folder, "--output", output)
    output.write_bytes(output.read_bytes()[:-5])  # the third row is incomplete
    monkeypatch.setattr(
        page.export.folder, "read_sources", lambda *given: read.append(given[1][0].name) or real(*given)
    )
    capsys.readouterr()
    assert run(tiny_checkpoint, folder, "--output", output) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("6 studies = 4 read + 1 blocked + 1 rejected; 2 of them were in the table before")
    assert "note: rows from before keep the options that they were written with, such as --write-anyway" in printed.err
    assert len(read) == 7 and read[2] == read[3] and len(set(read)) == 6
    with output.open(newline="", encoding="utf-8") as file:
        studies = [row["study"] for row in csv.DictReader(file)]
    assert sorted(studies) == sorted(set(read))

    (folder / "pair" / "3.png").write_bytes((folder / "same.png").read_bytes())
    (folder / "blank.png").unlink()
    assert run(tiny_checkpoint, folder, "--output", output) == 0
    notes = capsys.readouterr().err
    assert "note: 1 studies have other files or images than when they were read, and were read again" in notes
    assert "note: 1 rows of the table are of studies that are not in the source now" in notes
    assert read[7:] == ["pair"]


@pytest.fixture
def read(monkeypatch):
    """The names of the studies that the model reads."""
    names, real = [], page.export.folder.read_sources
    monkeypatch.setattr(
        page.export.folder, "read_sources", lambda *given: names.append(given[1][0].name) or real(*given)
    )
    return names


@pytest.mark.parametrize(("suffix", "has_versions"), [(".csv", True), (".jsonl", False)])
def test_a_study_with_a_replaced_image_is_read_again(
    tiny_checkpoint, folder, images, read, suffix, has_versions, tmp_path, capsys
):
    output, exports = tmp_path / f"reports{suffix}", tmp_path / "exports"
    arguments = (folder, "--output", output, "--exports", "json", "--export-folder", exports)
    assert run(tiny_checkpoint, *arguments) == 0
    before, old_exports = output.read_bytes().splitlines(), set(exports.iterdir())
    images[2].save(folder / "pair" / "2.png")
    images[1].save(folder / "cut.png")
    os.utime(folder / "same.png")  # a copy of the same image
    if not has_versions:
        (tmp_path / f".{output.name}.versions").unlink()  # a table of an older version
    read.clear()
    capsys.readouterr()
    assert run(tiny_checkpoint, *arguments) == 0
    assert sorted(read) == ["cut.png", "pair"]
    printed = capsys.readouterr()
    assert printed.out.startswith("6 studies = 5 read + 1 blocked + 0 rejected; 4 of them were in the table before")
    note = "2 studies have other files or images than when they were read, and were read again; delete their 1 old"
    assert note in printed.err
    after = output.read_bytes().splitlines()
    assert len(after) == len(before) and len(set(before) - set(after)) == 2
    assert old_exports < set(exports.iterdir()) and len(list(exports.iterdir())) == len(old_exports) + 2
    read.clear()
    assert run(tiny_checkpoint, *arguments) == 0
    assert (read, output.read_bytes().splitlines()) == ([], after)


def test_a_study_with_a_replaced_image_in_a_zip_is_read_again(tiny_checkpoint, tmp_path, images, read):
    for second in (1, 1, 2):
        with zipfile.ZipFile(tmp_path / "studies.zip", "w") as archive:
            for name, number in (("a.png", 0), ("b.png", second)):
                content = io.BytesIO()
                images[number].save(content, "PNG")
                archive.writestr(name, content.getvalue())
        assert run(tiny_checkpoint, tmp_path / "studies.zip", "--output", tmp_path / "reports.csv") == 0
    assert read == ["a.png", "b.png", "b.png"]


def test_a_study_whose_header_names_another_patient_or_view_is_read_again(
    tiny_checkpoint, folder, tmp_path, read, dicom
):
    output, exports = tmp_path / "reports.jsonl", tmp_path / "exports"
    options = ("--exports", "sr", "--include-identity", "--export-folder", exports)
    uids = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4"}
    for patient, view in (("A", "PA"), ("B", "PA"), ("B", "AP")):  # the pixels stay
        (folder / "scan").write_bytes(dicom(**uids, PatientID=patient, ViewPosition=view).read_bytes())
        read.clear()
        assert run(tiny_checkpoint, folder, "--output", output, *options) == 0
        assert "scan" in read
        row = rows_of(output)["scan"]
        assert row["view_positions"] == [view]
        assert dcmread(exports / row["exports"][0]).PatientID == patient
    assert read == ["scan"]


def test_table_has_the_operating_point_and_the_candidates_of_single_studies(tiny_checkpoint, tmp_path, images):
    checkpoint = shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")
    curve = RocCurve(thresholds=(0.99, 0.01), sensitivities=(0.1, 1.0), specificities=(1.0, 0.1))
    save_curves(checkpoint, (curve,) * NUM_FINDINGS)
    (tmp_path / "in").mkdir()
    images[0].save(tmp_path / "in" / "one.png")
    table = (tmp_path / "in", "--output", tmp_path / "reports.jsonl", "--num-candidates", "3", "--write-anyway")
    assert run(checkpoint, *table, "--operating-point", "sensitivity=0.9") == 0
    row = rows_of(tmp_path / "reports.jsonl")["one.png"]
    generator = ReportGenerator.from_pretrained(checkpoint).at(OperatingPoint.parse("sensitivity=0.9"))
    options = GenerationOptions(max_new_tokens=6, num_candidates=3)
    *_, reading = read_files(generator, [tmp_path / "in" / "one.png"], options=options, write_anyway=True)
    assert row["report"] == study_row(generator, reading, "one.png", files=["one.png"]).report
    assert set(row["predicted_positive"]) == {name for name in FINDINGS if row[name] >= 0.01} != set()
    with pytest.raises(ValueError, match=r"rows of the model .* at sensitivity=0.9'.*give another --output"):
        run(checkpoint, *table)


def test_names_of_the_header_are_removed_from_the_texts_of_a_row(tiny_checkpoint, dicom):
    generator = ReportGenerator.from_pretrained(tiny_checkpoint)
    image = read_upload(dicom().read_bytes(), "scan")
    options = GenerationOptions(max_new_tokens=2)
    [reading] = read_studies(generator, [StudyInput(images=[image])], options=options, write_anyway=True)
    text = "Seen in Jane Doe."
    reading = replace(reading, report=replace(reading.report, report=f"Findings: {text}", findings=text))
    row = study_row(generator, reading, "s", files=["scan"])
    assert "Doe" not in row.findings + row.report
    assert study_row(generator, reading, "s", files=["scan"], include_identity=True).findings == text


def test_batch_gives_the_same_readings_as_single_studies(tiny_checkpoint, images):
    generator = ReportGenerator.from_pretrained(tiny_checkpoint)
    studies = [
        StudyInput(images=[UploadedImage(name=str(number), image=image)], indication="cough" * (number % 2))
        for number, image in enumerate([*images[:3], Image.new("L", (40, 40), 90)])
    ]
    options = GenerationOptions(max_new_tokens=6)
    together = read_studies(generator, studies, options=options)
    for study, reading in zip(studies, together, strict=True):
        [alone] = read_studies(generator, [study], options=options)
        assert (reading.is_blocked, reading.image_warnings) == (alone.is_blocked, alone.image_warnings)
        if not reading.is_blocked:
            assert reading.report.report == alone.report.report
    assert [reading.is_blocked for reading in together] == [False, False, False, True]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"images": (Path("a"), Path("b"))}, "is a table of many studies; name one folder or zip"),
        ({"indication": "cough"}, "--indication is for one study"),
        ({"view_positions": ("PA",)}, "--view-positions is for one study"),
        ({"format": "fhir"}, "--format is for one study, .*; use --exports"),
        ({"exports": ("fhir",)}, "--exports and --export-folder go together"),
        ({"output": Path("r.txt"), "exports": ("fhir",), "export_folder": Path("x")}, "--exports is for a table"),
    ],
)
def test_options_that_do_not_fit_a_table_are_named(settings, problem):
    with pytest.raises(ValueError, match=problem):
        ReportOptions(**{"images": (Path("a"),), "output": Path("reports.csv")} | settings)


def test_suffix_of_a_table_may_be_in_capitals():
    assert ReportOptions(images=(Path("a"),), output=Path("REPORTS.CSV")).writes_table
    assert not ReportOptions(images=(Path("a"),), output=Path("report.txt")).writes_table


def test_empty_folder_is_named(tiny_checkpoint, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no file"):
        run(tiny_checkpoint, tmp_path / "empty", "--output", tmp_path / "r.csv")
