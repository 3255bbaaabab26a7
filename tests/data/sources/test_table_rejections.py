"""Tables and rows that are rejected, and the messages."""

import gzip
from pathlib import Path

import pytest

from data.pipeline.raw_study import Rejection
from data.tables.labels import read_label_map
from tests.helpers.sources.tables import ROWS, csv_of, jsonl_of, raw_studies, table_source
from vlm.schema.findings import FINDING_INDEX, POSITIVE


def rejections(path: Path, **options) -> list[str]:
    return [raw_study.reason for raw_study in raw_studies(path, **options) if isinstance(raw_study, Rejection)]


def test_row_without_report_and_labels_is_rejected(tmp_path):
    rows = [{"image": "a.png", "report": "", "Edema": ""}, {"image": "b.png", "report": " ", "Edema": "1"}]
    rejected, kept = raw_studies(csv_of(tmp_path, rows))
    assert rejected == Rejection(study_id="a.png", reason="has neither a report nor labels", files=("a.png",))
    assert kept.labels[FINDING_INDEX["Edema"]] == POSITIVE


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"image": ""}, r"row 1 names no image"),
        ({"image": [f"{n}.png" for n in range(17)]}, r"row 1 names 17 images; the limit is 16"),
        ({"image": ["a", "b"], "view_position": "PA"}, r"row 1 names 2 images but 1 view positions"),
        (
            {"image": "a", "Edema": "maybe"},
            r"Edema is 'maybe'; use 1 \(positive\), 0 \(negative\), -1 \(unc",
        ),
        ({"image": "a", "split": "holdout"}, r"split 'holdout' is not one of train, training, validation"),
        ({"image": "a", "findings": ["Clear."]}, r"column 'findings' has a list, not a text"),
    ],
)
def test_invalid_row_is_rejected_with_the_reason(tmp_path, row, reason):
    (raw_study,) = raw_studies(jsonl_of(tmp_path, [row]))
    with pytest.raises(ValueError, match=reason):
        raise ValueError(raw_study.reason)


ERRORS = ["#REF!", "#N/A", "#VALUE!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!", "#ERROR!", "#BEZUG!", "#NV", "#¿NOMBRE?"]
CLEAR = {"image": "a.png", "study_id": "s1", "subject_id": "p1", "report": "", "findings": "Clear.", "impression": ""}


@pytest.mark.parametrize("value", ERRORS)
@pytest.mark.parametrize("column", CLEAR)
def test_row_with_an_error_of_a_spreadsheet_is_rejected_with_column_and_value(tmp_path, column, value):
    rejected, kept = raw_studies(csv_of(tmp_path, [CLEAR | {column: f" {value}"}, CLEAR | {"study_id": "s2"}]))
    reason = (
        f"column {column!r} has {value!r}, an error of a spreadsheet; correct the cell there and save the table again"
    )
    assert isinstance(rejected, Rejection)
    assert (rejected.study_id, rejected.reason) == ("row 1" if column == "study_id" else "s1", reason)
    assert kept.study_id == "s2"


def test_error_of_a_spreadsheet_is_found_under_another_column_name_and_among_several_images(tmp_path):
    rows = [{"Bild": "a.png|#REF!", "Befund": "Clear."}, {"Bild": "b.png", "Befund": "#name?"}]
    options = {"image_column": "Bild", "report_column": "Befund", "image_separator": "|"}
    first, second = rejections(csv_of(tmp_path, rows), **options)
    assert first.startswith("column 'Bild' has '#REF!'") and second.startswith("column 'Befund' has '#name?'")
    assert not rejections(csv_of(tmp_path, [{"image": "a.png", "report": "No #REF! here."}]))


def test_rows_whose_study_id_is_an_error_of_a_spreadsheet_are_not_one_study(tmp_path):
    rows = [CLEAR | {"study_id": "#REF!"}, CLEAR | {"study_id": "#REF!"}, CLEAR, CLEAR | {"image": "#N/A"}]
    assert len(rejections(csv_of(tmp_path, rows), group_rows=True)) == 3  # each row alone, and the study s1


