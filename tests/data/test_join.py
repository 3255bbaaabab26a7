"""Joined data sets have unchanged rows, no study twice and no patient in two splits."""

import json
import shutil
from pathlib import Path

import datasets
import pytest

from data import join as join_module
from data.join import JoinOptions, main
from data.pipeline import writer
from data.prepare import main as prepare
from data.study import FEATURES, load_studies, saved_preprocessing


def renamed(small_studies, folder, prefix, *, change=None):
    """A copy of the small data set with other ids."""

    def rename(row):
        row = row | {name: f"{prefix}{row[name]}" for name in ("study_id", "subject_id")}
        return change(row) if change else row

    studies = small_studies.map(rename, features=FEATURES)
    studies.save_to_disk(str(folder))
    return folder


@pytest.fixture
def other(small_studies, tmp_path):
    return renamed(small_studies, tmp_path / "other", "other-")


def raw(studies):
    """Rows with their images as bytes."""
    return studies.cast_column("images", datasets.List(datasets.Image(decode=False))).to_list()


def join(*arguments):
    main([str(argument) for argument in arguments])


def test_rows_are_copied_unchanged(small_dataset, other, tmp_path, capsys):
    join("--datasets", small_dataset, other, "--out", tmp_path / "out")
    joined, parts = load_studies(tmp_path / "out"), [load_studies(folder) for folder in (small_dataset, other)]
    for split in ("train", "validation", "test"):
        assert raw(joined[split]) == [row for part in parts for row in raw(part[split])]
    assert "given 56 = kept 56 + rejected 0" in " ".join(capsys.readouterr().out.split())


def test_prior_studies_are_copied_with_their_images(tmp_path, capsys):
    for seed in ("1", "2"):
        options = ["--num-studies", "10", "--size", "64", "--prior-fraction", "0.6", "--seed", seed]
        prepare(["synthetic", *options, "--num-workers", "1", "--out", str(tmp_path / seed)])
    join("--datasets", tmp_path / "1", tmp_path / "2", "--out", tmp_path / "out")
    joined, parts = load_studies(tmp_path / "out")["train"], [load_studies(tmp_path / seed)["train"] for seed in "12"]
    kept = datasets.List(datasets.Image(decode=False))
    names = ("prior_images", "prior_view_positions", "prior_report", "prior_interval_days", "changes")
    for name in names:
        columns = [rows.cast_column("prior_images", kept)[name][:] for rows in (joined, *parts)]
        assert columns[0] == columns[1] + columns[2]
    counts = json.loads((tmp_path / "out/preparation.json").read_text())["counts"]["splits"]["train"]
    assert 0 < counts["priors"] == sum(bool(images) for images in joined["prior_images"]) < counts["kept"]


def test_the_preparation_of_each_part_is_saved(small_dataset, other, tmp_path):
    own = {"options": {"image_options": {"preprocessing": {"clahe": True}}}, "counts": 3}
    copy = shutil.copytree(small_dataset, tmp_path / "copy")
    for folder in (copy, other):
        (folder / "preparation.json").write_text(json.dumps(own))
    join("--datasets", copy, other, "--out", tmp_path / "out")
    saved = json.loads((tmp_path / "out/preparation.json").read_text())
    assert [part["dataset"] for part in saved["options"]["source"]["parts"]] == [str(copy), str(other)]
    assert [part["preparation"] for part in saved["options"]["source"]["parts"]] == [own, own]
    assert saved["counts"]["splits"]["train"]["kept"] == 32
    assert saved_preprocessing(tmp_path / "out").clahe


