"""Severity of findings: its estimate, its loss, and how it reaches the decoder."""

import pytest
import torch
from torch.nn import functional

from vlm.layers.finding_queries import FindingOutput
from vlm.layers.finding_severity import NUM_DETECTORS, FindingSeverity
from vlm.schema.findings import NUM_FINDINGS, SEVERITIES, UNKNOWN_SEVERITY, WITHOUT_SEVERITY

EFFUSION, SMALL, LARGE = 9, SEVERITIES.index("small"), SEVERITIES.index("large")


@pytest.fixture
def head():
    torch.manual_seed(0)
    head = FindingSeverity(width=8).eval()
    with torch.no_grad():
        for weight in (head.token_weight, head.extent_weight, head.detectors.weight):
            weight.normal_()
    return head


@pytest.fixture
def model(build_model):
    model = build_model(severity=True)
    with torch.no_grad():
        for parameter in (model.severity_embedding, model.severity_head.token_weight):
            parameter.normal_()
    return model


@pytest.fixture
def targets():
    targets = torch.full((3, NUM_FINDINGS), UNKNOWN_SEVERITY)
    targets[0, EFFUSION], targets[1, 4] = LARGE, SMALL
    return targets


def text_only(batch, targets):
    """The batch with effusion in all studies, without images."""
    condition = torch.full((len(targets), NUM_FINDINGS), -1.0)
    condition[:, EFFUSION] = 1.0
    rest = {name: value for name, value in batch.items() if name != "pixel_values"}
    return rest | {"finding_condition": condition, "severity_targets": targets}


def findings_of(attention, tokens=None):
    tokens = torch.zeros(len(attention), NUM_FINDINGS, 8) if tokens is None else tokens
    return FindingOutput(tokens=tokens, logits=torch.zeros(len(attention), NUM_FINDINGS), attention=attention)


@torch.inference_mode()
def test_estimate_depends_on_the_number_of_patches_that_show_a_finding_and_not_on_their_order(head):
    attention, mask = torch.full((3, NUM_FINDINGS, 6), 1 / 6), torch.ones(3, 6, dtype=torch.bool)
    head.detectors.weight[:NUM_DETECTORS] = torch.tensor([9.0] + [-3.0] * 7)
    patches = torch.ones(3, 6, 8)
    patches[..., 0] = 0.0
    patches[1, :1, 0], patches[2, :4, 0] = 9.0, 9.0
    logits = head(findings_of(attention), patches, mask)[:, 0]
    assert torch.pdist(logits).min() > 0.01
    mixed = head(findings_of(attention), patches[:, [5, 3, 1, 0, 2, 4]], mask)[:, 0]
    torch.testing.assert_close(mixed, logits)


@torch.inference_mode()
def test_estimate_depends_on_the_extent_of_the_attention(head):
    narrow, wide = torch.tensor([1.0, 0, 0, 0, 0, 0]), torch.full((6,), 1 / 6)
    attention = torch.stack([narrow, wide])[:, None].expand(-1, NUM_FINDINGS, -1)
    one, other = head(findings_of(attention), torch.ones(2, 6, 8), torch.ones(2, 6, dtype=torch.bool))
    assert one.isfinite().all() and (one - other).abs().amax(dim=-1).min() > 1e-3


@torch.inference_mode()
def test_padding_does_not_change_the_estimate(head):
    attention = torch.rand(1, NUM_FINDINGS, 6) * torch.tensor([1.0] * 4 + [0.0] * 2)
    tokens, patches = torch.randn(1, NUM_FINDINGS, 8), torch.randn(1, 6, 8)
    mask = torch.tensor([[True] * 4 + [False] * 2])
    alone = head(findings_of(attention[..., :4], tokens), patches[:, :4], mask[:, :4])
    torch.testing.assert_close(head(findings_of(attention, tokens), patches, mask), alone)


@torch.inference_mode()
def test_only_known_severities_have_a_loss(model, study_batch, targets):
    batch = study_batch()
    output = model(**batch, severity_targets=targets)
    logits = output.severity_logits
    expected = functional.cross_entropy(logits[[0, 1], [EFFUSION, 4]], torch.tensor([LARGE, SMALL]), reduction="sum")
    torch.testing.assert_close(output.severity_loss_sum, expected)
    for none in (None, torch.full_like(targets, UNKNOWN_SEVERITY)):
        assert model(**batch, severity_targets=none).severity_loss_sum == 0