def test_label_that_is_not_in_the_map_is_rejected(tmp_path):
    path = csv_of(tmp_path, [{"image": "a.png", "kind": "odd"}])
    options = {"label_column": "kind", "label_map": '{"normal": {"No Finding": 1}}'}
    assert rejections(path, **options) == ["label 'odd' is not in --label-map, which has 'normal'"]


def test_rows_with_wrong_length_or_invalid_json_are_rejected(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("image,findings\na.png,Clear.\nb.png\n\nc.png,Clear.,extra\n")
    assert rejections(path) == ["row 2 has 1 fields, the header has 2", "row 3 has 3 fields, the header has 2"]
    path.write_text('{"image": "a.png", "findings": "Clear."}\n{"image": \n[1]\n')
    assert rejections(path) == ["row 2 is not JSON", "row 3 is JSON, but not an object"]


def test_missing_column_error_suggests_the_closest_column(tmp_path):
    path = csv_of(tmp_path, ROWS)
    with pytest.raises(ValueError) as caught:
        raw_studies(path, subject_id_column="subjectid")
    assert str(caught.value) == (
        f"{path} has no column 'subjectid' (--subject-id-column); did you mean 'subject_id'? "
        "Its columns are image, study_id, subject_id, findings, impression"
    )
    path = csv_of(tmp_path, [{"file": "a.png"}])
    with pytest.raises(ValueError, match=r"has no column 'image' or 'images'; name the one .* its columns are file"):
        raw_studies(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"table is empty"),
        (b"image,findings\n", r"table has a header, but no rows"),
        (b"PK\x03\x04", r"table is not CSV, JSONL or Parquet \(an Excel file\?\); save it as CSV in UTF-8"),
        ("image,findings\n".encode("utf-16"), r"table is UTF-16 text; save it as UTF-8"),
        (b"PAR1 and no more", r"table is damaged Parquet"),
        (b'[{"image": "a"}]', r"table is one JSON list; write JSONL"),
        (b"image,findings\na.png,\xe4\n", r"table is not UTF-8 text \(invalid continuation byte\); save it as UTF-8"),
        (b"image,image\na,b\n", r"table has 2 columns named 'image'; rename them"),
        (
            b'image,findings\na.png,"never closed\nb.png,x\n',
            r"table: line 3 is not CSV \(unexpected end of data\)",
        ),
        (b"image\n" + b"x" * 2**20, r"table: line 2 has more than 1048576 characters; is it a table\?"),
    ],
)
def test_file_that_is_no_table_is_named_in_the_error(tmp_path, content, message):
    (tmp_path / "table").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        raw_studies(tmp_path / "table")
    with pytest.raises(ValueError, match=r"absent\.csv is not a file; name a table in CSV, JSONL or Parquet"):
        raw_studies(tmp_path / "absent.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"normal": {"No Findings": 1}}', r"'No Findings' is not a finding; did you mean 'No Finding'\?"),
        ('{"normal": {"No Finding": "yes"}}', r"No Finding is 'yes'; use blank, positive, negative, uncertain or CheX"),
        ('{"normal": 1}', r"must map each label to findings"),
        ('{"normal": ', r"--label-map is not JSON"),
        ("absent.json", r"--label-map 'absent\.json' is neither JSON nor a file"),
    ],
)
def test_invalid_label_map_is_rejected(text, message):
    with pytest.raises(ValueError, match=message):
        read_label_map(text)


def test_label_column_and_map_go_together(tmp_path):
    with pytest.raises(ValueError, match=r"--label-column and --label-map go together; give both, or neither"):
        table_source(tmp_path, label_column="kind")


def test_missing_image_folder_is_rejected(tmp_path):
    with pytest.raises(ValueError, match=r"--image-root .*images is not a folder"):
        raw_studies(csv_of(tmp_path, ROWS), image_root=tmp_path / "images")


def test_truncated_gzipped_table_is_rejected(tmp_path):
    path = csv_of(tmp_path, [{"image": f"{number}.png", "findings": "Clear."} for number in range(99)])
    path.write_bytes(gzip.compress(path.read_bytes())[:-20])
    with pytest.raises(ValueError, match=r"table\.csv ends early or is damaged \(.*\); download it again"):
        raw_studies(path)
