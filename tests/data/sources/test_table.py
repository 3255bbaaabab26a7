"""Source `table`: columns, labels, splits and groups of rows."""

import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from data.pipeline.raw_study import PlanContext, RawFileStudy, Rejection
from data.pipeline.row import BuildOptions, build_row
from data.reports.labeler.labeler import label_report
from data.tables.labels import labels_from_columns
from data.tables.rows import column_names, read_rows
from tests.helpers.sources.tables import ROWS, csv_of, jsonl_of, raw_studies, table_source
from vlm.schema.findings import FINDING_INDEX, NEGATIVE, POSITIVE, UNCERTAIN, UNLABELED, UNLABELED_STUDY


def parquet_of(folder: Path, rows: list[dict]) -> Path:
    path = folder / "table.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("write", [csv_of, jsonl_of, parquet_of])
def test_csv_jsonl_and_parquet_give_the_same_studies(tmp_path, write):
    given = raw_studies(write(tmp_path, ROWS))
    assert [raw_study.study_id for raw_study in given] == ["s1", "s2", "s3"]
    assert [raw_study.subject_id for raw_study in given] == ["p1", "p2", "p2"]
    assert [raw_study.files for raw_study in given] == [("a.png",), ("b.png",), ("c.png",)]
    assert (given[2].findings, given[2].impression) == ("Large heart.", "Cardiomegaly.")
    assert given[1].split == given[2].split
    assert given[0].image_root == tmp_path
    assert given[0].source == "table"


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_semicolons_tabs_and_byte_order_marks_are_supported(tmp_path, delimiter):
    path = csv_of(tmp_path, ROWS, delimiter=delimiter)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert column_names(path) == list(ROWS[0])
    assert [raw_study.study_id for raw_study in raw_studies(path)] == ["s1", "s2", "s3"]


def test_columns_with_other_names_are_mapped_and_text_becomes_one_line(tmp_path):
    rows = [
        {"Path": "a.png", "Akte": 7, "Pat": "p", "Text": "FINDINGS: Clear\n lungs. IMPRESSION: Normal.", "View": "pa"}
    ]
    options = {
        "image_column": "Path",
        "study_id_column": "Akte",
        "subject_id_column": "Pat",
        "report_column": "Text",
        "view_position_column": "View",
        "license": "CC0",
        "source_name": "clinic",
    }
    (raw_study,) = raw_studies(jsonl_of(tmp_path, rows), **options)
    assert (raw_study.study_id, raw_study.subject_id, raw_study.view_positions) == ("7", "p", ("PA",))
    assert (raw_study.findings, raw_study.impression) == ("Clear lungs.", "Normal.")
    assert (raw_study.license, raw_study.source) == ("CC0", "clinic")


def test_without_ids_the_first_image_is_the_id_of_study_and_patient(tmp_path):
    path = csv_of(tmp_path, [{"image": "x/a.png", "findings": "Clear."}, {"image": "b.png", "findings": "Clear."}])
    plan = table_source(path).plan(PlanContext(split_fractions=(1, 0, 0), work=path.parent))
    assert [(raw_study.study_id, raw_study.subject_id) for raw_study in plan.raw_studies] == [
        ("x/a.png", "x/a.png"),
        ("b.png", "b.png"),
    ]
    assert "2 rows name no patient; each of these studies counts as a patient of its own." in plan.notes


def _zero_notes(folder, subject_ids, **options):
    rows = [{"image": f"{n}.png", "patient": one, "findings": "Clear."} for n, one in enumerate(subject_ids)]
    plan = table_source(csv_of(folder, rows), subject_id_column="patient", **options).plan(PlanContext(work=folder))
    assert {study.subject_id for study in plan.raw_studies} >= set(filter(None, subject_ids)) or options
    return [note for note in plan.notes if "leading zeros" in note]


