"""The report model: the views of a study in; finding logits, attention maps and a generated report out.

pixel values -> patch features -> finding queries -> finding tokens, logits, attention maps
                              \\-> vision projector -> image tokens
prefix = [image tokens | finding tokens | prompt] -> GPT-2 or LSTM -> "Findings: … Impression: …"
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from vlm.config import LoraSettings, ReportModelConfig
from vlm.layers.encoder import ImageEncoder
from vlm.layers.finding_queries import FindingOutput, FindingQueries
from vlm.layers.finding_severity import FindingSeverity
from vlm.layers.gpt2 import GPT2Decoder, add_lora
from vlm.layers.lstm import LSTMDecoder
from vlm.layers.projectors import FindingLocationEmbedding, VisionProjector, decided_locations
from vlm.schema.findings import (
    NUM_FINDINGS,
    SEVERITIES,
    UNKNOWN_SEVERITY,
    UNNAMED_SEVERITY,
    VIEW_KINDS,
    WITHOUT_SEVERITY,
)


@dataclass(frozen=True, slots=True)
class Prefix:
    """What the decoder reads before the text, and the output of the finding queries; None without images."""

    embeds: Float[Tensor, "batch prefix width"]
    mask: Int[Tensor, "batch prefix"]
    findings: FindingOutput | None


@dataclass(frozen=True, slots=True)
class ReportModelOutput:
    """The losses are sums, not means, so that the caller can weight batches of unequal size exactly."""

    report_loss_sum: Float[Tensor, ""]
    finding_loss_sum: Float[Tensor, ""]
    box_loss_sum: Float[Tensor, ""]
    severity_loss_sum: Float[Tensor, ""]
    finding_logits: Float[Tensor, "batch findings"] | None
    """None if no image was encoded."""
    severity_logits: Float[Tensor, "batch findings severities"] | None
    """Without a gradient, because a batch may have no known severity. None if severities are not estimated."""
    logits: Float[Tensor, "batch length vocabulary"] | None


class ReportModel(nn.Module):
    """Encoder, finding queries, projectors and decoder of one configuration."""

    def __init__(self, config: ReportModelConfig):
        super().__init__()
        self.config = config
        self.encoder = ImageEncoder(config.encoder, config.image)
        width = self.encoder.width
        self.decoder = GPT2Decoder(config.decoder) if config.decoder.kind == "gpt2" else LSTMDecoder(config.decoder)
        self.view_embedding = nn.Embedding(len(VIEW_KINDS), width)
        nn.init.normal_(self.view_embedding.weight, std=0.02)
        self.finding_queries = FindingQueries(
            width=width, num_heads=config.num_query_heads, linear_probe=config.linear_probe
        )
        self.vision_projector = VisionProjector(
            grid=self.encoder.grid, width=width, decoder_width=self.decoder.width, pool=config.pool
        )
        self.finding_projector = nn.Linear(width, self.decoder.width)
        nn.init.zeros_(self.finding_projector.weight)  # like the vision projector
        self.finding_presence = nn.Parameter(torch.randn(NUM_FINDINGS, self.decoder.width) * 0.1)
        self.finding_locations = FindingLocationEmbedding(grid=self.encoder.grid, decoder_width=self.decoder.width)
        self.severity_head: FindingSeverity | None = None
        if config.severity:
            self.add_severity()
        if config.lora is not None:
            self.adapt(config.lora)

    def add_severity(self) -> None:
        """Add the estimate of severities. Until it is trained, the text does not depend on it."""
        self.config = replace(self.config, severity=True)
        self.severity_head = FindingSeverity(width=self.encoder.width)
        self.severity_embedding = nn.Parameter(torch.zeros(len(SEVERITIES) - 1, self.decoder.width))

    def adapt(self, lora: LoraSettings) -> None:
        """Add adapters to the decoder and the encoder; freeze the decoder, and the encoder unless it is trained."""
        self.config = replace(self.config, lora=lora)
        self.decoder.requires_grad_(False)
        self.encoder.requires_grad_(lora.train_encoder)
        if lora.decoder_projections:
            self.decoder.language_model = add_lora(self.decoder.language_model, lora, lora.decoder_projections)
        if lora.encoder_projections:
            self.encoder.backbone = add_lora(self.encoder.backbone, lora, lora.encoder_projections)

    def freeze_image_encoder(self) -> None:
        """Train only the projectors and the decoder from now on."""
        for part in (self.encoder, self.view_embedding, self.finding_queries, self.severity_head):
            if part is not None:
                part.requires_grad_(False)

    def train(self, mode: bool = True) -> "ReportModel":
        """Set training mode; a frozen encoder stays in evaluation mode (no dropout, fixed running statistics)."""
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.encoder.parameters()):
            self.encoder.eval()
        return self

    def encode_images(
        self,
        pixel_values: Float[Tensor, "batch views channels height width"] | None,
        view_indices: Int[Tensor, "batch views"],
        view_mask: Bool[Tensor, "batch views"],
        patch_features: Float[Tensor, "batch views patches features"] | None = None,
    ) -> tuple[Float[Tensor, "batch views patches features"], FindingOutput]:
        """Patch features of each view, and the findings. Padded views are not computed and change nothing.

        `patch_features` is the saved output of the encoder for these views; then `pixel_values` are not needed.
        """
        patches = patch_features
        if patches is None:
            present = self.encoder(pixel_values[view_mask])
            patches = present.new_zeros(*view_mask.shape, *present.shape[1:])
            patches[view_mask] = present
        patches = patches + self.view_embedding(view_indices)[:, :, None].to(patches.dtype)
        patch_mask = view_mask[:, :, None].expand(-1, -1, patches.shape[2]).flatten(1, 2)
        findings = self.finding_queries(patches.flatten(1, 2), patch_mask)
        if self.severity_head is not None:
            severity_logits = self.severity_head(findings, patches.flatten(1, 2), patch_mask)
            findings = replace(findings, severity_logits=severity_logits)
        return patches, findings

    def prefix(
        self,
        *,
        pixel_values: Float[Tensor, "batch views channels height width"] | None = None,
        patch_features: Float[Tensor, "batch views patches features"] | None = None,
        view_indices: Int[Tensor, "batch views"],
        view_mask: Bool[Tensor, "batch views"],
        prompt_ids: Int[Tensor, "batch prompt"],
        prompt_mask: Int[Tensor, "batch prompt"],
        decision_logits: Float[Tensor, " findings"] | None = None,
        decided_findings: Float[Tensor, "batch findings"] | None = None,
        decided_severities: Int[Tensor, "batch findings"] | None = None,
    ) -> Prefix:
        """The embeddings that come before the text, from images or from their saved patch features.

        The decoder is conditioned on the classifier's output, p - (1 - p), on each finding's attention, and on the
        probabilities of its severities. All are detached: the report loss has no gradient to logits and attention here,
        so it cannot change what the finding losses have taught. With `decision_logits` it reads decisions, as in
        training on labels: a finding is present (1) from this logit on, otherwise absent (-1), and its most probable
        severity and its location (`decided_locations`) count as certain.
        `decided_findings` (-1 absent to 1 present) replaces the classifier's output where it is not NaN, and
        `decided_severities` (indices of SEVERITIES) replace its severities; locations count as certain here too.
        """
        patches, findings = self.encode_images(pixel_values, view_indices, view_mask, patch_features)
        logits = findings.logits.detach()
        presence = (logits / 2).tanh()
        if decision_logits is not None:
            presence = torch.where(logits >= decision_logits, 1.0, -1.0).to(logits.dtype)
        if decided_findings is not None:
            presence = torch.where(decided_findings.isnan(), presence, decided_findings.to(presence.dtype))
        tokens = self.finding_projector(findings.tokens)
        severities = None
        if decided_severities is not None:
            severities = _certain(decided_severities)
        elif findings.severity_logits is not None:
            severity_logits = findings.severity_logits.detach().float()
            severities = severity_logits.softmax(dim=-1)[..., 1:]
            if decision_logits is not None:
                severities = _certain(severity_logits.argmax(dim=-1))
            severities[:, WITHOUT_SEVERITY] = 0
        locations = findings.attention.detach()
        if decision_logits is not None or decided_findings is not None:
            locations = decided_locations(locations, view_indices.shape[1])
        finding_tokens = self._finding_tokens(tokens, presence, locations, view_indices, severities)
        image_tokens = self.vision_projector(patches)
        return Prefix(*self._join(image_tokens, view_mask, finding_tokens, prompt_ids, prompt_mask), findings)

    def _finding_tokens(
        self, tokens: Tensor, presence: Tensor, locations: Tensor, view_indices: Tensor, severities: Tensor | None
    ) -> Tensor:
        """Add presence, location and severity; the last two are weighted by the probability of the finding."""
        probability = (1 + presence[..., None]) / 2
        location = probability * self.finding_locations(locations, view_indices)
        tokens = tokens + presence[..., None] * self.finding_presence + location
        if severities is None or self.severity_head is None:
            return tokens
        return tokens + probability * (severities.to(tokens.dtype) @ self.severity_embedding)

    def _join(
        self, image_tokens: Tensor, view_mask: Tensor, finding_tokens: Tensor, prompt_ids: Tensor, prompt_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Embeddings and mask of the prefix."""
        embeds = [image_tokens.flatten(1, 2)]
        mask = [view_mask[:, :, None].expand(-1, -1, image_tokens.shape[2]).flatten(1, 2).to(prompt_mask.dtype)]
        if self.config.use_finding_tokens:
            embeds.append(finding_tokens)
            mask.append(prompt_mask.new_ones(len(view_mask), NUM_FINDINGS))
        prompt = self.decoder.embed(prompt_ids)
        embeds = torch.cat([*[part.to(prompt.dtype) for part in embeds], prompt], dim=1)
        return embeds, torch.cat([*mask, prompt_mask], dim=1)

    def forward(
        self,
        *,
        pixel_values: Float[Tensor, "batch views channels height width"] | None = None,
        patch_features: Float[Tensor, "batch views patches features"] | None = None,
        view_indices: Int[Tensor, "batch views"],
        finding_condition: Float[Tensor, "batch findings"] | None = None,
        decided_findings: Float[Tensor, "batch findings"] | None = None,
        view_mask: Bool[Tensor, "batch views"],
        prompt_ids: Int[Tensor, "batch prompt"],
        prompt_mask: Int[Tensor, "batch prompt"],
        input_ids: Int[Tensor, "batch length"],
        attention_mask: Int[Tensor, "batch length"],
        finding_targets: Float[Tensor, "batch findings"],
        finding_mask: Bool[Tensor, "batch findings"],
        box_targets: Float[Tensor, "batch findings boxed_patches"] | None = None,
        severity_targets: Int[Tensor, "batch findings"] | None = None,
    ) -> ReportModelOutput:
        """Losses of a batch: cross-entropy over `input_ids` after the first, and over the labeled findings.

        `input_ids` begins with the start token. Positions with `attention_mask` 0 have no loss, so a study without a
        report trains only the findings. If no study of the batch has a report, the decoder does not run.

        `box_targets` is the location of each finding: a distribution over the patches of all views, 0 for a finding
        without a box. The attention of a finding is trained to match it.

        `severity_targets` are indices of SEVERITIES; an unknown severity has no loss.

        With `finding_condition` (-1 absent to 1 present) no image is encoded: the decoder is conditioned on these
        findings, on the locations in `box_targets` and on `severity_targets` instead of the output of the finding
        queries. Only the report has a loss then. With `decided_findings`, it is conditioned on these and on
        `severity_targets` beside the image.
        """
        report_loss, logits = torch.zeros((), device=view_mask.device), None
        finding_loss = box_loss = severity_loss = report_loss
        severity_logits = None
        if finding_condition is not None:
            if box_targets is None:
                num_patches = view_mask.shape[1] * self.encoder.grid[0] * self.encoder.grid[1]
                box_targets = finding_condition.new_zeros(*finding_condition.shape, num_patches)
            bias = self.finding_projector.bias
            severities = None if severity_targets is None else _certain(severity_targets)
            finding_tokens = self._finding_tokens(bias, finding_condition, box_targets, view_indices, severities)
            image_tokens = self.vision_projector.without_images(*view_mask.shape)
            prefix = Prefix(*self._join(image_tokens, view_mask, finding_tokens, prompt_ids, prompt_mask), None)
        else:
            prefix = self.prefix(
                pixel_values=pixel_values,
                patch_features=patch_features,
                view_indices=view_indices,
                view_mask=view_mask,
                prompt_ids=prompt_ids,
                prompt_mask=prompt_mask,
                decided_findings=decided_findings,
                decided_severities=None if decided_findings is None else severity_targets,
            )
            finding_loss = functional.binary_cross_entropy_with_logits(
                prefix.findings.logits.float(), finding_targets, reduction="none", weight=finding_mask.float()
            ).sum()
            box_loss = _box_loss(prefix.findings.attention, box_targets)
            if (severity_logits := prefix.findings.severity_logits) is not None:
                severity_loss = _severity_loss(severity_logits, severity_targets)
                severity_logits = severity_logits.detach()
        if finding_condition is not None or attention_mask[:, 1:].any():
            report_loss, logits = self._report_loss(prefix, input_ids, attention_mask)
        return ReportModelOutput(
            report_loss_sum=report_loss,
            finding_loss_sum=finding_loss,
            box_loss_sum=box_loss,
            severity_loss_sum=severity_loss,
            finding_logits=prefix.findings.logits if prefix.findings else None,
            severity_logits=severity_logits,
            logits=logits,
        )

    def _report_loss(self, prefix: Prefix, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the cross-entropies, and logits."""
        logits, _ = self.decoder(
            torch.cat([prefix.embeds, self.decoder.embed(input_ids[:, :-1])], dim=1),
            torch.cat([prefix.mask, attention_mask[:, :-1]], dim=1),
            num_prefix=prefix.mask.shape[1],
        )
        targets = input_ids[:, 1:].masked_fill(attention_mask[:, 1:] == 0, -100).flatten()
        return functional.cross_entropy(logits.float().flatten(0, 1), targets, reduction="sum"), logits

    def num_parameters(self) -> tuple[int, int]:
        """The number of all parameters, and of those that are trained."""
        trained = sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)
        return sum(parameter.numel() for parameter in self.parameters()), trained


def _box_loss(attention: Tensor, box_targets: Tensor | None) -> Tensor:
    """Kullback-Leibler divergence of the attention from the boxes, summed over the findings that have a box."""
    if box_targets is None or not box_targets.any():
        return attention.new_zeros(())
    has_box = box_targets.any(dim=-1)
    target = box_targets[has_box]
    log_attention = attention[has_box].float().clamp(min=1e-6).log()
    return (torch.special.xlogy(target, target) - target * log_attention).sum()


def _severity_loss(logits: Tensor, targets: Tensor | None) -> Tensor:
    """Cross-entropy, summed over the findings with a known severity."""
    if targets is None:
        return logits.new_zeros(())
    options = {"ignore_index": UNKNOWN_SEVERITY, "reduction": "sum"}
    return functional.cross_entropy(logits.float().flatten(0, 1), targets.long().flatten(), **options)


def _certain(severities: Tensor) -> Tensor:
    """Indices of SEVERITIES [batch, findings] as probabilities of small, moderate and large, 1 or 0; all are 0 if the
    severity is not named or unknown."""
    return functional.one_hot(severities.long().clamp(min=UNNAMED_SEVERITY), len(SEVERITIES))[..., 1:].float()
