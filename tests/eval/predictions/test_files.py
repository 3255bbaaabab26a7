"""Report files: all supported formats, detected by content, and clear errors for broken files."""

import json
import math

import pyarrow
import pyarrow.parquet
import pytest

import eval.predictions.files
import eval.predictions.tables
from eval.predictions.tables import read_table
from vlm.schema.findings import FINDINGS

REPORTS = {"a": "The heart is large.", "b": "Lungs, clear.", "c": ""}


def write(folder, name: str, content) -> object:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def read(path, role="prediction", named=None, **options) -> dict[str, str]:
    table = read_table(path, role, named or {}, **options)
    return {entry.study_id: entry.report for entry in table.entries}


@pytest.mark.parametrize(
    ("name", "content", "format"),
    [
        ("lines", "".join(json.dumps({"study_id": k, "report": v}) + "\n" for k, v in REPORTS.items()), "JSONL"),
        ("csv", 'study_id,report\na,The heart is large.\nb,"Lungs, clear."\nc,\n', "CSV"),
        ("tsv", "report\tdicom_id\nThe heart is large.\ta\nLungs, clear.\tb\n\tc\n", "CSV"),
        ("list", [{"id": k, "prediction": v} for k, v in REPORTS.items()], "JSON list"),
        ("pretty", json.dumps([{"id": k, "text": v} for k, v in REPORTS.items()], indent=2), "JSON list"),
        ("texts", REPORTS, "JSON object from ids to texts"),
        ("coco", {k: [v] for k, v in REPORTS.items()}, "JSON object from ids to texts"),
        (
            "coco with captions",
            {k: [{"image_id": k, "caption": v}] for k, v in REPORTS.items()},
            "JSON object from ids to texts",
        ),
        (
            "coco results",
            [{"image_id": k, "id": number, "caption": v} for number, (k, v) in enumerate(REPORTS.items())],
            "COCO results (pycocoevalcap's)",
        ),
        (
            "coco annotations",
            {
                "info": {"id": 1},
                "images": [{"id": k, "file_name": "x.png"} for k in REPORTS],
                "annotations": [
                    {"id": number, "image_id": k, "caption": v} for number, (k, v) in enumerate(REPORTS.items()) if v
                ],
            },
            "COCO annotations (pycocoevalcap's)",
        ),
        ("pretty texts", json.dumps(REPORTS, indent=1), "JSON object from ids to texts"),
        (
            "rexrank",
            {k: {"model_prediction": v, "section_findings": "x", "subject_id": 1} for k, v in REPORTS.items()},
            "ReXrank's JSON object from ids to studies",
        ),
        ("byte order mark", '\ufeffstudy_id,report\na,The heart is large.\nb,"Lungs, clear."\nc,\n', "CSV"),
    ],
)
def test_formats_are_detected_by_content(tmp_path, name, content, format):
    path = write(tmp_path, name, content)
    assert read(path) == REPORTS
    assert read_table(path, "prediction", {}).record["format"] == format


def test_parquet_is_read(tmp_path):
    path = tmp_path / "table"
    columns = {"study_id": list(REPORTS), "report": list(REPORTS.values())}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    assert read(path) == REPORTS


def test_r2gen_csv_without_header_is_read_by_position(tmp_path):
    path = write(tmp_path, "res.csv", 'the heart is large .\n"lungs , clear ."\n""\n')
    assert list(read(path).items()) == [("1", "the heart is large ."), ("2", "lungs , clear ."), ("3", "")]
    assert read(write(tmp_path, "list.json", ["x y", "z"])) == {"1": "x y", "2": "z"}


def test_test_split_of_r2gen_annotations_is_read(tmp_path):
    path = write(
        tmp_path,
        "annotation.json",
        {split: [{"id": f"{split}1", "report": split, "image_path": ["x"]}] for split in ("train", "val", "test")},
    )
    assert read(path, "reference") == {"test1": "test"}
    assert read(path, "reference", split="val") == {"val1": "val"}
    with pytest.raises(ValueError, match="has no split 'dev'; choose --reference-split from test, train, val"):
        read(path, "reference", split="dev")


def test_sections_are_joined_to_a_reference(tmp_path):
    path = write(tmp_path, "x.jsonl", '{"id": "a", "findings": "Clear.", "impression": "Normal."}\n')
    assert read(path, "reference") == {"a": "Findings: Clear. Impression: Normal."}
    assert read(path, "reference", {"text": "impression"}) == {"a": "Normal."}