def test_patients_whose_ids_differ_only_in_leading_zeros_stay_apart_and_get_a_note_without_the_ids(tmp_path):
    [note] = _zero_notes(tmp_path, ["7", "4711", "007", "7", "A1", "0A1", "07"])
    assert note == (
        "2 patient ids occur with and without leading zeros, like 7 and 007 (rows 1, 3, 7; rows 5, 6). They count as "
        "different patients. If they are one patient, write the id in one way; otherwise a patient can be in two "
        "splits."
    )
    [note] = _zero_notes(tmp_path, [f"{zeros}81{n}" for n in range(5) for zeros in ("", "0")], pseudonyms=True)
    assert note.startswith("5 patient ids") and "(rows 1, 2; rows 3, 4; rows 5, 6; …)" in note and "81" not in note
    assert not _zero_notes(tmp_path, ["7", "70", "", "8", "7"])


def test_several_images_can_be_a_list_or_a_separated_text(tmp_path):
    rows = [{"images": ["a.png", "b.png"], "view_position": ["PA", "?"], "findings": "Clear."}]
    (listed,) = raw_studies(jsonl_of(tmp_path, rows))
    rows = [{"images": "a.png | b.png", "view_position": "PA|", "findings": "Clear."}]
    (separated,) = raw_studies(csv_of(tmp_path, rows), image_separator="|")
    for raw_study in (listed, separated):
        assert raw_study.files == ("a.png", "b.png")
        assert raw_study.view_positions == ("PA", "UNKNOWN")


def test_unknown_view_positions_are_left_to_dicom_headers(tmp_path):
    (raw_study,) = raw_studies(jsonl_of(tmp_path, [{"image": "a.dcm", "view_position": [""], "findings": "Clear."}]))
    assert raw_study.view_positions == ()


def test_view_positions_that_the_model_does_not_know_are_noted(tmp_path):
    views = [["pa", "LL"], ["AP", "Lat."], ["?", "left lateral"]]
    rows = [{"images": ["a.png", "b.png"], "view_position": view, "findings": "Clear."} for view in views]
    plan = table_source(jsonl_of(tmp_path, rows)).plan(PlanContext(work=tmp_path))
    assert [study.view_positions for study in plan.raw_studies] == [
        ("PA", "LL"),
        ("AP", "LAT."),
        ("UNKNOWN", "LEFT LATERAL"),
    ]
    note = "values of sex, age, date or view position cannot be read and count as unknown; row 2: view position 'LAT.'"
    assert f"2 {note} is not one of PA, AP and LATERAL." in plan.notes


def test_finding_columns_use_chexpert_values(tmp_path):
    rows = [
        {"image": "a.png", "Edema": "1.0", "Pneumonia": "0", "Fracture": "-1", "No Finding": ""},
        {"image": "b.png", "Edema": "", "Pneumonia": "", "Fracture": "", "No Finding": "1"},
    ]
    first, second = raw_studies(csv_of(tmp_path, rows))
    expected = dict.fromkeys(FINDING_INDEX, UNLABELED)
    expected |= {"Edema": POSITIVE, "Pneumonia": NEGATIVE, "Fracture": UNCERTAIN, "No Finding": 0}
    assert dict(zip(FINDING_INDEX, first.labels, strict=True)) == expected
    assert second.labels[FINDING_INDEX["No Finding"]] == POSITIVE


def test_finding_columns_may_have_another_spelling_and_are_named(tmp_path):
    names = ("Cardiomegaly", "Edema", "Pleural_Effusion", "pneumothorax", "no-finding")
    table = csv_of(tmp_path, [{"image": "a.png", "Rib Fracture": "1"} | dict.fromkeys(names, "1")])
    plan = table_source(table).plan(PlanContext(work=tmp_path))
    [study] = plan.raw_studies
    labeled = {finding for finding, code in zip(FINDING_INDEX, study.labels, strict=True) if code == POSITIVE}
    assert labeled == {"Cardiomegaly", "Edema", "Pleural Effusion", "Pneumothorax", "No Finding"}
    assert study.labels.count(UNLABELED) == 9
    assert "labels from the columns Cardiomegaly, Edema, pneumothorax, Pleural_Effusion, no-finding." in plan.notes
    [note] = [note for note in plan.notes if "no column is named after" in note]
    assert "Fracture, Support Devices, so these findings are not labeled." in note


