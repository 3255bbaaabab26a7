"""How likely a report model is to begin a report with given texts: log-probabilities instead of a written report.

The images are looked at once a study; every text then goes through the decoder over the same cache.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vlm.batch import batch_tokens
from vlm.model import Prefix, ReportModel


@torch.inference_mode()
def beginning_log_probabilities(
    model: ReportModel, prefix: Prefix, texts: Sequence[Sequence[int]], *, bos_token_id: int
) -> Float[Tensor, "batch texts"]:
    """Natural logarithm of the probability that the report of each row of the prefix begins with each text.

    Texts are token ids, without start and end token, at least one each; memory grows with rows x texts.
    """
    num_rows, device = len(prefix.mask), prefix.mask.device
    start = torch.full((num_rows, 1), bos_token_id, device=device)
    mask = torch.cat([prefix.mask, prefix.mask.new_ones(num_rows, 1)], dim=1)
    embeds = torch.cat([prefix.embeds, model.decoder.embed(start)], dim=1)
    first, cache = model.decoder(embeds, mask, prefix.mask.shape[1])

    tokens, token_mask = (part.to(device) for part in batch_tokens(texts, pad_token_id=0))
    rows = torch.arange(num_rows, device=device).repeat_interleave(len(texts))
    tokens, token_mask = tokens.repeat(num_rows, 1), token_mask.repeat(num_rows, 1)
    logits = first[rows]
    if tokens.shape[1] > 1:
        mask = torch.cat([mask[rows], token_mask[:, :-1]], dim=1)
        later, _ = model.decoder(model.decoder.embed(tokens[:, :-1]), mask, 0, model.decoder.select(cache, rows))
        logits = torch.cat([logits, later], dim=1)
    of_tokens = logits.float().log_softmax(dim=-1).gather(2, tokens[..., None])[..., 0]
    return (of_tokens * token_mask).sum(dim=1).view(num_rows, len(texts))
