"""The baseline decoder: an LSTM that attends over the same prefix, with the interface of the GPT-2 decoder.

Global attention comes after the recurrence, h' = tanh(W [h; context]) (Luong et al. 2015, equations 5 to 8,
"general"), so training can process whole reports at once. The initial state is computed from the mean of the prefix.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vlm.config import DecoderConfig


@dataclass(frozen=True, slots=True)
class LSTMState:
    """The cache: the prefix to attend over and the recurrent state."""

    memory: Float[Tensor, "batch prefix width"]
    memory_mask: Int[Tensor, "batch prefix"]
    hidden: Float[Tensor, "layers batch width"]
    cell: Float[Tensor, "layers batch width"]


class LSTMDecoder(nn.Module):
    """Token embedding, LSTM, attention over the prefix, tied output layer."""

    num_positions = None
    """There is no length limit."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        architecture = config.architecture
        if architecture.keys() != {"vocab_size", "n_embd", "n_layer", "dropout"}:
            raise ValueError(f"an LSTM's architecture is vocab_size, n_embd, n_layer and dropout, got {architecture}")
        for name in ("vocab_size", "n_embd", "n_layer"):
            if type(architecture[name]) is not int or architecture[name] < 1:
                raise ValueError(f"{name} of an LSTM must be a whole number above 0, got {architecture[name]!r}")
        self.width = width = architecture["n_embd"]
        self.num_layers, dropout = architecture["n_layer"], architecture["dropout"]
        self.embedding = nn.Embedding(architecture["vocab_size"], width)
        self.recurrence = nn.LSTM(
            width, width, self.num_layers, batch_first=True, dropout=dropout if self.num_layers > 1 else 0.0
        )
        self.first_state = nn.Linear(width, 2 * self.num_layers * width)
        self.memory_norm = nn.LayerNorm(width)
        self.attention_key = nn.Linear(width, width, bias=False)
        self.combine = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)

    def embed(self, input_ids: Int[Tensor, "batch length"]) -> Float[Tensor, "batch length width"]:
        return self.embedding(input_ids)

    def forward(
        self,
        inputs_embeds: Float[Tensor, "batch new width"],
        attention_mask: Int[Tensor, "batch all"],
        num_prefix: int,
        cache: LSTMState | None = None,
    ) -> tuple[Float[Tensor, "batch kept vocabulary"], LSTMState]:
        """Like `GPT2Decoder.forward`; the first call needs a prefix."""
        if cache is None:
            cache = self._start(inputs_embeds[:, :num_prefix], attention_mask[:, :num_prefix])
        hidden, (last_hidden, last_cell) = self._recur(self.dropout(inputs_embeds[:, num_prefix:]), cache)
        weights = self._attend(hidden, cache)
        combined = torch.tanh(self.combine(torch.cat([hidden, weights @ cache.memory], dim=-1)))
        logits = self.dropout(combined) @ self.embedding.weight.T
        return logits, LSTMState(cache.memory, cache.memory_mask, last_hidden, last_cell)

    def prefix_attention(
        self, inputs_embeds: Float[Tensor, "batch new width"], attention_mask: Int[Tensor, "batch new"], num_prefix: int
    ) -> Float[Tensor, "batch text prefix"]:
        """Like `GPT2Decoder.prefix_attention`."""
        start = self._start(inputs_embeds[:, :num_prefix], attention_mask[:, :num_prefix])
        hidden, _ = self._recur(inputs_embeds[:, num_prefix:], start)
        return self._attend(hidden, start)

    def _recur(self, inputs: Tensor, state: LSTMState) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if inputs.device.type != "cpu":
            return self.recurrence(inputs, (state.hidden, state.cell))
        dtype = self.first_state.weight.dtype
        with torch.autocast("cpu", enabled=False):  # many processors have no bf16 LSTM
            return self.recurrence(inputs.to(dtype), (state.hidden.to(dtype), state.cell.to(dtype)))

    def _attend(self, hidden: Tensor, state: LSTMState) -> Tensor:
        """Weights over the memory, [batch, new, prefix]; each row sums to 1."""
        scores = hidden @ self.attention_key(state.memory).transpose(1, 2) * self.width**-0.5
        return scores.masked_fill(state.memory_mask[:, None] == 0, float("-inf")).softmax(dim=-1)

    def select(self, cache: LSTMState, rows: Int[Tensor, " selected"]) -> LSTMState:
        return LSTMState(cache.memory[rows], cache.memory_mask[rows], cache.hidden[:, rows], cache.cell[:, rows])

    def _start(self, prefix: Tensor, mask: Tensor) -> LSTMState:
        memory = self.memory_norm(prefix)
        weight = mask[..., None].to(memory.dtype)
        mean = (memory * weight).sum(dim=1) / weight.sum(dim=1)
        states = torch.tanh(self.first_state(mean)).unflatten(-1, (2, self.num_layers, self.width))
        hidden, cell = states.permute(1, 2, 0, 3).contiguous()
        return LSTMState(memory, mask, hidden, cell)
