"""Attention maps as heat on the image."""

import numpy as np
import pytest
from PIL import Image

from vlm.explain.attention import align_to_image, attention_peaks, heatmaps, overlay_heatmap


def attention(*peaks, grid=(4, 4), num_views=1):
    """Maps [findings, views, rows, columns], each with one hot patch (view, row, column, strength)."""
    maps = np.zeros((len(peaks), num_views, *grid), dtype=np.float32)
    for finding, (view, row, column, strength) in enumerate(peaks):
        maps[finding, view, row, column] = strength
    return maps


def centre(heat):
    """Where the heat lies on average, as fractions of width and height."""
    rows, columns = np.mgrid[: heat.shape[0], : heat.shape[1]]
    total = heat.sum()
    return ((columns + 0.5) * heat).sum() / total / heat.shape[1], ((rows + 0.5) * heat).sum() / total / heat.shape[0]


@pytest.mark.parametrize(
    "size, row, column, expected",
    [
        ((64, 64), 1, 2, (0.625, 0.375)),
        # Twice as wide as high: the square's middle half shows the image, row 1 of 4 is its upper half.
        ((128, 64), 1, 2, (0.625, 0.25)),
        ((100, 200), 2, 1, (0.25, 0.625)),
    ],
)
def test_heat_is_at_the_position_of_the_patch(size, row, column, expected):
    [heat] = align_to_image(attention((0, row, column, 1.0))[:, 0], size, 64)
    assert heat.shape == (size[1], size[0])
    assert (heat >= 0).all()
    peak = np.unravel_index(heat.argmax(), heat.shape)
    assert (peak[1] / size[0], peak[0] / size[1]) == pytest.approx(expected, abs=0.03)
    # Where the neighbouring patches lie partly in the black margin, their share of the heat is cut off.
    assert centre(heat) == pytest.approx(expected, abs=0.06)


def test_patch_in_the_padding_gives_no_heat():
    [heat] = align_to_image(attention((0, 0, 1, 1.0), grid=(8, 8))[:, 0], (128, 32), 64)
    assert heat.max() == 0


def test_peak_of_each_finding_over_all_views_is_1():
    maps = attention((0, 1, 1, 0.2), (1, 2, 2, 0.9), num_views=2)
    maps[0, 1, 3, 3] = 0.08
    frontal, lateral = heatmaps(maps, [(40, 40), (30, 60)], 32)
    assert frontal.shape == (2, 40, 40) and lateral.shape == (2, 60, 30)
    assert frontal[0].max() == pytest.approx(1) and lateral[1].max() == pytest.approx(1)
    assert 0.1 < lateral[0].max() < 0.5
    assert frontal[1].max() == 0
    assert frontal.dtype == np.float32


def test_uniform_attention_gives_no_heat():
    even = np.full((1, 1, 4, 4), 1 / 16, dtype=np.float32)
    assert heatmaps(even, [(32, 32)], 32)[0].max() < 1e-6
    nearly = even.copy()
    nearly[0, 0, 1, 1] *= 2
    assert 0.2 < heatmaps(nearly, [(32, 32)], 32)[0].max() < 0.5


def test_number_of_maps_must_match_the_images():
    with pytest.raises(ValueError, match="attention over 2 views does not fit 1 images"):
        heatmaps(attention((0, 0, 0, 1.0), num_views=2), [(40, 40)], 32)


def test_overlay_colors_only_pixels_with_heat():
    heat = np.zeros((8, 10), dtype=np.float32)
    heat[:, 5:] = 1
    overlay = np.asarray(overlay_heatmap(Image.new("L", (10, 8), 100), heat))
    assert overlay.shape == (8, 10, 3)
    assert (overlay[:, :5] == 100).all()
    hot = overlay[0, 7].astype(int)
    assert hot[0] > hot[2] + 20  # the hot end of "inferno" is yellow
    with pytest.raises(ValueError, match=r"the heatmap is \(10, 8\) pixels, the image \(9, 8\); align it first"):
        overlay_heatmap(Image.new("L", (9, 8)), heat)


@pytest.mark.parametrize("size", [(64, 64), (128, 64), (100, 200)])
def test_attention_peak_is_at_the_maximum_heat(size):
    maps = attention((0, 1, 2, 1.0), (1, 2, 1, 1.0), num_views=2)
    peaks = attention_peaks(maps, [size, size], 64)
    assert [view for view, _, _ in peaks] == [0, 1]
    for finding, (view, x, y) in enumerate(peaks):
        [heat] = align_to_image(maps[finding : finding + 1, view], size, 64)
        assert heat[min(int(y * size[1]), size[1] - 1), min(int(x * size[0]), size[0] - 1)] > 0.9 * heat.max()


def test_peak_in_the_padding_is_outside_the_image():
    [(_, x, y)] = attention_peaks(attention((0, 0, 0, 1.0)), [(128, 64)], 64)
    assert (x, y) == (0.125, -0.25)