def test_two_columns_of_one_finding_are_rejected(tmp_path):
    table = csv_of(tmp_path, [{"image": "a.png", "Pleural Effusion": "1", "pleural_effusion": "0"}])
    message = "the columns 'Pleural Effusion' and 'pleural_effusion' are both of the finding Pleural Effusion; keep one"
    with pytest.raises(ValueError, match=message):
        raw_studies(table)


def test_row_with_blank_finding_columns_is_not_labeled():
    assert labels_from_columns({"Edema": "", "Pneumonia": None, "Fracture": float("nan")}) == UNLABELED_STUDY


def test_label_column_is_mapped_with_words_or_codes(tmp_path):
    rows = [{"image": "a.png", "kind": "normal"}, {"image": "b.png", "kind": "viral"}]
    label_map = {"normal": {"No Finding": 1, "Pneumonia": "negative"}, "viral": {"Pneumonia": "positive"}}
    (tmp_path / "map.json").write_text(json.dumps(label_map))
    for given in (json.dumps(label_map), str(tmp_path / "map.json")):
        normal, viral = raw_studies(csv_of(tmp_path, rows), label_column="kind", label_map=given)
        assert (normal.labels[6], normal.labels[13], normal.labels.count(UNLABELED)) == (NEGATIVE, POSITIVE, 12)
        assert (viral.labels[6], viral.labels.count(UNLABELED)) == (POSITIVE, 13)


def test_labels_come_from_the_report_if_the_table_has_none(tmp_path):
    (raw_study,) = raw_studies(csv_of(tmp_path, [{"image": "a.png", "report": "Large left pleural effusion."}]))
    assert raw_study.labels is None and raw_study.findings == "Large left pleural effusion."
    assert label_report("Findings: Large left pleural effusion.")[FINDING_INDEX["Pleural Effusion"]] == POSITIVE


def test_table_with_images_only_is_kept(tmp_path):
    (raw_study,) = raw_studies(csv_of(tmp_path, [{"image": "a.png"}]))
    assert isinstance(raw_study, RawFileStudy)


def test_split_column_is_used(tmp_path):
    rows = [{"image": f"{name}.png", "split": name} for name in ("train", "val", "TEST")]
    assert [raw_study.split for raw_study in raw_studies(csv_of(tmp_path, rows))] == ["train", "validation", "test"]


def test_patient_in_two_splits_stays_in_the_later_one(tmp_path):
    rows = [
        {"image": "a.png", "subject_id": "p1", "split": "train"},
        {"image": "b.png", "subject_id": "p1", "split": "test"},
        {"image": "c.png", "subject_id": "p2", "split": "train"},
        {"image": "d.png", "subject_id": "p1", "split": "val"},
    ]
    given = raw_studies(csv_of(tmp_path, rows))
    assert [raw_study.split for raw_study in given if isinstance(raw_study, RawFileStudy)] == ["test", "train"]
    assert [raw_study.reason for raw_study in given if isinstance(raw_study, Rejection)] == [
        "patient p1 is also in the split test, and a patient may be in one split only; this study of "
        f"{split} is left out"
        for split in ("train", "validation")
    ]


def test_random_split_keeps_patients_together(tmp_path):
    rows = [{"image": f"{number}.png", "subject_id": f"p{number % 20}"} for number in range(60)]
    given = raw_studies(csv_of(tmp_path, rows))
    assert len({(raw_study.subject_id, raw_study.split) for raw_study in given}) == 20
    assert Counter(raw_study.split for raw_study in given) == {"train": 48, "validation": 6, "test": 6}


