"""Rows of Parquet files, and the order in which an epoch reads them."""

import json
import shutil

import datasets
import numpy as np
import pyarrow.parquet
import pytest

from data.study import FEATURES, without_images
from tests.helpers.files.parquet_files import write_parquet
from tests.helpers.prior_studies import prior_rows
from train.options import FinetuneImages, FinetuneOptimization, FinetuneOptions, StudyOptions
from train.studies.dataset import StudyDataset, plan_epoch
from train.studies.features import ImageFiles
from train.studies.select import load_run_studies, measure
from train.studies.stream import ParquetRows, RowGroup, open_stream
from vlm.config import ImageGeometry
from vlm.schema.preprocessing import Preprocessing

PLAN = {"seed": 3, "epoch": 1, "batch_size": 2, "num_batches": 2}


@pytest.fixture(scope="module")
def shards(small_dataset, tmp_path_factory):
    """The studies of `small_dataset`, three to a row group."""
    return write_parquet(small_dataset, tmp_path_factory.mktemp("shards") / "small")


def _rows(*sizes, **settings):
    """Rows that nobody reads."""
    groups = [RowGroup(file="", number=number, num_rows=size, num_bytes=0) for number, size in enumerate(sizes)]
    return ParquetRows(groups, ["study_id"], **settings)


def _load(folder, **settings):
    studies = StudyOptions(stream=True, **settings)
    return load_run_studies(FinetuneOptions(dataset=str(folder), output_dir="", studies=studies))


def _counted(monkeypatch):
    """The row groups that are read from now on, in order."""
    read, true_read = [], ParquetRows._read

    def counting(self, group):
        read.append((group.file, group.number))
        return true_read(self, group)

    monkeypatch.setattr(ParquetRows, "_read", counting)
    return read


def test_rows_equal_those_of_the_prepared_data_set(shards, small_studies):
    for split, expected in small_studies.items():
        rows = open_stream(str(shards))[split]
        assert len(rows) == len(expected)
        assert rows.column_names == expected.column_names
        for number in (len(rows) - 1, 0, 4):
            row, other = rows[number], expected[number]
            assert [np.asarray(image).tolist() for image in row.pop("images")] == [
                np.asarray(image).tolist() for image in other.pop("images")
            ]
            assert row == other
        assert list(without_images(rows)) == list(without_images(expected))
        assert rows["study_id"] == expected["study_id"][:]
        assert ImageFiles(rows)[1] == ImageFiles(expected)[1]
        with pytest.raises(IndexError, match=f"row {len(rows)} of {len(rows)}"):
            rows[len(rows)]


def test_samples_of_a_stream_equal_those_of_the_prepared_data_set(tmp_path, tiny_tokenizer):
    pairs = prior_rows(0, 6)
    datasets.DatasetDict({"train": pairs, "validation": prior_rows(20, 22)}).save_to_disk(str(tmp_path / "pairs"))
    streamed = open_stream(str(write_parquet(tmp_path / "pairs", tmp_path / "shards", rows_per_group=2)))["train"]
    one, other = (
        StudyDataset(rows, tiny_tokenizer, ImageGeometry(size=32), max_report_tokens=50, with_priors=True)
        for rows in (streamed, pairs)
    )
    for number in range(len(pairs)):
        assert repr(one[number]) == repr(other[number])
    first, second = measure(streamed), measure(pairs)
    assert first.lengths.tolist() == second.lengths.tolist()
    assert first.num_prior_views == second.num_prior_views > 0
    assert (first.num_views, first.knows_severities) == (second.num_views, True)


@pytest.mark.parametrize("num_processes", [1, 2, 3])
@pytest.mark.parametrize("sizes", [(1,), (3, 3, 1), (40, 7, 100, 3, 22), (100,) * 9])
@pytest.mark.parametrize("group_by_length", [True, False])
def test_every_study_is_in_one_batch_of_one_process(sizes, num_processes, group_by_length):
    rows = _rows(*sizes, buffer=20, ahead=32)
    lengths = np.arange(len(rows)) % 7
    options = PLAN | {"num_processes": num_processes, "group_by_length": group_by_length, "stream": rows}
    plans = [plan_epoch(lengths, **options, rank=rank) for rank in range(num_processes)]
    numbers = [number for plan in plans for step in plan for batch in step for number in batch]
    assert sorted(numbers) == list(range(len(rows)))
    for steps in zip(*plans, strict=True):
        assert len(rows) < num_processes or len({len(step) for step in steps}) == 1
        assert all(len(batch) <= 3 for step in steps for batch in step)
    with_report = [plan_epoch(lengths, **options, only_reports=True, rank=rank) for rank in range(num_processes)]
    numbers = [number for plan in with_report for step in plan for batch in step for number in batch]
    assert sorted(numbers) == np.flatnonzero(lengths).tolist()