def test_column_names_can_be_given(tmp_path):
    path = write(tmp_path, "x.csv", "case,words,report\na,good,bad\n")
    assert read(path, named={"study_id": "case", "text": "words"}) == {"a": "good"}
    with pytest.raises(
        ValueError, match=r"has no column 'word', only 'case', 'words', 'report'; did you mean 'words'\?"
    ):
        read(path, named={"study_id": "case", "text": "word"})
    with pytest.raises(ValueError, match="no column of study ids was recognized; give --prediction-id-column"):
        read(path)
    path = write(tmp_path, "y.csv", "study_id,essay\na,b\n")
    message = "no column with the reference was recognized; give --reference-column, one of 'stud"
    with pytest.raises(ValueError, match=message):
        read(path, "reference")


def test_numeric_study_ids_are_equal_in_all_formats(tmp_path):
    path = tmp_path / "table"
    pyarrow.parquet.write_table(pyarrow.table({"study_id": [50414267.0], "report": ["x"]}), path)
    assert read(path) == {"50414267": "x"}
    assert read(write(tmp_path, "x.json", [{"study_id": 50414267, "report": "x"}])) == {"50414267": "x"}


def test_invalid_characters_are_replaced(tmp_path):
    path = write(tmp_path, "x.jsonl", '{"study_id": "a", "report": "ok \\ud800 \\u0000 end"}\n')
    assert read(path) == {"a": "ok ?   end"}


@pytest.mark.parametrize(
    ("report", "fault"),
    [(17, "row 1: the report is a int, not a text"), ("x" * 50_001, "row 1: the report has 50,001 characters")],
)
def test_invalid_row_has_an_error(tmp_path, report, fault):
    path = write(tmp_path, "x.json", [{"study_id": "a", "report": report}, {"study_id": "b", "report": "y"}])
    first, second = read_table(path, "prediction", {}).entries
    assert first.error.startswith(fault)
    assert second.report == "y"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is not CSV, JSONL or Parquet"),
        ("study_id,report\na,é\n".encode("latin-1"), "is not UTF-8 text"),
        ("study_id,report\na,b\n".encode("utf-16"), "UTF-16|none of CSV"),
        (b'[{"study_id": "a", "report": "b"}', "is not valid JSON .* cut off"),
        (b"[]", "contains no reports"),
        (b'{"a": 3}', "contains no reports"),
        (b"[" * 100_000, "is not valid JSON"),
        (b'"a, b c\n', "row 1 is not CSV|not CSV"),
        (b"study_id,report\n", "has no reports"),
        (b"PAR1 not really", "damaged Parquet"),
    ],
)
def test_unreadable_file_is_rejected_with_its_path(tmp_path, content, message):
    path = tmp_path / "broken"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read(path)
    assert str(path) in str(error.value)


def test_missing_or_too_large_file_is_rejected(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="is not a file"):
        read(tmp_path / "nothing")
    path = write(tmp_path, "x.json", REPORTS)
    monkeypatch.setattr(eval.predictions.files, "MAX_FILE_BYTES", 10)
    with pytest.raises(ValueError, match="bytes; the limit is 10: score it in parts"):
        read(path)


def test_too_much_text_in_a_small_file_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(eval.predictions.tables, "MAX_CHARACTERS", 20)
    with pytest.raises(ValueError, match="more than 20 characters"):
        read(write(tmp_path, "x.json", REPORTS))


def table_with(tmp_path, columns: dict, role: str = "prediction", **options):
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return read_table(write(tmp_path, "x.json", rows), role, {}, **options).entries


def test_probabilities_are_read_from_lists_names_or_columns(tmp_path):
    ids = {"study_id": ["a"], "report": ["x"]}
    listed = [0.1] * 13 + [0.9]
    [entry] = table_with(tmp_path, ids | {"probabilities": [listed]})
    assert entry.probabilities == tuple(listed)
    [named] = table_with(tmp_path, ids | {"probabilities": [dict(zip(FINDINGS, listed, strict=True))]})
    assert named == entry
    for column in ("probability_Edema", "p_edema", "Edema"):
        [one] = table_with(tmp_path, ids | {column: ["0.25"]})
        assert one.probabilities[4] == 0.25
        assert sum(map(math.isnan, one.probabilities)) == 13


@pytest.mark.parametrize(("value", "shown"), [(1.2, "1.2"), ("high", "'high'"), (True, "True"), (-0.1, "-0.1")])
def test_invalid_probability_is_rejected_with_its_study_and_finding(tmp_path, value, shown):
    message = rf"row 1 \(study a\): probability of Edema is {shown}; give a number from 0 to 1"
    with pytest.raises(ValueError, match=message):
        table_with(tmp_path, {"study_id": ["a"], "report": ["x"], "Edema": [value]})


