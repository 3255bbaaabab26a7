"""GPT-2 as decoder: pretrained folders in Hugging Face format, positions, padding."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, ViTConfig, ViTModel

from vlm.config import BaseWeights, DecoderConfig
from vlm.inputs.tokenizer import load_tokenizer
from vlm.layers.gpt2 import GPT2Decoder, resolve_gpt2

GPT2_FILES = Path("../shared/data/gpt2_tokenizer")


@pytest.fixture(scope="module", params=["gelu_new", "relu"])
def reference(request, tmp_path_factory):
    """transformers' own GPT-2 and the folder that it was saved to; hardly anything at its default."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=50,
            n_embd=16,
            n_layer=2,
            n_head=4,
            n_positions=24,
            n_inner=40,
            activation_function=request.param,
            layer_norm_epsilon=1e-3,
            initializer_range=0.3,
        )
    ).eval()
    folder = tmp_path_factory.mktemp("gpt2")
    model.save_pretrained(folder)
    return model, folder


def load(folder):
    name = str(folder)
    return GPT2Decoder(
        DecoderConfig(architecture=resolve_gpt2(name, revision=None), base=BaseWeights(name=name))
    ).eval()


@torch.inference_mode()
def test_pretrained_gpt2_has_the_logits_of_transformers(reference):
    model, folder = reference
    decoder = load(folder)
    ids = torch.randint(50, (3, 11))
    logits, _ = decoder(decoder.embed(ids), torch.ones_like(ids), 0)
    torch.testing.assert_close(logits, model(ids).logits, atol=1e-5, rtol=0)


@pytest.mark.skipif(not GPT2_FILES.is_dir(), reason=f"GPT-2's vocabulary is not at {GPT2_FILES}")
@torch.inference_mode()
def test_gpt2_with_its_own_vocabulary_has_the_logits_of_transformers(tmp_path):
    model = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=2, initializer_range=0.3)).eval()
    model.save_pretrained(tmp_path)
    shutil.copytree(GPT2_FILES, tmp_path, dirs_exist_ok=True)
    decoder = load(tmp_path)
    ids = torch.tensor([load_tokenizer(tmp_path).encode("Hello world")])
    assert ids.tolist() == [[15496, 995]]
    logits, _ = decoder(decoder.embed(ids), torch.ones_like(ids), 0)
    assert logits.shape == (1, 2, 50257)
    torch.testing.assert_close(logits, model(ids).logits, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_recorded_architecture_rebuilds_the_pretrained_model(reference):
    model, folder = reference
    architecture = json.loads(json.dumps(resolve_gpt2(str(folder), revision=None)))
    decoder = GPT2Decoder(DecoderConfig(architecture=architecture)).eval()
    decoder.language_model.load_state_dict(model.state_dict())
    ids = torch.randint(50, (1, 5))
    logits, _ = decoder(decoder.embed(ids), torch.ones_like(ids), 0)
    torch.testing.assert_close(logits, model(ids).logits, atol=1e-5, rtol=0)


def test_sharded_weights_are_loaded_completely(reference, tmp_path):
    model, _ = reference
    model.save_pretrained(tmp_path, max_shard_size="4KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    loaded = load(tmp_path).language_model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in model.state_dict().items())


def test_pickled_weights_are_rejected(reference, tmp_path):
    model, folder = reference
    shutil.copy(folder / "config.json", tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"cannot be read.*safetensors"):
        load(tmp_path)


def test_missing_weight_is_named(reference, tmp_path):
    _, folder = reference
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    tensors = load_file(folder / "model.safetensors")
    del tensors["transformer.h.1.mlp.c_fc.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lack 'transformer.h.1.mlp.c_fc.weight' \(1 missing\)"):
        load(tmp_path)


def test_truncated_weights_are_named(reference, tmp_path):
    _, folder = reference
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    whole = (folder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"weights of .* cannot be read"):
        load(tmp_path)


def test_missing_decoder_or_other_architecture_is_rejected(tmp_path):
    with pytest.raises(ValueError, match="no model can be read from 'nobody/has-this'"):
        resolve_gpt2("nobody/has-this", revision=None)
    vit = ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, image_size=16)
    ViTModel(vit).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is a vit, not a GPT-2"):
        resolve_gpt2(str(tmp_path), revision=None)


def test_unknown_key_of_the_architecture_is_rejected():
    with pytest.raises(ValueError, match="unknown key 'n_layers'; did you mean 'n_layer'"):
        GPT2Decoder(DecoderConfig(architecture={"n_layers": 3}))
    with pytest.raises(ValueError, match=r"architecture of a gpt2: .*n_layer"):
        GPT2Decoder(DecoderConfig(architecture={"n_layer": "three"}))


@torch.inference_mode()
def test_padding_anywhere_changes_no_logits(reference):
    decoder = load(reference[1])
    ids = torch.randint(50, (1, 8))
    plain, _ = decoder(decoder.embed(ids), torch.ones_like(ids), 5)
    padded_ids = torch.cat([ids[:, :2], torch.full((1, 3), 7), ids[:, 2:], torch.full((1, 2), 9)], dim=1)
    mask = torch.tensor([[1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0]])
    padded, _ = decoder(decoder.embed(padded_ids), mask, 8)
    torch.testing.assert_close(padded[:, :3], plain, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_position_limit_is_an_error_and_does_not_count_padding(reference):
    decoder = load(reference[1])
    ids = torch.randint(50, (2, 25))
    mask = torch.ones_like(ids)
    with pytest.raises(ValueError, match="prefix and text take 25 positions but this GPT-2 has 24; use fewer views"):
        decoder(decoder.embed(ids), mask, 0)
    mask[:, 3] = 0
    logits, _ = decoder(decoder.embed(ids), mask, 24)
    assert logits.shape == (2, 1, 50)
