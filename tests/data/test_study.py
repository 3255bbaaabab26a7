"""The columns of a data set on disk: which are required, and which an older data set may lack."""

import datasets
import pytest
from PIL import Image

from data.study import FEATURES, LATER_COLUMNS, Study, load_studies


def without(folder, column, tmp_path):
    splits = {split: rows.remove_columns(column) for split, rows in datasets.load_from_disk(str(folder)).items()}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "older"))
    return tmp_path / "older"


def test_the_columns_are_the_documented_ones(small_studies):
    assert small_studies["train"].column_names == list(FEATURES)
    assert small_studies["train"][0]["mesh_terms"] == []


@pytest.mark.parametrize("column", LATER_COLUMNS)
def test_a_data_set_from_before_a_later_column_still_loads(small_dataset, tmp_path, column):
    assert column not in load_studies(without(small_dataset, column, tmp_path))["train"].column_names


def test_a_data_set_with_the_old_column_name_loads(small_dataset, tmp_path):
    splits = datasets.load_from_disk(str(small_dataset)).rename_column("mesh_terms", "mesh")
    splits.save_to_disk(str(tmp_path / "older"))
    assert load_studies(tmp_path / "older")["train"].column_names == list(FEATURES)


def test_an_unknown_label_source_is_rejected():
    with pytest.raises(ValueError, match="study s: label_source is 'guess'; it must be one of"):
        Study(
            study_id="s",
            subject_id="p",
            images=(Image.new("L", (8, 8)),),
            view_positions=("PA",),
            label_source="guess",
        )


def test_a_folder_of_parquet_files_is_rejected_with_the_program_that_reads_it(tmp_path):
    (tmp_path / "train-00000-of-00001.parquet").touch()
    with pytest.raises(ValueError, match=r"not a prepared data set .* only train/finetune.py reads .* with --stream"):
        load_studies(tmp_path)


def test_a_data_set_without_a_required_column_is_rejected(small_dataset, tmp_path):
    with pytest.raises(ValueError, match=r"older: split train lacks the columns labels; prepare it again"):
        load_studies(without(small_dataset, "labels", tmp_path))


@pytest.mark.parametrize("severities", [(0,) * 13, (4,) + (0,) * 13, (-2,) + (0,) * 13])
def test_severities_of_another_number_or_code_are_rejected(severities):
    images = {"images": (Image.new("L", (8, 8)),), "view_positions": ("PA",)}
    with pytest.raises(ValueError, match="study s: severities must be 14 codes out of"):
        Study(study_id="s", subject_id="p", **images, severities=severities)


PRIOR = {"prior_images": (Image.new("L", (8, 8)),), "prior_view_positions": ("AP",)}
NO_FINDING_IS_NEW = (0,) * 13 + (1,)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (PRIOR | {"prior_view_positions": ()}, "1 prior images but 0 prior view positions"),
        (PRIOR | {"changes": (0,) * 13}, "changes must be 14 codes out of"),
        (PRIOR | {"changes": (6,) + (-1,) * 13}, "changes must be 14 codes out of"),
        (PRIOR | {"changes": NO_FINDING_IS_NEW}, "the change of No Finding must be -1"),
        (PRIOR | {"prior_interval_days": -1}, "prior_interval_days is -1; a prior study is earlier"),
        ({"prior_report": "Findings: Clear."}, "has a prior report, interval or changes, but no prior image"),
        ({"changes": (1,) + (-1,) * 13}, "has a prior report, interval or changes, but no prior image"),
    ],
)
def test_a_wrong_prior_study_is_rejected(prior, message):
    images = {"images": (Image.new("L", (8, 8)),), "view_positions": ("PA",)}
    with pytest.raises(ValueError, match=f"study s: .*{message}"):
        Study(study_id="s", subject_id="p", **images, **prior)


def test_a_study_with_a_prior_study_is_valid():
    images = {"images": (Image.new("L", (8, 8)),), "view_positions": ("PA",)}
    study = Study(study_id="s", subject_id="p", **images, **PRIOR, changes=(0,) * 13 + (-1,), prior_interval_days=0)
    assert study.prior_report == ""
