"""The studies of a run: one data set or two, and never a held-out image."""

import json
import shutil

import datasets
import pytest

from data.study import FEATURES, load_studies
from data.synthetic.source import make_study
from train.options import FinetuneOptions, RunOptions, StudyOptions
from train.studies.select import load_run_studies
from vlm.schema.findings import UNKNOWN_CHANGES, UNKNOWN_SEVERITIES


def rows_of(studies):
    for study in studies:
        yield {name: getattr(study, name) for name in FEATURES} | {"images": list(study.images), "boxes": []}


def save(folder, **splits):
    rows = {name: datasets.Dataset.from_list(list(rows_of(split)), features=FEATURES) for name, split in splits.items()}
    datasets.DatasetDict(rows).save_to_disk(str(folder))
    return folder


@pytest.fixture
def extra(tmp_path):
    """Three training studies and one validation study."""
    made = [make_study(5, number, 48) for number in (100, 110, 120, 130)]
    return save(tmp_path / "extra", train=made[:3], validation=made[3:])


def load(dataset, extra, **settings):
    studies = StudyOptions(extra_dataset=str(extra), **settings)
    return load_run_studies(FinetuneOptions(dataset=str(dataset), output_dir="", studies=studies))


def test_extra_studies_are_repeated_in_an_epoch(small_dataset, small_studies, extra):
    studies = load(small_dataset, extra, extra_repeats=4)
    own, added = small_studies["train"]["study_id"][:], load_studies(extra)["train"]["study_id"][:]
    assert sorted(studies.learned["study_id"]) == sorted(own + 4 * added)
    assert studies.splits["train"]["study_id"][:] == own + added
    assert studies.splits["validation"]["study_id"][:] == small_studies["validation"]["study_id"][:]


def test_notes_report_learned_and_unused_studies(small_dataset, extra):
    first, second = load(small_dataset, extra, extra_repeats=4).notes
    assert first == f"--extra-dataset {extra}: trains on 3 studies, 4 times per epoch."
    assert second == f"--extra-dataset {extra}: does not use 1 studies outside its train split."


def test_columns_that_an_older_data_set_lacks_are_unknown_there(small_studies, extra, tmp_path):
    older = small_studies.remove_columns(["severities", "changes", "prior_images", "prior_interval_days"])
    older.save_to_disk(str(tmp_path / "older"))
    learned = load(tmp_path / "older", extra).learned
    assert len(learned) == 16 + 3
    assert learned["severities"][0] == list(UNKNOWN_SEVERITIES)
    assert learned["severities"][16] == load_studies(extra)["train"]["severities"][0]
    assert learned[0]["prior_images"] == []
    assert learned[0]["prior_interval_days"] is None
    added = load(extra_with_validation(extra, tmp_path), tmp_path / "older_train").learned
    assert added["changes"][-1] == list(UNKNOWN_CHANGES)


def extra_with_validation(extra, tmp_path):
    """Save the training studies of `extra` without newer columns as older_train; return the data set itself."""
    rows = load_studies(extra)["train"].map(lambda row: {"study_id": "x" + row["study_id"], "subject_id": "x"})
    datasets.DatasetDict({"train": rows.remove_columns(["changes"])}).save_to_disk(str(tmp_path / "older_train"))
    return extra


def test_a_prior_study_with_a_held_out_image_is_left_out(small_dataset, small_studies, tmp_path):
    fresh, tested = small_studies["train"][0], small_studies["test"][0]
    rows = [
        fresh | {"study_id": name, "subject_id": name, "prior_images": images, "prior_view_positions": ["PA"]}
        for name, images in {"leaks": tested["images"][:1], "kept": fresh["images"][:1]}.items()
    ]
    train = datasets.Dataset.from_list(rows, features=FEATURES)
    datasets.DatasetDict({"train": train}).save_to_disk(str(tmp_path / "priors"))
    assert load(small_dataset, tmp_path / "priors").learned["study_id"][16:] == ["kept"]


def test_extra_study_with_a_held_out_image_is_left_out(small_dataset, small_studies, tmp_path):
    def renamed(row, name, images):
        return row | {"study_id": name, "subject_id": name, "images": images}

    tested = small_studies["test"][0]
    fresh = small_studies["train"][0]
    rows = [
        renamed(tested, "corrected test study", tested["images"]),
        renamed(tested, "its last view among others", [fresh["images"][0], tested["images"][-1]]),
        renamed(fresh, "corrected training study", fresh["images"]),
    ]
    rows[1]["view_positions"] = ["PA", "LATERAL"]
    train = datasets.Dataset.from_list(rows, features=FEATURES)
    datasets.DatasetDict({"train": train}).save_to_disk(str(tmp_path / "corrected"))
    studies = load(small_dataset, tmp_path / "corrected")
    assert studies.learned["study_id"][16:] == ["corrected training study"]
    assert "leaves out 2 of 3" in studies.notes[1]
    datasets.DatasetDict({"train": train.select([0])}).save_to_disk(str(tmp_path / "tested"))
    with pytest.raises(ValueError, match=r"--extra-dataset .*: all 1 studies .* must not be learned"):
        load(small_dataset, tmp_path / "tested")


