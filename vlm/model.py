"""The report model: the views of a study in; finding logits, attention maps and a generated report out.

pixel values -> patch features -> finding queries -> finding tokens, logits, attention maps
                              \\-> vision projector -> image tokens
prefix = [prior image tokens | image tokens | finding tokens | prompt] -> GPT-2 or LSTM -> "Findings: … Impression: …"

A study may come with a prior study of the patient. Its views pass through the same encoder and finding queries, and the
change head compares both. A batch in which no study has a prior gives the outputs of a model without these parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from vlm.config import LoraSettings, ReportModelConfig
from vlm.layers.encoder import ImageEncoder
from vlm.layers.finding_change import (
    FindingChange,
    StudyFeatures,
    certain_changes,
    change_loss,
    change_shares,
    embed_changes,
)
from vlm.layers.finding_queries import FindingOutput, FindingQueries, box_loss
from vlm.layers.finding_severity import FindingSeverity, certain_severities, severity_loss
from vlm.layers.gpt2 import GPT2Decoder, add_lora
from vlm.layers.lstm import LSTMDecoder
from vlm.layers.projectors import FindingLocationEmbedding, VisionProjector, decided_locations
from vlm.schema.findings import CHANGES, NUM_FINDINGS, SEVERITIES, VIEW_KINDS, WITHOUT_SEVERITY


@dataclass(frozen=True, slots=True)
class Prefix:
    """What the decoder reads before the text, and the output of the finding queries; None without images."""

    embeds: Float[Tensor, "batch prefix width"]
    mask: Int[Tensor, "batch prefix"]
    findings: FindingOutput | None
    num_prior_tokens: int = 0
    """So many positions at the start are image tokens of the prior studies."""


@dataclass(frozen=True, slots=True)
class ReportModelOutput:
    """The losses are sums, not means, so that the caller can weight batches of unequal size exactly."""

    report_loss_sum: Float[Tensor, ""]
    finding_loss_sum: Float[Tensor, ""]
    box_loss_sum: Float[Tensor, ""]
    severity_loss_sum: Float[Tensor, ""]
    change_loss_sum: Float[Tensor, ""]
    finding_logits: Float[Tensor, "batch findings"] | None
    """None if no image was encoded."""
    severity_logits: Float[Tensor, "batch findings severities"] | None
    """Without a gradient, because a batch may have no known severity. None if severities are not estimated."""
    change_logits: Float[Tensor, "batch findings changes"] | None
    """Without a gradient. None if no study of the batch has a prior, or if changes are not estimated."""
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
        self.change_head: FindingChange | None = None
        if config.prior:
            self.add_prior()
        if config.lora is not None:
            self.adapt(config.lora)

    def add_severity(self) -> None:
        """Add the estimate of severities. Until it is trained, the text does not depend on it."""
        self.config = replace(self.config, severity=True)
        self.severity_head = FindingSeverity(width=self.encoder.width)
        self.severity_embedding = nn.Parameter(torch.zeros(len(SEVERITIES) - 1, self.decoder.width))

    def add_prior(self) -> None:
        """Add the comparison with a prior study. Studies without a prior keep their outputs."""
        self.config = replace(self.config, prior=True)
        self.change_head = FindingChange(width=self.encoder.width)
        if self.severity_head is not None:
            self.change_head.start_from(self.severity_head)
        self.change_embedding = nn.Parameter(torch.zeros(len(CHANGES) - 1, self.decoder.width))
        self.prior_embedding = nn.Parameter(torch.randn(self.decoder.width) * 0.02)

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
        for part in (self.encoder, self.view_embedding, self.finding_queries, self.severity_head, self.change_head):
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

    def _compare(
        self,
        current: StudyFeatures,
        prior_pixel_values: Tensor | None,
        prior_patch_features: Tensor | None,
        prior_view_indices: Tensor,
        prior_view_mask: Tensor,
    ) -> tuple[Tensor, FindingOutput]:
        """Patch features of the prior views, 0 for a study without a prior, and the findings with the change logits."""
        rows = prior_view_mask.any(dim=1)
        inputs = (prior_pixel_values, prior_view_indices, prior_view_mask, prior_patch_features)
        pixels, indices, mask, features = (None if part is None else part[rows] for part in inputs)
        present, findings = self.encode_images(pixels, indices, mask, features)
        changes = self.change_head(current.of(rows), StudyFeatures(present, indices, mask, findings))
        patches = present.new_zeros(len(rows), *present.shape[1:])
        patches[rows] = present
        logits = changes.new_zeros(len(rows), *changes.shape[1:])
        logits[rows] = changes
        return patches, replace(current.findings, change_logits=logits)

    def prefix(
        self,
        *,
        pixel_values: Float[Tensor, "batch views channels height width"] | None = None,
        patch_features: Float[Tensor, "batch views patches features"] | None = None,
        view_indices: Int[Tensor, "batch views"],
        view_mask: Bool[Tensor, "batch views"],
        prior_pixel_values: Float[Tensor, "batch prior_views channels height width"] | None = None,
        prior_patch_features: Float[Tensor, "batch prior_views patches features"] | None = None,
        prior_view_indices: Int[Tensor, "batch prior_views"] | None = None,
        prior_view_mask: Bool[Tensor, "batch prior_views"] | None = None,
        prompt_ids: Int[Tensor, "batch prompt"],
        prompt_mask: Int[Tensor, "batch prompt"],
        decision_logits: Float[Tensor, " findings"] | None = None,
        decided_findings: Float[Tensor, "batch findings"] | None = None,
        decided_severities: Int[Tensor, "batch findings"] | None = None,
        decided_changes: Int[Tensor, "batch findings"] | None = None,
    ) -> Prefix:
        """The embeddings that come before the text, from images or from their saved patch features.

        The decoder is conditioned on the classifier's output, p - (1 - p), on each finding's attention, and on the
        probabilities of its severities and changes. All are detached: the report loss has no gradient to logits and
        attention here, so it cannot change what the finding losses have taught. With `decision_logits` it reads
        decisions, as in training on labels: a finding is present (1) from this logit on, otherwise absent (-1), and its
        most probable severity and its location (`decided_locations`) count as certain, and so does its most probable
        change of those that fit. `decided_findings` (-1 absent to 1 present) replaces the classifier's output where it
        is not NaN, `decided_severities` (indices of SEVERITIES) replace its severities, and `decided_changes` (of
        CHANGES) its changes; locations count as certain here too.

        A study without a prior has a row of False in `prior_view_mask`. If no study has one, leave the prior out.

        Raises:
            ValueError: there is a prior, but the model was not trained with priors.
        """
        self._check_prior(prior_view_mask)
        patches, findings = self.encode_images(pixel_values, view_indices, view_mask, patch_features)
        prior_tokens = None
        if prior_view_mask is not None:
            current = StudyFeatures(patches, view_indices, view_mask, findings)
            prior = (prior_pixel_values, prior_patch_features, prior_view_indices, prior_view_mask)
            prior_patches, findings = self._compare(current, *prior)
            prior_tokens = self.vision_projector(prior_patches)
        logits = findings.logits.detach()
        presence = (logits / 2).tanh()
        if decision_logits is not None:
            presence = torch.where(logits >= decision_logits, 1.0, -1.0).to(logits.dtype)
        if decided_findings is not None:
            presence = torch.where(decided_findings.isnan(), presence, decided_findings.to(presence.dtype))
        tokens = self.finding_projector(findings.tokens)
        severities = None
        if decided_severities is not None:
            severities = certain_severities(decided_severities)
        elif findings.severity_logits is not None:
            severity_logits = findings.severity_logits.detach().float()
            severities = severity_logits.softmax(dim=-1)[..., 1:]
            if decision_logits is not None:
                severities = certain_severities(severity_logits.argmax(dim=-1))
            severities[:, WITHOUT_SEVERITY] = 0
        changes = None
        if decided_changes is not None:
            changes = certain_changes(decided_changes)
        elif findings.change_logits is not None:
            changes = change_shares(findings.change_logits.detach(), None if decision_logits is None else presence > 0)
            changes = changes * prior_view_mask.any(dim=1)[:, None, None]
        locations = findings.attention.detach()
        if decision_logits is not None or decided_findings is not None:
            locations = decided_locations(locations, view_indices.shape[1])
        finding_tokens = self._finding_tokens(tokens, presence, locations, view_indices, severities, changes)
        views = [(prior_tokens, prior_view_mask), (self.vision_projector(patches), view_mask)]
        return self._join(views, finding_tokens, prompt_ids, prompt_mask, findings)

    def _check_prior(self, prior_view_mask: Tensor | None) -> None:
        if prior_view_mask is not None and self.change_head is None:
            raise ValueError("the model was not trained with prior studies; leave the prior out, or use another model")

    def _finding_tokens(
        self,
        tokens: Tensor,
        presence: Tensor,
        locations: Tensor,
        view_indices: Tensor,
        severities: Tensor | None,
        changes: Tensor | None,
    ) -> Tensor:
        """Location and severity are weighted by the probability; the change is not, as a resolved finding is absent."""
        probability = (1 + presence[..., None]) / 2
        location = probability * self.finding_locations(locations, view_indices)
        tokens = tokens + presence[..., None] * self.finding_presence + location
        if severities is not None and self.severity_head is not None:
            tokens = tokens + probability * (severities.to(tokens.dtype) @ self.severity_embedding)
        if changes is not None and self.change_head is not None:
            tokens = tokens + embed_changes(changes, self.change_embedding)
        return tokens

    def _join(
        self,
        views: Sequence[tuple[Tensor | None, Tensor | None]],
        finding_tokens: Tensor,
        prompt_ids: Tensor,
        prompt_mask: Tensor,
        findings: FindingOutput | None,
    ) -> Prefix:
        """The prefix; `views` are image tokens and mask of the prior views, None without a prior, and of the views."""
        (prior_tokens, prior_mask), current = views
        prior = [] if prior_tokens is None else [(prior_tokens + self.prior_embedding, prior_mask)]
        embeds, mask = [], []
        for tokens, view_mask in [*prior, current]:
            embeds.append(tokens.flatten(1, 2))
            mask.append(view_mask[:, :, None].expand(-1, -1, tokens.shape[2]).flatten(1, 2).to(prompt_mask.dtype))
        num_prior_tokens = embeds[0].shape[1] if prior else 0
        if self.config.use_finding_tokens:
            embeds.append(finding_tokens)
            mask.append(prompt_mask.new_ones(len(prompt_mask), NUM_FINDINGS))
        prompt = self.decoder.embed(prompt_ids)
        embeds = torch.cat([*[part.to(prompt.dtype) for part in embeds], prompt], dim=1)
        return Prefix(embeds, torch.cat([*mask, prompt_mask], dim=1), findings, num_prior_tokens)

    def forward(
        self,
        *,
        pixel_values: Float[Tensor, "batch views channels height width"] | None = None,
        patch_features: Float[Tensor, "batch views patches features"] | None = None,
        view_indices: Int[Tensor, "batch views"],
        finding_condition: Float[Tensor, "batch findings"] | None = None,
        decided_findings: Float[Tensor, "batch findings"] | None = None,
        view_mask: Bool[Tensor, "batch views"],
        prior_pixel_values: Float[Tensor, "batch prior_views channels height width"] | None = None,
        prior_patch_features: Float[Tensor, "batch prior_views patches features"] | None = None,
        prior_view_indices: Int[Tensor, "batch prior_views"] | None = None,
        prior_view_mask: Bool[Tensor, "batch prior_views"] | None = None,
        prompt_ids: Int[Tensor, "batch prompt"],
        prompt_mask: Int[Tensor, "batch prompt"],
        input_ids: Int[Tensor, "batch length"],
        attention_mask: Int[Tensor, "batch length"],
        finding_targets: Float[Tensor, "batch findings"],
        finding_mask: Bool[Tensor, "batch findings"],
        box_targets: Float[Tensor, "batch findings boxed_patches"] | None = None,
        severity_targets: Int[Tensor, "batch findings"] | None = None,
        change_targets: Int[Tensor, "batch findings"] | None = None,
    ) -> ReportModelOutput:
        """Losses of a batch: cross-entropy over `input_ids` after the first, and over the labeled findings.

        `input_ids` begins with the start token. Positions with `attention_mask` 0 have no loss, so a study without a
        report trains only the findings. If `input_ids` holds nothing but start tokens, the decoder does not run.

        `box_targets` is the location of each finding: a distribution over the patches of all views, 0 for a finding
        without a box. The attention of a finding is trained to match it.

        `severity_targets` are indices of SEVERITIES and `change_targets` of CHANGES; an unknown one has no loss.

        With `finding_condition` (-1 absent to 1 present) no image is encoded: the decoder is conditioned on these
        findings, on the locations in `box_targets`, on `severity_targets` and `change_targets` instead of the output of
        the finding queries. Only the report has a loss then. With `decided_findings`, it is conditioned on these and on
        the targets of severity and change beside the image.
        """
        losses = dict.fromkeys(("finding", "box", "severity", "change"), torch.zeros((), device=view_mask.device))
        report_loss, logits = losses["box"], None
        if finding_condition is not None:
            self._check_prior(prior_view_mask)
            if box_targets is None:
                num_patches = view_mask.shape[1] * self.encoder.grid[0] * self.encoder.grid[1]
                box_targets = finding_condition.new_zeros(*finding_condition.shape, num_patches)
            bias = self.finding_projector.bias
            severities = None if severity_targets is None else certain_severities(severity_targets)
            changes = None if change_targets is None else certain_changes(change_targets)
            told = (finding_condition, box_targets, view_indices, severities, changes)
            finding_tokens = self._finding_tokens(bias, *told)
            no_image = self.vision_projector.without_images
            views = [(None if mask is None else no_image(*mask.shape), mask) for mask in (prior_view_mask, view_mask)]
            prefix = self._join(views, finding_tokens, prompt_ids, prompt_mask, None)
        else:
            is_decided = decided_findings is not None
            prefix = self.prefix(
                pixel_values=pixel_values,
                patch_features=patch_features,
                view_indices=view_indices,
                view_mask=view_mask,
                prior_pixel_values=prior_pixel_values,
                prior_patch_features=prior_patch_features,
                prior_view_indices=prior_view_indices,
                prior_view_mask=prior_view_mask,
                prompt_ids=prompt_ids,
                prompt_mask=prompt_mask,
                decided_findings=decided_findings,
                decided_severities=severity_targets if is_decided else None,
                decided_changes=change_targets if is_decided else None,
            )
            found = prefix.findings
            losses["finding"] = functional.binary_cross_entropy_with_logits(
                found.logits.float(), finding_targets, reduction="none", weight=finding_mask.float()
            ).sum()
            losses["box"] = box_loss(found.attention, box_targets)
            if found.severity_logits is not None:
                losses["severity"] = severity_loss(found.severity_logits, severity_targets)
            if found.change_logits is not None:
                losses["change"] = change_loss(found.change_logits, change_targets)
        if finding_condition is not None or input_ids.shape[1] > 1:
            report_loss, logits = self._report_loss(prefix, input_ids, attention_mask)
        found = prefix.findings
        severity_logits, change_logits = (found.severity_logits, found.change_logits) if found else (None, None)
        return ReportModelOutput(
            report_loss_sum=report_loss,
            **{f"{name}_loss_sum": loss for name, loss in losses.items()},
            finding_logits=found.logits if found else None,
            severity_logits=None if severity_logits is None else severity_logits.detach(),
            change_logits=None if change_logits is None else change_logits.detach(),
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
