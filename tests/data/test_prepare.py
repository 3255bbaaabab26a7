"""From a source to a data set on disk: every study is kept or rejected, and the folder is complete or absent."""

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid

from data.images.encode import encode_png
from data.pipeline.raw_study import ImageOptions, RawFileStudy, RawStudy, Rejection, path_below
from data.pipeline.row import BuildOptions, build_row, preprocess_study
from data.pipeline.workers import build_rows
from data.pipeline.writer import DatasetWriter
from data.prepare import main
from data.reports.labeler.labeler import label_report
from data.reports.labeler.severity import report_severities
from data.study import FindingBox, Study, load_studies, saved_preprocessing
from data.synthetic.source import make_study
from vlm.schema.findings import FINDING_INDEX, POSITIVE, SEVERITIES, UNCERTAIN, UNKNOWN_SEVERITY
from vlm.schema.preprocessing import Preprocessing

IMAGE = np.random.default_rng(0).integers(0, 256, size=(40, 30), dtype=np.uint8)


def save_image(path: Path, pixels: np.ndarray = IMAGE) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(Image.fromarray(pixels)))
    return path.name


def save_dicom(path: Path, **attributes) -> str:
    header = pydicom.Dataset()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    header.SOPClassUID, header.SOPInstanceUID = uid.DigitalXRayImageStorageForPresentation, uid.generate_uid()
    header.PatientName, header.ViewPosition = "Doe^Jane", "AP"
    header.SamplesPerPixel, header.PhotometricInterpretation, header.PixelRepresentation = 1, "MONOCHROME1", 0
    header.Rows, header.Columns, header.BitsAllocated, header.BitsStored, header.HighBit = *IMAGE.shape, 8, 8, 7
    header.PixelData = IMAGE.tobytes()
    for attribute, value in attributes.items():
        setattr(header, attribute, value)
    header["PixelData"].VR = "OB"
    header.save_as(path, enforce_file_format=True)
    return path.name


def save_table(folder: Path, rows: list[dict]) -> Path:
    path = folder / "studies.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def prepare(table: Path, out: Path, *options: str) -> None:
    main(["table", str(table), "--out", str(out), "--num-workers", "1", *options])


def rejected(out: Path) -> dict[str, str]:
    lines = (out / "rejected.jsonl").read_text().splitlines()
    return {entry["study_id"]: entry["reason"] for entry in map(json.loads, lines)}


def preparation(out: Path) -> dict:
    return json.loads((out / "preparation.json").read_text())


def test_synthetic_studies_are_saved_exactly(tmp_path, capsys):
    out = tmp_path / "studies"
    options = ["--num-studies", "12", "--size", "64", "--seed", "3", "--split-fractions", "0.5", "0.25", "0.25"]
    main(["synthetic", "--out", str(out), "--num-workers", "1", *options])
    studies = load_studies(out)
    made = {study.study_id: study for study in (make_study(3, index, 64) for index in range(12))}
    rows = [row for split in studies.values() for row in split]
    assert {row["study_id"] for row in rows} == set(made)
    for row in rows:
        study = made[row["study_id"]]
        assert all(
            np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(row["images"], study.images, strict=True)
        )
        assert {image.mode for image in row["images"]} == {"L"}
        for name in ("subject_id", "indication", "findings", "impression", "source", "license"):
            assert row[name] == getattr(study, name)
        assert row["label_source"] == "source"
        assert tuple(row["severities"]) == study.severities
        assert tuple(row["labels"]) == study.labels and tuple(row["view_positions"]) == study.view_positions
        assert [(box["finding"], box["view"]) for box in row["boxes"]] == [(b.finding, b.view) for b in study.boxes]
        assert np.allclose([box["box"] for box in row["boxes"]], [box.box for box in study.boxes], atol=1e-6)
    subjects = {split: set(studies[split]["subject_id"]) for split in studies}
    assert not subjects["train"] & (subjects["validation"] | subjects["test"])
    printed = capsys.readouterr().out
    assert "given 12 = kept 12 + rejected 0" in printed and "Pleural Effusion" in printed
    counts = preparation(out)["counts"]
    assert (counts["given"], counts["kept"], counts["rejected"]) == (12, 12, 0)
    assert sum(split["positives"]["Edema"] for split in counts["splits"].values()) == sum(
        study.labels[4] == 1 for study in made.values()
    )
    source = {"num_studies": 12, "size": 64, "report_style": 0, "prior_fraction": 0.0}
    assert preparation(out)["options"]["source"] == source


def test_several_workers_give_the_same_data_set_as_one(tmp_path):
    for workers in ("1", "2"):
        options = ["--num-studies", "10", "--size", "64", "--num-workers", workers]
        main(["synthetic", "--out", str(tmp_path / workers), *options])
    one, two = (load_studies(tmp_path / workers) for workers in ("1", "2"))
    for split in one:
        assert one[split].data.table.equals(two[split].data.table)


