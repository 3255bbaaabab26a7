"""A prepared data set as Parquet files."""

import datasets
import pyarrow.parquet
import pytest

from data.pipeline.parquet import main
from data.study import FEATURES


def test_files_have_the_names_and_types_of_the_hub_and_the_rows_of_the_data_set(small_dataset, small_studies, tmp_path):
    main([f"--dataset={small_dataset}", f"--out={tmp_path / 'shards'}", "--rows-per-group=5"])
    names = [f"{split}-00000-of-00001.parquet" for split in ("test", "train", "validation")]
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == names
    train = pyarrow.parquet.ParquetFile(tmp_path / "shards" / names[1])
    assert [train.metadata.row_group(number).num_rows for number in range(train.num_row_groups)] == [5, 5, 5, 1]
    assert train.schema_arrow.equals(FEATURES.arrow_schema)
    loaded = datasets.load_dataset(str(tmp_path / "shards"), cache_dir=str(tmp_path / "cache"))
    assert loaded["train"].features == small_studies["train"].features
    assert {split: rows.to_dict() for split, rows in loaded.items()} == {
        split: rows.to_dict() for split, rows in small_studies.items()
    }


def test_large_data_sets_are_divided_into_files_in_order(small_studies, tmp_path):
    rows = datasets.concatenate_datasets([small_studies["train"]] * 60)
    datasets.DatasetDict({"train": rows}).save_to_disk(str(tmp_path / "large"))
    (tmp_path / "large" / "preparation.json").write_text("{}")
    main([f"--dataset={tmp_path / 'large'}", f"--out={tmp_path / 'shards'}", "--max-file-mib=1"])
    files = sorted((tmp_path / "shards").glob("*.parquet"))
    assert len(files) > 1
    assert all(path.stat().st_size < 1.2 * 2**20 for path in files)
    ids = [study for path in files for study in pyarrow.parquet.read_table(path)["study_id"].to_pylist()]
    assert ids == rows["study_id"][:]
    assert (tmp_path / "shards" / "preparation.json").read_text() == "{}"


def test_a_folder_that_exists_is_not_overwritten(small_dataset, tmp_path):
    with pytest.raises(ValueError, match=r"--out .* exists already; give a new folder"):
        main([f"--dataset={small_dataset}", f"--out={tmp_path}"])
