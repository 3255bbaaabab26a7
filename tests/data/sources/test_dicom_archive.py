"""Source `dicom`: files are grouped by headers and joined with reports."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid

from data.prepare import main
from data.study import load_studies

PIXELS = np.random.default_rng(0).integers(0, 256, size=(40, 30), dtype=np.uint8)


def save_dicom(path: Path, *, study: str = "1.2.3", pixels: np.ndarray = PIXELS, **attributes) -> Path:
    header = pydicom.Dataset()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    header.SOPClassUID, header.SOPInstanceUID = uid.DigitalXRayImageStorageForPresentation, uid.generate_uid()
    header.StudyInstanceUID, header.Modality, header.PatientID = study, "DX", f"patient of {study}"
    header.SamplesPerPixel, header.PhotometricInterpretation, header.PixelRepresentation = 1, "MONOCHROME2", 0
    header.Rows, header.Columns, header.BitsAllocated, header.BitsStored, header.HighBit = *pixels.shape, 8, 8, 7
    header.PixelData = pixels.tobytes()
    for attribute, value in attributes.items():
        setattr(header, attribute, value)
    header["PixelData"].VR = "OB"
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path, enforce_file_format=True)
    return path


def save_table(path: Path, rows: list[dict]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def prepare(root: Path, out: Path, *options: str) -> None:
    main(["dicom", "--root", str(root), "--out", str(out), "--num-workers", "1", *options])


def rows_of(out: Path) -> list[dict]:
    return [row for split in load_studies(out).values() for row in split]


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def printed(capsys) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_files_with_one_study_uid_make_one_study(tmp_path, capsys):
    root = tmp_path / "archive"
    save_dicom(root / "a" / "IM1", study="1.1", ViewPosition="PA")
    save_dicom(root / "b" / "image.txt", study="1.1", ViewPosition="LL")
    save_dicom(root / "b" / "IM2", study="1.2", ViewPosition="AP")
    (root / "README.md").write_text("Mercy Hospital")
    (root / ".DS_Store").write_text("hidden")
    prepare(root, tmp_path / "out")
    assert sorted(sorted(row["view_positions"]) for row in rows_of(tmp_path / "out")) == [["AP"], ["LL", "PA"]]
    output = printed(capsys)
    assert "1 files are not DICOM and were left out." in output
    assert "given 2 = kept 2 + rejected 0" in output


def test_study_keeps_readable_images_and_lists_the_others(tmp_path, capsys):
    root = tmp_path / "archive"
    save_dicom(root / "1", study="1.1")
    save_dicom(root / "2", study="1.1", Modality="CT")
    save_dicom(root / "3", study="1.1").write_bytes((root / "1").read_bytes())
    save_dicom(root / "4", study="1.2", BodyPartExamined="HAND")
    save_dicom(root / "5", study="1.2", BodyPartExamined="FOOT OF JANE")
    (root / "6").touch()
    (root / "7").write_bytes(save_dicom(root / "7").read_bytes()[:200])
    (root / "8").symlink_to(root / "8")
    (root / "9").symlink_to(root)
    save_dicom(tmp_path / "outside")
    (root / "a").symlink_to(tmp_path / "outside")
    save_dicom(root / "b", study="")
    out = tmp_path / "out"
    prepare(root, out)
    entries = lines(out / "rejected.jsonl")
    images = [entry["reason"] for entry in entries if entry["rejected"] == "image"]
    assert images == [
        "file-0000002: is not a radiograph (Modality CT; CR, DX, DR, RG are)",
        "file-0000003: is the same image as file-0000001 (SOPInstanceUID)",
    ]
    studies = [entry["reason"] for entry in entries if entry["rejected"] == "study"]
    assert studies[0].startswith("1 files: shows another part of the body than the chest (BodyPartExamined HAND); 1 f")
    for number, words in enumerate(
        [
            "is empty",
            "has no StudyInstanceUID|is damaged",
            "is a broken or circular link",
            "is a link to a folder",
            "is a link to a file outside the archive",
            "has no StudyInstanceUID, so it belongs to no study",
        ],
        start=1,
    ):
        assert re.match(f"file-{number + 5:07d}: ({words})", studies[number])
    assert "JANE" not in (out / "rejected.jsonl").read_text()
    (row,) = rows_of(out)
    assert np.array_equal(np.asarray(row["images"][0]), PIXELS)
    output = printed(capsys)
    assert "given 8 = kept 1 + rejected 7" in output and "2 images were left out of kept studies." in output
    counts = json.loads((out / "preparation.json").read_text())["counts"]
    assert (counts["given"], counts["kept"], counts["rejected"], counts["rejected_images"]) == (8, 1, 7, 2)


@pytest.mark.parametrize(
    ("attributes", "position"),
    [
        ({"ViewPosition": "PA", "SeriesDescription": "LATERAL"}, "PA"),
        ({"SeriesDescription": "Chest lat."}, "LATERAL"),
        ({"SeriesDescription": "THORAX AP BED SIDE"}, "AP"),
        ({"ProtocolName": "W033 Chest PA"}, "PA"),
        ({"SeriesDescription": "Chest PA and lateral", "PatientOrientation": ["A", "F"]}, "LATERAL"),
        ({"SeriesDescription": "Chest PA", "PatientOrientation": ["P", "F"]}, "LATERAL"),
        ({"SeriesDescription": "Chest PA", "PatientOrientation": ["L", "F"]}, "PA"),
        ({"SeriesDescription": "Patrick Lateran"}, "UNKNOWN"),
    ],
)
def test_view_position_is_read_from_the_header(tmp_path, attributes, position):
    save_dicom(tmp_path / "archive" / "1", **attributes)
    prepare(tmp_path / "archive", tmp_path / "out")
    assert rows_of(tmp_path / "out")[0]["view_positions"] == [position]


def test_patient_is_in_one_split_that_depends_on_the_seed(tmp_path):
    root = tmp_path / "archive"
    for number in range(24):
        save_dicom(root / str(number), study=f"1.{number}", PatientID=f"P{number // 2}")
    splits = []
    for out, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        prepare(root, tmp_path / out, "--pseudonym-map", str(tmp_path / f"{out}.jsonl"), "--seed", seed)
        uids = {entry["study_id"]: entry["study_instance_uid"] for entry in lines(tmp_path / f"{out}.jsonl")}
        studies = load_studies(tmp_path / out)
        splits.append({uids[row["study_id"]]: split for split in studies for row in studies[split]})
        assert all(splits[-1][f"1.{number}"] == splits[-1][f"1.{number + 1}"] for number in range(0, 24, 2))
    assert splits[0] == splits[1] != splits[2]


def test_reports_are_joined_by_accession_number_or_study_uid(tmp_path, capsys):
    root = tmp_path / "archive"
    save_dicom(root / "1", study="1.1", AccessionNumber="A1")
    save_dicom(root / "2", study="1.2", AccessionNumber="A2")
    save_dicom(root / "3", study="1.3", AccessionNumber="")
    save_dicom(root / "4", study="1.4", AccessionNumber="A4")
    table = save_table(
        tmp_path / "reports.csv",
        [
            {"acc": "A1", "uid": "", "text": "Indication: Cough.\nFindings: Large left pleural effusion."},
            {"acc": "", "uid": "1.2", "text": "Findings: The lungs are clear."},
            {"acc": "A9", "uid": "", "text": "Findings: Nobody's."},
            {"acc": "A4", "uid": "", "text": "Findings: Edema."},
            {"acc": "A4", "uid": "", "text": "Findings: No edema."},
            {"acc": "", "uid": "", "text": "Findings: Nobody's either."},
        ],
    )
    options = ["--accession-column", "acc", "--study-uid-column", "uid", "--report-column", "text"]
    prepare(root, tmp_path / "out", "--reports", str(table), *options)
    rows = sorted((row["findings"], row["indication"]) for row in rows_of(tmp_path / "out"))
    assert rows == [("", ""), ("Large left pleural effusion.", "Cough."), ("The lungs are clear.", "")]
    labels = {row["findings"]: row["labels"] for row in rows_of(tmp_path / "out")}
    assert labels["Large left pleural effusion."][9] == 1 and set(labels[""]) == {-100}
    output = printed(capsys)
    for words in (
        "1 studies have no report in the table.",
        "1 rows of the table name no study of the archive.",
        "1 rows of the reports cannot be used: row 6 names no study.",
        "given 4 = kept 3 + rejected 1",
        "the table has 2 different reports of it",
    ):
        assert words in output


def archive_of_two_patients(root: Path) -> None:
    """Studies of P1 and P2 with one accession number, and one of P3 with its own."""
    save_dicom(root / "1", study="1.1", PatientID="P1", AccessionNumber="AX-1")
    save_dicom(root / "2", study="1.2", PatientID="P2", AccessionNumber="AX-1")
    save_dicom(root / "3", study="1.3", PatientID="P3", AccessionNumber="AX-2")


def test_studies_of_several_patients_with_one_accession_number_get_no_report_of_each_other(tmp_path, capsys):
    archive_of_two_patients(tmp_path / "archive")
    texts = {"AX-1": "Large pneumothorax.", "AX-2": "Clear lungs."}
    rows = [{"accession": number, "report": f"FINDINGS: {text}"} for number, text in texts.items()]
    prepare(tmp_path / "archive", tmp_path / "out", "--reports", str(save_table(tmp_path / "reports.csv", rows)))
    assert [row["findings"] for row in rows_of(tmp_path / "out")] == ["Clear lungs."]
    reasons = {entry["reason"] for entry in lines(tmp_path / "out" / "rejected.jsonl")}
    assert reasons == {
        "its accession number is used by 2 patients; match the reports by StudyInstanceUID (--study-uid-column), or "
        "name the column of patient ids (--patient-id-column)"
    }
    output = printed(capsys)
    assert "2 studies have an accession number that several patients have" in output
    assert "given 3 = kept 1 + rejected 2" in output
    assert "AX-1" not in output + (tmp_path / "out" / "rejected.jsonl").read_text()


@pytest.mark.parametrize("column", ["study_uid", "patient_id"])
def test_a_row_with_study_uid_or_patient_id_decides_whose_report_it_is(tmp_path, capsys, column):
    archive_of_two_patients(tmp_path / "archive")
    (tmp_path / "map").mkdir()
    name = {"study_uid": "1.1", "patient_id": "P1"}[column]
    rows = [{"accession": "AX-1", column: name, "report": "FINDINGS: Edema."}]
    table, identities = save_table(tmp_path / "reports.csv", rows), tmp_path / "map" / "map.jsonl"
    prepare(tmp_path / "archive", tmp_path / "out", "--reports", str(table), "--pseudonym-map", str(identities))
    uid_of = {entry["study_id"]: entry["study_instance_uid"] for entry in lines(identities)}
    reports = {uid_of[row["study_id"]]: row["findings"] for row in rows_of(tmp_path / "out")}
    assert reports == {"1.1": "Edema.", "1.3": ""}
    [rejected] = lines(tmp_path / "out" / "rejected.jsonl")
    assert "is used by 2 patients" in rejected["reason"] and uid_of[rejected["study_id"]] == "1.2"
    assert "1 studies have an accession number that several patients have" in printed(capsys)


def test_a_row_that_names_another_patient_gives_no_report(tmp_path):
    root = tmp_path / "archive"
    save_dicom(root / "1", study="1.1", PatientID="P1", AccessionNumber="AX-1")
    save_dicom(root / "2", study="1.2", PatientID="P2", AccessionNumber="AX-2")
    save_dicom(root / "3", study="1.3", PatientID="", AccessionNumber="AX-3")
    save_dicom(root / "4", study="1.4", PatientID="P4", AccessionNumber="AX-4")
    patients = {"Edema.": "AX-1 P9", "Scar.": "AX-2 ", "Mass.": "AX-3 P3", "Clear.": "AX-4 P4", "Drain.": "AX-4 P9"}
    ids = {text: given.split(" ") for text, given in patients.items()}
    rows = [{"accession": acc, "pid": pid, "report": f"FINDINGS: {text}"} for text, (acc, pid) in ids.items()]
    options = ("--reports", str(save_table(tmp_path / "reports.csv", rows)), "--patient-id-column", "pid")
    prepare(root, tmp_path / "out", *options)
    assert {row["findings"] for row in rows_of(tmp_path / "out")} == {"Scar.", "Mass.", "Clear."}
    [rejected] = lines(tmp_path / "out" / "rejected.jsonl")
    assert rejected["reason"].startswith("the row with its accession number names another patient; correct the column")
    assert "P9" not in rejected["reason"]


def test_table_without_the_needed_columns_is_rejected(tmp_path):
    save_dicom(tmp_path / "archive" / "1")
    table = save_table(tmp_path / "reports.csv", [{"acc": "1", "text": "x"}])
    for options, words in (
        ([], "neither a column of accession numbers nor one of study UIDs; name it with --accession-column"),
        (["--accession-column", "ac"], r"no column 'ac' \(--accession-column\); did you mean 'acc'"),
        (["--accession-column", "acc", "--report-column", "acc", "--findings-column", "f"], "no column 'f'"),
    ):
        with pytest.raises(ValueError, match=words):
            prepare(tmp_path / "archive", tmp_path / "out", "--reports", str(table), *options)
    with pytest.raises(ValueError, match="holds no DICOM file"):
        (tmp_path / "none").mkdir()
        prepare(tmp_path / "none", tmp_path / "out")
    assert not (tmp_path / "out.partial").exists()


def test_burned_in_text_in_the_header_gives_a_warning(tmp_path, capsys):
    root = tmp_path / "archive"
    save_dicom(root / "1", study="1.1", BurnedInAnnotation="YES")
    save_dicom(root / "2", study="1.2", BurnedInAnnotation="NO")
    prepare(root, tmp_path / "out")
    (warning,) = lines(tmp_path / "out" / "warnings.jsonl")
    assert warning["warning"] == "its DICOM header says that annotations are burned in"
    assert warning["view"] == 1 and warning["study_id"].startswith("study-")
    assert "Warnings about 1 images: see" in printed(capsys)


def test_raw_data_beside_the_image_is_left_out_and_listed(tmp_path):
    root = tmp_path / "archive"
    save_dicom(root / "1", study="1.1", PresentationIntentType="FOR PROCESSING")
    save_dicom(root / "2", study="1.1", PresentationIntentType="FOR PRESENTATION")
    save_dicom(root / "3", study="1.2", SOPClassUID=uid.DigitalXRayImageStorageForProcessing)
    prepare(root, tmp_path / "out")
    (row,) = rows_of(tmp_path / "out")
    assert len(row["images"]) == 1
    left_out, rejected = sorted(lines(tmp_path / "out" / "rejected.jsonl"), key=lambda entry: entry["rejected"])
    reason = "is raw data of the detector (FOR PROCESSING), not meant for viewing; export the image FOR PRESENTATION"
    assert (left_out["rejected"], left_out["reason"]) == ("image", f"file-0000001: {reason}")
    assert (rejected["rejected"], rejected["reason"]) == ("study", f"file-0000003: {reason}")


@pytest.mark.parametrize("damaged", [[0], [0, 2], [2], []])
def test_first_intact_copy_of_an_image_is_used(tmp_path, damaged):
    root = tmp_path / "archive"
    for number in range(3):
        path = save_dicom(root / str(number), study="1.1", SOPInstanceUID="1.9")
        if number in damaged:
            path.write_bytes(path.read_bytes()[:-100])
    prepare(root, tmp_path / "out")
    (row,) = rows_of(tmp_path / "out")
    assert np.array_equal(np.asarray(row["images"][0]), PIXELS) and len(row["images"]) == 1
    used = min({0, 1, 2} - set(damaged)) + 1
    reasons = [entry["reason"] for entry in lines(tmp_path / "out" / "rejected.jsonl")]
    for number in {1, 2, 3} - {used}:
        expected = "PixelData has 1100 bytes" if number < used else f"is the same image as file-000000{used}"
        assert sum(reason.startswith(f"file-000000{number}: {expected}") for reason in reasons) == 1


def test_turned_image_is_stored_turned_with_a_warning(tmp_path, capsys):
    root = tmp_path / "archive"
    save_dicom(root / "1", study="1.1", PatientOrientation=["R", "F"])
    prepare(root, tmp_path / "out")
    (row,) = rows_of(tmp_path / "out")
    assert np.array_equal(np.asarray(row["images"][0]), PIXELS[:, ::-1])
    (warning,) = lines(tmp_path / "out" / "warnings.jsonl")
    assert warning["warning"].startswith("was turned to the standard view (rows to L, columns to F;")
    assert "1 times: was turned to the standard view" in printed(capsys)


@pytest.mark.parametrize(
    ("in_files", "in_table", "forms"),
    [
        ("0004711", "4711", "the files have the form 000####, and the table ####."),
        ("4711", "4711.0", "the files have the form ####, and the table ####.0."),
        ("AB4711", "00ab4711", "the files have the form ######, and the table 00######."),
    ],
)
def test_accession_numbers_that_differ_in_zeros_give_a_hint_with_both_forms(
    tmp_path, capsys, in_files, in_table, forms
):
    save_dicom(tmp_path / "in" / "a", AccessionNumber=in_files)
    table = save_table(tmp_path / "r.csv", [{"accession": in_table, "report": "FINDINGS: Clear lungs."}])
    prepare(tmp_path / "in", tmp_path / "out", "--reports", str(table))
    assert f"1 of these would have one if accession numbers were written alike: with # for each digit, {forms}" in (
        text := printed(capsys)
    )
    assert "4711" not in text


def test_values_of_a_header_are_not_logged(tmp_path):
    path = save_dicom(tmp_path / "in" / "a", SpecificCharacterSet="ISO_IR 100", PatientName="ZEBRA^JANE")
    path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", b"ZEBRA JANE"))
    command = [sys.executable, "-m", "data.prepare", "dicom", "--root", str(tmp_path / "in"), "--num-workers", "1"]
    done = subprocess.run([*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, check=True)
    assert "ZEBRA" not in done.stdout + done.stderr


def dicom_archive(root, **second):
    save_dicom(root / "1", study="1.1", PatientID="p", StudyDate="20200228", AccessionNumber="A1")
    save_dicom(root / "2", study="1.2", PatientID="p", StudyDate="20200301", StudyTime="0930", **second)
    save_dicom(root / "3", study="1.3", PatientID="q", StudyDate="20200302")
    save_dicom(root / "4", study="1.4", PatientID="p")


def test_a_dicom_archive_is_ordered_by_date_within_a_patient(tmp_path):
    root = tmp_path / "archive"
    dicom_archive(root)
    table = save_table(tmp_path / "reports.csv", [{"accession": "A1", "findings": "Edema.", "impression": ""}])
    prepare(root, tmp_path / "out", "--reports", str(table), "--with-priors")
    found = [
        (row["prior_report"], row["prior_interval_days"]) for row in rows_of(tmp_path / "out") if row["prior_images"]
    ]
    assert found == [("Findings: Edema.", 2)]
    for file in (tmp_path / "out").rglob("*"):
        assert not file.is_file() or b"20200" not in file.read_bytes()


def test_a_damaged_prior_study_of_an_archive_becomes_a_warning(tmp_path, capsys):
    root = tmp_path / "archive"
    dicom_archive(root)
    save_dicom(root / "1", study="1.1", PatientID="p", StudyDate="20200228", Modality="CT")
    prepare(root, tmp_path / "out", "--with-priors")
    assert not any(row["prior_images"] for row in rows_of(tmp_path / "out"))
    [warning] = lines(tmp_path / "out" / "warnings.jsonl")
    assert "its prior study cannot be used" in warning["warning"]
    assert "Modality CT" in warning["warning"]


@pytest.mark.parametrize(
    ("times", "priors"),
    [(("0930", "1600"), {"1.2": 0}), (("0930", ""), {}), (("", "0930"), {}), (("", ""), {}), (("0930", "x"), {})],
)
def test_a_study_without_a_time_is_no_prior_on_the_same_day(tmp_path, times, priors):
    root, identities = tmp_path / "archive", tmp_path / "map.jsonl"
    for number, time in enumerate(times, start=1):
        save_dicom(root / f"{number}", study=f"1.{number}", PatientID="p", StudyDate="20200301", StudyTime=time)
    save_dicom(root / "3", study="1.3", PatientID="q", StudyDate="20200301")
    save_dicom(root / "4", study="1.4", PatientID="q", StudyDate="20200302", StudyTime="0100")
    prepare(root, tmp_path / "out", "--with-priors", "--pseudonym-map", str(identities))
    uid_of = {entry["study_id"]: entry["study_instance_uid"] for entry in lines(identities)}
    rows = [row for row in rows_of(tmp_path / "out") if row["prior_images"]]
    assert {uid_of[row["study_id"]]: row["prior_interval_days"] for row in rows} == priors | {"1.4": 1}


def test_the_time_of_a_study_may_be_in_one_of_its_files_only(tmp_path):
    root = tmp_path / "archive"
    save_dicom(root / "1", study="1.1", PatientID="p", StudyDate="20200301", StudyTime="0930")
    save_dicom(root / "2", study="1.2", PatientID="p", StudyDate="20200301", StudyTime="")
    save_dicom(root / "3", study="1.2", PatientID="p", StudyDate="20200301", StudyTime="1600")
    prepare(root, tmp_path / "out", "--with-priors")
    assert [len(row["images"]) for row in rows_of(tmp_path / "out") if row["prior_images"]] == [2]
