"""Masked autoencoding: which patches are hidden, what is written, how images come to the model."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTModel
from transformers.models.vit_mae.modeling_vit_mae import build_2d_sinusoidal_position_embedding

from train.augment import Augmentation
from train.pretraining.images import ImageDataset
from train.pretraining.masked_autoencoder import MaskedAutoencoder, draw_reconstructions, wave_positions
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


def test_positions_are_those_of_the_paper_and_stay_fixed(model):
    expected = build_2d_sinusoidal_position_embedding(5, 5, 32)
    expected = torch.cat([expected[:, 16:], expected[:, :16]], dim=1)
    torch.testing.assert_close(wave_positions(5, 32), expected)
    autoencoder = model.autoencoder
    for positions in (autoencoder.vit.embeddings.position_embeddings, autoencoder.decoder.decoder_pos_embed):
        assert not positions.requires_grad
        assert len(torch.unique(positions[0], dim=0)) == NUM_PATCHES + 1


def test_the_patches_with_the_largest_noise_are_hidden_and_only_they_are_drawn(model, images):
    batch = images.collate([images[0], images[1]])
    filled, hidden = model.reconstruct(**batch)
    hidden_patches = _patches(hidden[:, 0]).all(dim=-1)
    assert (hidden_patches.sum(dim=-1) == 12).all()
    expected = torch.zeros(2, NUM_PATCHES, dtype=torch.bool).scatter(1, batch["noise"].topk(12).indices, True)
    assert torch.equal(hidden_patches, expected)
    assert torch.equal(filled[hidden == 0], batch["pixel_values"][hidden == 0])
    assert not torch.allclose(filled[hidden > 0], batch["pixel_values"][hidden > 0])


def test_what_is_hidden_changes_nothing_in_what_is_drawn_elsewhere(model, images):
    batch = images.collate([images[0]])
    _, hidden = model.reconstruct(**batch)
    changed = batch | {"pixel_values": torch.where(hidden > 0, torch.randn(1, 1, 64, 64), batch["pixel_values"])}
    with torch.no_grad():
        logits = [model.autoencoder(**arguments).logits for arguments in (batch, changed)]
    assert torch.equal(*logits)
    assert model(**batch) != model(**changed)


def test_the_loss_is_the_squared_error_of_normalised_hidden_pixels_summed_over_images(model, images):
    batch = images.collate([images[number] for number in range(3)])
    with torch.no_grad():
        drawn = model.autoencoder(**batch).logits.numpy()
        loss = float(model(**batch))
    _, hidden = model.reconstruct(**batch)
    target, is_hidden = (_patches(part[:, 0].numpy()) for part in (batch["pixel_values"], hidden))
    target = (target - target.mean(-1, keepdims=True)) / np.sqrt(target.var(-1, ddof=1, keepdims=True) + 1e-6)
    errors = ((drawn - target) ** 2)[is_hidden > 0]
    assert loss == pytest.approx(3 * errors.mean(), rel=1e-4)


def test_the_written_encoder_sees_what_the_autoencoders_own_does(model, images, tmp_path):
    model.save_encoder(tmp_path, GEOMETRY)
    vit = ViTModel.from_pretrained(tmp_path, add_pooling_layer=False).eval()
    pixel_values = images.collate([images[0]])["pixel_values"]
    own = model.autoencoder.vit
    mask_ratio, own.config.mask_ratio = own.config.mask_ratio, 0.0
    with torch.no_grad():
        expected = own(pixel_values, noise=torch.arange(NUM_PATCHES)[None].float()).last_hidden_state
        torch.testing.assert_close(vit(pixel_values).last_hidden_state, expected, atol=1e-5, rtol=1e-4)
    own.config.mask_ratio = mask_ratio


def test_it_learns_to_fill_in(images):
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
    """The rows again, as a data set hands them out."""
    rows = images.rows.with_format(None)
    return rows.add_column("view_positions", [["UNKNOWN"] * len(row["images"]) for row in rows])


def test_every_view_is_a_sample_as_the_report_model_will_see_it(small_studies, images):
    rows = small_studies["train"]
    expected = [letterbox(image, 64) for row in rows for image in row["images"]]
    assert len(images) == len(expected) > len(rows)
    for number, square in enumerate(expected):
        assert np.array_equal(images[number][0], square)


def test_images_read_from_disk_and_kept_in_memory_are_the_same(small_studies):
    def build():
        return ImageDataset(small_studies["train"], GEOMETRY, num_patches=4, augmentation=Augmentation(), seed=5)

    from_disk, in_memory = build(), build()
    assert not from_disk.keep_images(len(from_disk) * 64**2 - 1)
    assert in_memory.keep_images(len(in_memory) * 64**2)
    for number in range(len(from_disk)):
        for one, other in zip(from_disk[number], in_memory[number], strict=True):
            assert np.array_equal(one, other)


def test_noise_and_movement_are_new_in_each_epoch_and_the_same_for_the_same_seed(small_studies):
    images = ImageDataset(small_studies["train"], GEOMETRY, num_patches=4, augmentation=Augmentation(), seed=5)
    first = images[3]
    assert all(np.array_equal(one, other) for one, other in zip(first, images[3], strict=True))
    images.epoch = 1
    assert not any(np.array_equal(one, other) for one, other in zip(first, images[3], strict=True))


def test_an_image_that_cannot_be_read_is_named(small_studies):
    images = ImageDataset(small_studies["train"], GEOMETRY, num_patches=4)
    images.rows = images.rows.with_format(None).map(
        lambda row: {"images": [{"bytes": b"no image", "path": None}] * len(row["images"])}, keep_in_memory=True
    )
    images.rows = images.rows.with_format("arrow")
    with pytest.raises(ValueError, match=r"image 1 of study \S+ cannot be read .* prepare its data set again"):
        images[0]


def test_the_sheet_shows_the_images_hidden_and_filled_in(model, images, tmp_path):
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
