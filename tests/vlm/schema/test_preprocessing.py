"""Preprocessing: each switch does its own thing and nothing else."""

import numpy as np
import pytest
from PIL import Image

from vlm.schema.preprocessing import Preprocessing, content_box, preprocess


def gray_image(height: int = 64, width: int = 80, low: int = 60, high: int = 200) -> Image.Image:
    pixels = np.random.default_rng(0).integers(low, high + 1, size=(height, width), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_default_does_not_change_the_image():
    image = gray_image()
    assert preprocess(image, Preprocessing()) is image


def test_minmax_maps_the_darkest_to_0_and_the_brightest_to_255():
    image = Image.fromarray(np.array([[50, 100, 150]], dtype=np.uint8))
    assert np.asarray(preprocess(image, Preprocessing(normalize="minmax"))).tolist() == [[0, 128, 255]]


def test_percentile_ignores_a_few_extreme_pixels_and_minmax_does_not():
    pixels = np.tile(np.arange(100, 151, dtype=np.uint8), (40, 1))
    pixels[0, :3] = (0, 255, 255)
    by_percentile = np.asarray(preprocess(Image.fromarray(pixels), Preprocessing(normalize="percentile")))
    by_minmax = np.asarray(preprocess(Image.fromarray(pixels), Preprocessing(normalize="minmax")))
    low, high = np.percentile(pixels, [1, 99])
    expected = np.clip(np.rint((pixels - low) * 255 / (high - low)), 0, 255)
    assert np.array_equal(by_percentile, expected)
    assert np.array_equal(by_minmax, pixels)


@pytest.mark.parametrize("normalize", ["minmax", "percentile"])
def test_uniform_image_is_not_changed_by_normalization(normalize):
    image = Image.new("L", (8, 8), 77)
    assert np.asarray(preprocess(image, Preprocessing(normalize=normalize))).tolist() == [[77] * 8] * 8


@pytest.mark.parametrize("shade", [0, 18, 255])
def test_crop_border_removes_noisy_black_or_white_borders_exactly(shade):
    rng = np.random.default_rng(1)
    framed = np.clip(shade + rng.integers(-4, 5, size=(100, 90)), 0, 255).astype(np.uint8)
    content = np.asarray(gray_image(70, 60))
    framed[10:80, 25:85] = content
    cropped = preprocess(Image.fromarray(framed), Preprocessing(crop_border=True))
    assert np.array_equal(np.asarray(cropped), content)
    assert content_box(framed) == (25, 10, 85, 80)


def test_crop_border_keeps_images_without_a_border_or_without_content():
    image = gray_image()
    assert preprocess(image, Preprocessing(crop_border=True)).size == image.size
    assert preprocess(Image.new("L", (40, 30), 0), Preprocessing(crop_border=True)).size == (40, 30)


def test_crop_border_keeps_uniform_mid_gray():
    framed = np.full((60, 60), 128, dtype=np.uint8)
    framed[20:40, 20:40] = np.asarray(gray_image(20, 20))
    assert content_box(framed) == (0, 0, 60, 60)


def test_denoise_removes_noise_and_keeps_an_edge():
    clean = np.full((64, 64), 60, dtype=np.uint8)
    clean[:, 32:] = 180
    noisy = np.clip(clean + np.random.default_rng(0).normal(0, 2.5, clean.shape), 0, 255).astype(np.uint8)
    denoised = np.asarray(preprocess(Image.fromarray(noisy), Preprocessing(denoise=True))).astype(float)
    assert np.abs(denoised - clean).mean() < 0.5 * np.abs(noisy.astype(float) - clean).mean()
    assert denoised[:, :30].max() < 75 and denoised[:, 34:].min() > 165


def test_clahe_raises_local_contrast():
    pixels = (100 + 10 * np.sin(np.arange(128) / 3)).astype(np.uint8)
    image = Image.fromarray(np.tile(pixels, (128, 1)))
    raised = np.asarray(preprocess(image, Preprocessing(clahe=True)))
    assert raised.shape == (128, 128)
    assert raised.std() > 2 * np.asarray(image).std()


def test_crop_runs_before_normalization():
    framed = np.zeros((100, 100), dtype=np.uint8)
    framed[10:90, 10:90] = np.asarray(gray_image(80, 80, low=100, high=150))
    both = np.asarray(preprocess(Image.fromarray(framed), Preprocessing(crop_border=True, normalize="minmax")))
    assert both.shape == (80, 80)
    assert (both.min(), both.max()) == (0, 255)
    assert np.mean(both == 0) < 0.05  # stretched from 100, not from the border's black