def test_held_out_patient_is_rejected_by_name(small_dataset, small_studies, tmp_path):
    row = small_studies["train"][0] | {"subject_id": small_studies["validation"][0]["subject_id"]}
    train = datasets.Dataset.from_list([row], features=FEATURES)
    datasets.DatasetDict({"train": train}).save_to_disk(str(tmp_path / "extra"))
    with pytest.raises(ValueError, match=f"--extra-dataset .*subject {row['subject_id']} is in two splits"):
        load(small_dataset, tmp_path / "extra")


def test_data_sets_with_different_preprocessing_are_rejected(small_dataset, extra, tmp_path):
    shutil.copytree(small_dataset, tmp_path / "own")
    switches = {"crop_border": False, "denoise": False, "normalize": "none", "clahe": True}
    preparation = {"options": {"image_options": {"preprocessing": switches}}}
    (tmp_path / "own" / "preparation.json").write_text(json.dumps(preparation))
    with pytest.raises(ValueError, match=r"another preprocessing .* prepare both with the same options"):
        load(tmp_path / "own", extra)


def test_missing_split_or_option_is_named_with_the_fix(small_dataset, tmp_path):
    empty = save(tmp_path / "empty", validation=[make_study(5, 100, 48)])
    with pytest.raises(ValueError, match=r"no studies in its train split; prepare it with --split-fractions 1 0 0"):
        load(small_dataset, empty)
    alone = save(tmp_path / "alone", train=[make_study(5, 100, 48)])
    with pytest.raises(ValueError, match=r"no studies in its validation split"):
        load_run_studies(FinetuneOptions(dataset=str(alone), output_dir=""))
    with pytest.raises(ValueError, match="--extra-repeats 3 needs --extra-dataset"):
        StudyOptions(extra_repeats=3)
    with pytest.raises(ValueError, match="--extra-repeats must be at least 1, got 0"):
        StudyOptions(extra_dataset=str(alone), extra_repeats=0)


def sample(dataset, number, *, seed=0, **settings):
    studies, run = StudyOptions(num_studies=number, **settings), RunOptions(seed=seed)
    return load_run_studies(FinetuneOptions(dataset=str(dataset), output_dir="", studies=studies, run=run))


def test_smaller_sample_is_a_subset_of_a_larger_one(small_dataset, small_studies):
    drawn = [sample(small_dataset, number).learned["study_id"][:] for number in (3, 8, 16)]
    assert [len(studies) for studies in drawn] == [3, 8, 16]
    assert set(drawn[0]) < set(drawn[1])
    assert drawn[2] == small_studies["train"]["study_id"][:]
    assert sample(small_dataset, 8).learned["study_id"][:] == drawn[1]
    assert sample(small_dataset, 8, seed=1).learned["study_id"][:] != drawn[1]


def test_sample_replaces_only_the_train_split(small_dataset, small_studies, extra):
    studies = sample(small_dataset, 3)
    assert len(studies.splits["train"]) == 3
    assert len(studies.splits["validation"]) == len(small_studies["validation"])
    beside = sample(small_dataset, 3, extra_dataset=str(extra), extra_repeats=2)
    assert len(beside.learned) == 3 + 2 * 3


def test_repeats_apply_to_the_epoch_not_to_the_split(small_dataset, extra):
    studies = sample(small_dataset, 3, repeats=4)
    once = studies.splits["train"]["study_id"][:]
    assert studies.learned["study_id"][:] == 4 * once
    assert len(once) == 3
    beside = sample(small_dataset, 3, repeats=4, extra_dataset=str(extra), extra_repeats=2)
    assert beside.learned["study_id"][:12] == 4 * once
    assert len(beside.learned) == 4 * 3 + 2 * 3
    with pytest.raises(ValueError, match="--repeats must be at least 1, got 0"):
        sample(small_dataset, 3, repeats=0)


def test_too_many_studies_are_rejected(small_dataset):
    with pytest.raises(ValueError, match=r"--num-studies 17: the train split of .* has only 16; give at most this"):
        sample(small_dataset, 17)
    with pytest.raises(ValueError, match="--num-studies must be at least 1, or 0 for all, got -1"):
        sample(small_dataset, -1)
