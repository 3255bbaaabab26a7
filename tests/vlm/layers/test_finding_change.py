"""Change of findings since a prior study: its estimate, its loss, and how it reaches the decoder."""

import pytest
import torch
from torch.nn import functional

from vlm.inputs.batch import of_prior
from vlm.layers.finding_change import FindingChange, StudyFeatures, change_shares
from vlm.layers.finding_queries import FindingOutput
from vlm.schema.findings import CHANGES, NUM_FINDINGS, UNKNOWN_CHANGE, WITHOUT_CHANGE

EFFUSION = 9
NEW, WORSE, UNCHANGED, RESOLVED = (CHANGES.index(name) for name in ("new", "worse", "unchanged", "resolved"))


def randomize(model):
    """Values for what is 0 before training."""
    with torch.no_grad():
        for parameter in (model.change_embedding, model.change_head.output, model.prior_embedding):
            parameter.normal_()
    return model


@pytest.fixture
def model(build_model):
    return randomize(build_model(prior=True))


@pytest.fixture
def paired_batch(study_batch):
    """Study 0 has a prior of one view, study 1 has none, study 2 has a prior of two views."""

    def build(only=(0, 1, 2)):
        batch, views = study_batch(only), study_batch()
        order = torch.tensor([2, 1, 0])[list(only)]
        prior = {name: views[name][order] for name in ("pixel_values", "view_indices", "view_mask")}
        prior["view_mask"] = prior["view_mask"] & torch.tensor([[number != 1] for number in only])
        if tuple(only) == (0,):
            prior = {name: value[:, :1] for name, value in prior.items()}
        return batch | of_prior(prior)

    return build


@pytest.fixture
def targets():
    targets = torch.full((3, NUM_FINDINGS), UNKNOWN_CHANGE)
    targets[0, EFFUSION], targets[2, 4], targets[2, 5] = WORSE, RESOLVED, 0
    return targets


def text_only(batch, targets):
    """The batch without images; effusion in all studies."""
    condition = torch.full((len(targets), NUM_FINDINGS), -1.0)
    condition[:, EFFUSION] = 1.0
    rest = {name: value for name, value in batch.items() if not name.endswith("pixel_values")}
    return rest | {"finding_condition": condition, "change_targets": targets}


@pytest.mark.parametrize("kind", ["gpt2", "lstm"])
def test_without_a_prior_all_outputs_are_those_of_a_model_without_prior_parts(build_model, study_batch, kind):
    model, batch = build_model(kind=kind), study_batch()
    before = model(**batch)
    before.report_loss_sum.backward()
    gradient = model.finding_projector.weight.grad.clone()
    model.add_prior()
    randomize(model).zero_grad()
    after = model(**batch)
    after.report_loss_sum.backward()
    for name in ("report_loss_sum", "finding_loss_sum", "finding_logits", "logits"):
        assert torch.equal(getattr(before, name), getattr(after, name)), name
    assert torch.equal(gradient, model.finding_projector.weight.grad)
    assert after.change_logits is None and after.change_loss_sum == 0
    told = text_only(batch, torch.full((3, NUM_FINDINGS), UNKNOWN_CHANGE))
    without = build_model(kind=kind)(**{name: value for name, value in told.items() if name != "change_targets"})
    assert torch.equal(model(**told).logits, without.logits)


@torch.inference_mode()
def test_a_study_gives_the_same_output_whatever_priors_the_others_have(model, study_batch, paired_batch):
    together = model(**paired_batch())
    alone = model(**study_batch([1]))
    length = alone.logits.shape[1]
    torch.testing.assert_close(together.logits[1, :length], alone.logits[0], atol=1e-4, rtol=1e-4)
    assert not together.change_logits[1].any()
    alone = model(**paired_batch([0]))
    torch.testing.assert_close(together.change_logits[0], alone.change_logits[0], atol=1e-4, rtol=1e-4)
    length = alone.logits.shape[1]
    torch.testing.assert_close(together.logits[0, :length], alone.logits[0], atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_prior_image_changes_text_and_changes_and_not_the_findings(model, paired_batch):
    batch = paired_batch([0])
    output = model(**batch)
    other = model(**batch | {"prior_pixel_values": batch["prior_pixel_values"].flip(-1)})
    assert (output.logits - other.logits).abs().max() > 1e-3
    assert (output.change_logits - other.change_logits).abs().max() > 1e-3
    assert torch.equal(output.finding_logits, other.finding_logits)


@torch.inference_mode()
def test_content_of_padded_prior_views_changes_nothing(model, paired_batch):
    batch = paired_batch()
    output = model(**batch)
    batch["prior_pixel_values"][~batch["prior_view_mask"]] = 9.0
    other = model(**batch)
    assert torch.equal(output.logits, other.logits) and torch.equal(output.change_logits, other.change_logits)


@torch.inference_mode()
def test_saved_features_give_the_output_of_the_images(model, paired_batch):
    batch = paired_batch()
    expected = model(**batch)
    for name in ("", "prior_"):
        pixels = batch.pop(f"{name}pixel_values")
        batch[f"{name}patch_features"] = model.encoder(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2])
    torch.testing.assert_close(model(**batch).change_logits, expected.change_logits, atol=1e-4, rtol=1e-4)