def test_order_depends_on_the_epoch_and_studies_are_moved_within_the_buffer():
    rows = _rows(*[10] * 20, buffer=30)
    order, again, other = (rows.shuffled(np.random.default_rng((0, epoch))) for epoch in (0, 0, 1))
    assert order.tolist() == again.tolist() != other.tolist()
    groups = np.random.default_rng((0, 0)).permutation(20)
    assert groups.tolist() != sorted(groups)
    place = np.empty(200, dtype=int)
    place[np.concatenate([np.arange(10 * group, 10 * group + 10) for group in groups])] = np.arange(200)
    moved = np.abs(place[order] - np.arange(200))
    assert 5 < moved.mean() < moved.max() < 30


@pytest.mark.parametrize("num_processes", [1, 2])
def test_an_epoch_reads_each_row_group_about_once_and_keeps_few(shards, monkeypatch, num_processes):
    many = [group for group in open_stream(str(shards))["train"].groups for _ in range(40)]
    read = _counted(monkeypatch)
    total = 0
    for rank in range(num_processes):
        rows = ParquetRows(many, ["study_id"], buffer=20, ahead=8 * 4)
        plan = plan_epoch([1] * len(rows), **PLAN, rank=rank, num_processes=num_processes, stream=rows)
        kept = []
        for number in (number for step in plan for batch in step for number in batch):
            rows[number]
            kept.append(sum(map(len, rows._tables.values())))
        assert max(kept) <= 20 + 8 * 4 + 2 * 3
        total += len(kept)
    assert total == len(many) // 6 * 16
    assert len(many) <= len(read) < 1.05 * len(many)


def test_only_the_columns_that_are_asked_for_are_read(shards, monkeypatch):
    read, true_read = [], pyarrow.parquet.ParquetFile.read_row_group

    def recording(self, number, columns=None, **options):
        read.append(tuple(columns))
        return true_read(self, number, columns=columns, **options)

    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "read_row_group", recording)
    studies = _load(shards)
    measure(studies.learned)
    assert read and not [names for names in read if {"images", "prior_images"} & {*names}]


def test_nothing_is_copied_to_the_cache_or_into_the_folder(shards, tmp_path, monkeypatch, tiny_tokenizer):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    before = sorted(shards.rglob("*"))
    rows = _load(shards).learned
    studies = StudyDataset(rows, tiny_tokenizer, ImageGeometry(size=32), max_report_tokens=50)
    assert all(studies[number]["squares"] for number in range(len(rows)))
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert sorted(shards.rglob("*")) == before


def test_a_run_keeps_the_buffer_and_the_steps_that_are_shuffled(shards):
    studies = load_run_studies(
        FinetuneOptions(
            dataset=str(shards),
            output_dir="",
            studies=StudyOptions(stream=True, shuffle_buffer=5),
            optimization=FinetuneOptimization(batch_size=2, gradient_accumulation_steps=3),
        )
    )
    assert (studies.learned.buffer, studies.learned.ahead) == (5, 8 * 2 * 3)
    assert studies.splits["validation"].buffer == 0
    assert "--stream: each process and loader worker holds up to 16 studies" in studies.notes[0]


def test_preprocessing_of_the_data_set_is_kept(shards, small_dataset, tmp_path):
    assert _load(shards).preprocessing == Preprocessing()
    assert "has no preparation.json; its images count as not preprocessed" in _load(shards).notes[1]
    shutil.copytree(small_dataset, tmp_path / "prepared")
    switches = {"crop_border": False, "denoise": False, "normalize": "percentile", "clahe": True}
    preparation = {"options": {"image_options": {"preprocessing": switches}}}
    (tmp_path / "prepared" / "preparation.json").write_text(json.dumps(preparation))
    studies = _load(write_parquet(tmp_path / "prepared", tmp_path / "shards"))
    assert studies.preprocessing == Preprocessing(normalize="percentile", clahe=True)
    assert len(studies.notes) == 1


def test_a_patient_in_two_splits_is_rejected(small_studies, tmp_path):
    row = small_studies["train"][0] | {"subject_id": small_studies["test"][0]["subject_id"]}
    mixed = datasets.Dataset.from_list([row], features=FEATURES)
    datasets.DatasetDict(small_studies | {"train": mixed}).save_to_disk(str(tmp_path / "mixed"))
    with pytest.raises(ValueError, match=f"--dataset .*subject {row['subject_id']} is in two splits"):
        _load(write_parquet(tmp_path / "mixed", tmp_path / "shards"))


