"""Prior studies of real sources: the last study before it, of the same patient, with an interval and without dates."""

import json

import numpy as np
import pytest
from PIL import Image

from data.pipeline.raw_study import PlanContext, Rejection
from data.pipeline.row import BuildOptions, build_row
from data.prepare import main
from data.sources.mimic_cxr import MimicSource
from data.study import load_studies
from tests.data.sources.test_dicom_archive import lines, prepare, rows_of, save_dicom, save_table
from tests.data.sources.test_mimic_cxr import (
    dicom_id,
    study_folder,
    write_images,
    write_reports,
    write_table,
    write_tables,
)
from tests.helpers.study_tables import csv_of, raw_studies
from vlm.schema.findings import UNKNOWN_CHANGES

PATIENT = 10000032
STUDIES = [  # patient, study, split, views; the numbers of studies are not in the order of time
    (PATIENT, 50000003, "train", ("PA", "LATERAL")),
    (PATIENT, 50000001, "train", ("AP",)),
    (PATIENT, 50000002, "train", ("PA",)),
    (10000764, 50000009, "test", ("PA",)),
]
TIMES = {50000002: ("21800506", "81556.875"), 50000003: ("21800506", "213014.531"), 50000001: ("21800601", "93000")}


@pytest.fixture
def mimic(tmp_path):
    """The published layout, with three studies of one patient."""
    root = tmp_path / "mimic"
    root.mkdir()
    write_tables(root, studies=STUDIES)
    rows = [
        {"dicom_id": dicom_id(study, number), "subject_id": patient, "study_id": study, "ViewPosition": view}
        | dict(zip(("StudyDate", "StudyTime"), TIMES.get(study, ("", "")), strict=True))
        for patient, study, _, views in STUDIES
        for number, view in enumerate(views)
    ]
    write_table(root / "mimic-cxr-2.0.0-metadata.csv", rows)
    write_images(root, STUDIES)
    for study in STUDIES:
        write_reports(root, [study], f"FINDINGS: Study {study[1]} shows edema.\n\nIMPRESSION: Edema.")
    return root


def priors_of(raws):
    return {
        raw.study_id: (raw.prior.raw_study.study_id, raw.prior.interval_days) if raw.prior else None
        for raw in raws
        if not isinstance(raw, Rejection)
    }


def plan(root, **options):
    return MimicSource(root=root, **options).plan(PlanContext(work=root))


def test_mimic_studies_get_the_last_study_before_them(mimic):
    found = plan(mimic, with_priors=True)
    assert priors_of(found.raw_studies) == {
        "50000002": None,
        "50000003": ("50000002", 0),
        "50000001": ("50000003", 26),
        "50000009": None,
    }
    assert "1 images have no valid date and time; they do not count for prior studies." in found.notes


def test_without_the_option_no_study_has_a_prior_study(mimic):
    assert set(priors_of(plan(mimic).raw_studies).values()) == {None}


def test_a_prepared_study_has_images_report_and_interval_but_no_date(mimic, tmp_path):
    main(["mimic_cxr", "--root", str(mimic), "--with-priors", "--num-workers", "1", "--out", str(tmp_path / "out")])
    rows = {row["study_id"]: row for row in load_studies(tmp_path / "out")["train"]}
    last = rows["50000001"]
    assert (last["prior_view_positions"], last["prior_interval_days"]) == (["PA", "LATERAL"], 26)
    assert last["prior_report"] == "Findings: Study 50000003 shows edema. Impression: Edema."
    assert [image.size for image in last["prior_images"]] == [image.size for image in rows["50000003"]["images"]]
    assert tuple(last["changes"]) == UNKNOWN_CHANGES
    assert (rows["50000002"]["prior_images"], rows["50000002"]["prior_interval_days"]) == ([], None)
    for file in (tmp_path / "out").rglob("*"):
        assert not file.is_file() or b"21800" not in file.read_bytes()
    counts = json.loads((tmp_path / "out" / "preparation.json").read_text())["counts"]["splits"]
    assert (counts["train"]["priors"], counts["test"]["priors"]) == (2, 0)


def test_a_study_whose_prior_study_is_rejected_is_kept_with_a_warning(mimic):
    (mimic / study_folder(PATIENT, 50000003) / f"{dicom_id(50000003, 1)}.jpg").unlink()
    found = plan(mimic, with_priors=True).raw_studies
    [outcome] = [build_row(raw, BuildOptions()) for raw in found if raw.study_id == "50000001"]
    assert outcome.row["prior_images"] == []
    [warning] = [one for one in outcome.warnings if one.view == 0]
    assert warning.kind == "its prior study cannot be used, so it is kept without one"
    assert "1 of its 2 images are not in" in warning.text


def test_mimic_needs_the_metadata_table(mimic):
    (mimic / "mimic-cxr-2.0.0-metadata.csv").unlink()
    with pytest.raises(ValueError, match=r"--with-priors needs mimic-cxr-<version>-metadata\.csv"):
        plan(mimic, with_priors=True)


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


ROWS = [
    {"image": "b.png", "study_id": "s2", "subject_id": "p", "findings": "Edema.", "date": "2021-03-01 09:30"},
    {"image": "a.png", "study_id": "s1", "subject_id": "p", "findings": "Clear lungs.", "date": "2021-02-27"},
    {"image": "c.png", "study_id": "s3", "subject_id": "q", "findings": "Clear lungs.", "date": "2021-03-02"},
    {"image": "d.png", "study_id": "s4", "subject_id": "p", "findings": "Effusion.", "date": "today"},
]


def test_rows_of_a_table_are_ordered_by_date(tmp_path):
    found = raw_studies(csv_of(tmp_path, ROWS), with_priors=True)
    assert priors_of(found) == {"s2": ("s1", 2), "s1": None, "s3": None, "s4": None}
    assert priors_of(raw_studies(csv_of(tmp_path, ROWS))) == dict.fromkeys(("s1", "s2", "s3", "s4"))


def test_a_row_can_name_its_prior_study(tmp_path):
    named = {"s2": "s1", "s1": "", "s3": "s1", "s4": "s9"}
    rows = [
        {name: value for name, value in row.items() if name != "date"} | {"before": named[row["study_id"]]}
        for row in ROWS
    ]
    found = raw_studies(csv_of(tmp_path, rows), with_priors=True, prior_study_id_column="before")
    by_id = {raw.study_id: raw.prior for raw in found}
    assert (by_id["s2"].raw_study.study_id, by_id["s2"].interval_days) == ("s1", None)
    assert by_id["s1"] is None
    assert by_id["s3"].raw_study.reason == "the row names a study of another patient"
    assert by_id["s4"].raw_study.reason == "the table has no study with the id that the row names"


def test_pseudonyms_hide_the_ids_of_prior_studies(tmp_path):
    for row in ROWS:
        Image.fromarray(np.full((40, 40), 7, np.uint8)).save(tmp_path / row["image"])
    found = raw_studies(csv_of(tmp_path, ROWS), with_priors=True, pseudonyms=True)
    [linked] = [raw for raw in found if raw.prior]
    assert "s1" not in repr(linked.prior).replace("sources1", "")
    assert linked.prior.raw_study.subject_id == linked.subject_id
    assert len(build_row(linked, BuildOptions()).row["prior_images"]) == 1


def test_a_table_without_dates_and_prior_ids_is_rejected(tmp_path):
    rows = [{name: value for name, value in row.items() if name != "date"} for row in ROWS]
    with pytest.raises(ValueError, match="--with-priors needs the column of prior study ids"):
        raw_studies(csv_of(tmp_path, rows), with_priors=True)