def test_severity_loss_trains_head_and_encoder_and_the_report_does_not_train_the_head(model, study_batch, targets):
    output = model(**study_batch(), severity_targets=targets)
    output.severity_loss_sum.backward(retain_graph=True)
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained >= {f"severity_head.{name}" for name, _ in model.severity_head.named_parameters()}
    assert {name.split(".")[0] for name in trained} == {
        "severity_head",
        "finding_queries",
        "encoder",
        "view_embedding",
    }
    model.zero_grad()
    output.report_loss_sum.backward()
    assert model.severity_embedding.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in model.severity_head.parameters())


@torch.inference_mode()
def test_text_only_epochs_tell_the_true_severity(model, study_batch, targets):
    batch = study_batch()
    unknown = model(**text_only(batch, torch.zeros_like(targets))).logits
    logits = model(**text_only(batch, targets)).logits
    assert (logits[0] - unknown[0]).abs().max() > 1e-3
    assert torch.equal(logits[2], unknown[2])
    torch.testing.assert_close(logits[1], unknown[1])  # the finding is absent
    model.severity_embedding.zero_()
    assert torch.equal(model(**text_only(batch, targets)).logits, unknown)


@torch.inference_mode()
def test_decided_findings_come_with_the_known_severity(model, study_batch, targets):
    batch = study_batch()
    decided = torch.ones(3, NUM_FINDINGS)
    known = model(**batch, decided_findings=decided, severity_targets=targets).logits
    other = model(**batch, decided_findings=decided, severity_targets=torch.zeros_like(targets)).logits
    assert (known[:2] - other[:2]).abs().amax(dim=(1, 2)).min() > 1e-3
    assert torch.equal(known[2], other[2])


@torch.inference_mode()
def test_decoder_reads_probabilities_or_with_decisions_the_most_probable_severity(model, study_batch):
    batch = study_batch(only=[1])
    inputs = {name: batch[name] for name in ("pixel_values", "view_indices", "view_mask", "prompt_ids", "prompt_mask")}
    tokens = slice(-NUM_FINDINGS - batch["prompt_ids"].shape[1], -batch["prompt_ids"].shape[1] or None)

    def told(**more):
        with_severity = model.prefix(**inputs, **more)
        embedding = model.severity_embedding.clone()
        model.severity_embedding.zero_()
        without = model.prefix(**inputs, **more)
        model.severity_embedding.copy_(embedding)
        return (with_severity.embeds - without.embeds)[0, tokens], with_severity.findings

    added, findings = told()
    presence = findings.logits.sigmoid()[0, :, None]
    shares = findings.severity_logits[0].softmax(dim=-1)
    decision = shares.argmax(dim=-1)
    shares = shares[:, 1:]
    shares[list(WITHOUT_SEVERITY)] = 0
    torch.testing.assert_close(added, presence * (shares @ model.severity_embedding), atol=1e-4, rtol=1e-4)
    decided, _ = told(decision_logits=torch.zeros(NUM_FINDINGS))
    certain = functional.one_hot(decision, 4)[:, 1:].float()
    certain[list(WITHOUT_SEVERITY)] = 0
    presence = (findings.logits[0, :, None] >= 0).float()
    torch.testing.assert_close(decided, presence * (certain @ model.severity_embedding), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_added_severity_changes_no_output_before_training(build_model, study_batch):
    model, batch = build_model(), study_batch()
    before = model(**batch)
    model.add_severity()
    after = model(**batch)
    assert model.config.severity
    assert torch.equal(before.logits, after.logits) and torch.equal(before.finding_logits, after.finding_logits)


def test_frozen_classifier_keeps_its_severities(model, study_batch, targets):
    model.freeze_image_encoder()
    output = model(**study_batch(), severity_targets=targets)
    (output.report_loss_sum + output.severity_loss_sum).backward()
    assert all(parameter.grad is None for parameter in model.severity_head.parameters())
    assert model.severity_embedding.grad is not None
