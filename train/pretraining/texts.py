"""Dataset and model for pretraining a GPT-2 on reports without images. The indication is the prompt; only the report
counts in the loss.

Each text starts at a random position, seeded by (seed, epoch, text), because image tokens precede it in fine-tuning.
"""

from collections.abc import Sequence
from typing import NamedTuple

import datasets
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import Dataset
from transformers import GPT2LMHeadModel, PreTrainedTokenizerBase

from vlm.config import DECODER_SIZES, DecoderConfig
from vlm.inputs.batch import batch_tokens
from vlm.inputs.tokenizer import encode_prompt, encode_report
from vlm.layers.gpt2 import GPT2Decoder
from vlm.schema.report_format import report_of

IGNORED = -100
"""Label of tokens that do not count in the loss."""


class ReportText(NamedTuple):
    """Token ids. The report begins with its start token at `report_start`; `position` is that of the first token."""

    token_ids: list[int]
    report_start: int
    position: int


class ReportTexts(Dataset):
    """The reports of the studies that have one."""

    def __init__(
        self,
        rows: datasets.Dataset,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_report_tokens: int,
        max_position_shift: int,
        seed: int = 0,
    ):
        self.reports, self.indications = reports_of(rows)
        self.tokenizer, self.max_report_tokens = tokenizer, max_report_tokens
        self.max_position_shift, self.seed, self.epoch = max_position_shift, seed, 0

    def __len__(self) -> int:
        return len(self.reports)

    def __getitem__(self, index: int) -> ReportText:
        prompt_ids = encode_prompt(self.tokenizer, self.indications[index])
        report_ids = encode_report(self.tokenizer, self.reports[index], max_tokens=self.max_report_tokens)
        rng = np.random.default_rng((self.seed, self.epoch, index))
        position = int(rng.integers(self.max_position_shift, endpoint=True))
        return ReportText(prompt_ids + report_ids, len(prompt_ids), position)

    def collate(self, texts: Sequence[ReportText]) -> dict[str, Tensor]:
        """The arguments of `LanguageModel.forward`."""
        token_ids, starts, positions = zip(*texts, strict=True)
        input_ids, mask = batch_tokens(token_ids, pad_token_id=self.tokenizer.pad_token_id)
        places = torch.arange(input_ids.shape[1])
        is_learned = (mask > 0) & (places > torch.tensor(starts)[:, None])
        return {
            "input_ids": input_ids,
            "position_ids": places + torch.tensor(positions)[:, None],
            "labels": input_ids.masked_fill(~is_learned, IGNORED),
        }


class LanguageModel(nn.Module):
    """A built-in GPT-2 with random weights."""

    def __init__(self, decoder: str, tokenizer: PreTrainedTokenizerBase):
        super().__init__()
        special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        architecture = DECODER_SIZES[decoder] | {"vocab_size": len(tokenizer)} | special
        self.language_model: GPT2LMHeadModel = GPT2Decoder(DecoderConfig(architecture=architecture)).language_model

    def forward(
        self,
        input_ids: Int[Tensor, "texts length"],
        position_ids: Int[Tensor, "texts length"],
        labels: Int[Tensor, "texts length"],
    ) -> Float[Tensor, ""]:
        """Cross-entropy summed over the report tokens. Padding follows the text, so causal attention ignores it."""
        logits = self.language_model(input_ids, position_ids=position_ids, use_cache=False).logits[:, :-1]
        return F.cross_entropy(
            logits.flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
        )


def reports_of(rows: datasets.Dataset) -> tuple[list[str], list[str]]:
    """The reports of the studies that have one, and their indications."""
    text = rows.select_columns(["indication", "findings", "impression"])
    pairs = [(report, row["indication"]) for row in text if (report := report_of(row))]
    return [report for report, _ in pairs], [indication for _, indication in pairs]
