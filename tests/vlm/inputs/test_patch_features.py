"""Patch features of images in memory: once for each image object if they are remembered, otherwise each time."""

import pytest
import torch

from vlm.config import ImageGeometry
from vlm.inputs.patch_features import PatchFeatures


class CountingEncoder(torch.nn.Module):
    """Its features are the means of the channels; it keeps the number of images of each call."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, pixel_values):
        self.calls.append(len(pixel_values))
        return pixel_values.mean(dim=(2, 3))[:, None]


@pytest.fixture
def features():
    return PatchFeatures(CountingEncoder(), ImageGeometry(size=32), torch.device("cpu"))


def test_remembered_images_do_not_pass_through_the_encoder_again(features, images):
    once = features.remembering()
    first = once(images[:2])
    mixed = once([images[2], images[1], images[2]])
    assert once.encoder.calls == [2, 1]
    expected = features(images[:3])
    assert torch.allclose(first, expected[:2])
    assert torch.allclose(mixed, expected[[2, 1, 2]])
    assert len(set(expected[:, 0, 0].tolist())) == 3


def test_without_a_memory_images_pass_through_the_encoder_each_time(features, images):
    assert torch.equal(features(images[:2]), features(images[:2]))
    assert features.encoder.calls == [2, 2]


def test_each_memory_is_for_itself_and_a_remembering_encoder_stays(features, images):
    one, other = features.remembering(), features.remembering()
    assert one.remembering() is one is not other
    one(images[:1])
    other(images[:1])
    features(images[:1])
    assert features.encoder.calls == [1, 1, 1]


def test_copy_of_an_image_is_another_image(features, images):
    once = features.remembering()
    for level in range(20):  # a freed image may have given its address to the next one
        image = images[0].point(lambda value, level=level: value // 2 + level)
        assert torch.allclose(once([image]), features([image]))
    assert once.encoder.calls == [1] * 40
