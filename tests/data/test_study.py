"""The columns of a data set on disk: what must be there, and what may be absent from an older one."""

import datasets
import pytest

from data.study import FEATURES, load_studies


def without(folder, column, tmp_path):
    splits = {split: rows.remove_columns(column) for split, rows in datasets.load_from_disk(str(folder)).items()}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "older"))
    return tmp_path / "older"


def test_the_columns_are_the_documented_ones(small_studies):
    assert small_studies["train"].column_names == list(FEATURES)
    assert small_studies["train"][0]["mesh_terms"] == []


def test_a_data_set_from_before_mesh_codes_still_loads(small_dataset, tmp_path):
    assert "mesh_terms" not in load_studies(without(small_dataset, "mesh", tmp_path))["train"].column_names


def test_a_data_set_without_a_column_that_is_needed_is_rejected_by_name(small_dataset, tmp_path):
    with pytest.raises(ValueError, match=r"older: split train lacks the columns labels; prepare it again"):
        load_studies(without(small_dataset, "labels", tmp_path))
