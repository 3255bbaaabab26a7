"""Source `mimic_cxr`: tables, splits, labels and missing images, in the published layout with invented text."""

import csv
import gzip
import io
import json
import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid

from data.pipeline.raw_study import PlanContext, Rejection
from data.pipeline.row import BuildOptions, build_row
from data.prepare import main
from data.sources.mimic_cxr import MimicSource
from data.sources.mimic_cxr_tables import find_tables
from data.study import load_studies
from vlm.schema.findings import (
    BLANK,
    CHANGES,
    FINDING_INDEX,
    FINDINGS,
    NEGATIVE,
    POSITIVE,
    UNCERTAIN,
    UNKNOWN_CHANGE,
    UNKNOWN_CHANGES,
    UNLABELED_STUDY,
)

REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with cough  // pneumonia?

 COMPARISON:  None.

 FINDINGS:

 The lungs are clear.  There is no
 effusion.

 IMPRESSION:

 No acute process.
"""


PIXELS = np.arange(40 * 30, dtype=np.uint32).astype(np.uint8).reshape(40, 30)


STUDIES = [  # patient, study, split, views
    (10000032, 50414267, "train", ("PA", "LATERAL")),
    (10000032, 53189527, "train", ("AP",)),
    (10000764, 57375967, "validate", ("",)),
    (10000898, 50771383, "test", ("PA", "LL")),
]


def dicom_id(study: int, view: int) -> str:
    return f"{study:08x}-{view:08x}-112c0b34-7bc16630-4e384014"


def write_table(path: Path, rows: list[dict]) -> None:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    content = file.getvalue().encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def labels_row(subject: int, study: int, **values: str) -> dict:
    blank = dict.fromkeys(sorted(FINDINGS), "")
    return (
        {"subject_id": subject, "study_id": study} | blank | {name.replace("_", " "): v for name, v in values.items()}
    )


def write_tables(root: Path, *, version="2.0.0", suffix=".csv", studies=STUDIES) -> None:
    images = [
        (dicom_id(study, number), subject, study, view, split)
        for subject, study, split, views in studies
        for number, view in enumerate(views)
    ]
    rows = [
        {"dicom_id": name, "subject_id": subject, "study_id": study, "Rows": 3056, "ViewPosition": view}
        for name, subject, study, view, _ in images
    ]
    write_table(root / f"mimic-cxr-{version}-metadata{suffix}", rows)
    rows = [
        {"dicom_id": name, "study_id": study, "subject_id": subject, "split": split}
        for name, subject, study, _, split in images
    ]
    write_table(root / f"mimic-cxr-{version}-split{suffix}", rows)
    rows = [labels_row(subject, study, Edema="1.0", Fracture="-1.0", Pneumonia="0.0") for subject, study, *_ in studies]
    write_table(root / f"mimic-cxr-{version}-chexpert{suffix}", rows)
    rows = [labels_row(subject, study, No_Finding="1.0") for subject, study, *_ in studies]
    write_table(root / f"mimic-cxr-{version}-negbio{suffix}", rows)


def study_folder(subject: int, study: int) -> str:
    return f"files/p{str(subject)[:2]}/p{subject}/s{study}"


def write_images(root: Path, studies=STUDIES) -> None:
    for subject, study, _, views in studies:
        folder = root / study_folder(subject, study)
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(len(views)):
            Image.fromarray(PIXELS).save(folder / f"{dicom_id(study, number)}.jpg")


def write_reports(root: Path, studies=STUDIES, text: str = REPORT) -> None:
    for subject, study, *_ in studies:
        path = root / f"{study_folder(subject, study)}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.fixture
def root(tmp_path):
    """MIMIC-CXR-JPG with the reports beside the images."""
    folder = tmp_path / "mimic"
    folder.mkdir()
    write_tables(folder)
    write_images(folder)
    write_reports(folder)
    return folder


def given(root: Path, **options):
    """Raw studies and reasons of rejections by study, and the notes."""
    plan = MimicSource(root=root, **options).plan(PlanContext(work=root))
    outcomes = list(plan.raw_studies)
    assert len(outcomes) == plan.num_studies
    rejected = {outcome.study_id: outcome.reason for outcome in outcomes if isinstance(outcome, Rejection)}
    return (
        {raw_study.study_id: raw_study for raw_study in outcomes if not isinstance(raw_study, Rejection)},
        rejected,
        plan.notes,
    )


def states(labels) -> dict[str, int]:
    return {name: labels[index] for name, index in FINDING_INDEX.items() if labels[index] != BLANK}


def test_published_layout_gives_a_data_set_with_the_official_split(root, tmp_path, capsys):
    out = tmp_path / "out"
    main(["mimic_cxr", "--root", str(root), "--out", str(out), "--num-workers", "1"])
    splits = load_studies(out)
    assert {split: rows["study_id"][:] for split, rows in splits.items()} == {
        "train": ["50414267", "53189527"],
        "validation": ["57375967"],
        "test": ["50771383"],
    }
    row = splits["train"][0]
    assert (row["subject_id"], row["view_positions"]) == ("10000032", ["PA", "LATERAL"])
    assert (row["findings"], row["impression"]) == (
        "The lungs are clear. There is no effusion.",
        "No acute process.",
    )
    assert "cough" in row["indication"]
    assert states(row["labels"]) == {"Edema": POSITIVE, "Fracture": UNCERTAIN, "Pneumonia": NEGATIVE}
    assert (row["source"], row["license"]) == ("mimic_cxr", "PhysioNet Credentialed Health Data License 1.5.0")
    assert row["images"][0].size == (30, 40)
    assert splits["validation"][0]["view_positions"] == ["UNKNOWN"]
    assert "given 4 = kept 4 + rejected 0" in capsys.readouterr().out


def test_newest_gzipped_tables_are_used(root):
    write_tables(root, version="2.1.0", suffix=".csv.gz", studies=STUDIES[:1])
    kept, rejected, notes = given(root)
    assert list(kept) == ["50414267"] and not rejected
    assert {path.name for path in find_tables(root).values()} == {
        f"mimic-cxr-2.1.0-{kind}.csv.gz" for kind in ("split", "metadata", "chexpert", "negbio")
    }
    assert "mimic-cxr-2.1.0-split.csv.gz" in notes[0]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (None, {"Edema": POSITIVE, "Fracture": UNCERTAIN, "Pneumonia": NEGATIVE}),
        ("negbio", {"No Finding": POSITIVE}),
    ],
)
def test_labels_come_from_the_requested_table(root, labels, expected):
    kept, *_ = given(root, labels=labels)
    assert states(kept["50414267"].labels) == expected


def test_labels_from_the_report_are_none_until_the_labeler_runs(root):
    assert given(root, labels="report")[0]["50414267"].labels is None
    for path in root.glob("*chexpert*"):
        path.unlink()
    kept, _, notes = given(root)
    assert kept["50414267"].labels is None and "labels: report." in notes
    with pytest.raises(ValueError, match=r"--labels chexpert needs mimic-cxr-<version>-chexpert\.csv\(\.gz\) in "):
        given(root, labels="chexpert")


def test_blank_labels_are_blank_and_missing_rows_are_not_labeled(root):
    rows = [labels_row(10000032, 50414267), labels_row(10000032, 53189527, Edema="1.0")]
    write_table(root / "mimic-cxr-2.0.0-chexpert.csv", rows)
    kept, *_ = given(root)
    assert kept["50414267"].labels == (BLANK,) * len(FINDINGS)
    assert kept["50771383"].labels == UNLABELED_STUDY


def test_a_study_without_a_row_of_labels_gets_none_from_its_report(root):
    write_table(root / "mimic-cxr-2.0.0-chexpert.csv", [labels_row(10000032, 50414267, Edema="1.0")])
    kept, *_ = given(root)
    labeled, unlabeled = (build_row(kept[study], BuildOptions()).row for study in ("50414267", "50771383"))
    assert labeled["label_source"] == "source" and states(labeled["labels"])["Edema"] == POSITIVE
    assert unlabeled["findings"] or unlabeled["impression"]
    assert (unlabeled["labels"], unlabeled["label_source"]) == (UNLABELED_STUDY, "none")


def test_studies_with_missing_images_are_rejected(root):
    for path in (root / study_folder(10000032, 50414267)).iterdir():
        path.unlink()
    (root / study_folder(10000898, 50771383) / f"{dicom_id(50771383, 1)}.jpg").unlink()
    kept, rejected, _ = given(root)
    assert list(kept) == ["53189527", "57375967"]
    assert rejected["50414267"].startswith(f"2 of its 2 images are not in {root}/files: p10/p10000032/s50414267/03")
    assert re.match(r"1 of its 2 images are not in .*00000001-112c0b34-7bc16630-4e384014\.jpg$", rejected["50771383"])


def test_dicom_files_with_a_record_list_get_a_random_split_and_views_from_headers(tmp_path):
    root = tmp_path / "mimic"
    root.mkdir()
    subject, study, *_ = STUDIES[0]
    folder = root / study_folder(subject, study)
    folder.mkdir(parents=True)
    header = pydicom.Dataset()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    header.SOPClassUID, header.SOPInstanceUID = uid.DigitalXRayImageStorageForPresentation, uid.generate_uid()
    header.Modality, header.BodyPartExamined, header.ViewPosition = "DX", "CHEST", "AP"
    header.SamplesPerPixel, header.PhotometricInterpretation, header.PixelRepresentation = 1, "MONOCHROME2", 0
    header.Rows, header.Columns, header.BitsAllocated, header.BitsStored, header.HighBit = *PIXELS.shape, 8, 8, 7
    header.PixelData = PIXELS.tobytes()
    header["PixelData"].VR = "OB"
    header.save_as(folder / f"{dicom_id(study, 0)}.dcm", enforce_file_format=True)
    write_table(
        root / "cxr-record-list.csv.gz",
        [{"subject_id": subject, "study_id": study, "dicom_id": dicom_id(study, 0), "path": "files/…"}],
    )
    write_reports(root, STUDIES[:1])
    out = tmp_path / "out"
    main(
        ["mimic_cxr", "--root", str(root), "--out", str(out), "--num-workers", "1", "--split-fractions", "1", "0", "0"]
    )
    (row,) = load_studies(out)["train"]
    assert (row["study_id"], row["view_positions"]) == ("50414267", ["AP"])
    assert "no table of the official split: patients are split at random." in given(root)[2]


def test_tables_can_be_in_another_folder(root, tmp_path):
    (tmp_path / "tables").mkdir()
    for path in root.glob("*.csv"):
        path.rename(tmp_path / "tables" / path.name)
    assert len(given(root, tables=tmp_path / "tables")[0]) == len(STUDIES)
    with pytest.raises(ValueError, match=r"has none of mimic-cxr-<version>-metadata\.csv.*their folder as --tables"):
        given(root)


def test_patient_in_two_splits_stays_in_the_later_one(root):
    write_tables(root, studies=[(10000032, 50414267, "train", ("PA", "LL")), (10000032, 53189527, "test", ("AP",))])
    kept, rejected, _ = given(root)
    assert {study: raw_study.split for study, raw_study in kept.items()} == {"53189527": "test"}
    assert rejected["50414267"].startswith(
        "patient 10000032 is also in the split test, and a patient may be in one split only"
    )


def test_damaged_and_contradicting_rows_are_rejected(root):
    metadata = (root / "mimic-cxr-2.0.0-metadata.csv").read_text().splitlines()
    metadata += ["abc", "../../etc/passwd,10000032,50414267,1,PA", f"{dicom_id(1, 0)},p1,1,1,PA", metadata[1]]
    (root / "mimic-cxr-2.0.0-metadata.csv").write_text("\n".join(metadata))
    rows = [labels_row(10000032, 50414267, Edema=value) for value in ("1.0", "0.0")]
    rows += [labels_row(10000032, 53189527, Edema="2.0"), labels_row(10000032, "", Edema="1.0")]
    write_table(root / "mimic-cxr-2.0.0-chexpert.csv", [*rows, labels_row(1, 77, Edema="1.0")])
    split = (root / "mimic-cxr-2.0.0-split.csv").read_text()
    lines = [line for line in split.splitlines() if "57375967" not in line]
    (root / "mimic-cxr-2.0.0-split.csv").write_text("\n".join(lines).replace("test", "holdout"))
    kept, rejected, notes = given(root)
    assert not kept
    assert "mimic-cxr-2.0.0-metadata.csv: row 7 has 1 fields" in rejected["mimic-cxr-2.0.0-metadata.csv row 7"]
    assert "dicom_id is '../../etc/passwd'" in rejected["mimic-cxr-2.0.0-metadata.csv row 8"]
    assert "subject_id is 'p1', not a number" in rejected["mimic-cxr-2.0.0-metadata.csv row 9"]
    assert rejected["50414267"] == "mimic-cxr-2.0.0-chexpert.csv has it twice, with different labels"
    assert "chexpert.csv row 3: Edema is '2.0'" in rejected["53189527"]
    assert rejected["57375967"] == "is not in the table of splits"
    assert rejected["50771383"].startswith("split 'holdout' in mimic-cxr-2.0.0-split.csv is none of train, validate")
    assert "1 rows of mimic-cxr-2.0.0-chexpert.csv were skipped: they name no study." in notes
    assert "1 studies in the tables have no image; they are not counted." in notes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"dicom_id,subject_id\n1,2\n", r"lacks the column study_id, ViewPosition; it has dicom_id, subject_id"),
        ("dicom_id,subject_id\n".encode("utf-16"), r"is UTF-16 text; save it as UTF-8"),
        (gzip.compress(b"dicom_id,study_id\n")[:-8], r"ends early or is damaged \(.*\); download it again"),
        (b"", r"is empty"),
    ],
    ids=["columns", "utf-16", "gzip", "empty"],
)
def test_unreadable_table_is_named_in_the_error(root, content, message):
    (root / "mimic-cxr-2.0.0-metadata.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"mimic-cxr-2\.0\.0-metadata\.csv " + message):
        given(root)


def test_byte_order_mark_is_ignored(root):
    path = root / "mimic-cxr-2.0.0-metadata.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(given(root)[0]) == len(STUDIES)


def test_root_that_is_no_folder_is_rejected(tmp_path):
    with pytest.raises(ValueError, match=r"--root .*nowhere is not a folder; name the one with MIMIC-CXR's files"):
        given(tmp_path / "nowhere")


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
    assert "worse" not in {CHANGES[code] for code in last["changes"] if code != UNKNOWN_CHANGE}
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
