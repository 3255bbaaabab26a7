"""LoRA: nothing at the start, only adapters move, unknown projections named."""

import copy

import pytest
import torch

from vlm.config import LoraSettings
from vlm.layers.gpt2 import add_lora

BOTH = LoraSettings(rank=2, alpha=8, dropout=0.0, encoder_projections=("q_proj", "v_proj"))


@torch.inference_mode()
def test_new_lora_equals_the_base(build_model, study_batch):
    batch = study_batch()
    plain, adapted = build_model()(**batch), build_model(lora=BOTH)(**batch)
    assert torch.equal(plain.logits, adapted.logits)
    assert torch.equal(plain.finding_logits, adapted.finding_logits)


def is_frozen(name, settings):
    """Of the parameters of encoder and decoder, those that are no adapter."""
    frozen = ("decoder.",) if settings.train_encoder else ("encoder.", "decoder.")
    return name.startswith(frozen) and ".lora_" not in name


@pytest.mark.parametrize(
    "settings",
    [
        BOTH,
        LoraSettings(rank=2, decoder_projections=("attn.c_attn",)),
        LoraSettings(rank=2, decoder_projections=("attn.c_attn",), train_encoder=True),
    ],
    ids=["both", "decoder", "decoder, encoder trained whole"],
)
def test_step_moves_all_adapters_and_heads_and_nothing_frozen(settings, build_model, study_batch):
    model = build_model(lora=settings).train()
    before = copy.deepcopy(dict(model.state_dict()))
    optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=1.0)
    for _ in range(2):  # the first step moves B away from zero, only then A has a gradient
        output = model(**study_batch())
        (output.report_loss_sum / 50 + output.finding_loss_sum / 30).backward()
        optimizer.step()
        optimizer.zero_grad()
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert not {name for name in moved if is_frozen(name, settings)}
    still = {name for name, _ in model.named_parameters()} - moved
    # Softmax ignores what is added to all keys alike, so their biases have no gradient.
    assert not {
        name for name in still if not is_frozen(name, settings) and not name.endswith(("key.bias", "k_proj.bias"))
    }


def test_adapters_are_on_the_chosen_projections(build_model):
    def adapted(settings):
        names = {
            name.split(".lora_")[0] for name, _ in build_model(lora=settings).named_parameters() if ".lora_A" in name
        }
        return {name.replace("base_model.model.", "") for name in names}

    assert adapted(LoraSettings(decoder_projections=("attn.c_proj",))) == {
        f"decoder.language_model.transformer.h.{layer}.attn.c_proj" for layer in (0, 1)
    }
    assert adapted(LoraSettings(decoder_projections=(), encoder_projections=("q_proj",))) == {
        f"encoder.backbone.layers.{layer}.attention.q_proj" for layer in (0, 1)
    }
    assert len(adapted(LoraSettings())) == 2 * 4


@torch.inference_mode()
def test_adapter_adds_alpha_over_rank_times_b_a(build_model):
    model = build_model(lora=LoraSettings(rank=2, alpha=6, dropout=0.0, decoder_projections=("mlp.c_fc",)))
    layer = model.decoder.language_model.base_model.model.transformer.h[0].mlp.c_fc
    layer.lora_B["default"].weight.normal_()
    inputs = torch.randn(3, 16)
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    torch.testing.assert_close(layer(inputs), layer.base_layer(inputs) + 3 * inputs @ down.T @ up.T)


def test_unknown_projection_is_named_with_the_known_ones(build_model):
    with pytest.raises(
        ValueError, match=r"no projection 'attn.q' to adapt; known projections: attn.c_attn, attn.c_proj, mlp.c_"
    ):
        build_model(lora=LoraSettings(decoder_projections=("attn.q",)))
    with pytest.raises(ValueError, match=r"no projection 'c_attn' to adapt; known projections: .*attention.q_proj"):
        build_model(lora=LoraSettings(encoder_projections=("c_attn",)))
    with pytest.raises(ValueError, match=r"no projection 'proj' to adapt; known projections: $"):
        add_lora(torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1)), BOTH, ["proj"])


def test_frozen_encoder_stays_in_evaluation_mode(build_model):
    assert not build_model(lora=LoraSettings()).train().encoder.training
    assert build_model(lora=BOTH).train().encoder.training
    assert build_model(lora=LoraSettings(train_encoder=True)).train().encoder.training
    assert build_model().train().encoder.training


def test_trained_parameters_are_counted(build_model):
    model = build_model(lora=LoraSettings(rank=2, decoder_projections=("attn.c_attn",)))
    total, trained = model.num_parameters()
    heads = sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if not name.startswith(("encoder.", "decoder."))
    )
    assert trained == heads + 2 * 2 * (16 + 48)
    assert total == build_model().num_parameters()[0] + 2 * 2 * (16 + 48)
