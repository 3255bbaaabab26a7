"""Rows of tables with values that Python cannot hold."""

import pyarrow
import pyarrow.parquet
import pytest

from data.pipeline.raw_study import Rejection
from data.tables.labels import labels_from_codes, labels_from_columns
from data.tables.rows import column_names, read_rows
from tests.helpers.sources.tables import jsonl_of, raw_studies


def test_time_out_of_range_is_the_error_of_its_row_and_the_others_are_read(tmp_path):
    times = pyarrow.array([0, 10**18, 60_000_000], type=pyarrow.timestamp("us"))
    path = tmp_path / "times.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"study_id": ["a", "b", "c"], "taken": times}), path)
    first, second, third = read_rows(path)
    assert (first.values["study_id"], third.values["study_id"], third.number) == ("a", "c", 3)
    assert second.error.startswith("row 2 of times.parquet: the value of 'taken' is out of range (")


def test_number_out_of_range_is_not_a_label():
    with pytest.raises(ValueError, match=r"^Edema is 1000.*; use 1 \(positive\)"):
        labels_from_columns({"Edema": 10**400})
    with pytest.raises(ValueError, match="give 14 codes from"):
        labels_from_codes([10**400] * 14)
    with pytest.raises(ValueError, match="give 14 codes from"):
        labels_from_codes([[1]] * 14)


def test_empty_lines_before_the_header_of_csv_are_skipped(tmp_path):
    (tmp_path / "table.csv").write_text("\n\na;b\n1;2\n")
    assert column_names(tmp_path / "table.csv") == ["a", "b"]
    assert [row.values for row in read_rows(tmp_path / "table.csv")] == [{"a": "1", "b": "2"}]


def test_columns_without_a_name_may_occur_several_times_but_not_alone(tmp_path):
    (tmp_path / "table.csv").write_text("a,b,,\n1,2,,\n")
    [row] = read_rows(tmp_path / "table.csv")
    assert (row.values["a"], row.values["b"]) == ("1", "2")
    (tmp_path / "table.csv").write_text(",,\n1,2,3\n")
    with pytest.raises(ValueError, match="has no header; name its columns"):
        column_names(tmp_path / "table.csv")


@pytest.mark.parametrize("column", ["study_id", "image", "report"])
def test_bytes_in_parquet_are_rejected_and_never_text(tmp_path, column):
    values = {"study_id": "s1", "image": "a.png", "report": "The lungs are clear."}
    table = pyarrow.table({name: [value.encode() if name == column else value] for name, value in values.items()})
    pyarrow.parquet.write_table(table, tmp_path / "table.parquet")
    [study] = raw_studies(tmp_path / "table.parquet")
    assert isinstance(study, Rejection) and "bytes" in study.reason and "b'" not in study.reason


@pytest.mark.parametrize("value", [{"bytes": "x", "path": "a.png"}, [["a.png"]]])
def test_image_that_is_no_path_is_rejected(tmp_path, value):
    [study] = raw_studies(jsonl_of(tmp_path, [{"study_id": "s1", "image": value, "report": "Clear lungs."}]))
    assert isinstance(study, Rejection) and "image or view position column; give paths" in study.reason


@pytest.mark.parametrize(("column", "what"), [("study_id", "study id"), ("subject_id", "patient id")])
def test_id_with_a_lone_surrogate_costs_only_its_row(tmp_path, column, what):
    row = {"study_id": "s1", "subject_id": "p1", "image": "a.png", "report": "Clear lungs."}
    kept, rejected = raw_studies(jsonl_of(tmp_path, [row, row | {"study_id": "s2", column: "\udfff"}]))
    assert kept.study_id == "s1"
    assert rejected.reason == f"row 2: its {what} has an invalid character (a lone surrogate)"
    rejected.study_id.encode()
