"""Where a sentence of a report comes from: what the decoder attended to while it wrote it, over patches of the views.

The decoder sees the picture by two ways, and both are followed back: image tokens stand for squares of patches, and
finding tokens for what a finding's query gathered, so the attention that they get goes to where that query looked.
The mean over heads and layers points as well as anything else that was tried (docs/LOG.md).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vlm.findings import NUM_FINDINGS
from vlm.model import Prefix, ReportModel


def sentence_spans(report: str, sentences: Sequence[str]) -> list[tuple[int, int]]:
    """Where each sentence stands in the report, whatever blanks are between its words; (0, 0) where it does not."""
    spans, position = [], 0
    for sentence in sentences:
        start, end = position, position
        for number, word in enumerate(sentence.split()):
            at = report.find(word, end)
            if at < 0:
                start = end = 0
                break
            start, end = (at if number == 0 else start), at + len(word)
        spans.append((start, end))
        position = end or position
    return spans


def sentence_attention(
    model: ReportModel,
    prefix: Prefix,
    token_ids: Sequence[int],
    token_spans: Sequence[tuple[int, int]],
    spans: Sequence[tuple[int, int]],
    *,
    bos_token_id: int,
) -> Float[Tensor, "sentences prefix"]:
    """Attention of each sentence to each position of the prefix of one study.

    `token_ids` are the whole report's, `token_spans` their characters in it, `spans` those of the sentences. What
    decided on a token is the position before it.
    """
    device, num_prefix = prefix.embeds.device, prefix.mask.shape[1]
    if model.decoder.num_positions is not None:
        # Text that is encoded again may take more tokens than it was written in.
        token_ids = token_ids[: model.decoder.num_positions - num_prefix]
        token_spans = token_spans[: len(token_ids)]
    text = model.decoder.embed(torch.tensor([[bos_token_id, *token_ids[:-1]]], device=device))
    mask = torch.cat([prefix.mask, prefix.mask.new_ones(1, text.shape[1])], dim=1)
    attention = model.decoder.prefix_attention(torch.cat([prefix.embeds, text], dim=1), mask, num_prefix)[0]
    starts = torch.tensor([start for start, _ in token_spans])
    ends = torch.tensor([end for _, end in token_spans])
    rows = [attention[((starts < end) & (ends > start)).to(device)] for start, end in spans]
    return torch.stack([row.mean(dim=0) if len(row) else attention.new_zeros(num_prefix) for row in rows])


def over_patches(
    model: ReportModel,
    attention: Float[Tensor, "sentences prefix"],
    finding_attention: Float[Tensor, "findings patches"],
    num_views: int,
) -> Float[Tensor, "sentences views rows columns"]:
    """Attention to the prefix of one study followed back to the patches; each map has the sum 1, or 0 for nothing."""
    rows, columns = model.encoder.grid
    pool = model.config.pool
    num_tokens = model.vision_projector.num_tokens
    image = attention[:, : num_views * num_tokens].unflatten(1, (num_views, -(-rows // pool), -(-columns // pool)))
    image = image.repeat_interleave(pool, dim=2).repeat_interleave(pool, dim=3)[:, :, :rows, :columns] / pool**2
    maps = image.flatten(1)
    if model.config.use_finding_tokens:
        start = num_views * num_tokens
        maps = maps + attention[:, start : start + NUM_FINDINGS] @ finding_attention
    return functional.normalize(maps, p=1, dim=1).unflatten(1, (num_views, rows, columns))