def test_parts_with_and_without_label_source_are_joined(small_dataset, other, tmp_path):
    splits = {split: rows.remove_columns("label_source") for split, rows in load_studies(other).items()}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "older"))
    for name, parts in {
        "new_first": (small_dataset, tmp_path / "older"),
        "old_first": (tmp_path / "older", small_dataset),
    }.items():
        join("--datasets", *parts, "--out", tmp_path / name)
        rows = load_studies(tmp_path / name)["test"]
        joined = dict(zip(rows["study_id"], rows["label_source"], strict=True))
        assert {joined[study_id] for study_id in splits["test"]["study_id"]} == {""}
        assert {joined[study_id] for study_id in load_studies(small_dataset)["test"]["study_id"]} == {"source"}


def test_a_join_is_not_resumed_after_a_part_changed(small_dataset, small_studies, other, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "COMMIT_STUDIES", 4)
    with monkeypatch.context() as patch:
        patch.setattr(writer.DatasetWriter, "finish", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            join("--datasets", small_dataset, other, "--out", tmp_path / "out")
    shutil.rmtree(other)
    renamed(small_studies, other, "other-", change=lambda row: row | {"findings": "Changed."})
    with pytest.raises(ValueError, match=r"the source has changed since .*out\.partial was started"):
        join("--datasets", small_dataset, other, "--out", tmp_path / "out")


def test_a_smaller_sample_of_a_train_split_is_part_of_a_larger_one(small_dataset, other, tmp_path):
    for number in (4, 9):
        join("--datasets", small_dataset, other, "--take-train", number, "all", "--out", tmp_path / f"out{number}")
    few, more = (load_studies(tmp_path / f"out{number}") for number in (4, 9))
    assert (len(few["train"]), len(more["train"]), len(few["test"])) == (20, 25, 12)
    assert set(few["train"]["study_id"]) < set(more["train"]["study_id"])


def test_a_study_id_in_two_parts_is_rejected_and_nothing_is_written(small_dataset, tmp_path):
    copy = shutil.copytree(small_dataset, tmp_path / "copy")
    with pytest.raises(ValueError, match=r"study id synthetic-0-0000\d\d is in .*small and again in .*copy; if it is"):
        join("--datasets", small_dataset, copy, "--out", tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_a_patient_in_two_splits_across_parts_is_rejected(small_dataset, small_studies, tmp_path):
    tested = small_studies["test"][0]["subject_id"]
    clash = renamed(small_studies, tmp_path / "clash", "x-", change=lambda row: row | {"subject_id": tested})
    datasets.DatasetDict({"train": load_studies(clash)["train"]}).save_to_disk(str(tmp_path / "train_only"))
    with pytest.raises(ValueError, match=f"subject {tested} is in two splits, train and test"):
        join("--datasets", small_dataset, tmp_path / "train_only", "--out", tmp_path / "out")


def test_training_studies_with_held_out_images_of_another_part_are_rejected(
    small_dataset, small_studies, tmp_path, capsys
):
    rows = {name: list(small_studies[name]) for name in ("train", "validation", "test")}
    shown = [rows["validation"][1], rows["train"][0], rows["test"][2]]
    names = ("copy of validation", "copy of train", "copy of test")
    train = [row | {"study_id": name, "subject_id": name} for row, name in zip(shown, names, strict=True)]
    parts = {"train": datasets.Dataset.from_list(train, features=FEATURES)}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "copies"))
    join("--datasets", tmp_path / "copies", small_dataset, "--out", tmp_path / "out")
    joined = load_studies(tmp_path / "out")
    assert joined["train"]["study_id"][:] == ["copy of train", *small_studies["train"]["study_id"]]
    assert all(len(joined[split]) == len(rows[split]) for split in ("validation", "test"))
    rejected = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()]
    assert [(one["study_id"], one["split"], one["reason"]) for one in rejected] == [
        (f"copy of {split}", "train", f"shows an image that is also in the {split} split of {small_dataset}")
        for split in ("validation", "test")
    ]
    counts = json.loads((tmp_path / "out" / "preparation.json").read_text())["counts"]
    assert (counts["given"], counts["kept"], counts["rejected"]) == (31, 29, 2)
    printed = " ".join(capsys.readouterr().out.split())
    assert "given 31 = kept 29 + rejected 2" in printed
    assert "copies are left out, because the validation or test split of another data set has their images." in printed


