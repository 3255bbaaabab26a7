"""Copies of an image are distinguished from images of other patients; near_pairs finds every near pair."""

from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image

from data.images.duplicates import (
    ALIKE_BOUND,
    SAME_BOUND,
    coarse_similarity,
    fine_similarity,
    is_flat,
    near_pairs,
    perceptual_hash,
    thumbnail,
    thumbnails_agree,
)
from data.synthetic.source import make_study


def image(number, size=224):
    return np.asarray(make_study(11, number, size).images[0])


def as_jpeg(pixels):
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=60)
    return np.asarray(Image.open(file))


COPIES = {
    "JPEG": as_jpeg,
    "half size": lambda pixels: cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "brighter": lambda pixels: cv2.add(pixels, 30),
    "less contrast": lambda pixels: cv2.convertScaleAbs(pixels, alpha=0.7, beta=20),
    "cropped": lambda pixels: pixels[4:-8, 6:-3],
    "turned": lambda pixels: cv2.warpAffine(pixels, cv2.getRotationMatrix2D((112, 112), 1, 1), (224, 224)),
}


@pytest.mark.parametrize("kind", COPIES)
def test_an_altered_copy_is_recognized(kind):
    pixels = image(0)
    assert fine_similarity(pixels, COPIES[kind](pixels)) >= SAME_BOUND
    assert thumbnails_agree((thumbnail(pixels), thumbnail(COPIES[kind](pixels))))
    assert (perceptual_hash(pixels) ^ perceptual_hash(COPIES[kind](pixels))).bit_count() <= 12


def test_images_of_different_patients_are_not_copies():
    pixels = [image(number) for number in range(12)]
    highest = max(fine_similarity(pixels[one], pixels[other]) for one in range(12) for other in range(one))
    assert highest < ALIKE_BOUND


def test_an_image_is_a_copy_of_itself():
    assert fine_similarity(image(0), image(0)) == pytest.approx(1, abs=1e-3)


def test_flat_images_are_similar_to_nothing():
    flat = np.full((50, 60), 90, dtype=np.uint8)
    assert is_flat(flat)
    assert not is_flat(image(0))
    assert fine_similarity(flat, flat) < ALIKE_BOUND
    assert fine_similarity(flat, image(0)) < ALIKE_BOUND


def test_the_hash_has_64_bits_and_does_not_depend_on_brightness():
    pixels = image(1)
    assert 0 < perceptual_hash(pixels) < 2**64
    assert (
        perceptual_hash(pixels) == perceptual_hash(pixels // 2 + 40)
        or (perceptual_hash(pixels) ^ perceptual_hash(pixels // 2 + 40)).bit_count() <= 2
    )


def test_coarse_similarity_is_the_correlation_of_halved_thumbnails():
    thumbnails = np.stack([thumbnail(image(number)) for number in range(3)])
    pairs = np.array([[0, 1], [1, 2], [0, 0]])
    halved = thumbnails.reshape(3, 32, 2, 32, 2).mean(axis=(2, 4)).reshape(3, -1)
    expected = [np.corrcoef(halved[one], halved[other])[0, 1] for one, other in pairs]
    assert coarse_similarity(thumbnails, pairs) == pytest.approx(expected, abs=1e-5)


def pairs_of(candidates):
    return [pair for block in candidates.blocks() for pair in block.tolist()]


def test_near_pairs_finds_the_same_pairs_as_a_double_loop():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 1200, dtype=np.uint64)
    hashes[600:650] = hashes[:50] ^ (np.uint64(1) << rng.integers(0, 64, 50, dtype=np.uint64))
    hashes[1100] = hashes[3]
    expected = {
        (one, other)
        for one in range(1200)
        for other in range(one + 1, 1200)
        if int(hashes[one] ^ hashes[other]).bit_count() <= 10
    }
    found = near_pairs(hashes, max_distance=10)
    pairs = pairs_of(found)
    assert {tuple(pair) for pair in pairs} == expected
    assert len(pairs) == len(expected) == found.num_pairs
    assert (3, 1100) in expected
    assert (found.max_distance, found.is_cut) == (10, False)


def test_the_distance_is_lowered_until_the_candidates_are_few_enough():
    hashes = np.array([0, 1, 3, 7, 2**60 - 1], dtype=np.uint64)
    few = near_pairs(hashes, max_distance=12, max_pairs=3)
    assert (few.max_distance, pairs_of(few), few.is_cut) == (1, [[0, 1], [1, 2], [2, 3]], False)


def test_too_many_equal_hashes_are_cut_and_marked():
    cut = near_pairs(np.zeros(2000, dtype=np.uint64), max_pairs=100)
    assert (len(pairs_of(cut)), cut.max_distance, cut.is_cut) == (100, 0, True)


def test_one_image_has_no_pairs():
    assert pairs_of(near_pairs(np.array([5], dtype=np.uint64))) == []
