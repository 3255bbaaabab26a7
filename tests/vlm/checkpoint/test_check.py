"""Damaged checkpoints: a clear error that names the file, or a working model; never an error of a library."""

import json
import random
import resource
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from vlm.checkpoint.store import load_checkpoint
from vlm.config import ReportModelConfig
from vlm.decoding import GenerationOptions
from vlm.generator import ReportGenerator
from vlm.model import ReportModel
from vlm.schema.strict_json import read_json
from vlm.uncertainty import fit_detector, save_ood_detector

IMAGE = Image.new("L", (40, 50), 100)
VALUES = (None, "x", -1, 0, 1, 7, 10**12, 2**63, 10**30, 1.5, 1e300, float("nan"), float("inf"), True, [], {}, ["x"])
MAX_GROWTH_KIB = 500 * 1024


@pytest.fixture
def folder(tiny_checkpoint, tmp_path):
    """A copy with an OOD check."""
    copy = shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (32, 32), dtype=np.uint8)) for _ in range(50)]
    features = ReportGenerator.from_pretrained(copy).image_features(images)
    save_ood_detector(copy, fit_detector(features[:25], features[25:]))
    return copy


def places(value, place=()):
    """The path to each value in nested dictionaries and lists."""
    if place:
        yield place
    items = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*place, key))


def mutated(document, place, value):
    """The document with another value at a place; a value of ... deletes it."""
    document = json.loads(json.dumps(document))
    *outer, last = place
    target = document
    for key in outer:
        target = target[key]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return document


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "num_changes"),
    [
        ("config.json", 50),
        ("calibration.json", 12),
        ("ood.json", 8),
        ("tokenizer.json", 25),
        ("tokenizer_config.json", 15),
    ],
)
def test_changed_value_gives_a_clear_error_or_a_working_model(folder, name, num_changes):
    path = folder / name
    document = json.loads(path.read_text())
    rng = random.Random(name)
    for _ in range(num_changes):
        place, value = rng.choice(list(places(document))), rng.choice((*VALUES, ...))
        path.write_text(json.dumps(mutated(document, place, value)))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            generator = ReportGenerator.from_pretrained(folder, device="cpu")
        except ValueError as error:
            assert str(folder) in str(error), (place, value)
        else:
            [report] = generator.generate(IMAGE, options=GenerationOptions(max_new_tokens=2))
            assert all(0 <= probability <= 1 for probability in report.finding_probabilities), (place, value)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MAX_GROWTH_KIB, (place, value)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("decoder", "architecture", "n_embd"), 48, r"has shape \(14, 16\) but config.json needs \(14, 48\)"),
        (("decoder", "architecture", "n_positions"), 5, r"wpe.weight' has shape .* but config.json needs \(5, "),
        (("decoder", "architecture", "n_head"), 3, r"config.json: .*divisible.* 3.*; restore the values"),
        (("decoder", "architecture", "n_layer"), 10**9, r"config.json: decoder architecture: n_layer is 1000000000"),
        (("decoder", "architecture", "vocab_size"), 10, r"vocab_size is 10, but the tokenizer .* has \d{3} tokens"),
        (("decoder", "architecture", "layer_norm_epsilon"), float("nan"), r"layer_norm_epsilon is nan"),
        (("encoder", "architecture", "hidden_size"), 10**12, r"encoder architecture: hidden_size is 1000000000000"),
        (
            ("image", "size"),
            10**9,
            r"image size must be at least 1 pixel, got 1000000000; at most 4096",
        ),
        (("image", "std"), [0.0], r"config.json: image: mean and std must be finite and std above 0"),
        (("pool",), 10**9, r"config.json"),
    ],
)
def test_wrong_size_names_file_key_and_value(folder, place, value, message):
    path = folder / "config.json"
    path.write_text(json.dumps(mutated(json.loads(path.read_text()), place, value)))
    with pytest.raises(ValueError, match=message) as caught:
        load_checkpoint(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_are_rejected_with_the_tensor(folder, value):
    tensors = load_file(folder / "model.safetensors")
    name = "finding_queries.key.weight"
    tensors[name][0, 0] = value
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=rf"model.safetensors: '{name}' holds NaN or infinite numbers.*use another"):
        load_checkpoint(folder)


def test_checks_draw_no_random_numbers(folder):
    """A training run that starts from the checkpoint would have other losses."""
    torch.manual_seed(0)
    ReportModel(read_json(folder / "config.json", ReportModelConfig))
    expected = torch.rand(3)
    torch.manual_seed(0)
    load_checkpoint(folder)
    assert torch.equal(torch.rand(3), expected)
