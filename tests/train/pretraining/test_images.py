"""Masked autoencoding: masked patches, saved encoder, input images."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTModel
from transformers.models.vit_mae.modeling_vit_mae import build_2d_sinusoidal_position_embedding

from train.augment import Augmentation
from train.pretraining.images import ImageDataset
from train.pretraining.masked_autoencoder import MaskedAutoencoder, draw_reconstructions, sinusoidal_positions
from vlm.config import ImageGeometry
from vlm.inputs.image import letterbox

GEOMETRY = ImageGeometry(size=64)
NUM_PATCHES = 16


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return MaskedAutoencoder("nano", GEOMETRY, mask_ratio=0.75).eval()


@pytest.fixture
def images(small_studies):
    return ImageDataset(small_studies["train"], GEOMETRY, num_patches=NUM_PATCHES)


def _patches(squares):
    """[images, patches, pixels] of squares [images, 64, 64]."""
    return squares.reshape(-1, 4, 16, 4, 16).swapaxes(2, 3).reshape(-1, NUM_PATCHES, 256)


def test_position_embeddings_are_sinusoidal_and_fixed(model):
    expected = build_2d_sinusoidal_position_embedding(5, 5, 32)
    expected = torch.cat([expected[:, 16:], expected[:, :16]], dim=1)
    torch.testing.assert_close(sinusoidal_positions(5, 32), expected)
    autoencoder = model.autoencoder
    for positions in (autoencoder.vit.embeddings.position_embeddings, autoencoder.decoder.decoder_pos_embed):
        assert not positions.requires_grad
        assert len(torch.unique(positions[0], dim=0)) == NUM_PATCHES + 1


def test_patches_with_the_largest_noise_are_masked_and_predicted(model, images):
    batch = images.collate([images[0], images[1]])
    filled, hidden = model.reconstruct(**batch)
    hidden_patches = _patches(hidden[:, 0]).all(dim=-1)
    assert (hidden_patches.sum(dim=-1) == 12).all()
    expected = torch.zeros(2, NUM_PATCHES, dtype=torch.bool).scatter(1, batch["noise"].topk(12).indices, True)
    assert torch.equal(hidden_patches, expected)
    assert torch.equal(filled[hidden == 0], batch["pixel_values"][hidden == 0])
    assert not torch.allclose(filled[hidden > 0], batch["pixel_values"][hidden > 0])


def test_masked_pixels_do_not_affect_the_prediction(model, images):
    batch = images.collate([images[0]])
    _, hidden = model.reconstruct(**batch)
    changed = batch | {"pixel_values": torch.where(hidden > 0, torch.randn(1, 1, 64, 64), batch["pixel_values"])}
    with torch.no_grad():
        logits = [model.autoencoder(**arguments).logits for arguments in (batch, changed)]
    assert torch.equal(*logits)
    assert model(**batch) != model(**changed)


def test_loss_is_the_squared_error_of_normalized_masked_pixels(model, images):
    batch = images.collate([images[number] for number in range(3)])
    with torch.no_grad():
        drawn = model.autoencoder(**batch).logits.numpy()
        loss = float(model(**batch))
    _, hidden = model.reconstruct(**batch)
    target, is_hidden = (_patches(part[:, 0].numpy()) for part in (batch["pixel_values"], hidden))
    target = (target - target.mean(-1, keepdims=True)) / np.sqrt(target.var(-1, ddof=1, keepdims=True) + 1e-6)
    errors = ((drawn - target) ** 2)[is_hidden > 0]
    assert loss == pytest.approx(3 * errors.mean(), rel=1e-4)


def test_saved_encoder_equals_the_autoencoders_encoder(model, images, tmp_path):
    model.save_encoder(tmp_path, GEOMETRY)
    vit = ViTModel.from_pretrained(tmp_path, add_pooling_layer=False).eval()
    pixel_values = images.collate([images[0]])["pixel_values"]
    own = model.autoencoder.vit
    mask_ratio, own.config.mask_ratio = own.config.mask_ratio, 0.0
    with torch.no_grad():
        expected = own(pixel_values, noise=torch.arange(NUM_PATCHES)[None].float()).last_hidden_state
        torch.testing.assert_close(vit(pixel_values).last_hidden_state, expected, atol=1e-5, rtol=1e-4)
    own.config.mask_ratio = mask_ratio


def test_training_lowers_the_loss(images):
    torch.manual_seed(0)
    model = MaskedAutoencoder("nano", ImageGeometry(size=32), mask_ratio=0.5)
    samples = ImageDataset(images_rows(images), ImageGeometry(size=32), num_patches=4)
    batch = samples.collate([samples[number] for number in range(4)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(40):
        loss = model(**batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def images_rows(images):
    """The rows as a data set returns them."""
    rows = images.rows.with_format(None)
    return rows.add_column("view_positions", [["UNKNOWN"] * len(row["images"]) for row in rows])


def test_each_view_is_a_sample_with_the_report_models_preprocessing(small_studies, images):
    rows = small_studies["train"]
    expected = [letterbox(image, 64) for row in rows for image in row["images"]]
    assert len(images) == len(expected) > len(rows)
    for number, square in enumerate(expected):
        assert np.array_equal(images[number][0], square)


def test_images_from_disk_and_from_memory_are_equal(small_studies):
    def build():
        return ImageDataset(small_studies["train"], GEOMETRY, num_patches=4, augmentation=Augmentation(), seed=5)

    from_disk, in_memory = build(), build()
    assert not from_disk.keep_images(len(from_disk) * 64**2 - 1)
    assert in_memory.keep_images(len(in_memory) * 64**2)
    for number in range(len(from_disk)):
        for one, other in zip(from_disk[number], in_memory[number], strict=True):
            assert np.array_equal(one, other)


def test_noise_and_augmentation_depend_on_seed_and_epoch(small_studies):
    images = ImageDataset(small_studies["train"], GEOMETRY, num_patches=4, augmentation=Augmentation(), seed=5)
    first = images[3]
    assert all(np.array_equal(one, other) for one, other in zip(first, images[3], strict=True))
    images.epoch = 1
    assert not any(np.array_equal(one, other) for one, other in zip(first, images[3], strict=True))


def test_unreadable_image_is_named(small_studies):
    images = ImageDataset(small_studies["train"], GEOMETRY, num_patches=4)
    images.rows = images.rows.with_format(None).map(
        lambda row: {"images": [{"bytes": b"no image", "path": None}] * len(row["images"])}, keep_in_memory=True
    )
    images.rows = images.rows.with_format("arrow")
    with pytest.raises(ValueError, match=r"image 1 of study \S+ cannot be read .* prepare its data set again"):
        images[0]


def test_png_shows_original_masked_and_reconstructed_images(model, images, tmp_path):
    draw_reconstructions(model, images, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        shown = np.asarray(sheet)
    first = images.image(0).astype(int)
    original, seen, filled = (
        shown[16 : 16 + 64, 6 + column * 70 : 70 + column * 70].astype(int) for column in range(3)
    )
    assert np.abs(original - first).max() <= 1
    num_gray = sum((patch == round(0.35 * 255)).all() for patch in _patches(seen[None])[0])
    assert num_gray == 12
    differences = np.abs(_patches(filled[None]) - _patches(first[None])).max(axis=-1)
    assert (differences <= 1).sum() >= 4
