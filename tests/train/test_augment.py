"""Augmentation of images and boxes."""

import cv2
import numpy as np
import pytest

from train.augment import Augmentation, affine_matrix, augment, augment_with_boxes

NOTHING = {"max_rotation": 0.0, "max_shift": 0.0, "max_zoom": 0.0, "max_shear": 0.0}


def image(height: int = 60, width: int = 40) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=(height, width), dtype=np.uint8)


def test_zero_limits_do_not_change_the_image():
    pixels = image()
    assert np.array_equal(augment(pixels, Augmentation(**NOTHING), np.random.default_rng(1)), pixels)


def test_result_depends_on_the_generator_state_only():
    first, again, other = (augment(image(), Augmentation(), np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_input_is_not_changed():
    pixels = image()
    augment(pixels, Augmentation(max_brightness=0.2, max_contrast=0.2), np.random.default_rng(1))
    assert np.array_equal(pixels, image())


def test_shift_repeats_the_edge_pixels():
    pixels = image(5, 6)
    matrix = affine_matrix(width=6, height=5, rotation=0, shift=(2, 1), zoom=1, shear=0)
    moved = cv2.warpAffine(pixels, matrix, (6, 5), borderMode=cv2.BORDER_REPLICATE)
    expected = np.pad(pixels, ((1, 0), (2, 0)), mode="edge")[:5, :6]
    assert np.array_equal(moved, expected)


def test_rotation_by_90_degrees_is_exact_and_counterclockwise():
    pixels = image(7, 7)
    matrix = affine_matrix(width=7, height=7, rotation=90, shift=(0, 0), zoom=1, shear=0)
    assert np.array_equal(cv2.warpAffine(pixels, matrix, (7, 7)), np.rot90(pixels))


def test_zoom_and_shear_keep_the_center_and_scale_the_area():
    matrix = affine_matrix(width=9, height=5, rotation=20, shift=(0, 0), zoom=1.1, shear=10)
    assert matrix @ [4, 2, 1] == pytest.approx([4, 2])
    assert np.linalg.det(matrix[:, :2]) == pytest.approx(1.1**2)


def test_random_amounts_fill_the_range_up_to_the_limits(monkeypatch):
    matrices = []
    real = cv2.warpAffine
    monkeypatch.setattr(
        cv2, "warpAffine", lambda pixels, matrix, *a, **k: matrices.append(matrix) or real(pixels, matrix, *a, **k)
    )
    rng = np.random.default_rng(0)
    for _ in range(300):
        augment(image(21, 21), Augmentation(max_shear=0), rng)
    linear = np.array(matrices)[:, :, :2]
    angles = np.degrees(np.arctan2(linear[:, 0, 1], linear[:, 0, 0]))
    zooms = np.sqrt(np.linalg.det(linear))
    shifts = np.array(matrices) @ [10, 10, 1] - 10
    assert 14 < np.abs(angles).max() <= 15
    assert 0.9 <= zooms.min() < 0.91 and 1.09 < zooms.max() <= 1.1
    assert 2 < np.abs(shifts).max() <= 2.1 + 1e-9


def test_image_is_never_flipped():
    pixels = np.zeros((64, 64), dtype=np.uint8)
    pixels[:, 48:] = 255
    rng = np.random.default_rng(0)
    for _ in range(100):
        moved = augment(pixels, Augmentation(), rng).astype(int)
        assert moved[:, 32:].sum() > 2 * moved[:, :32].sum()


def test_edges_are_not_filled_with_black():
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert augment(np.full((32, 32), 90, np.uint8), Augmentation(), rng).min() == 90


def test_brightness_and_contrast_change_gray_values_as_documented():
    pixels = np.array([[100, 150], [100, 150]], dtype=np.uint8)
    draws = np.random.default_rng(5).uniform(-1, 1, size=7)
    bright = augment(pixels, Augmentation(**NOTHING, max_brightness=0.2), np.random.default_rng(5))
    assert np.array_equal(bright, np.rint(pixels + 255 * 0.2 * draws[5]))
    stretched = augment(pixels, Augmentation(**NOTHING, max_contrast=0.5), np.random.default_rng(5))
    assert np.array_equal(stretched, np.rint(125 + (pixels - 125.0) * (1 + 0.5 * draws[6])))


def test_limit_out_of_range_is_named():
    with pytest.raises(ValueError, match=r"max_rotation is 400; it must be between 0 and 180"):
        Augmentation(max_rotation=400)
    with pytest.raises(ValueError, match=r"max_shift is -0\.1; it must be between 0 and 0\.5"):
        Augmentation(max_shift=-0.1)


def test_boxes_move_with_the_image():
    pixels = np.zeros((100, 80), dtype=np.uint8)
    pixels[30:40, 50:60] = 255
    options = Augmentation(max_rotation=10, max_shift=0.1, max_zoom=0.1, max_shear=5)
    for seed in range(10):
        moved, boxes = augment_with_boxes(
            pixels, np.array([[50.0, 30.0, 60.0, 40.0]]), options, np.random.default_rng(seed)
        )
        rows, columns = np.nonzero(moved > 127)
        tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert boxes[0] == pytest.approx(tight, abs=3)


def test_box_is_clipped_to_the_image():
    options = Augmentation(max_rotation=0, max_shift=0.5, max_zoom=0, max_shear=0)
    for seed in range(10):
        _, boxes = augment_with_boxes(
            np.zeros((50, 50), np.uint8), np.array([[0.0, 0.0, 50.0, 50.0]]), options, np.random.default_rng(seed)
        )
        assert boxes.min() >= 0
        assert boxes.max() <= 50