def test_group_rows_joins_all_views_of_a_study(tmp_path):
    rows = [
        {"image": "a1.png", "study_id": "a", "view_position": "PA", "report": "Clear lungs."},
        {"image": "b1.png", "study_id": "b", "view_position": "", "report": "Effusion."},
        {"image": "a2.png", "study_id": "a", "view_position": "LATERAL", "report": "Clear lungs."},
    ]
    first, second = raw_studies(csv_of(tmp_path, rows), group_rows=True)
    assert (first.study_id, first.files, first.view_positions) == ("a", ("a1.png", "a2.png"), ("PA", "LATERAL"))
    assert (second.study_id, second.files, second.findings) == ("b", ("b1.png",), "Effusion.")


def test_group_rows_rejects_a_study_with_contradicting_rows(tmp_path):
    rows = [
        {"image": "a1.png", "study_id": "a", "report": "Clear lungs."},
        {"image": "a2.png", "study_id": "a", "report": "Effusion."},
        {"image": "b.png", "study_id": "b", "report": "Effusion."},
    ]
    rejected, kept = raw_studies(csv_of(tmp_path, rows), group_rows=True)
    assert rejected.reason == "row 2 differs from row 1 of the same study in patient, split, text, labels, sex or age"
    assert rejected.files == ("a1.png", "a2.png")
    assert kept.study_id == "b"
    with pytest.raises(ValueError, match=r"--group-rows needs the column of study ids; .+table\.csv has image, report"):
        raw_studies(csv_of(tmp_path, [{"image": "a", "report": "Clear."}]), group_rows=True)


def test_rows_are_read_one_at_a_time(tmp_path):
    path = csv_of(tmp_path, ROWS)
    rows = read_rows(path)
    assert next(rows).values["study_id"] == "s1"
    rows.close()


@pytest.mark.parametrize("write", [csv_of, jsonl_of])
def test_gzipped_table_is_read(tmp_path, write):
    path = write(tmp_path, ROWS)
    plain = raw_studies(path)
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert raw_studies(path) == plain


def test_report_column_is_split_at_headings(tmp_path):
    text = "CHEST PA\n\nHISTORY: Cough.\n\nFINDINGS\nThe lungs are clear.\n\nCONCLUSION:\nNormal."
    first, second = raw_studies(
        jsonl_of(tmp_path, [{"image": "a", "report": text}, {"image": "b", "report": text, "indication": "Fever."}])
    )
    assert (first.indication, first.findings, first.impression) == ("Cough.", "The lungs are clear.", "Normal.")
    assert second.indication == "Fever."


def test_labels_column_holds_label_codes(tmp_path):
    codes = [1, 0, 2, 3, -100] + [0] * 9
    path = jsonl_of(tmp_path, [{"image": "a", "codes": codes}, {"image": "b", "codes": [1]}, {"image": "c"}])
    kept, wrong, absent = raw_studies(path, labels_column="codes")
    assert kept.labels == tuple(codes)
    assert wrong.reason == "labels are [1]; give 14 codes from [-100, 0, 1, 2, 3]"
    assert absent.reason == "has neither a report nor labels"


