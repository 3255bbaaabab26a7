"""Held-out images are found among training studies under any name."""

from io import BytesIO

import datasets
import numpy as np
import pytest
from PIL import Image

from data.images import leakage
from data.images.leakage import SAME_LEVELS, find_leakage, shared_rows, thumbnails_of
from data.study import FEATURES


def test_leakage_is_found_after_jpeg_and_resizing(small_studies):
    row = small_studies["test"][1]
    views = [image.resize((image.width * 4, image.height * 4)) for image in row["images"]]
    held_out = datasets.Dataset.from_list([row | {"images": views}], features=FEATURES)
    again = []
    for view in views:
        file = BytesIO()
        view.resize((view.width // 2, view.height // 2), Image.Resampling.BOX).save(file, "JPEG", quality=90)
        again.append(Image.open(file))
    shown = datasets.Dataset.from_list([row | {"images": again}], features=FEATURES)
    assert find_leakage(shown, [held_out]) == [0]
    darker = [Image.fromarray((np.asarray(view) * 0.5).astype(np.uint8)) for view in views]
    other = datasets.Dataset.from_list([row | {"images": darker}], features=FEATURES)
    assert find_leakage(other, [held_out]) == []


def test_stored_and_prior_images_are_compared_too(small_studies):
    rows = [small_studies["train"][number] for number in range(3)]
    prior = {"prior_images": rows[2]["images"], "prior_view_positions": rows[2]["view_positions"]}
    held_out = datasets.Dataset.from_list([small_studies["test"][0] | prior], features=FEATURES)
    train = datasets.Dataset.from_list(rows, features=FEATURES)
    stored = train.cast_column("images", datasets.List(datasets.Image(decode=False)))
    for one in (train, stored):
        assert find_leakage(one, [held_out, small_studies["validation"]]) == [2]


def test_image_that_is_not_in_the_data_set_is_named(small_studies):
    rows = small_studies["train"].select([0]).cast_column("images", datasets.List(datasets.Image(decode=False)))
    rows = rows.map(lambda row: row | {"images": [{"bytes": None, "path": "/elsewhere.png"}]})
    rows = rows.cast_column("images", datasets.List(datasets.Image(decode=False)))
    with pytest.raises(ValueError, match=f"study {rows[0]['study_id']}: an image cannot be decoded .it is not in the"):
        thumbnails_of(rows)


def test_comparing_blocks_first_finds_the_same_as_comparing_all_pixels():
    generator = np.random.default_rng(0)
    pixels = generator.integers(10, 240, (40, 32, 32), dtype=np.uint8)
    signs = generator.choice([-1, 1], (30, 32, 32))
    others = (pixels[:30] + np.arange(30)[:, None, None] // 6 * signs).astype(np.uint8)  # 0 to 4 levels
    differences = np.abs(pixels[:, None].astype(float) - others).mean(axis=(2, 3))
    found = leakage._is_among(pixels, others)
    assert np.array_equal(found, (differences < SAME_LEVELS).any(axis=1))
    assert np.flatnonzero(found).tolist() == list(range(12))


def test_no_study_has_no_leakage(small_studies):
    train, none = small_studies["train"], small_studies["test"].select([])
    assert shared_rows(thumbnails_of(train), none) == [] == shared_rows(thumbnails_of(none), train)
