"""Change of each finding since the prior study: the features of both studies in, one logit for each of CHANGES out.

Both studies pass through the same encoder and finding queries. From each, the head reads the token and the logit of the
finding, and its extent: the mean over the patches of what small detectors for the finding see. The two are compared
on views of the same kind: frontal with frontal if both studies have one, because a finding looks different from the
side.

It only reads: its loss has no gradient to encoder and finding queries, so it does not compete with the classifier.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from vlm.layers.finding_queries import FindingOutput
from vlm.schema.findings import CHANGES, LATERAL, NUM_FINDINGS, UNKNOWN_CHANGE, WITHOUT_CHANGE

NUM_DETECTORS = 8
"""Detectors per finding."""
HIDDEN = 64
"""Width of the comparison of one finding."""
_PRESENT_NOW = torch.tensor([name in ("new", "worse", "unchanged", "better") for name in CHANGES])


@dataclass(frozen=True, slots=True)
class StudyFeatures:
    """What the comparison reads of one study."""

    patches: Float[Tensor, "batch views patches width"]
    view_indices: Int[Tensor, "batch views"]
    view_mask: Bool[Tensor, "batch views"]
    findings: FindingOutput

    def of(self, rows: Bool[Tensor, " batch"]) -> "StudyFeatures":
        """Of the studies of these rows."""
        findings = FindingOutput(
            *(self.findings.tokens[rows], self.findings.logits[rows], self.findings.attention[rows])
        )
        return StudyFeatures(self.patches[rows], self.view_indices[rows], self.view_mask[rows], findings)


class FindingChange(nn.Module):
    """Two layers per finding on the features of both studies and their difference."""

    def __init__(self, *, width: int):
        super().__init__()
        self.patch_norm = nn.LayerNorm(width)
        self.detectors = nn.Linear(width, NUM_FINDINGS * NUM_DETECTORS)
        nn.init.constant_(self.detectors.bias, -2.0)  # most patches do not show the finding
        self.token = nn.Linear(width, HIDDEN)
        num_features = HIDDEN + 2 * NUM_DETECTORS + 1
        self.compare = nn.Parameter(torch.randn(NUM_FINDINGS, 3 * num_features, HIDDEN) * (3 * num_features) ** -0.5)
        self.compare_bias = nn.Parameter(torch.zeros(NUM_FINDINGS, HIDDEN))
        self.output = nn.Parameter(torch.zeros(NUM_FINDINGS, HIDDEN, len(CHANGES)))
        self.output_bias = nn.Parameter(torch.zeros(NUM_FINDINGS, len(CHANGES)))

    def forward(self, current: StudyFeatures, prior: StudyFeatures) -> Float[Tensor, "batch findings changes"]:
        both_frontal = _frontal(current).any(dim=1) & _frontal(prior).any(dim=1)
        now, before = (self._features(study, both_frontal) for study in (current, prior))
        features = torch.cat([now, before, now - before], dim=-1)
        hidden = torch.einsum("bfi,fih->bfh", features, self.compare) + self.compare_bias
        return torch.einsum("bfh,fhc->bfc", functional.gelu(hidden), self.output) + self.output_bias

    def _features(self, study: StudyFeatures, only_frontal: Tensor) -> Float[Tensor, "batch findings features"]:
        views = torch.where(only_frontal[:, None], _frontal(study), study.view_mask)
        seen = self.detectors(self.patch_norm(study.patches.detach())).sigmoid().float()
        mean = (seen.mean(dim=2) * views[..., None]).sum(dim=1) / views.sum(dim=1, keepdim=True)
        extent = mean.unflatten(1, (NUM_FINDINGS, NUM_DETECTORS))
        logits = study.findings.logits.detach().float()[..., None] / 4
        token = self.token(study.findings.tokens.detach()).float()
        return torch.cat([token, 8 * extent, (extent + 1e-3).log(), logits], dim=-1)


def _frontal(study: StudyFeatures) -> Bool[Tensor, "batch views"]:
    return study.view_mask & (study.view_indices != LATERAL)


def change_loss(
    logits: Float[Tensor, "batch findings changes"], targets: Int[Tensor, "batch findings"] | None
) -> Tensor:
    """Cross-entropy, summed over the findings with a known change."""
    if targets is None:
        return logits.new_zeros(())
    options = {"ignore_index": UNKNOWN_CHANGE, "reduction": "sum"}
    return functional.cross_entropy(logits.float().flatten(0, 1), targets.long().flatten(), **options)


def change_shares(
    logits: Float[Tensor, "batch findings changes"], is_present: Bool[Tensor, "batch findings"] | None = None
) -> Float[Tensor, "batch findings changes"]:
    """Probabilities of CHANGES; with `is_present`, 1 for the most probable change that fits this decision, 0 for the
    others."""
    if is_present is None:
        return logits.float().softmax(dim=-1)
    fits = _PRESENT_NOW.to(logits.device) == is_present[..., None]
    return certain_changes(logits.masked_fill(~fits, float("-inf")).argmax(dim=-1))


def certain_changes(changes: Int[Tensor, "batch findings"]) -> Float[Tensor, "batch findings changes"]:
    """Indices of CHANGES as probabilities, 1 or 0; all are 0 if the change is unknown."""
    one_hot = functional.one_hot(changes.long().clamp(min=0), len(CHANGES)).float()
    return one_hot * (changes != UNKNOWN_CHANGE)[..., None]


def embed_changes(
    shares: Float[Tensor, "batch findings changes"], embedding: Float[Tensor, "states width"]
) -> Float[Tensor, "batch findings width"]:
    """What the finding tokens say about the change; nothing if a finding is absent in both studies."""
    shares = shares[..., 1:].clone()
    shares[:, WITHOUT_CHANGE] = 0
    return shares.to(embedding.dtype) @ embedding