def test_only_known_changes_have_a_loss_and_it_trains_only_the_change_head(model, paired_batch, targets):
    output = model(**paired_batch(), change_targets=targets)
    known = targets != UNKNOWN_CHANGE
    expected = functional.cross_entropy(output.change_logits[known], targets[known], reduction="sum")
    torch.testing.assert_close(output.change_loss_sum.detach(), expected)
    output.change_loss_sum.backward(retain_graph=True)
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained == {f"change_head.{name}" for name, _ in model.change_head.named_parameters()}
    model.zero_grad()
    output.report_loss_sum.backward()
    assert model.change_embedding.grad.abs().max() > 0 and model.prior_embedding.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in model.change_head.parameters())
    model.freeze_image_encoder()
    assert not any(parameter.requires_grad for parameter in model.change_head.parameters())
    assert model.change_embedding.requires_grad


@torch.inference_mode()
def test_text_only_epochs_tell_the_true_changes(model, paired_batch, targets):
    batch = paired_batch()
    logits = model(**text_only(batch, targets)).logits
    unknown = model(**text_only(batch, torch.full_like(targets, UNKNOWN_CHANGE))).logits
    none = model(**text_only(batch, torch.zeros_like(targets))).logits
    assert (logits[0] - unknown[0]).abs().max() > 1e-3
    assert torch.equal(logits[1], unknown[1])
    assert torch.equal(none, unknown)  # absent in both studies: nothing is told


@torch.inference_mode()
def test_decided_findings_come_with_the_known_changes(model, paired_batch, targets):
    batch, decided = paired_batch(), torch.ones(3, NUM_FINDINGS)
    known = model(**batch, decided_findings=decided, change_targets=targets).logits
    unknown = model(**batch, decided_findings=decided, change_targets=torch.zeros_like(targets)).logits
    assert (known[0] - unknown[0]).abs().max() > 1e-3
    assert torch.equal(known[1], unknown[1])


def test_decisions_take_the_most_probable_change_that_fits():
    logits = torch.tensor([[[0.0, 1.0, 2.0, 3.0, 0.0, 9.0], [0.0, 9.0, 2.0, 3.0, 0.0, 1.0]]])
    decided = change_shares(logits, torch.tensor([[True, False]]))
    assert decided.argmax(dim=-1).tolist() == [[UNCHANGED, RESOLVED]]
    assert torch.equal(change_shares(logits), logits.softmax(dim=-1))


@torch.inference_mode()
def test_no_finding_has_no_change(model, paired_batch):
    batch = paired_batch()
    targets = torch.full((3, NUM_FINDINGS), UNKNOWN_CHANGE)
    expected = model(**text_only(batch, targets)).logits
    targets[:, WITHOUT_CHANGE] = NEW
    assert torch.equal(model(**text_only(batch, targets)).logits, expected)


@torch.inference_mode()
def test_frontal_views_are_compared_if_both_studies_have_one():
    torch.manual_seed(0)
    head = FindingChange(width=8)
    head.output.normal_()
    findings = FindingOutput(torch.randn(1, 14, 8), torch.randn(1, 14), torch.rand(1, 14, 8))
    patches, mask = torch.randn(1, 2, 4, 8), torch.ones(1, 2, dtype=torch.bool)

    def change(positions, patches=patches, mask=mask):
        now = StudyFeatures(patches, torch.tensor([positions]), mask, findings)
        before = StudyFeatures(
            torch.ones(1, 1, 4, 8), torch.tensor([[2]]), torch.ones(1, 1, dtype=torch.bool), findings
        )
        return head(now, before)

    torch.testing.assert_close(change([1, 3]), change([1], patches[:, :1], mask[:, :1]))
    assert (change([1, 3]) - change([1, 1])).abs().max() > 1e-4
    assert change([3, 3]).isfinite().all()


def test_model_without_prior_parts_rejects_a_prior(tiny_model, paired_batch, targets):
    for batch in (paired_batch(), text_only(paired_batch(), targets)):
        with pytest.raises(ValueError, match="not trained with prior studies"):
            tiny_model(**batch)
