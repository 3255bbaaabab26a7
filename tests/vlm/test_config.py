"""The model's configuration and its strict JSON."""

import dataclasses
import json

import pytest

from vlm.config import (
    BaseWeights,
    DecoderConfig,
    EncoderConfig,
    ImageGeometry,
    LoraSettings,
    ReportModelConfig,
)
from vlm.schema.strict_json import from_dict, read_json, to_json

CONFIG = ReportModelConfig(
    encoder=EncoderConfig(architecture={"model_type": "vit", "depths": [1, 2]}, patch_stride=8),
    decoder=DecoderConfig(architecture={"n_embd": 8}, base=BaseWeights(name="gpt2", revision="abc")),
    image=ImageGeometry(size=64, num_channels=3, mean=(0.5, 0.4, 0.3), std=(1.0, 1.0, 1.0)),
    lora=LoraSettings(rank=4, decoder_projections=("attn.c_attn",)),
)


def written(tmp_path, change):
    """config.json of CONFIG after `change` had its way with the values."""
    values = json.loads(to_json(CONFIG))
    change(values)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(values))
    return path


def test_configuration_is_unchanged_by_json(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(to_json(CONFIG))
    assert read_json(path, ReportModelConfig) == CONFIG


def test_missing_fields_have_their_defaults(tmp_path):
    path = written(tmp_path, lambda values: [values.pop(name) for name in ("image", "lora", "pool")])
    config = read_json(path, ReportModelConfig)
    assert (config.image, config.lora, config.pool) == (ImageGeometry(), None, 4)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda v: v.update(num_query_head=4), r"unknown key 'num_query_head'; did you mean 'num_query_heads'\?"),
        (lambda v: v.update(zzz=4), "unknown key 'zzz'; known keys: encoder, decoder, image"),
        (lambda v: v["lora"].update(rnk=4), r"lora: unknown key 'rnk'; did you mean 'rank'\?"),
        (lambda v: v.pop("encoder"), "the key 'encoder' is missing"),
        (lambda v: v.update(pool="2"), "pool: expected int, got '2'"),
        (lambda v: v.update(pool=True), "pool: expected int, got True"),
        (lambda v: v.update(pool=None), "pool: expected int, got None"),
        (lambda v: v.update(encoder=None), "encoder: expected an object for EncoderConfig, got NoneType"),
        (lambda v: v["encoder"].update(architecture=[1]), r"architecture: expected an object, got \[1\]"),
        (lambda v: v["image"].update(mean=0.5), "image: mean: expected a list, got 0.5"),
        (lambda v: v["image"].update(mean=["a"]), "image: mean: expected float, got 'a'"),
        (lambda v: v["image"].update(size=0), "image: image size must be at least 1 pixel"),
        (lambda v: v["decoder"].update(kind="t5"), "decoder: kind: expected one of 'gpt2', 'lstm', got 't5'"),
    ],
)
def test_invalid_configuration_is_named_with_its_file(change, message, tmp_path):
    path = written(tmp_path, change)
    with pytest.raises(ValueError, match=message) as caught:
        read_json(path, ReportModelConfig)
    assert str(path) in str(caught.value)


def test_integers_are_read_as_floats_in_float_fields():
    geometry = from_dict({"mean": [0], "std": [1]}, ImageGeometry, where="here")
    assert geometry.mean == (0.0,) and type(geometry.mean[0]) is float


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "config.json is missing"),
        (to_json(CONFIG)[:50].encode(), "config.json is not valid JSON .*half-written"),
        (b"\xff\xfe", "config.json is not valid JSON"),
        (b"[" * 200_000, "config.json is not valid JSON"),
        (b"[]", "config.json: expected an object for ReportModelConfig, got list"),
        (b" " * (2**24 + 1), "config.json has 16,777,217 bytes; settings take at most 16,777,216"),
    ],
    ids=["missing", "half", "binary", "deep", "list", "large"],
)
def test_damaged_settings_file_is_named(content, message, tmp_path):
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_json(tmp_path / "config.json", ReportModelConfig)


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: ImageGeometry(num_channels=2), "num_channels must be 1 or 3, got 2"),
        (lambda: ImageGeometry(num_channels=3), "mean and std need 3 values each"),
        (lambda: ImageGeometry(size=0), "image size must be at least 1 pixel, got 0"),
        (lambda: LoraSettings(rank=0), "LoRA rank must be at least 1, got 0; use --no-lora"),
        (lambda: LoraSettings(decoder_projections=()), "LoRA needs at least one projection"),
        (
            lambda: LoraSettings(encoder_projections=("q_proj",), train_encoder=True),
            "encoder_projections and train_encoder exclude each other",
        ),
        (lambda: dataclasses.replace(CONFIG, pool=0), "pool must be at least 1, got 0"),
        (
            lambda: dataclasses.replace(CONFIG, decoder=DecoderConfig(kind="lstm", architecture={})),
            "LoRA adapts a GPT-2; train the LSTM with --no-lora",
        ),
        (
            lambda: DecoderConfig(kind="lstm", architecture={}, base=BaseWeights(name="gpt2")),
            "an LSTM has no base weights",
        ),
    ],
)
def test_invalid_settings_are_rejected(build, message):
    with pytest.raises(ValueError, match=message):
        build()
