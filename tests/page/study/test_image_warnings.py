"""Image warnings: by pixels, by the OOD check of the checkpoint, and at most one per image."""

from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image, ImageDraw

from page.study.image_warnings import LOOKS_FRONTAL, LOOKS_LATERAL, check_images, pixel_warning
from page.study.upload import UploadedImage


def radiograph(seed=0):
    rows, columns = np.mgrid[0:120, 0:100]
    noise = np.random.default_rng(seed).normal(0, 8, (120, 100))
    return Image.fromarray((60 + rows + 60 * np.cos(columns / 16) + noise).clip(0, 255).astype(np.uint8))


def warnings_of(images, generator):
    [checks] = check_images([images], generator)
    return checks.warnings


def written_page():
    image = Image.new("L", (300, 400), 255)
    draw = ImageDraw.Draw(image)
    for row in range(20, 380, 14):
        draw.text((20, row), "The quick brown fox jumps over the lazy dog.", fill=0)
    return image


@dataclass
class FakeDetector:
    """The distance of an image is its first feature; it looks mirrored if the second is above 1.8, lateral if the third
    is, and frontal if the third is below 0.2."""

    def distances(self, features):
        return features[:, 0]

    def looks_mirrored(self, features):
        return features[:, 1] > 1.8

    def looks_lateral(self, features):
        return features[:, 2] > 1.8

    def looks_frontal(self, features):
        return features[:, 2] < 0.2


class FakeGenerator:
    def __init__(self, ood_detector=None):
        self.ood_detector = ood_detector

    def image_features(self, images):
        return np.array([[image.getpixel((column, 0)) / 100 for column in range(3)] for image in images])


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (Image.new("L", (64, 64), 90), "x: The image is blank"),
        (radiograph().resize((400, 100)), "x: The image is 4.0 times as long as it is wide"),
        (written_page(), "x: The image looks like a page"),
        (radiograph(), ""),
    ],
)
def test_images_that_do_not_look_like_radiographs_get_a_warning(image, reason):
    found = pixel_warning(image, name="x")
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


def test_out_of_distribution_image_gets_a_warning_with_its_distance():
    near, far = radiograph(), radiograph()
    near.putpixel((0, 0), 99)
    far.putpixel((0, 0), 250)
    images = [UploadedImage(name="near.png", image=near), UploadedImage(name="far.png", image=far)]
    [warning] = warnings_of(images, FakeGenerator(FakeDetector()))
    assert warning.startswith(
        "far.png: This image looks different from the images the model was trained on. "
        "Its distance from them is 2.5 times the limit"
    )
    assert warnings_of(images, FakeGenerator()) == ()


def test_largest_distance_of_each_study_is_kept_and_several_studies_are_checked_together():
    near, far = radiograph(), radiograph()
    near.putpixel((0, 0), 50)
    far.putpixel((0, 0), 250)
    near, far = (UploadedImage(name=name, image=image) for name, image in (("near", near), ("far", far)))
    blank = UploadedImage(name="blank", image=Image.new("L", (64, 64), 90))
    one, other, none = check_images([[near, far], [near], [blank]], FakeGenerator(FakeDetector()))
    assert (one.ood_distance, other.ood_distance, none.ood_distance) == (2.5, 0.5, None)
    assert [len(checks.warnings) for checks in (one, other, none)] == [1, 0, 1]


def test_each_image_has_at_most_one_warning():
    blank = Image.new("L", (64, 64), 250)
    images = [
        UploadedImage(name="blank.png", image=blank),
        UploadedImage(name="knee.dcm", image=blank, warning="knee.dcm: shows a knee."),
    ]
    warnings = warnings_of(images, FakeGenerator(FakeDetector()))
    assert warnings == (
        "blank.png: The image is blank; all pixels have about the same gray level.",
        "knee.dcm: shows a knee.",
    )


@pytest.mark.parametrize(
    ("level", "words"),
    [(101, "just above the limit"), (110, "1.1 times the limit"), (np.nan, "a distance that cannot be computed")],
)
def test_distance_near_the_limit_is_given_in_words(level, words):
    generator = FakeGenerator(FakeDetector())
    generator.image_features = lambda images: np.array([[level / 100, 0, 1]])
    [warning] = warnings_of([UploadedImage(name="x", image=radiograph())], generator)
    assert f"Its distance from them is {words}; 99% of the training images" in warning


def test_mirrored_frontal_image_gets_a_warning():
    mirrored = radiograph()
    mirrored.putpixel((0, 0), 50)
    mirrored.putpixel((1, 0), 200)
    images = [UploadedImage(name=f"{view}.png", image=mirrored, view_position=view) for view in ("PA", "", "LATERAL")]
    warnings = warnings_of(images, FakeGenerator(FakeDetector()))
    assert [warning.split(", so")[0] for warning in warnings] == [
        "PA.png: This image looks mirrored",
        ".png: This image looks mirrored",
    ]


def test_image_that_is_not_declared_lateral_but_looks_like_it_gets_a_warning():
    lateral = radiograph()
    for column, level in enumerate((50, 200, 200)):  # it looks mirrored too
        lateral.putpixel((column, 0), level)
    views = ("PA", "", "UNKNOWN", "LATERAL", "LL")
    images = [UploadedImage(name=f"{view}.png", image=lateral, view_position=view) for view in views]
    assert warnings_of(images, FakeGenerator(FakeDetector())) == tuple(
        f"{view}.png: {LOOKS_LATERAL}" for view in ("PA", "", "UNKNOWN")
    )
    images = [image.with_view("lateral") for image in images]
    assert warnings_of(images, FakeGenerator(FakeDetector())) == ()


def test_image_that_is_declared_lateral_but_looks_frontal_gets_a_warning():
    frontal = radiograph()
    for column, level in enumerate((50, 100, 10)):
        frontal.putpixel((column, 0), level)
    image = UploadedImage(name="x.png", image=frontal, view_position="LATERAL")
    assert warnings_of([image], FakeGenerator(FakeDetector())) == (f"x.png: {LOOKS_FRONTAL}",)
    assert warnings_of([image.with_view("PA"), image.with_view("auto")], FakeGenerator(FakeDetector())) == ()


def test_image_that_is_far_from_the_others_and_looks_lateral_has_both_in_one_warning():
    far = radiograph()
    for column, level in enumerate((250, 200, 200)):
        far.putpixel((column, 0), level)
    [warning] = warnings_of([UploadedImage(name="far.png", image=far)], FakeGenerator(FakeDetector()))
    assert warning.startswith("far.png: This image looks different")
    assert warning.endswith(LOOKS_LATERAL)
    assert "mirrored" not in warning
