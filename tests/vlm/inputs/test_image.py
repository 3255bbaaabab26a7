"""From an image to pixel values."""

import numpy as np
import pytest
import torch
from PIL import Image

from vlm.config import ImageGeometry
from vlm.inputs.batch import batch_tokens, batch_views
from vlm.inputs.image import Letterbox, letterbox, letterbox_geometry, normalize_pixels


def test_image_keeps_its_aspect_ratio_and_is_centered():
    assert letterbox_geometry((200, 100), 50) == Letterbox(left=0, top=12, width=50, height=25)
    assert letterbox_geometry((100, 200), 50) == Letterbox(left=12, top=0, width=25, height=50)
    assert letterbox_geometry((3000, 1), 50) == Letterbox(left=0, top=24, width=50, height=1)


def test_padding_is_black():
    square = letterbox(Image.new("L", (20, 10), 200), 40)
    assert square.shape == (40, 40) and square.dtype == np.uint8
    assert (square[10:30] == 200).all()
    assert (square[:10] == 0).all() and (square[30:] == 0).all()


def test_image_of_the_right_size_is_not_changed():
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert np.array_equal(letterbox(Image.fromarray(pixels), 8), pixels)


def test_color_becomes_gray():
    assert (letterbox(Image.new("RGB", (8, 8), (90, 90, 90)), 8) == 90).all()
    assert (letterbox(Image.new("RGBA", (8, 8), (90, 90, 90, 255)), 8) == 90).all()


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_more_than_8_bits_are_rejected(mode):
    with pytest.raises(ValueError, match=f"mode '{mode}' has more than 8 bits; read its file with data.images.read"):
        letterbox(Image.new(mode, (8, 8)), 8)


def test_image_without_pixels_is_rejected():
    with pytest.raises(ValueError, match="an image of 0 x 5 pixels is empty"):
        letterbox(Image.new("L", (0, 5)), 8)


def test_pixel_values_are_normalized_per_channel():
    geometry = ImageGeometry(size=1, num_channels=3, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 2.0))
    values = normalize_pixels(torch.tensor([[[255]], [[0]]], dtype=torch.uint8), geometry)
    assert values.flatten(1).tolist() == [[1.0, 1.0, 0.0], [0.0, -1.0, -0.5]]


def test_studies_with_unequal_numbers_of_views_are_padded_and_masked():
    white, black = np.full((2, 2), 255, np.uint8), np.zeros((2, 2), np.uint8)
    batch = batch_views([[white, black], [white]], [["PA", "LATERAL"], ["ap"]], ImageGeometry(size=2))
    assert batch["view_mask"].tolist() == [[True, True], [True, False]]
    assert batch["view_indices"].tolist() == [[1, 3], [2, 0]]
    assert batch["pixel_values"].shape == (2, 2, 1, 2, 2)
    assert batch["pixel_values"][:, :, 0, 0, 0].tolist() == [[2.0, -2.0], [2.0, -2.0]]


def test_tokens_are_padded_on_the_right():
    ids, mask = batch_tokens([[5, 6, 7], [], [8]], pad_token_id=1)
    assert ids.tolist() == [[5, 6, 7], [1, 1, 1], [8, 1, 1]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 0], [1, 0, 0]]
    assert batch_tokens([[], []], pad_token_id=1)[0].shape == (2, 0)
