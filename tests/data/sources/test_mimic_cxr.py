"""Source `mimic_cxr`: tables, splits, labels and missing images, in the published layout with invented text."""

import gzip
import re
from pathlib import Path

import pydicom
import pytest
from pydicom import uid

from data.pipeline.raw_study import PlanContext, Rejection
from data.pipeline.row import BuildOptions, build_row
from data.prepare import main
from data.sources.mimic_cxr import MimicSource
from data.sources.mimic_cxr_tables import find_tables
from data.study import load_studies
from tests.helpers.sources.mimic_cxr import (
    PIXELS,
    STUDIES,
    dicom_id,
    labels_row,
    study_folder,
    write_images,
    write_reports,
    write_table,
    write_tables,
)
from vlm.schema.findings import (
    BLANK,
    FINDING_INDEX,
    FINDINGS,
    NEGATIVE,
    POSITIVE,
    UNCERTAIN,
    UNLABELED_STUDY,
)


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
