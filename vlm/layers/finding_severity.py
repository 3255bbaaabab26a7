"""Severity of each finding, if it is present: the output of the finding queries and the patches in, one logit for each
of SEVERITIES out.

The first of SEVERITIES means that a report would name none: reports that are composed from labels do not, and the model
should not invent a severity for such images.

The token of a finding is a mean over the patches that it attends to, so it says how the finding looks, but not how
large it is. Two measures of its extent are added: the sum over all patches of what small detectors for the finding see,
and the entropy of its attention, which is trained to cover the finding.

Its loss also trains encoder and finding queries, where they are trained: features that only tell whether a finding is
present say little about its size (docs/LOG.md). The attention is only read.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from vlm.layers.finding_queries import FindingOutput
from vlm.schema.findings import NUM_FINDINGS, SEVERITIES, UNKNOWN_SEVERITY, UNNAMED_SEVERITY

NUM_DETECTORS = 4
"""Detectors per finding, for example for its center and its border."""
USUAL_EXTENT = 32
"""Number of patches; it only scales the extent to about 1."""


class FindingSeverity(nn.Module):
    """A linear layer per finding on its token and on measures of its extent."""

    def __init__(self, *, width: int):
        super().__init__()
        self.patch_norm = nn.LayerNorm(width)
        self.detectors = nn.Linear(width, NUM_FINDINGS * NUM_DETECTORS)
        nn.init.constant_(self.detectors.bias, -2.0)  # most patches do not show the finding
        self.token_weight = nn.Parameter(torch.zeros(NUM_FINDINGS, width, len(SEVERITIES)))
        self.extent_weight = nn.Parameter(torch.zeros(NUM_FINDINGS, 2 * NUM_DETECTORS + 2, len(SEVERITIES)))
        self.bias = nn.Parameter(torch.zeros(NUM_FINDINGS, len(SEVERITIES)))

    def forward(
        self,
        findings: FindingOutput,
        patch_features: Float[Tensor, "batch patches width"],
        patch_mask: Bool[Tensor, "batch patches"],
    ) -> Float[Tensor, "batch findings severities"]:
        detected = self.detectors(self.patch_norm(patch_features)).sigmoid().float() * patch_mask[..., None]
        seen = detected.sum(dim=1).unflatten(1, (NUM_FINDINGS, NUM_DETECTORS))
        attention = findings.attention.detach().float()
        entropy = torch.special.entr(attention).sum(dim=-1, keepdim=True)
        num_patches = patch_mask.sum(dim=1).float().log()[:, None, None].expand_as(entropy)  # tells the views apart
        extent = torch.cat([seen / USUAL_EXTENT, (seen + 1e-3).log(), entropy, num_patches - entropy], dim=-1)
        by_token = torch.einsum("bfw,fws->bfs", findings.tokens, self.token_weight)
        return by_token + torch.einsum("bfe,fes->bfs", extent, self.extent_weight) + self.bias


def severity_loss(logits: Tensor, targets: Tensor | None) -> Tensor:
    """Cross-entropy, summed over the findings with a known severity."""
    if targets is None:
        return logits.new_zeros(())
    options = {"ignore_index": UNKNOWN_SEVERITY, "reduction": "sum"}
    return functional.cross_entropy(logits.float().flatten(0, 1), targets.long().flatten(), **options)


def certain_severities(severities: Tensor) -> Tensor:
    """Indices of SEVERITIES [batch, findings] as probabilities of small, moderate and large, 1 or 0; all are 0 if the
    severity is not named or unknown."""
    return functional.one_hot(severities.long().clamp(min=UNNAMED_SEVERITY), len(SEVERITIES))[..., 1:].float()
