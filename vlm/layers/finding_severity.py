"""Severity of each finding, if it is present: finding tokens and patches in, one logit for each known severity out.

The token of a finding is a mean over the patches that it attends to, so it says how the finding looks, but not how
large it is. So small detectors for each finding also look at each patch; their sum over the patches is the extent.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vlm.schema.findings import NUM_FINDINGS, SEVERITIES

NUM_KNOWN_SEVERITIES = len(SEVERITIES) - 1
NUM_DETECTORS = 4
"""Detectors per finding, for example for its center and its border."""
USUAL_EXTENT = 32
"""Number of patches; it only scales the extent to about 1."""


class FindingSeverity(nn.Module):
    """A linear layer per finding on its token, and on the extent that its detectors see and the logarithm of it."""

    def __init__(self, *, width: int):
        super().__init__()
        self.patch_norm = nn.LayerNorm(width)
        self.detectors = nn.Linear(width, NUM_FINDINGS * NUM_DETECTORS)
        nn.init.constant_(self.detectors.bias, -2.0)  # most patches do not show the finding
        self.token_weight = nn.Parameter(torch.zeros(NUM_FINDINGS, width, NUM_KNOWN_SEVERITIES))
        self.extent_weight = nn.Parameter(torch.zeros(NUM_FINDINGS, 2 * NUM_DETECTORS, NUM_KNOWN_SEVERITIES))
        self.bias = nn.Parameter(torch.zeros(NUM_FINDINGS, NUM_KNOWN_SEVERITIES))

    def forward(
        self,
        tokens: Float[Tensor, "batch findings width"],
        patch_features: Float[Tensor, "batch patches width"],
        patch_mask: Bool[Tensor, "batch patches"],
    ) -> Float[Tensor, "batch findings severities"]:
        detected = self.detectors(self.patch_norm(patch_features)).sigmoid() * patch_mask[..., None]
        extent = detected.sum(dim=1).float().unflatten(1, (NUM_FINDINGS, NUM_DETECTORS))
        extent = torch.cat([extent / USUAL_EXTENT, (extent + 1e-3).log()], dim=-1)
        by_token = torch.einsum("bfw,fws->bfs", tokens, self.token_weight)
        return by_token + torch.einsum("bfe,fes->bfs", extent, self.extent_weight) + self.bias
