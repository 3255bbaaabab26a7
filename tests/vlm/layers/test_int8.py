"""Linear layers in int8: the arithmetic, independence of the batch, processors without VNNI, torch without oneDNN."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from vlm.layers import int8
from vlm.layers.int8 import Int8Linear, int8_problem, quantize_linear_layers

pytestmark = pytest.mark.skipif(bool(int8_problem(torch.device("cpu"))), reason="this processor has no int8 kernel")


@pytest.fixture
def layer():
    return nn.Linear(64, 48).eval()


def in_integers(layer, inputs, levels):
    """The definition: round to integers by one scale per output and per row, multiply, scale back."""
    weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    weight_scale = np.abs(weight).max(axis=1, keepdims=True) / 127
    input_scale = np.abs(inputs).max(axis=1, keepdims=True) / levels
    integers = np.round(inputs / input_scale) @ np.round(weight / weight_scale).T
    return integers * input_scale * weight_scale.T + bias


@torch.inference_mode()
def test_layer_multiplies_rounded_weights_and_inputs(layer, monkeypatch):
    inputs = torch.randn(5, 64) * torch.tensor([[0.01], [1.0], [3.0], [100.0], [1.0]])
    with_vnni = Int8Linear(layer.weight, layer.bias)
    monkeypatch.setattr(int8.torch.cpu, "get_capabilities", dict)
    without = Int8Linear(layer.weight, layer.bias)
    assert without.levels == 63
    for quantized in (with_vnni, without):
        expected = in_integers(layer, inputs.double().numpy(), quantized.levels)
        # A value on the border of two integers may be rounded to either.
        np.testing.assert_allclose(quantized(inputs), expected, atol=2e-4, rtol=1e-3)
        error = (quantized(inputs) - layer(inputs)).norm(dim=1) / layer(inputs).norm(dim=1)
        assert 0 < error.max() < 0.03


@torch.inference_mode()
def test_result_for_a_row_does_not_depend_on_the_other_rows(layer):
    quantized = Int8Linear(layer.weight, layer.bias)
    inputs = torch.randn(3, 7, 64)
    inputs[0] *= 1000
    together = quantized(inputs)
    assert together.shape == (3, 7, 48)
    for study in range(3):
        for row in range(7):
            assert torch.equal(together[study, row], quantized(inputs[study, row]))


@torch.inference_mode()
def test_row_of_zeros_gives_the_bias(layer):
    torch.testing.assert_close(Int8Linear(layer.weight, layer.bias)(torch.zeros(1, 64))[0], layer.bias)
    assert Int8Linear(layer.weight, None)(torch.zeros(1, 64)).count_nonzero() == 0


@torch.inference_mode()
def test_all_linear_layers_are_replaced_and_others_stay():
    model = nn.Sequential(
        nn.Embedding(9, 64),
        nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 32)),
        Conv1D(16, 32),
        nn.Linear(16, 8, bias=False),
    )
    ids = torch.arange(9)
    expected = model(ids)
    quantize_linear_layers(model)
    kinds = [type(layer).__name__ for layer in model.modules() if not isinstance(layer, nn.Sequential)]
    assert kinds == ["Embedding", "LayerNorm", "Int8Linear", "Int8Linear", "Int8Linear"]
    assert (model(ids) - expected).norm() < 0.05 * expected.norm()


def test_devices_without_int8_are_named(monkeypatch):
    assert "not on cuda:0; leave it out" in int8_problem(torch.device("cuda:0"))
    monkeypatch.setattr(int8.torch.backends.mkldnn, "is_available", lambda: False)
    assert "needs a torch with oneDNN" in int8_problem(torch.device("cpu"))