def test_probability_missing_for_some_studies_is_rejected(tmp_path):
    columns = {"study_id": ["a", "b"], "report": ["x", "y"], "Edema": [0.5, math.nan]}
    with pytest.raises(ValueError, match=r"row 2 \(study b\): probability of Edema is missing or NaN, as 1 of 2 are"):
        table_with(tmp_path, columns)
    without_probabilities = table_with(tmp_path, columns | {"Edema": [None, None]})
    assert [entry.probabilities for entry in without_probabilities] == [None, None]


def test_reference_labels_are_read_from_chexpert_columns_or_codes(tmp_path):
    ids = {"study_id": ["a"], "report": ["x"]}
    [entry] = table_with(tmp_path, ids | {"Edema": [-1.0], "Fracture": [1]}, "reference")
    assert (entry.labels[4], entry.labels[11], entry.labels[0]) == (3, 1, -100)
    [entry] = table_with(tmp_path, ids | {"labels": [[0] * 13 + [1]]}, "reference")
    assert entry.labels == (0,) * 13 + (1,)
    with pytest.raises(ValueError, match="row 1: labels must be 14 codes"):
        table_with(tmp_path, ids | {"labels": [[0, 7]]}, "reference")


@pytest.mark.parametrize("role", ["prediction", "reference"])
def test_two_columns_of_one_finding_are_rejected(tmp_path, role):
    columns = {"study_id": ["a"], "report": ["x"]}
    [entry] = table_with(tmp_path, columns | {"lung-opacity": [1], "pleural_effusion": [0]}, role)
    codes = entry.labels if role == "reference" else entry.probabilities
    assert (codes[2], codes[9]) == (1, 0 if role == "prediction" else 2)
    with pytest.raises(
        ValueError, match=r"x.json: the columns 'Edema' and 'edema' are both of the finding Edema; keep"
    ):
        table_with(tmp_path, columns | {"Edema": [1], "edema": [0]}, role)
    if role == "prediction":
        with pytest.raises(ValueError, match="the columns 'prob_Edema' and 'p_Edema' are both of the finding Edema"):
            table_with(tmp_path, columns | {"prob_Edema": [1], "p_Edema": [0]}, role)


def test_several_texts_for_one_study_are_rejected_with_the_row(tmp_path):
    path = write(tmp_path, "several.json", {"a": ["one", "two"], "b": ["one"]})
    first, second = read_table(path, "prediction", {}).entries
    assert (first.study_id, first.error) == ("a", "row 1: 2 texts for one study; give one report per study")
    assert second.report == "one"


HUGE = 10**400


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"thresholds": [HUGE] * 14}, "row 1: thresholds must be a list of numbers, got [1000"),
        ({"thresholds": [0.5]}, "row 1: needs 14 thresholds, one per finding, got 1"),
        ({"peaks": [[HUGE, 0, 0]] * 14}, "row 1: peaks must be a list of lists of numbers, got [[1000"),
        ({"boxes": [[4, 0, 0, 0, 1, HUGE]]}, "row 1: boxes must be a list of lists of numbers, got [[4, 0"),
        ({"probabilities": [HUGE] * 14}, "row 1 (study a): probability of Enlarged Cardiomediastinum is 1000"),
        ({"prob_Edema": HUGE}, "row 1 (study a): probability of Edema is 1000"),
    ],
)
def test_number_out_of_range_names_file_and_row_in_a_short_message(tmp_path, values, message):
    path = write(tmp_path, "huge.jsonl", json.dumps({"study_id": "a", "report": "Clear lungs.", **values}) + "\n")
    with pytest.raises(ValueError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}, {message}")
    assert len(str(error.value)) < len(str(path)) + 200


@pytest.mark.parametrize("labels", [{"labels": [HUGE] * 14}, {"Edema": HUGE}])
def test_label_out_of_range_names_file_and_row(tmp_path, labels):
    path = write(tmp_path, "huge.jsonl", json.dumps({"study_id": "a", "report": "Clear lungs.", **labels}) + "\n")
    with pytest.raises(ValueError, match=r"huge.jsonl, row 1: "):
        read(path, role="reference")


def test_entries_of_a_json_list_that_are_no_objects_are_rejected(tmp_path):
    path = write(tmp_path, "mixed.json", [{"study_id": "a", "report": "The heart is large."}, 3, None, "x", []])
    table = read_table(path, "prediction", {})
    assert [entry.study_id for entry in table.entries] == ["a", "", "", "", ""]
    assert [bool(entry.error) for entry in table.entries] == [False, True, True, True, True]