def test_backslashes_of_a_table_from_windows_separate_folders(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("images/a.png", "b\\c.png"):
        (tmp_path / name).touch()
    given = raw_studies(csv_of(tmp_path, [{"image": "images\\a.png"}, {"image": "b\\c.png"}]))
    assert [study.files for study in given] == [("images/a.png",), ("b\\c.png",)]


DATED_ROWS = [
    {"image": "b.png", "study_id": "s2", "subject_id": "p", "findings": "Edema.", "date": "2021-03-01 09:30"},
    {"image": "a.png", "study_id": "s1", "subject_id": "p", "findings": "Clear lungs.", "date": "2021-02-27"},
    {"image": "c.png", "study_id": "s3", "subject_id": "q", "findings": "Clear lungs.", "date": "2021-03-02"},
    {"image": "d.png", "study_id": "s4", "subject_id": "p", "findings": "Effusion.", "date": "today"},
]


def priors_of(raws):
    """The study id of each prior study and its distance in days, by study id."""
    return {raw.study_id: raw.prior and (raw.prior.raw_study.study_id, raw.prior.interval_days) for raw in raws}


def test_rows_of_a_table_are_ordered_by_date(tmp_path):
    found = raw_studies(csv_of(tmp_path, DATED_ROWS), with_priors=True)
    assert priors_of(found) == {"s2": ("s1", 2), "s1": None, "s3": None, "s4": None}
    assert priors_of(raw_studies(csv_of(tmp_path, DATED_ROWS))) == dict.fromkeys(("s1", "s2", "s3", "s4"))


@pytest.mark.parametrize(
    ("dates", "priors"),
    [
        (("2021-03-01 09:30", "2021-03-01 16:00"), {"s2": ("s1", 0)}),
        (("2021-03-01 09:30", "2021-03-01"), {}),
        (("2021-03-01", "2021-03-01 09:30"), {}),
        (("2021-03-01", "2021-03-02 09:30"), {"s2": ("s1", 1)}),
        (("2021-03-01 09:30", "2021-03-02"), {"s2": ("s1", 1)}),
    ],
)
def test_a_row_without_a_time_is_no_prior_on_the_same_day(tmp_path, dates, priors):
    rows = [DATED_ROWS[0] | {"study_id": f"s{number}", "date": day} for number, day in enumerate(dates, start=1)]
    found = priors_of(raw_studies(csv_of(tmp_path, rows), with_priors=True))
    assert {name: prior for name, prior in found.items() if prior} == priors


def test_a_row_can_name_its_prior_study(tmp_path):
    named = {"s2": "s1", "s1": "", "s3": "s1", "s4": "s9"}
    rows = [
        {name: value for name, value in row.items() if name != "date"} | {"before": named[row["study_id"]]}
        for row in DATED_ROWS
    ]
    found = raw_studies(csv_of(tmp_path, rows), with_priors=True, prior_study_id_column="before")
    by_id = {raw.study_id: raw.prior for raw in found}
    assert (by_id["s2"].raw_study.study_id, by_id["s2"].interval_days) == ("s1", None)
    assert by_id["s1"] is None
    assert by_id["s3"].raw_study.reason == "the row names a study of another patient"
    assert by_id["s4"].raw_study.reason == "the table has no study with the id that the row names"


@pytest.mark.parametrize("write", [jsonl_of, parquet_of])
def test_ids_in_a_column_of_numbers_with_blanks_have_no_fraction(tmp_path, write):
    rows = [
        {"image": "a.png", "study_id": 1, "subject_id": 7.0, "findings": "Edema.", "prior_study_id": None},
        {"image": "b.png", "study_id": 2, "subject_id": 7.0, "findings": "Edema.", "prior_study_id": 1.0},
        {"image": "c.png", "study_id": 3, "subject_id": None, "findings": "Edema.", "prior_study_id": None},
    ]
    found = raw_studies(write(tmp_path, rows), with_priors=True)
    assert [raw.subject_id for raw in found] == ["7", "7", "3"]
    assert priors_of(found) == {"1": None, "2": ("1", None), "3": None}


def test_pseudonyms_hide_the_ids_of_prior_studies(tmp_path):
    for row in DATED_ROWS:
        Image.fromarray(np.full((40, 40), 7, np.uint8)).save(tmp_path / row["image"])
    found = raw_studies(csv_of(tmp_path, DATED_ROWS), with_priors=True, pseudonyms=True)
    [linked] = [raw for raw in found if raw.prior]
    assert "s1" not in repr(linked.prior).replace("sources1", "")
    assert linked.prior.raw_study.subject_id == linked.subject_id
    assert len(build_row(linked, BuildOptions()).row["prior_images"]) == 1


def test_a_table_without_dates_and_prior_ids_is_rejected(tmp_path):
    rows = [{name: value for name, value in row.items() if name != "date"} for row in DATED_ROWS]
    with pytest.raises(ValueError, match="--with-priors needs the column of prior study ids"):
        raw_studies(csv_of(tmp_path, rows), with_priors=True)
