"""Doubts about an image: what can be seen without a model, what the checkpoint knows, and one reason an image."""

from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image, ImageDraw

from page.study.files import UploadedImage
from page.study.read import find_doubts, plain_doubt


def radiograph(seed=0):
    rows, columns = np.mgrid[0:120, 0:100]
    noise = np.random.default_rng(seed).normal(0, 8, (120, 100))
    return Image.fromarray((60 + rows + 60 * np.cos(columns / 16) + noise).clip(0, 255).astype(np.uint8))


def written_page():
    image = Image.new("L", (300, 400), 255)
    draw = ImageDraw.Draw(image)
    for row in range(20, 380, 14):
        draw.text((20, row), "The quick brown fox jumps over the lazy dog.", fill=0)
    return image


@dataclass
class FakeFamiliarity:
    """Knows how far each image lies by its first pixel."""

    def distances(self, features):
        return features[:, 0]


class FakeGenerator:
    def __init__(self, ood_detector=None):
        self.ood_detector = ood_detector

    def image_features(self, images):
        return np.array([[image.getpixel((0, 0)) / 100] for image in images])


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (Image.new("L", (64, 64), 90), "x: is blank"),
        (radiograph().resize((400, 100)), "x: is 4.0 times as long as it is wide"),
        (written_page(), "x: looks like a page"),
        (radiograph(), ""),
    ],
)
def test_what_is_no_radiograph_at_first_sight_is_told_by_its_reason(image, reason):
    found = plain_doubt(image, name="x")
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


def test_an_image_beyond_the_limit_is_doubted_with_its_distance():
    near, far = radiograph(), radiograph()
    near.putpixel((0, 0), 99)
    far.putpixel((0, 0), 250)
    images = [UploadedImage(name="near.png", image=near), UploadedImage(name="far.png", image=far)]
    [doubt] = find_doubts(images, FakeGenerator(FakeFamiliarity()))
    assert doubt.startswith("far.png: is unlike the images that the model was trained on. It lies 2.5 times as far")
    assert find_doubts(images, FakeGenerator()) == ()


def test_each_image_has_one_reason_the_plainest():
    blank = Image.new("L", (64, 64), 250)
    images = [
        UploadedImage(name="blank.png", image=blank),
        UploadedImage(name="knee.dcm", image=blank, warning="knee.dcm: shows a knee."),
    ]
    doubts = find_doubts(images, FakeGenerator(FakeFamiliarity()))
    assert doubts == ("blank.png: is blank, all in about one gray level.", "knee.dcm: shows a knee.")
