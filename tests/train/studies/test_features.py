"""Patch features of a frozen encoder, saved once."""

import datasets
import numpy as np
import pytest
import torch
from accelerate import Accelerator

from data.study import load_studies
from train.studies import features
from train.studies.dataset import Collator, StudyDataset
from train.studies.features import ImageFiles, cached_features
from vlm.config import EncoderConfig, ImageGeometry
from vlm.layers.encoder import ImageEncoder

GEOMETRY = ImageGeometry(size=32)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    config = EncoderConfig(architecture={"model_type": "plain_cnn", "widths": [4, 8]})
    return ImageEncoder(config, GEOMETRY).requires_grad_(False).eval()


def saved(encoder, rows, folder):
    return cached_features(encoder, rows, GEOMETRY, folder, Accelerator())


def test_saved_features_equal_those_of_the_pixels(small_studies, tiny_tokenizer, encoder, tmp_path):
    rows = small_studies["train"]
    collate = Collator(geometry=GEOMETRY, grid=encoder.grid, pad_token_id=0)
    dataset = StudyDataset(rows, tiny_tokenizer, GEOMETRY, max_report_tokens=50)
    pixels = collate([dataset[number] for number in range(len(rows))])
    dataset.features = {"images": saved(encoder, rows, tmp_path)}
    batch = collate([dataset[number] for number in range(len(rows))])
    assert "pixel_values" not in batch
    assert torch.equal(batch["view_mask"], pixels["view_mask"])
    expected = encoder(pixels["pixel_values"][pixels["view_mask"]])
    assert torch.allclose(batch["patch_features"][batch["view_mask"]], expected, atol=2e-3)
    assert torch.equal(batch["box_targets"], pixels["box_targets"])


def test_features_are_computed_once_for_repeated_studies_and_other_selections(small_studies, encoder, tmp_path):
    rows = small_studies["train"]
    few = saved(encoder, rows.select([1, 0, 1, 0]), tmp_path)
    assert len(few.values) == sum(map(len, rows.select([0, 1])["view_positions"]))
    [file] = tmp_path.glob("*/features.f16")
    first = file.read_bytes()
    whole = saved(encoder, rows, tmp_path)
    assert file.read_bytes().startswith(first)
    assert len(whole.values) == sum(map(len, rows["view_positions"]))
    assert all(np.array_equal(few[number], whole[study]) for number, study in enumerate([1, 0, 1, 0]))
    modified = file.stat().st_mtime_ns
    saved(encoder, rows, tmp_path)
    assert file.stat().st_mtime_ns == modified


def test_features_without_a_hash_are_computed_again(small_studies, encoder, tmp_path):
    rows = small_studies["train"]
    whole = np.array(saved(encoder, rows, tmp_path).values)
    [images] = tmp_path.glob("*/images.txt")
    lines = images.read_text().splitlines(keepends=True)
    images.write_text("".join(lines[:3]))  # as if the run had been killed between the two writes
    again = saved(encoder, rows, tmp_path)
    assert images.read_text().splitlines(keepends=True) == lines
    assert np.array_equal(again.values, whole)


@pytest.mark.parametrize("num_characters", [20, 64])
def test_each_image_has_its_features_after_a_hash_was_cut_off(small_studies, encoder, tmp_path, num_characters):
    rows = small_studies["train"]
    whole = np.array(saved(encoder, rows, tmp_path).values)
    [images] = tmp_path.glob("*/images.txt")
    lines = images.read_text().splitlines(keepends=True)
    images.write_text("".join(lines[:2]) + lines[2][:num_characters])  # as a full disk leaves it
    again = saved(encoder, rows, tmp_path)
    assert images.read_text().splitlines(keepends=True) == lines
    assert np.array_equal(again.values, whole)


def test_another_encoder_does_not_read_them(small_studies, encoder, tmp_path):
    rows = small_studies["train"]
    before = np.array(saved(encoder, rows, tmp_path).values)
    with torch.no_grad():
        next(encoder.parameters()).mul_(1.5)
    assert not np.array_equal(saved(encoder, rows, tmp_path).values, before)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_trained_encoder_or_a_full_disk_is_an_error(small_studies, encoder, tmp_path, monkeypatch):
    rows = small_studies["train"]
    monkeypatch.setattr(features.shutil, "disk_usage", lambda folder: features.shutil._ntuple_diskusage(9, 9, 0))
    with pytest.raises(ValueError, match=r"needs 0.0 GiB for \d+ images, but only 0.0 GiB are free"):
        saved(encoder, rows, tmp_path)
    with pytest.raises(ValueError, match="--feature-cache needs a frozen encoder"):
        saved(encoder.requires_grad_(True), rows, tmp_path)


def test_nothing_is_written_into_the_data_set(small_dataset, tiny_tokenizer):
    rows = load_studies(small_dataset)["train"]
    before = sorted(small_dataset.rglob("*"))
    assert ImageFiles(rows)[0][0]["bytes"]
    StudyDataset(rows, tiny_tokenizer, ImageGeometry(size=32), max_report_tokens=500)[0]
    assert sorted(small_dataset.rglob("*")) == before


def test_each_image_is_decoded_once(small_dataset, tiny_tokenizer, monkeypatch):
    rows = load_studies(small_dataset)["train"]
    expected = [[np.asarray(image) for image in study] for study in rows["images"]]
    decoded = []
    decode = datasets.Image.decode_example
    monkeypatch.setattr(
        datasets.Image, "decode_example", lambda self, file, **given: decoded.append(1) or decode(self, file, **given)
    )
    files = ImageFiles(rows)
    for study, images in enumerate(expected):
        np.testing.assert_array_equal(np.stack(files.images(study)), np.stack(images))
        np.testing.assert_array_equal(files.image(study, -1), images[-1])
    num_images = sum(map(len, expected))
    assert len(decoded) == num_images + len(rows)
    decoded.clear()
    studies = StudyDataset(rows, tiny_tokenizer, ImageGeometry(size=32), max_report_tokens=500)
    assert [len(studies[study]["squares"]) for study in range(len(rows))] == list(map(len, expected))
    assert len(decoded) == num_images