def test_a_table_becomes_a_data_set_with_labels_from_its_reports(tmp_path):
    save_image(tmp_path / "images" / "a.png")
    save_dicom(tmp_path / "images" / "b.dcm")
    text = "Findings: The heart is enlarged. There is a large left pleural effusion. Impression: No pneumothorax."
    rows = [{"study_id": "s", "image": ["a.png", "b.dcm"], "report": text, "indication": "Cough.", "split": "val"}]
    out = tmp_path / "out"
    prepare(save_table(tmp_path, rows), out, "--image-root", str(tmp_path / "images"))
    (row,) = load_studies(out)["validation"]
    assert np.array_equal(np.asarray(row["images"][0]), IMAGE)
    assert np.array_equal(np.asarray(row["images"][1]), 255 - IMAGE)
    assert row["view_positions"] == ["UNKNOWN", "AP"]
    assert (row["indication"], row["impression"]) == ("Cough.", "No pneumothorax.")
    assert tuple(row["labels"]) == label_report(text) and row["label_source"] == "report"
    named = report_severities(text)
    pairs = zip(row["severities"], row["labels"], named, strict=True)
    assert all(
        own == (read if label in (POSITIVE, UNCERTAIN) else UNKNOWN_SEVERITY) for own, label, read in [*pairs][:12]
    )
    assert row["severities"][FINDING_INDEX["Pleural Effusion"]] == SEVERITIES.index("large")
    assert all(b"Jane" not in path.read_bytes() for path in out.rglob("*") if path.is_file())


