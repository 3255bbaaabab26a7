"""Subgroups: each study is in one group, whatever its value."""

import json
from pathlib import Path

import pytest

from eval.predictions.columns import KNOWN_COLUMNS
from eval.predictions.files import open_report_file
from eval.predictions.subgroups import group_names, subgroups_of, table_values


def table(path: Path, rows: list[dict]):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return table_values(open_report_file(path, KNOWN_COLUMNS))


def test_words_and_few_numbers_are_groups_and_missing_values_are_named():
    assert group_names(["F", " M ", None, "", "NaN", float("nan")]) == ["F", "M", *["not given"] * 4]
    assert group_names([1, 2.0, "2"]) == ["1", "2", "2"]
    assert group_names([["PA", "LATERAL"], ["LATERAL", "PA"], []]) == [*["LATERAL and PA"] * 2, "not given"]


@pytest.mark.parametrize("form", ["{}", "{:03d}Y", "{} years"])
def test_many_numbers_are_split_into_thirds(form):
    names = group_names([form.format(age) for age in range(1, 31)] + [None])
    assert names == [*["up to 10"] * 10, *["above 10 to 20"] * 10, *["above 20"] * 10, "not given"]


def test_ages_in_months_and_days_are_compared_in_years():
    names = group_names([f"{age:03d}Y" for age in range(1, 13)] + ["006M", "010D", "052W"])
    assert names[-3:] == ["up to 2"] * 3


def test_column_is_taken_from_the_first_table_that_has_it(tmp_path):
    first = table(tmp_path / "first.jsonl", [{"study_id": "a", "sex": "F"}, {"study_id": "b", "sex": "M"}])
    second = table(tmp_path / "second.jsonl", [{"id": "b", "sex": "?", "age": 5}, {"id": "b", "age": 6}])
    groups = subgroups_of([first, second], ["sex", "age"], ["b", "a", "c"])
    assert groups == {"sex": ["M", "F", "not given"], "age": ["5", "not given", "not given"]}


def test_missing_column_is_named_with_the_closest_one(tmp_path):
    given = [table(tmp_path / "t.jsonl", [{"study_id": "a", "sex": "F"}])]
    with pytest.raises(ValueError, match=r"--subgroups sx: .*t.jsonl has no such column.*; did you mean 'sex'\?"):
        subgroups_of(given, ["sx"], ["a"])


def test_table_of_other_studies_is_rejected(tmp_path):
    given = [table(tmp_path / "t.jsonl", [{"study_id": "s1", "sex": "F"}])]
    with pytest.raises(ValueError, match=r"t.jsonl has none of the 2 studies; .* like 's1', .* like '1'$"):
        subgroups_of(given, ["sex"], ["1", "2"])


def test_table_without_study_ids_is_rejected(tmp_path):
    with pytest.raises(ValueError, match=r"t.jsonl: no column of study ids was recognized among 'sex', 'name'"):
        table(tmp_path / "t.jsonl", [{"sex": "F", "name": 3}] * 2)
