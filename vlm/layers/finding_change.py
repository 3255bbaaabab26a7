"""Change of each finding since the prior study: the features of both studies in, one logit for each of CHANGES out.

Both studies pass through the same encoder and finding queries. The head compares one view of each, the first frontal
one, because a finding looks different from the side. From both it reads the token and the logit of the finding, the
patches where this study and where the other study shows it, and its extent: the sum over the patches of what small
detectors for the finding see, and the entropy of its attention.

If the two studies change places, new and resolved change places, and worse and better: the head is built so, and learns
each pair in both directions.

It only reads: its loss has no gradient to encoder and finding queries, so it does not compete with the classifier.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from vlm.layers.finding_queries import FindingOutput
from vlm.layers.finding_severity import NUM_DETECTORS, USUAL_EXTENT, FindingSeverity
from vlm.schema.findings import CHANGES, LATERAL, NUM_FINDINGS, PRESENT_CHANGES, UNKNOWN_CHANGE, WITHOUT_CHANGE

HIDDEN = 64
"""Width of the comparison of one finding."""
DROPOUT = 0.1
REVERSED = [CHANGES.index(name) for name in ("none", "resolved", "better", "unchanged", "worse", "new")]
"""Of each change, the change if the current study was the prior one."""
_PRESENT_NOW = torch.tensor([name in PRESENT_CHANGES for name in CHANGES])


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
        self.norm = nn.LayerNorm(3 * width)
        self.project = nn.Linear(3 * width, HIDDEN)
        num_features = 3 * (HIDDEN + 2 * NUM_DETECTORS + 2)
        self.compare = nn.Parameter(torch.randn(NUM_FINDINGS, num_features, HIDDEN) * num_features**-0.5)
        self.compare_bias = nn.Parameter(torch.zeros(NUM_FINDINGS, HIDDEN))
        self.dropout = nn.Dropout(DROPOUT)
        self.output = nn.Parameter(torch.zeros(NUM_FINDINGS, HIDDEN, len(CHANGES)))
        self.output_bias = nn.Parameter(torch.zeros(NUM_FINDINGS, len(CHANGES)))

    def start_from(self, severity: FindingSeverity) -> None:
        """Copy its detectors, which have learned the extent of findings."""
        self.patch_norm.load_state_dict(severity.patch_norm.state_dict())
        self.detectors.load_state_dict(severity.detectors.state_dict())

    def forward(self, current: StudyFeatures, prior: StudyFeatures) -> Float[Tensor, "batch findings changes"]:
        (patches, places), (prior_patches, prior_places) = map(_main_view, (current, prior))
        now = self._features(current.findings, patches, places, prior_places)
        before = self._features(prior.findings, prior_patches, prior_places, places)
        return self._compare(now, before) + self._compare(before, now)[..., REVERSED]

    def _compare(self, now: Tensor, before: Tensor) -> Float[Tensor, "batch findings changes"]:
        features = torch.cat([now, before, now - before], dim=-1)
        hidden = functional.gelu(torch.einsum("bfi,fih->bfh", features, self.compare) + self.compare_bias)
        return torch.einsum("bfh,fhc->bfc", self.dropout(hidden), self.output) + self.output_bias

    def _features(
        self, findings: FindingOutput, patches: Tensor, places: Tensor, other_places: Tensor
    ) -> Float[Tensor, "batch findings features"]:
        """How each finding looks in one study, here and where the other study shows it; its extent and its logit."""
        looks = torch.cat([findings.tokens.detach().float(), places @ patches, other_places @ patches], dim=-1)
        seen = self.detectors(self.patch_norm(patches)).sigmoid().float().sum(dim=1)
        seen = seen.unflatten(1, (NUM_FINDINGS, NUM_DETECTORS))
        entropy = torch.special.entr(places).sum(dim=-1, keepdim=True)
        numbers = [
            seen / USUAL_EXTENT,
            (seen + 1e-3).log(),
            entropy / 4,
            findings.logits.detach().float()[..., None] / 4,
        ]
        return torch.cat([self.project(self.norm(looks)).float(), *numbers], dim=-1)


def _main_view(
    study: StudyFeatures,
) -> tuple[Float[Tensor, "batch patches width"], Float[Tensor, "batch findings patches"]]:
    """Patch features of the first frontal view, of the first view if none is frontal, and the attention of the findings
    to them; it sums to 1."""
    frontal = study.view_mask & (study.view_indices != LATERAL)
    rows, views = torch.arange(len(frontal), device=frontal.device), frontal.int().argmax(dim=1)
    attention = study.findings.attention.detach().float().unflatten(2, (frontal.shape[1], -1))[rows, :, views]
    places = attention / attention.sum(dim=-1, keepdim=True).clamp(min=1e-6)
    return study.patches.detach().float()[rows, views], places


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
