"""The identity of a data set in `run.json`."""

import datasets
import pytest

from eval.predictions.run import dataset_hash


@pytest.fixture
def saved(small_studies, tmp_path):
    """`saved(change)`: the test split after `change` was applied to its rows, saved and loaded again."""

    def build(change=lambda rows: None):
        rows = small_studies["test"].to_list()
        change(rows)
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        datasets.Dataset.from_list(rows, features=small_studies["test"].features).save_to_disk(str(folder))
        return datasets.load_from_disk(str(folder))

    return build


def flip_a_bit(rows):
    image = rows[2]["images"][0]
    image["bytes"] = image["bytes"][:-1] + bytes([image["bytes"][-1] ^ 1])


def change_the_findings(rows):
    rows[0]["findings"] = rows[0]["findings"][:-1] + "!"


def change_a_label(rows):
    rows[1]["labels"][3] = 3 if rows[1]["labels"][3] != 3 else 1


def test_equal_studies_have_equal_hashes(saved, small_studies):
    assert dataset_hash(saved()) == dataset_hash(saved()) == dataset_hash(small_studies["test"])


@pytest.mark.parametrize("change", [flip_a_bit, change_the_findings, change_a_label])
def test_change_of_equal_size_changes_the_hash(change, saved):
    assert dataset_hash(saved(change)) != dataset_hash(saved())


def test_splits_have_different_hashes(small_studies):
    assert len({dataset_hash(split) for split in small_studies.values()}) == 3
