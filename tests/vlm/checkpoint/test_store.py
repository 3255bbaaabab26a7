"""Checkpoint folders: saving and loading, bases, damage, old file formats, identity."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, ViTConfig, ViTModel

from vlm.checkpoint.store import Checkpoint, checkpoint_hash, load_checkpoint, merge_checkpoint, save_checkpoint
from vlm.config import BaseWeights, DecoderConfig, EncoderConfig, LoraSettings
from vlm.layers.encoder import resolve_encoder
from vlm.layers.gpt2 import resolve_gpt2
from vlm.uncertainty import Calibration, fit_detector, save_ood_detector

LORA = LoraSettings(rank=2, dropout=0.0)
LORA_ON_BOTH = LoraSettings(
    rank=2, dropout=0.0, decoder_projections=("attn.c_attn", "mlp.c_fc"), encoder_projections=("q_proj",)
)
LORA_AND_ENCODER = LoraSettings(rank=2, dropout=0.0, train_encoder=True)


@pytest.fixture(scope="module")
def bases(tmp_path_factory, tiny_config):
    """Settings for `build_model` that name a pretrained ViT and GPT-2 in local folders."""
    folder = tmp_path_factory.mktemp("bases")
    config = tiny_config()
    torch.manual_seed(1)
    vit = {key: value for key, value in config.encoder.architecture.items() if key != "model_type"}
    ViTModel(ViTConfig(**vit, image_size=32, num_channels=1), add_pooling_layer=False).save_pretrained(folder / "vit")
    gpt2 = {key: value for key, value in config.decoder.architecture.items() if key != "model_type"}
    GPT2LMHeadModel(GPT2Config(**gpt2)).save_pretrained(folder / "gpt2")
    vit_name, gpt2_name = str(folder / "vit"), str(folder / "gpt2")
    return {
        "encoder": EncoderConfig(
            architecture=resolve_encoder(vit_name, revision=None), base=BaseWeights(name=vit_name)
        ),
        "decoder": DecoderConfig(architecture=resolve_gpt2(gpt2_name, revision=None), base=BaseWeights(name=gpt2_name)),
    }


def trained(model):
    """The model with every weight that training would move moved."""
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn_like(parameter)
    return model


def save(folder, model, tokenizer):
    calibration = Calibration(temperature=1.25, thresholds=tuple(number / 20 for number in range(14)), num_studies=7)
    save_checkpoint(folder, Checkpoint(model=model, tokenizer=tokenizer, calibration=calibration))
    return calibration


@torch.inference_mode()
def assert_same_outputs(model, other, batch, *, atol=0.0):
    expected, output = model.eval()(**batch), other.eval()(**batch)
    torch.testing.assert_close(output.logits, expected.logits, atol=atol, rtol=0)
    torch.testing.assert_close(output.finding_logits, expected.finding_logits, atol=atol, rtol=0)


@pytest.mark.parametrize(
    "settings, on_bases",
    [
        ({}, False),
        ({"kind": "lstm"}, False),
        ({"lora": LORA}, False),
        ({"lora": LORA_ON_BOTH}, True),
        ({"lora": LORA_AND_ENCODER}, True),
        ({}, True),
        ({"encoder": EncoderConfig(architecture={"model_type": "plain_cnn", "widths": [8, 8]})}, False),
        ({"severity": True, "lora": LORA}, False),
    ],
    ids=["whole", "lstm", "lora", "lora on bases", "lora and encoder", "bases trained whole", "cnn", "severity"],
)
def test_loaded_and_merged_checkpoints_have_the_same_outputs(
    settings, on_bases, build_model, bases, tiny_tokenizer, study_batch, tmp_path
):
    model = trained(build_model(**settings, **(bases if on_bases else {})))
    model.train()(**study_batch())  # moves running statistics, where there are any
    calibration = save(tmp_path / "saved", model, tiny_tokenizer)
    loaded = load_checkpoint(tmp_path / "saved")
    assert loaded.calibration == calibration
    assert loaded.tokenizer.get_vocab() == tiny_tokenizer.get_vocab()
    assert not loaded.model.training
    assert_same_outputs(model, loaded.model, study_batch())
    merge_checkpoint(tmp_path / "saved", tmp_path / "merged")
    merged = load_checkpoint(tmp_path / "merged")
    assert merged.calibration == calibration
    assert merged.model.config.lora is None
    assert not list((tmp_path / "merged").glob("*adapter*"))
    assert_same_outputs(model, merged.model, study_batch(), atol=1e-5)


def tensor_names(path):
    with safe_open(path, framework="pt") as file:
        return set(file.keys())


def test_frozen_base_is_named_and_not_copied(build_model, bases, tiny_tokenizer, tmp_path):
    save(tmp_path / "lora", build_model(lora=LORA_ON_BOTH, **bases), tiny_tokenizer)
    config = json.loads((tmp_path / "lora/config.json").read_text())
    assert config["decoder"]["base"] == {"name": bases["decoder"].base.name, "revision": None}
    names = tensor_names(tmp_path / "lora/model.safetensors")
    assert not {name for name in names if name.startswith(("encoder.", "decoder."))}
    assert {name.split(".")[0] for name in names} >= {"finding_queries", "vision_projector", "view_embedding"}
    for folder in ("adapter", "encoder_adapter"):
        assert all(".lora_" in name for name in tensor_names(tmp_path / "lora" / folder / "adapter_model.safetensors"))


def test_trained_base_is_saved_and_not_named(build_model, bases, tiny_tokenizer, tmp_path):
    model = trained(build_model(**bases))
    model.freeze_image_encoder()  # the second stage of training: the encoder was trained in the first
    save(tmp_path / "whole", model, tiny_tokenizer)
    config = json.loads((tmp_path / "whole/config.json").read_text())
    assert config["encoder"]["base"] is None and config["decoder"]["base"] is None
    saved = load_file(tmp_path / "whole/model.safetensors")
    assert torch.equal(saved["encoder.backbone.layernorm.weight"], model.encoder.backbone.layernorm.weight)


def test_encoder_trained_with_lora_is_saved_and_the_frozen_decoder_is_not(build_model, bases, tiny_tokenizer, tmp_path):
    save(tmp_path / "half", build_model(lora=LORA_AND_ENCODER, **bases), tiny_tokenizer)
    config = json.loads((tmp_path / "half/config.json").read_text())
    assert config["encoder"]["base"] is None and config["decoder"]["base"] is not None
    names = tensor_names(tmp_path / "half/model.safetensors")
    assert "encoder.backbone.layernorm.weight" in names
    assert not {name for name in names if name.startswith("decoder.")}


def test_merged_checkpoints_need_no_base(build_model, bases, tiny_tokenizer, study_batch, tmp_path):
    model = trained(build_model(lora=LORA_ON_BOTH, **bases))
    save(tmp_path / "run/best", model, tiny_tokenizer)
    (tmp_path / "run/best/README.md").write_text("the card")
    merge_checkpoint(tmp_path / "run", tmp_path / "merged")
    assert (tmp_path / "merged/README.md").read_text() == "the card"
    config = json.loads((tmp_path / "merged/config.json").read_text())
    assert config["encoder"]["base"] is None and config["decoder"]["base"] is None
    with pytest.raises(ValueError, match="merged exists; name a new folder"):
        merge_checkpoint(tmp_path / "run", tmp_path / "merged")


def test_half_precision_halves_the_file_and_hardly_changes_the_outputs(
    build_model, tiny_tokenizer, study_batch, tmp_path
):
    model = trained(build_model())
    save(tmp_path / "run", model, tiny_tokenizer)
    merge_checkpoint(tmp_path / "run", tmp_path / "half", dtype=torch.float16)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("run", "half")]
    assert 0.5 <= sizes[1] / sizes[0] < 0.6
    loaded = load_checkpoint(tmp_path / "half").model
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert_same_outputs(model, loaded, study_batch(), atol=0.02)


def test_missing_base_is_named(build_model, bases, tiny_tokenizer, tmp_path):
    model = build_model(lora=LORA, **bases)
    save(tmp_path / "lora", model, tiny_tokenizer)
    path = tmp_path / "lora/config.json"
    path.write_text(path.read_text().replace(bases["decoder"].base.name, "/nowhere/gpt2"))
    with pytest.raises(ValueError, match=r"lora/config.json: .*'/nowhere/gpt2'"):
        load_checkpoint(tmp_path / "lora")


def test_output_folder_of_a_run_gives_its_best_checkpoint(tiny_checkpoint, tmp_path):
    shutil.copytree(tiny_checkpoint, tmp_path / "run/best")
    (tmp_path / "run/training_config.json").write_text("{}")
    assert load_checkpoint(tmp_path / "run").calibration == load_checkpoint(tiny_checkpoint).calibration


def test_saved_checkpoint_replaces_the_old_one_completely(tiny_checkpoint, build_model, tiny_tokenizer, tmp_path):
    shutil.copytree(tiny_checkpoint, tmp_path / "best")
    (tmp_path / "best.partial").mkdir()
    (tmp_path / "best.partial/left by a kill").touch()
    (tmp_path / "best/adapter").mkdir()
    save(tmp_path / "best", build_model(kind="lstm"), tiny_tokenizer)
    assert load_checkpoint(tmp_path / "best").model.config.decoder.kind == "lstm"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best"]
    assert sorted(path.name for path in (tmp_path / "best").iterdir()) == [
        "calibration.json",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def edit(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def drop_tensor(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["finding_queries.finding_bias"]
    save_file(tensors, folder / "model.safetensors")


def add_tensor(folder):
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"surplus": torch.zeros(1)}, folder / "model.safetensors")


def cut(path):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda folder: shutil.rmtree(folder), "is not a folder; give the checkpoint folder"),
        (lambda folder: (folder / "config.json").unlink(), "has no checkpoint: no config.json and no best/"),
        (lambda folder: (folder / "calibration.json").unlink(), "calibration.json is missing"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda folder: cut(folder / "config.json"), r"config.json is not valid JSON .*half-written"),
        (lambda folder: cut(folder / "model.safetensors"), r"model.safetensors cannot be read .*half-written"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), "model.safetensors cannot be read"),
        (drop_tensor, r"model.safetensors lacks 'finding_queries.finding_bias' \(1 missing, 0 unknown\)"),
        (add_tensor, r"model.safetensors holds 'surplus', which config.json does not have"),
        (
            lambda folder: edit(folder / "config.json", lambda config: config.update(pol=1)),
            r"config.json: unknown key 'pol'; did you mean 'pool'\?",
        ),
        (
            lambda folder: edit(
                folder / "config.json", lambda config: config["decoder"]["architecture"].update(n_layers=1)
            ),
            r"config.json: architecture of a gpt2: unknown key 'n_layers'; did you mean 'n_layer'\?",
        ),
        (
            lambda folder: edit(folder / "config.json", lambda config: config.update(num_query_heads=3)),
            r"config.json: num_query_heads 3 does not divide",
        ),
        (
            lambda folder: edit(
                folder / "config.json", lambda config: config["decoder"]["architecture"].update(n_positions=95)
            ),
            r"model.safetensors: 'decoder.language_model.transformer.wpe.weight' has shape \(96, 16\) but config.json "
            r"needs \(95, 16\)",
        ),
        (
            lambda folder: edit(folder / "calibration.json", lambda values: values.update(temperature=0)),
            "calibration.json: calibration temperature must be above 0, got 0",
        ),
        (
            lambda folder: edit(folder / "calibration.json", lambda values: values.update(thresholds=[0.5])),
            "calibration.json: calibration needs 14 thresholds, got 1",
        ),
    ],
)
def test_damaged_checkpoint_is_rejected_with_the_name_of_the_problem(damage, message, tiny_checkpoint, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(tiny_checkpoint, folder)
    damage(folder)
    with pytest.raises(ValueError, match=message) as caught:
        load_checkpoint(folder)
    assert "damaged" in str(caught.value)


def test_missing_or_wrong_adapter_is_named(build_model, tiny_tokenizer, tmp_path):
    save(tmp_path / "lora", build_model(lora=LORA), tiny_tokenizer)
    path = tmp_path / "lora/adapter/adapter_model.safetensors"
    tensors = load_file(path)
    name = sorted(tensors)[0]
    save_file(tensors | {name: torch.zeros(3, 3)}, path)
    with pytest.raises(ValueError, match=rf"adapter_model.safetensors: '{name}' has shape \(3, 3\)"):
        load_checkpoint(tmp_path / "lora")
    path.unlink()
    with pytest.raises(ValueError, match=r"adapter/adapter_model.safetensors is missing"):
        load_checkpoint(tmp_path / "lora")


def test_checkpoint_with_old_tensor_names_still_loads(tiny_checkpoint, study_batch, tmp_path):
    folder = tmp_path / "old"
    shutil.copytree(tiny_checkpoint, folder)
    tensors = load_file(folder / "model.safetensors")
    old = {name.replace("finding_locations.", "finding_places."): tensor for name, tensor in tensors.items()}
    assert {name for name in old if name not in tensors} == {"finding_places.rows", "finding_places.columns"}
    save_file(old, folder / "model.safetensors")
    assert_same_outputs(load_checkpoint(tiny_checkpoint).model, load_checkpoint(folder).model, study_batch())


def test_checkpoint_with_the_old_files_of_the_ood_check_still_loads(tiny_checkpoint, tmp_path):
    folder = tmp_path / "old"
    shutil.copytree(tiny_checkpoint, folder)
    images = np.random.default_rng(0).normal(size=(80, 12))
    detector = fit_detector(images[:40], images[40:])
    save_ood_detector(folder, detector)
    values = json.loads((folder / "ood.json").read_text())
    for kind in ("training", "validation"):
        values[f"num_{kind}_pictures"] = values.pop(f"num_{kind}_images")
    (folder / "familiarity.json").write_text(json.dumps(values))
    (folder / "ood.json").unlink()
    (folder / "ood.safetensors").rename(folder / "familiarity.safetensors")
    loaded = load_checkpoint(folder).ood_detector
    assert loaded.settings == detector.settings
    assert loaded.distances(images) == pytest.approx(detector.distances(images), rel=1e-4)


def test_hash_changes_with_the_weights_and_not_with_other_files(tiny_checkpoint, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    before = checkpoint_hash(str(folder))
    assert before == checkpoint_hash(str(tiny_checkpoint)) and len(before) == 16
    for name in ("log.json", "README.md", "similar_cases.json", "features.safetensors"):
        (folder / name).write_text("{}")
    (folder / "adapter").mkdir()
    (folder / "adapter" / "log.txt").write_text("not part of the identity")
    assert checkpoint_hash(str(folder)) == before
    tensors = load_file(folder / "model.safetensors")
    tensors["finding_queries.finding_bias"][3] += 1e-3
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    changed = checkpoint_hash(str(folder))
    assert changed != before
    edit(folder / "calibration.json", lambda values: values.update(temperature=1.75))
    assert checkpoint_hash(str(folder)) not in (before, changed)
    assert checkpoint_hash("someone/on-the-hub") == "someone/on-the-hub"


def test_checkpoint_from_before_severities_has_the_same_outputs(tiny_checkpoint, study_batch, tmp_path):
    folder = tmp_path / "old"
    shutil.copytree(tiny_checkpoint, folder)
    config = json.loads((folder / "config.json").read_text())
    assert config.pop("severity") is False
    (folder / "config.json").write_text(json.dumps(config))
    model = load_checkpoint(folder).model
    assert model.severity_head is None
    assert_same_outputs(load_checkpoint(tiny_checkpoint).model, model, study_batch())
    expected = load_checkpoint(folder).model
    model.add_severity()
    assert_same_outputs(expected, model, study_batch())