def test_folders_that_cannot_be_streamed_are_rejected_with_the_fix(shards, small_dataset, small_studies, tmp_path):
    with pytest.raises(ValueError, match=r"has no Parquet files, which --stream needs: write them with `python -m"):
        _load(small_dataset)
    with pytest.raises(ValueError, match="is neither a folder of Parquet files nor a data set of the hub"):
        _load(tmp_path / "nothing")
    with pytest.raises(ValueError, match="--dataset is empty; give a data set"):
        _load("")
    alone = datasets.DatasetDict({"train": small_studies["train"]})
    alone.save_to_disk(str(tmp_path / "alone"))
    with pytest.raises(ValueError, match="has no studies in its validation split"):
        _load(write_parquet(tmp_path / "alone", tmp_path / "alone_shards"))

    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for path in shards.glob("*.parquet"):
        (damaged / path.name).write_bytes(path.read_bytes())
    [file] = damaged.glob("train-*")
    content = file.read_bytes()
    file.write_bytes(content[:-10])
    with pytest.raises(ValueError, match=r"train-00000-of-00001.parquet is damaged or no Parquet file"):
        _load(damaged)

    table = pyarrow.parquet.read_table(next(shards.glob("train-*")))
    pyarrow.parquet.write_table(table.drop_columns(["labels"]), file)
    with pytest.raises(ValueError, match="lacks the column labels"):
        _load(damaged)
    texts = pyarrow.array([str(labels) for labels in table["labels"].to_pylist()])
    pyarrow.parquet.write_table(table.drop_columns(["labels"]).append_column("labels", texts), file)
    with pytest.raises(ValueError, match="the column labels has the type string instead of"):
        _load(damaged)
    images = pyarrow.array([[{"bytes": None, "path": "a.png"}]] * len(table), table.schema.field("images").type)
    pyarrow.parquet.write_table(table.drop_columns(["images"]).append_column("images", images), file)
    with pytest.raises(ValueError, match="names an image that is not in the file"):
        _load(damaged).learned[0]


def _copied(shards, folder):
    shutil.copytree(shards, folder)
    [file] = folder.glob("train-*")
    return file


@pytest.mark.parametrize(
    ("copies", "message"),
    [
        (["train-00001-of-00003.parquet"], r"train has 1 files, .* not the 3 of their names \(number 00000 is missing"),
        (["train-00000-of-00001.parquet", "train-00000-of-00001 (copy).parquet"], "train has 2 files, .* not the 1 of"),
        (["train-00000-of-00001.parquet", "old/train-00000-of-00001.parquet"], "train has 2 files, .* not the 1 of"),
        (["train-00000-of-00001.parquet", "train-extra.parquet"], "train has 2 files, .* not the 1 of"),
    ],
)
def test_missing_files_and_second_copies_are_rejected(shards, tmp_path, copies, message):
    file = _copied(shards, tmp_path / "shards")
    content = file.read_bytes()
    file.unlink()
    (tmp_path / "shards" / "old").mkdir()
    for name in copies:
        (tmp_path / "shards" / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"the split {message}.*; copy them again"):
        _load(tmp_path / "shards")


def test_an_empty_cell_is_named_by_its_column_and_an_unknown_age_is_no_error(shards, tmp_path):
    file = _copied(shards, tmp_path / "shards")
    table = pyarrow.parquet.read_table(file)
    for name, is_allowed in (("age", True), ("findings", False)):
        cells = [None, *table[name].to_pylist()[1:]]
        column = pyarrow.array(cells, table.schema.field(name).type)
        pyarrow.parquet.write_table(table.set_column(table.schema.get_field_index(name), name, column), file)
        rows = _load(tmp_path / "shards").learned
        if is_allowed:
            assert rows[0][name] is None
            continue
        with pytest.raises(ValueError, match=f"train-00000-of-00001.parquet: the column {name} has an empty cell"):
            measure(rows)


def test_a_broken_image_ends_the_run_with_the_name_of_its_study(shards, small_studies, tmp_path, tiny_tokenizer):
    table = pyarrow.parquet.read_table(next(shards.glob("train-*")))
    images = table["images"].to_pylist()
    images[2][0]["bytes"] = images[2][0]["bytes"][:20]
    broken = pyarrow.array(images, table.schema.field("images").type)
    pyarrow.parquet.write_table(
        table.drop_columns(["images"]).append_column("images", broken), tmp_path / "train.parquet"
    )
    rows = open_stream(str(tmp_path))["train"]
    studies = StudyDataset(rows, tiny_tokenizer, ImageGeometry(size=32), max_report_tokens=50)
    assert studies[1]["squares"]
    with pytest.raises(ValueError, match=f"study {rows['study_id'][2]} has an image that cannot be decoded"):
        studies[2]


def test_options_that_need_all_studies_are_rejected_by_name(shards, tmp_path):
    for flag, settings in {
        "--num-studies": {"num_studies": 3},
        "--repeats": {"repeats": 2},
        "--extra-dataset": {"extra_dataset": str(shards)},
        "--prior only": {"prior": "only"},
    }.items():
        with pytest.raises(ValueError, match=f"{flag} cannot be given with --stream"):
            _load(shards, **settings)
    for flag, settings in {
        "--feature-cache": {"feature_cache": "f"},
        "--image-cache-gib": {"image_cache_gib": 9},
    }.items():
        given = {"studies": StudyOptions(stream=True), "images": FinetuneImages(**settings)}
        with pytest.raises(ValueError, match=f"{flag} cannot be given with --stream"):
            FinetuneOptions(dataset=str(shards), output_dir="", **given)
    with pytest.raises(ValueError, match="--shuffle-buffer 5 needs --stream; give both or none"):
        FinetuneOptions(dataset=str(shards), output_dir="", studies=StudyOptions(shuffle_buffer=5))
    with pytest.raises(ValueError, match="--shuffle-buffer must be at least 1, got 0"):
        StudyOptions(shuffle_buffer=0)
