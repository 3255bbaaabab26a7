"""Source `mimic_cxr` with `--with-priors`: the last study of the patient before each study, without its date."""

import json

import pytest

from data.pipeline.raw_study import PlanContext, Rejection
from data.pipeline.row import BuildOptions, build_row
from data.prepare import main
from data.sources.mimic_cxr import MimicSource
from data.study import load_studies
from tests.helpers.sources.mimic_cxr import (
    dicom_id,
    study_folder,
    write_images,
    write_reports,
    write_table,
    write_tables,
)
from vlm.schema.findings import CHANGES, FINDING_INDEX, FINDINGS, UNKNOWN_CHANGE, UNKNOWN_CHANGES

PRIOR_PATIENT = 10000032
DATED_STUDIES = [  # patient, study, split, views; the numbers of studies are not in the order of time
    (PRIOR_PATIENT, 50000003, "train", ("PA", "LATERAL")),
    (PRIOR_PATIENT, 50000001, "train", ("AP",)),
    (PRIOR_PATIENT, 50000002, "train", ("PA",)),
    (10000764, 50000009, "test", ("PA",)),
]
STUDY_TIMES = {
    50000002: ("21800506", "81556.875"),
    50000003: ("21800506", "213014.531"),
    50000001: ("21800601", "93000"),
}

SHOWN = {50000001: "Edema", 50000002: "Clear lungs", 50000003: "Right effusion", 50000009: "Clear lungs"}


@pytest.fixture
def mimic(tmp_path):
    """The published layout, with three studies of one patient."""
    root = tmp_path / "mimic"
    root.mkdir()
    write_tables(root, studies=DATED_STUDIES)
    rows = [
        {"dicom_id": dicom_id(study, number), "subject_id": patient, "study_id": study, "ViewPosition": view}
        | dict(zip(("StudyDate", "StudyTime"), STUDY_TIMES.get(study, ("", "")), strict=True))
        for patient, study, _, views in DATED_STUDIES
        for number, view in enumerate(views)
    ]
    write_table(root / "mimic-cxr-2.0.0-metadata.csv", rows)
    write_images(root, DATED_STUDIES)
    for study in DATED_STUDIES:
        write_reports(root, [study], f"FINDINGS: {SHOWN[study[1]]}.\n\nIMPRESSION: No change.")
    return root


def priors_of(raws):
    """The study id of each prior study and its distance in days, by study id."""
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
    assert last["prior_report"] == "Findings: Right effusion. Impression: No change."
    assert [image.size for image in last["prior_images"]] == [image.size for image in rows["50000003"]["images"]]
    changes = {name: CHANGES[code] for name, code in zip(FINDINGS, last["changes"], strict=True) if code > 0}
    assert changes == {"Edema": "unchanged"}
    assert last["changes"][FINDING_INDEX["Pleural Effusion"]] == UNKNOWN_CHANGE
    assert CHANGES[last["changes"][FINDING_INDEX["Pneumothorax"]]] == "none"
    assert rows["50000002"]["changes"] == list(UNKNOWN_CHANGES)
    assert (rows["50000002"]["prior_images"], rows["50000002"]["prior_interval_days"]) == ([], None)
    for file in (tmp_path / "out").rglob("*"):
        assert not file.is_file() or b"21800" not in file.read_bytes()
    counts = json.loads((tmp_path / "out" / "preparation.json").read_text())["counts"]["splits"]
    assert (counts["train"]["priors"], counts["test"]["priors"]) == (2, 0)


def test_a_study_whose_prior_study_is_rejected_is_kept_with_a_warning(mimic):
    (mimic / study_folder(PRIOR_PATIENT, 50000003) / f"{dicom_id(50000003, 1)}.jpg").unlink()
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
