"""Batches of studies with a prior study."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from tests.helpers.prior_studies import prior_rows
from train.augment import Augmentation
from train.studies.dataset import Collator, StudyDataset
from train.studies.features import cached_features
from vlm.config import EncoderConfig, ImageGeometry
from vlm.layers.encoder import ImageEncoder

GEOMETRY = ImageGeometry(size=32)


@pytest.fixture(scope="module")
def rows():
    return prior_rows(0, 6)


@pytest.fixture
def collate():
    return Collator(geometry=GEOMETRY, grid=(4, 4), pad_token_id=0)


def studies_of(rows, tokenizer, **settings):
    return StudyDataset(rows, tokenizer, GEOMETRY, max_report_tokens=500, **{"with_priors": True} | settings)


def test_batch_has_the_prior_of_each_study_and_its_changes(rows, collate, tiny_tokenizer):
    batch = collate([studies_of(rows, tiny_tokenizer)[number] for number in range(len(rows))])
    counts = [len(images) for images in rows["prior_images"]]
    assert 0 in counts and max(counts) > 0
    assert batch["prior_view_mask"].sum(dim=1).tolist() == counts
    assert batch["prior_pixel_values"].shape[:2] == (len(rows), max(counts))
    assert batch["change_targets"].tolist() == rows["changes"][:]
    prompts = [
        tiny_tokenizer.decode(ids[mask.bool()])
        for ids, mask in zip(batch["prompt_ids"], batch["prompt_mask"], strict=True)
    ]
    for prompt, report, indication in zip(prompts, rows["prior_report"], rows["indication"], strict=True):
        assert prompt.startswith("Prior report: Findings:") == bool(report)
        assert f"Indication: {indication}"[:20] in prompt or not indication


def test_batch_without_a_prior_is_the_batch_of_a_data_set_without_priors(rows, collate, tiny_tokenizer):
    alone = [number for number, images in enumerate(rows["prior_images"]) if not images]
    old = rows.remove_columns([name for name in rows.column_names if name.startswith("prior_") or name == "changes"])
    augmentation = Augmentation()
    batches = [
        collate([dataset[number] for number in alone])
        for dataset in (
            studies_of(rows, tiny_tokenizer, augmentation=augmentation, view_dropout=0.5),
            studies_of(old, tiny_tokenizer, augmentation=augmentation, view_dropout=0.5),
        )
    ]
    assert batches[0].keys() == batches[1].keys()
    assert all(torch.equal(batches[0][name], batches[1][name]) for name in batches[0])


def test_augmentation_of_the_prior_changes_with_the_epoch_and_is_not_that_of_the_study(rows, tiny_tokenizer):
    dataset = studies_of(rows, tiny_tokenizer, augmentation=Augmentation())
    number = next(number for number, images in enumerate(rows["prior_images"]) if images)
    same = rows.select([number]).to_dict()
    first = dataset[number]
    dataset.epoch = 1
    assert (first["prior_squares"][0] != dataset[number]["prior_squares"][0]).any()
    twin = rows.select([number]).map(
        lambda row: {"prior_images": row["images"], "prior_view_positions": row["view_positions"]},
        features=rows.features,
    )
    study = studies_of(twin, tiny_tokenizer, augmentation=Augmentation())[0]
    assert same and (study["squares"][0] != study["prior_squares"][0]).any()


def test_text_only_epochs_keep_the_views_and_the_report_of_the_prior(rows, collate, tiny_tokenizer):
    dataset = studies_of(rows, tiny_tokenizer)
    dataset.with_images = False
    batch = collate([dataset[number] for number in range(len(rows))])
    assert {"finding_condition", "prior_view_mask", "change_targets"} <= batch.keys()
    assert not [name for name in batch if name.endswith(("pixel_values", "features"))]


def test_saved_and_kept_images_of_priors_equal_those_of_the_files(rows, collate, tiny_tokenizer, tmp_path):
    torch.manual_seed(0)
    encoder = ImageEncoder(EncoderConfig(architecture={"model_type": "plain_cnn", "widths": [4, 8]}), GEOMETRY)
    encoder.requires_grad_(False).eval()
    dataset = studies_of(rows, tiny_tokenizer)
    pixels = collate([dataset[number] for number in range(len(rows))])
    assert dataset.keep_images(10**9)
    kept = collate([dataset[number] for number in range(len(rows))])
    assert torch.equal(kept["prior_pixel_values"], pixels["prior_pixel_values"])
    assert not studies_of(rows, tiny_tokenizer).keep_images(sum(map(len, rows["images"])) * 32 * 32)
    dataset.features = {
        column: cached_features(encoder, rows, GEOMETRY, tmp_path, Accelerator(), column=column)
        for column in dataset.columns
    }
    saved = collate([dataset[number] for number in range(len(rows))])
    mask = pixels["prior_view_mask"]
    assert torch.equal(saved["prior_view_mask"], mask)
    expected = encoder(pixels["prior_pixel_values"][mask])
    assert torch.allclose(saved["prior_patch_features"][mask], expected, atol=2e-3)
    [folder] = [path for path in tmp_path.iterdir() if path.is_dir()]
    num_images = len(
        {np.asarray(image).tobytes() for name in dataset.columns for study in rows[name] for image in study}
    )
    assert len((folder / "images.txt").read_text().split()) == num_images


def test_view_dropout_hides_view_positions_of_the_prior(rows, tiny_tokenizer):
    number = next(number for number, images in enumerate(rows["prior_images"]) if images)
    shown, hidden = (studies_of(rows, tiny_tokenizer, view_dropout=part)[number] for part in (0.0, 1.0))
    assert set(hidden["prior_view_positions"]) == {"UNKNOWN"} != set(shown["prior_view_positions"])
    assert shown["prompt_ids"] == hidden["prompt_ids"]


def test_prior_report_dropout_hides_the_report_of_the_prior(rows, tiny_tokenizer):
    number = next(number for number, images in enumerate(rows["prior_images"]) if images)
    shown, hidden = (studies_of(rows, tiny_tokenizer, prior_report_dropout=part)[number] for part in (0.0, 1.0))
    assert "Prior report" in tiny_tokenizer.decode(shown["prompt_ids"])
    assert "Prior report" not in tiny_tokenizer.decode(hidden["prompt_ids"])
    assert set(hidden["prior_view_positions"]) == set(shown["prior_view_positions"])
