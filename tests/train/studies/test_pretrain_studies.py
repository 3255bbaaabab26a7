"""Several data sets in pretraining: a held-out patient of one is not in the train split of another."""

import json

import pytest

from data.study import load_studies
from train.studies.select import count_rejected, load_pretraining_studies


def _renamed(folder, target, change):
    load_studies(folder).map(change, keep_in_memory=True).save_to_disk(str(target))
    return str(target)


def test_train_and_validation_are_concatenated_without_test(small_dataset, tmp_path):
    other = _renamed(small_dataset, tmp_path / "other", lambda row: {"subject_id": f"other-{row['subject_id']}"})
    (tmp_path / "other" / "rejected.jsonl").write_text('{"study_id": "x"}\n\n')
    studies = load_pretraining_studies([str(small_dataset), other])
    assert {split: len(rows) for split, rows in studies.items()} == {"train": 32, "validation": 12}
    assert [count_rejected(folder) for folder in (str(small_dataset), other)] == [0, 1]


@pytest.mark.parametrize("order", [1, -1])
def test_held_out_patient_of_another_data_set_is_rejected(small_dataset, tmp_path, order):
    held_out = load_studies(small_dataset)["test"][0]["subject_id"]
    other = _renamed(
        small_dataset, tmp_path / "other", lambda row: {"subject_id": "new" if row["study_id"] else held_out}
    )
    studies = load_studies(other)
    studies["train"] = studies["train"].map(lambda row: {"subject_id": held_out}, keep_in_memory=True)
    studies.save_to_disk(str(tmp_path / "leaking"))
    with pytest.raises(ValueError, match=f"subject {held_out} is in two splits, .*train of .*leaking"):
        load_pretraining_studies([str(small_dataset), str(tmp_path / "leaking")][::order])


def test_data_sets_with_different_preprocessing_are_rejected(small_dataset, tmp_path):
    other = _renamed(small_dataset, tmp_path / "other", lambda row: {"subject_id": f"other-{row['subject_id']}"})
    switches = {"crop_border": False, "denoise": False, "normalize": "none", "clahe": True}
    preparation = {"options": {"image_options": {"preprocessing": switches}}}
    (tmp_path / "other" / "preparation.json").write_text(json.dumps(preparation))
    with pytest.raises(ValueError, match=r"other was prepared with another preprocessing .*same options"):
        load_pretraining_studies([str(small_dataset), other])


def test_data_set_without_validation_is_named(small_dataset, tmp_path):
    studies = load_studies(small_dataset)
    del studies["validation"]
    studies.save_to_disk(str(tmp_path / "other"))
    with pytest.raises(ValueError, match=r"other has no studies in its validation split"):
        load_pretraining_studies([str(tmp_path / "other")])
