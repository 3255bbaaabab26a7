"""Finding queries: classification, localization, and input of the decoder in one mechanism.

Each of the 14 findings has a learned query that attends over the patches of all views. The result is the finding's
token, a linear layer on the token gives its logit, and the attention is its heatmap. Optionally, a linear layer on the
mean and the maximum of the patch features is added to the logits: it is a linear probe, which learns faster than the
queries from few studies.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vlm.schema.findings import NUM_FINDINGS


@dataclass(frozen=True, slots=True)
class FindingOutput:
    """`attention` is the mean over heads; for each finding it sums to 1 over the patches of all views."""

    tokens: Float[Tensor, "batch findings width"]
    logits: Float[Tensor, "batch findings"]
    attention: Float[Tensor, "batch findings patches"]
    severity_logits: Float[Tensor, "batch findings severities"] | None = None
    """For each known severity, see `vlm.layers.finding_severity`; None if the model does not estimate it."""
    change_logits: Float[Tensor, "batch findings changes"] | None = None
    """For each known change since the prior study, see `vlm.layers.finding_change`; 0 for a study without a prior. None
    if no study of the batch has one, or if the model does not estimate changes."""


class FindingQueries(nn.Module):
    """Cross-attention of 14 learned queries over patch features, a feed-forward layer, one logit per finding."""

    def __init__(self, *, width: int, num_heads: int, linear_probe: bool = False):
        super().__init__()
        if width % num_heads:
            raise ValueError(f"num_query_heads {num_heads} does not divide the encoder's width {width}")
        self.num_heads = num_heads
        self.queries = nn.Parameter(torch.randn(NUM_FINDINGS, width) * 0.02)
        self.patch_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.token_norm = nn.LayerNorm(width)
        self.finding_weight = nn.Parameter(torch.randn(NUM_FINDINGS, width) * width**-0.5)
        self.finding_bias = nn.Parameter(torch.zeros(NUM_FINDINGS))
        self.linear_probe: nn.Sequential | None = None
        if linear_probe:
            self.add_linear_probe()

    def add_linear_probe(self) -> None:
        """Add the linear probe. Until it is trained, it adds 0 to the logits."""
        width = 2 * self.queries.shape[1]
        self.linear_probe = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, NUM_FINDINGS))
        nn.init.zeros_(self.linear_probe[1].weight)
        nn.init.zeros_(self.linear_probe[1].bias)

    @torch.no_grad()
    def mix(
        self,
        weight: Float[Tensor, "findings probe_inputs"],
        bias: Float[Tensor, " findings"],
        share: Float[Tensor, " findings"],
    ) -> None:
        """Let the logits be (1 - share) of the present ones plus share of those of a linear classifier.

        The classifier reads the output of the first layer of the linear probe. Tokens and attention do not change.
        """
        kept, probe = 1 - share, self.linear_probe[1]
        self.finding_weight.mul_(kept[:, None])
        self.finding_bias.mul_(kept)
        probe.weight.mul_(kept[:, None]).add_(share[:, None] * weight)
        probe.bias.mul_(kept).add_(share * bias)

    def forward(
        self, patch_features: Float[Tensor, "batch patches width"], patch_mask: Bool[Tensor, "batch patches"]
    ) -> FindingOutput:
        patches = self.patch_norm(patch_features)
        batch = patches.shape[0]
        query = self._heads(self.query(self.queries).expand(batch, -1, -1))
        key, value = self._heads(self.key(patches)), self._heads(self.value(patches))
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        attention = scores.masked_fill(~patch_mask[:, None, None], float("-inf")).softmax(dim=-1)
        gathered = (attention @ value).transpose(1, 2).flatten(2)
        tokens = self.queries + self.output(gathered)
        tokens = self.token_norm(tokens + self.feed_forward(tokens))
        logits = (tokens * self.finding_weight).sum(-1) + self.finding_bias
        if self.linear_probe is not None:
            logits = logits + self.linear_probe(_mean_and_maximum(patch_features, patch_mask[..., None]))
        return FindingOutput(tokens=tokens, logits=logits, attention=attention.mean(dim=1))

    def _heads(self, vectors: Tensor) -> Tensor:
        return vectors.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def _mean_and_maximum(features: Tensor, mask: Tensor) -> Tensor:
    """Of the patches of all views: [batch, 2 * width]."""
    mean = (features * mask).sum(dim=1) / mask.sum(dim=1)
    return torch.cat([mean, features.masked_fill(~mask, float("-inf")).amax(dim=1)], dim=-1)


def box_loss(attention: Tensor, box_targets: Tensor | None) -> Tensor:
    """Kullback-Leibler divergence of the attention from the boxes, summed over the findings that have a box."""
    if box_targets is None or not box_targets.any():
        return attention.new_zeros(())
    has_box = box_targets.any(dim=-1)
    target = box_targets[has_box]
    log_attention = attention[has_box].float().clamp(min=1e-6).log()
    return (torch.special.xlogy(target, target) - target * log_attention).sum()