def test_every_study_is_kept_or_rejected_with_a_reason(tmp_path, capsys):
    images = tmp_path / "images"
    whole = encode_png(Image.fromarray(IMAGE))
    save_image(images / "good.png")
    save_image(tmp_path / "outside.png")
    (images / "link.png").symlink_to(tmp_path / "outside.png")
    (images / "cut.png").write_bytes(whole[: len(whole) // 2])
    (images / "empty.png").touch()
    (images / "text.png").write_text("no image")
    save_dicom(images / "film.dcm", NumberOfFrames=2, PixelData=IMAGE.tobytes() * 2)
    save_dicom(images / "rgb.dcm", SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    bomb = bytearray(whole)
    bomb[16:24] = (20_000).to_bytes(4, "big") * 2
    bomb[29:33] = __import__("zlib").crc32(bytes(bomb[12:29])).to_bytes(4, "big")
    (images / "bomb.png").write_bytes(bomb)
    files = ["good.png", "cut.png", "empty.png", "text.png", "film.dcm", "rgb.dcm", "bomb.png", "absent.png"]
    rows = [{"study_id": file, "image": file, "findings": "Clear."} for file in files]
    rows += [{"study_id": "up", "image": "../outside.png", "findings": "Clear."}]
    rows += [{"study_id": "absolute", "image": str(tmp_path / "outside.png"), "findings": "Clear."}]
    rows += [{"study_id": "link", "image": "link.png", "findings": "Clear."}]
    rows += [{"study_id": "silent", "image": "good.png", "findings": ""}]
    rows += [{"study_id": "formula", "image": "good.png", "findings": "#NAME?"}]
    rows += [{"study_id": "good.png", "image": "good.png", "findings": "Once more."}]
    out = tmp_path / "out"
    prepare(save_table(tmp_path, rows), out, "--image-root", str(images))
    reasons = rejected(out)
    assert preparation(out)["counts"]["given"] == len(rows) == 1 + len(reasons)
    printed = capsys.readouterr().out
    assert "given 14 = kept 1 + rejected 13" in printed
    assert "rejected cut.png:" in printed and "All rejections are listed in" in printed
    for study, words in {
        "cut.png": "cut.png: is damaged or cut short",
        "empty.png": "empty.png: is empty (0 bytes)",
        "text.png": "text.png: its content is none of PNG, JPEG, WebP, TIFF and DICOM",
        "film.dcm": "film.dcm: holds 2 frames",
        "rgb.dcm": "rgb.dcm: is a color image (PhotometricInterpretation RGB)",
        "bomb.png": "bomb.png: 20000 x 20000 pixels are more than the limit",
        "absent.png": "absent.png: does not exist",
        "up": f"image path ../outside.png leaves the image folder {images}",
        "absolute": f"image path {tmp_path / 'outside.png'} leaves the image folder",
        "link": "image path link.png leaves the image folder",
        "silent": "has neither a report nor labels",
        "formula": "column 'findings' has '#NAME?', an error of a spreadsheet",
        "good.png": "study id good.png occurs before; each study needs its own id",
    }.items():
        assert words in reasons[study]


def test_dicom_files_of_a_table_must_be_chest_radiographs(tmp_path):
    save_dicom(tmp_path / "ct", Modality="CT")
    save_dicom(tmp_path / "hand", Modality="DX", BodyPartExamined="HAND")
    save_dicom(tmp_path / "chest", Modality="CR", BodyPartExamined="CHEST")
    rows = [
        {"study_id": name, "image": name, "findings": "Mr Doe, jane doe: clear."} for name in ("ct", "hand", "chest")
    ]
    out = tmp_path / "out"
    prepare(save_table(tmp_path, rows), out)
    reasons = rejected(out)
    assert "is not a radiograph (Modality CT; CR, DX, DR, RG are)" in reasons["ct"]
    assert "shows another part of the body than the chest (BodyPartExamined HAND)" in reasons["hand"]
    (row,) = [row for split in load_studies(out).values() for row in split]
    assert row["study_id"] == "chest" and "doe" not in row["findings"].lower()
    assert preparation(out)["counts"]["sources"] == [{"source": "studies", "license": "", "kept": 1}]


def test_an_absolute_path_inside_the_image_folder_is_allowed(tmp_path):
    save_image(tmp_path / "a.png")
    assert path_below(tmp_path, str(tmp_path / "a.png")) == (tmp_path / "a.png").resolve()
    with pytest.raises(ValueError, match=r"image path 'a\\x00b' is not a valid path"):
        path_below(tmp_path, "a\0b")


def test_a_patient_in_two_splits_never_reaches_training(tmp_path):
    for name in "ab":
        save_image(tmp_path / f"{name}.png")
    rows = [
        {"image": "a.png", "subject_id": "p1", "split": "train", "findings": "Clear."},
        {"image": "b.png", "subject_id": "p1", "split": "test", "findings": "Clear."},
    ]
    prepare(save_table(tmp_path, rows), tmp_path / "out")
    assert {split: list(rows["study_id"]) for split, rows in load_studies(tmp_path / "out").items()} == {
        "train": [],
        "validation": [],
        "test": ["b.png"],
    }
    (reason,) = rejected(tmp_path / "out").values()
    assert reason.startswith("patient p1 is also in the split test, and a patient may be in one split only; this st")


def test_preprocessing_is_applied_and_saved_with_the_data_set(tmp_path):
    save_image(tmp_path / "a.png", IMAGE // 4 + 100)
    table = save_table(tmp_path, [{"image": "a.png"}])
    options = ["--normalize", "minmax", "--max-side", "32", "--image-format", "png"]
    prepare(table, tmp_path / "out", *options, "--split-fractions", "1", "0", "0")
    (row,) = load_studies(tmp_path / "out")["train"]
    assert row["images"][0].size == (24, 32)
    assert row["images"][0].getextrema() == (0, 255)
    assert saved_preprocessing(tmp_path / "out") == Preprocessing(normalize="minmax")
    assert saved_preprocessing(tmp_path) == Preprocessing()
    (tmp_path / "preparation.json").write_text('{"options": {}}')
    with pytest.raises(ValueError, match=r"preparation\.json does not say how images were preprocessed"):
        saved_preprocessing(tmp_path)


def test_boxes_move_with_a_cropped_border():
    framed = np.zeros((100, 80), dtype=np.uint8)
    framed[20:80, 10:70] = cv2.resize(IMAGE, (60, 60))
    boxes = tuple(FindingBox(finding=1, view=0, box=box) for box in [(0.125, 0.2, 0.5, 0.5), (0, 0, 0.1, 0.1)])
    study = Study(study_id="s", subject_id="p", images=(Image.fromarray(framed),), view_positions=("PA",), boxes=boxes)
    cropped = preprocess_study(study, Preprocessing(crop_border=True))
    assert cropped.images[0].size == (60, 60)
    (box,) = cropped.boxes
    assert box.box == pytest.approx((0, 0, 0.5, 0.5))
    assert preprocess_study(study, Preprocessing(clahe=True)).boxes == boxes


def test_an_output_folder_in_use_is_rejected_without_overwrite(tmp_path):
    save_image(tmp_path / "a.png")
    table, out = save_table(tmp_path, [{"image": "a.png"}]), tmp_path / "out"
    prepare(table, out)
    with pytest.raises(ValueError, match=r"out exists and is not empty; name another folder, or add --overwrite"):
        prepare(table, out)
    prepare(table, out, "--overwrite", "--seed", "7")
    assert preparation(out)["options"]["seed"] == 7
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mine.txt").touch()
    with pytest.raises(ValueError, match=r"letters is not a prepared data set .* will not delete"):
        prepare(table, tmp_path / "letters", "--overwrite")
    with pytest.raises(ValueError, match=r"mine\.txt is a file; name a folder"):
        prepare(table, tmp_path / "letters" / "mine.txt")


def test_if_no_study_is_kept_nothing_is_written_and_the_reasons_are_reported(tmp_path):
    table = save_table(tmp_path, [{"image": "absent.png"}, {"image": ""}])
    with pytest.raises(
        ValueError, match=r"all 2 studies were rejected, .*absent\.png: does not exist; row 2 names no image"
    ):
        prepare(table, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["studies.jsonl"]


def test_a_failed_run_does_not_change_the_older_data_set(tmp_path, monkeypatch):
    out = tmp_path / "out"
    save_image(tmp_path / "a.png")
    table = save_table(tmp_path, [{"image": "a.png"}])
    prepare(table, out)
    before = (out / "preparation.json").read_bytes()
    monkeypatch.setattr("data.prepare.build_rows", lambda *_, **__: iter([1 / 0]))
    with pytest.raises(ZeroDivisionError):
        prepare(table, out, "--overwrite")
    assert (out / "preparation.json").read_bytes() == before
    assert not (tmp_path / "out.partial").exists()


def test_the_writer_rejects_a_subject_in_two_splits(tmp_path):
    raw_study = RawFileStudy(
        study_id="s", subject_id="p", split="train", image_root=tmp_path, files=(save_image(tmp_path / "a.png"),)
    )
    raw_studies = [raw_study, replace(raw_study, study_id="other", split="test")]
    with (
        pytest.raises(ValueError, match="subject p is in two splits, train and test"),
        DatasetWriter(tmp_path / "o", options={}) as writer,
    ):
        for each in writer.remaining(raw_studies, num_studies=2):
            writer.add(each, build_row(each, BuildOptions()))
        writer.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@dataclass(frozen=True, kw_only=True)
class FaultyRawStudy:
    """A raw study that fails in a worker."""

    study_id: str
    fault: str
    subject_id: str = "p"
    split: str = "train"
    files: tuple[str, ...] = ()
    images: tuple[()] = ()

    def study(self, options: ImageOptions) -> Study:
        raise KeyError(self.fault)


def faulty(fault: str) -> Iterator[RawStudy | Rejection]:
    yield Rejection(study_id="rejected earlier", reason="…")
    yield FaultyRawStudy(study_id=f"study that {fault}", fault=fault)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_an_unexpected_error_names_the_study(num_workers):
    with pytest.raises(KeyError) as caught:
        list(build_rows(faulty("has a bug"), BuildOptions(), num_workers=num_workers))
    assert caught.value.__notes__[-1] == "while study study that has a bug was prepared"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-side", "5000"], "--max-side is 5000; it must be between 32 and 1024"),
        (["--num-workers", "0"], "--num-workers is 0; give 1 or more"),
        (["--num-studies", "0"], "--num-studies is 0; ask for 1 or more"),
        (["--size", "7"], "--size is 7; it must be between 64 and 1024"),
        (["--split-fractions", "0.5", "0.1", "0.1"], "split fractions are 0.5 0.1 0.1; give 3 numbers from 0 to 1 for"),
        (["--num-studdies", "5"], "Perhaps you meant: --num-studies"),
    ],
)
def test_options_out_of_range_are_rejected_by_name(tmp_path, capsys, options, message):
    with pytest.raises(SystemExit) as exit_:
        main(["synthetic", "--out", str(tmp_path / "out"), *options])
    assert exit_.value.code == 2
    assert message in " ".join(re.sub("[│╭╮╰╯─]", " ", capsys.readouterr().err).split())
    assert not (tmp_path / "out").exists()


def test_on_the_command_line_a_mistake_is_one_line_without_a_traceback(tmp_path):
    command = [sys.executable, "-m", "data.prepare", "table", "absent.csv", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: absent.csv is not a file; name a table in CSV, JSONL or Parquet\n"


def test_stored_images_are_plain_png():
    with Image.open(io.BytesIO(encode_png(Image.fromarray(IMAGE)))) as image:
        assert (image.format, image.mode, image.info) == ("PNG", "L", {})
        assert np.array_equal(np.asarray(image), IMAGE)


def test_labels_of_the_source_are_kept_and_others_are_read_from_the_report(tmp_path):
    labels, unlabeled = (1,) + (-100,) * 13, (-100,) * 14
    raw_study = RawFileStudy(
        study_id="s",
        subject_id="p",
        split="train",
        image_root=tmp_path,
        files=(save_image(tmp_path / "a.png"),),
        findings="No enlarged cardiomediastinum.",
        labels=labels,
    )

    def labels_of(**changes):
        row = build_row(replace(raw_study, **changes), BuildOptions()).row
        return row["labels"], row["label_source"]

    assert labels_of() == (labels, "source")
    assert labels_of(labels=unlabeled) == (unlabeled, "none")
    assert labels_of(labels=None) == (label_report("No enlarged cardiomediastinum."), "report")
    assert labels_of(labels=None, findings="") == (unlabeled, "none")
