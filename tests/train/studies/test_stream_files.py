"""A run with --stream resumes only on the Parquet files with which it began."""

import re
import shutil

import datasets
import pytest

from tests.helpers.files.parquet_files import write_parquet
from tests.helpers.processes.finetune_runs import arguments, error, losses
from train import finetune
from train.studies.stream import open_stream
from train.studies.stream_files import STREAM_FILES, StreamFiles, check_same_files
from vlm.schema.strict_json import read_json


@pytest.fixture(scope="module")
def shards(small_dataset, tmp_path_factory):
    return write_parquet(small_dataset, tmp_path_factory.mktemp("shards") / "small")


def _with_train(studies, folder, rows):
    """Parquet files under the same names, with these training studies."""
    datasets.DatasetDict({**studies, "train": rows}).save_to_disk(str(folder / "prepared"))
    return write_parquet(folder / "prepared", folder / "shards")


def test_list_has_name_rows_and_size_of_each_file(shards, small_studies, tmp_path):
    check_same_files(tmp_path, open_stream(str(shards)))
    for split in ("train", "validation"):
        [file] = getattr(read_json(tmp_path / STREAM_FILES, StreamFiles), split)
        assert file.name == f"{split}-00000-of-00001.parquet"
        assert file.num_rows == len(small_studies[split])
        assert file.num_bytes == (shards / file.name).stat().st_size


def test_same_files_in_another_folder_are_the_same_files(shards, tmp_path):
    check_same_files(tmp_path, open_stream(str(shards)))
    check_same_files(tmp_path, open_stream(str(shutil.copytree(shards, tmp_path / "moved"))))


@pytest.mark.parametrize("change", ["fewer studies", "other reports"])
def test_other_files_of_the_same_name_are_rejected(shards, small_studies, tmp_path, change):
    rows = small_studies["train"]
    if change == "fewer studies":
        others = rows.select(range(len(rows) - 1))
    else:
        others = rows.map(lambda row: {"findings": f"{row['findings']} No pneumothorax."})
    check_same_files(tmp_path, open_stream(str(shards)))
    name = re.escape("train-00000-of-00001.parquet")
    message = (
        rf"--resume: the Parquet files of the train split .* began with {name} \({len(rows)} studies, .* has {name}"
    )
    with pytest.raises(ValueError, match=message):
        check_same_files(tmp_path, open_stream(str(_with_train(small_studies, tmp_path, others))))


def test_further_or_missing_files_are_rejected(shards, tmp_path):
    one = open_stream(str(shards))
    two = {**one, "train": one["validation"]._like(one["train"].column_names, as_tables=False)}
    two["train"].groups += one["train"].groups
    check_same_files(tmp_path, {**one, "train": two["train"]})
    shorter = {**one, "train": one["validation"]}
    with pytest.raises(ValueError, match=r"began with train-00000-.* and --dataset has no further file instead"):
        check_same_files(tmp_path, shorter)
    (tmp_path / STREAM_FILES).unlink()
    check_same_files(tmp_path, shorter)
    with pytest.raises(ValueError, match="began with no further file, and --dataset has train-00000-"):
        check_same_files(tmp_path, two)


def test_run_does_not_resume_on_other_files_and_does_on_its_own(small_dataset, small_studies, tmp_path, capsys):
    shards, output = write_parquet(small_dataset, tmp_path / "shards"), tmp_path / "run"
    given = ["--stream", "--shuffle-buffer=3", "--no-lora", "--num-epochs=1"]
    finetune.main(arguments(shards, output, *given))
    before = losses(output)
    own = shards.rename(tmp_path / "own")
    rows = small_studies["train"]
    others = _with_train(small_studies, tmp_path / "others", rows.select(range(len(rows) - 1)))
    others.rename(shards)
    given = [*given[:-1], "--num-epochs=2", "--resume"]
    assert "the Parquet files of the train split are not those of the run" in error(
        capsys, arguments(shards, output, *given)
    )
    assert losses(output) == before
    shutil.rmtree(shards)
    own.rename(shards)
    finetune.main(arguments(shards, output, *given))
    assert losses(output)[: len(before)] == before
    assert len(losses(output)) == 2 * len(before)
