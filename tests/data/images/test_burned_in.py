"""Text in images is found; laterality markers and anatomy are not text."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from data.images import burned_in
from data.images.burned_in import burned_in_text

REAL = Path(__file__).parents[4] / "shared" / "data" / "pneumonia" / "images"


def radiograph(side=512):
    """A smooth bright body with ribs before a dark border."""
    noise = np.random.default_rng(0).integers(60, 200, (9, 9), dtype=np.uint8)
    image = Image.new("L", (side, side), 5)
    image.paste(
        Image.fromarray(noise).resize((side * 8 // 10, side * 8 // 10), Image.Resampling.BICUBIC), (side // 10,) * 2
    )
    draw = ImageDraw.Draw(image)
    for rib in range(6):
        top = side // 5 + rib * side // 10
        draw.arc([side // 5, top, side * 4 // 5, top + side // 4], 180, 360, fill=200, width=side // 60)
    return image.filter(ImageFilter.GaussianBlur(side / 200))


def written(text, place=(12, 10), size=18, fill=255, side=512):
    image = radiograph(side)
    ImageDraw.Draw(image).text(place, text, fill=fill, font_size=size)
    return image


def test_a_radiograph_without_text_gives_no_warning():
    for side in (224, 512, 1024):
        assert burned_in_text(radiograph(side)) == ""


@pytest.mark.parametrize("text", ["DOE, JANE 03/04/1950", "MRN 00123456", "2019-03-04 14:22", "St Mary Hospital"])
@pytest.mark.parametrize("size", [14, 20, 36])
def test_names_dates_and_numbers_are_found(text, size):
    assert "letters at the top " in burned_in_text(written(text, size=size))


def test_the_location_is_reported_but_not_the_text():
    assert burned_in_text(written("JANE DOE 1950", place=(330, 485))).endswith("at the bottom right")
    assert "JANE" not in burned_in_text(written("JANE DOE 1950"))


@pytest.mark.parametrize("marker", ["R", "L", "AP", "PA", "PORT"])
def test_laterality_markers_are_not_text(marker):
    assert burned_in_text(written(marker, size=36)) == ""


def test_gray_and_large_images_are_read_too():
    assert burned_in_text(written("DOE, JANE 1950", fill=200))
    assert burned_in_text(written("DOE, JANE 1950", size=40, side=1024))


def test_uniform_images_and_single_lines_give_no_warning():
    assert burned_in_text(Image.new("L", (300, 200), 255)) == ""
    assert burned_in_text(Image.new("L", (1000, 16), 0)) == ""


@pytest.mark.skipif(not REAL.is_dir(), reason="no real X-rays in ../shared/data/pneumonia")
def test_real_radiographs_without_text_give_no_warning():
    alarms = []
    for path in sorted(REAL.iterdir())[::130]:
        with Image.open(path) as image:
            alarms.append(burned_in_text(image.convert("L")) != "")
    assert sum(alarms) <= 1


@pytest.mark.parametrize("density", [0.1, 0.3, 0.5])
def test_shapes_are_those_of_labeled_components(density, monkeypatch):
    monkeypatch.setattr(burned_in, "_MOST_MARKED", 1.0)
    num_letters = 0
    for seed in range(20):
        coarse = np.random.default_rng(seed).random((40, 60)) < density
        mask = cv2.resize(coarse.astype(np.uint8), None, fx=2, fy=3, interpolation=cv2.INTER_NEAREST)
        if seed % 2:
            mask = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
        letters = {tuple(box) for box in burned_in._letters(mask).tolist()}
        assert letters == letters_by_components(mask)
        num_letters += len(letters)
    assert num_letters > 50


def letters_by_components(mask):
    found = set()
    for left, top, width, height, area in cv2.connectedComponentsWithStats(mask, connectivity=8)[2][1:].tolist():
        if 6 <= height <= 48 and width <= 1.6 * height and area >= 8 and area / (width * height) > 0.15:
            found.add((left, top, left + width, top + height))
    return found
