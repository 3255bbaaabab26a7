"""The LSTM decoder: attention over the prefix, recurrence, padding."""

import pytest
import torch

from vlm.config import DecoderConfig
from vlm.layers.lstm import LSTMDecoder


@pytest.fixture
def decoder():
    return LSTMDecoder(
        DecoderConfig(kind="lstm", architecture={"vocab_size": 11, "n_embd": 6, "n_layer": 2, "dropout": 0.5})
    ).eval()


@torch.inference_mode()
def test_logits_are_luongs_equations(decoder):
    prefix, ids = torch.randn(1, 4, 6), torch.tensor([[3, 1, 7]])
    embeds = torch.cat([prefix, decoder.embed(ids)], dim=1)
    logits, _ = decoder(embeds, torch.ones(1, 7, dtype=torch.long), 4)
    memory = decoder.memory_norm(prefix[0])
    first = torch.tanh(decoder.first_state(memory.mean(dim=0))).view(2, 2, 6)
    hidden, _ = decoder.recurrence(decoder.embed(ids)[0], (first[0], first[1]))
    for step in range(3):
        weights = (memory @ decoder.attention_key.weight.T @ hidden[step] / 6**0.5).softmax(dim=0)
        combined = torch.tanh(decoder.combine(torch.cat([hidden[step], weights @ memory])))
        torch.testing.assert_close(logits[0, step], decoder.embedding.weight @ combined)


@torch.inference_mode()
def test_padding_in_the_prefix_changes_no_logits(decoder):
    prefix, text = torch.randn(2, 3, 6), decoder.embed(torch.tensor([[3, 1], [4, 2]]))
    plain, _ = decoder(torch.cat([prefix, text], dim=1), torch.ones(2, 5, dtype=torch.long), 3)
    padded = torch.cat([prefix[:, :1], torch.randn(2, 2, 6), prefix[:, 1:], text], dim=1)
    mask = torch.tensor([[1, 0, 0, 1, 1, 1, 1]] * 2)
    torch.testing.assert_close(decoder(padded, mask, 5)[0], plain)


@torch.inference_mode()
def test_prefix_changes_the_logits(decoder):
    text = decoder.embed(torch.tensor([[3, 1]]))
    mask = torch.ones(1, 5, dtype=torch.long)
    one, other = (decoder(torch.cat([torch.randn(1, 3, 6), text], dim=1), mask, 3)[0] for _ in range(2))
    assert (one - other).abs().max() > 1e-2


@pytest.mark.parametrize(
    "architecture",
    [
        {"vocab_size": 11, "n_embd": 6, "n_layer": 2},
        {"vocab_size": 11, "n_embd": 6, "n_layer": 2, "dropout": 0.1, "n_head": 2},
    ],
)
def test_architecture_with_missing_or_extra_keys_is_rejected(architecture):
    with pytest.raises(ValueError, match="an LSTM's architecture is vocab_size, n_embd, n_layer and dropout"):
        LSTMDecoder(DecoderConfig(kind="lstm", architecture=architecture))