def test_copies_within_one_part_are_kept_and_training_studies_that_are_not_taken_are_not_compared(
    small_dataset, small_studies, other, tmp_path
):
    tested = small_studies["test"][0] | {"study_id": "again", "subject_id": "again"}
    parts = {**small_studies, "train": datasets.Dataset.from_list([tested], features=FEATURES)}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "with_copy"))
    alone = datasets.DatasetDict({"train": load_studies(other)["train"]})
    alone.save_to_disk(str(tmp_path / "alone"))
    join("--datasets", tmp_path / "with_copy", tmp_path / "alone", "--out", tmp_path / "out")
    assert "again" in load_studies(tmp_path / "out")["train"]["study_id"][:]
    datasets.DatasetDict({"train": parts["train"]}).save_to_disk(str(tmp_path / "copy"))
    join("--datasets", tmp_path / "copy", small_dataset, "--take-train", 0, "all", "--out", tmp_path / "none")
    assert (tmp_path / "none" / "rejected.jsonl").read_text() == ""


def test_a_patient_in_the_same_split_of_both_parts_is_kept_and_reported(small_dataset, small_studies, tmp_path, capsys):
    other = tmp_path / "other"
    small_studies.map(lambda row: {"study_id": "x" + row["study_id"]}, features=FEATURES).save_to_disk(str(other))
    join("--datasets", small_dataset, other, "--out", tmp_path / "out")
    num_patients = len({name for split in small_studies.values() for name in split["subject_id"]})
    assert f"{num_patients} patient ids are in more than one data set" in " ".join(capsys.readouterr().out.split())


def test_parts_with_different_preprocessing_are_rejected(small_dataset, other, tmp_path):
    (other / "preparation.json").write_text('{"options": {"image_options": {"preprocessing": {"clahe": true}}}}')
    with pytest.raises(ValueError, match=r"other was prepared with another preprocessing .*clahe=True.* than .*small"):
        join("--datasets", small_dataset, other, "--out", tmp_path / "out")


def test_a_killed_join_resumes_and_writes_the_same_bytes(small_dataset, other, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "COMMIT_STUDIES", 4)
    arguments = ("--datasets", small_dataset, other, "--out")
    join(*arguments, tmp_path / "whole")
    copied, copy = [], join_module._row

    def killed(part, raw_study):
        copied.append(raw_study.study_id)
        if len(copied) == 30:
            raise RuntimeError("killed")
        return copy(part, raw_study)

    monkeypatch.setattr(join_module, "_row", killed)
    with pytest.raises(RuntimeError, match="killed"):
        join(*arguments, tmp_path / "again")
    assert not (tmp_path / "again").exists()
    join(*arguments, tmp_path / "again")
    assert len(copied) == 30 + 28  # what was committed is not copied again
    for path in (tmp_path / "whole").rglob("*"):
        if path.is_file():
            assert (tmp_path / "again" / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"datasets": (Path("a"),)}, "--datasets names 1; give at least two"),
        ({"datasets": (Path("a"), Path("b/../a"))}, "names one data set twice"),
        ({"take_train": (3,)}, "has 1 entries for 2 data sets; give one each"),
        ({"take_train": (-1, "all")}, "--take-train is -1; give 0 or more"),
    ],
)
def test_invalid_options_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        JoinOptions(**({"datasets": (Path("a"), Path("b")), "out": Path("c")} | options))


def test_missing_studies_and_data_sets_are_reported(small_dataset, other, tmp_path):
    with pytest.raises(ValueError, match=r"--take-train 99: the train split of .*small has only 16"):
        join("--datasets", small_dataset, other, "--take-train", 99, "all", "--out", tmp_path / "out")
    with pytest.raises(ValueError, match="is not a prepared data set"):
        join("--datasets", small_dataset, tmp_path / "none", "--out", tmp_path / "out")
