"""The report model: what it looks at, what it masks, its losses."""

import pytest
import torch
from jaxtyping import TypeCheckError
from torch.nn import functional

from vlm.config import LoraSettings
from vlm.schema.findings import NUM_FINDINGS

IMAGES = ("pixel_values", "view_indices", "view_mask")


@pytest.fixture(params=["tiny_model", "tiny_lstm"])
def model(request):
    return request.getfixturevalue(request.param)


@torch.inference_mode()
def test_different_image_changes_tokens_and_findings(model, study_batch):
    batch = study_batch()
    output = model(**batch)
    batch["pixel_values"] = batch["pixel_values"].flip(-1)
    other = model(**batch)
    assert (output.finding_logits - other.finding_logits).abs().max(dim=1).values.min() > 1e-2
    assert (output.logits - other.logits).abs().amax(dim=(1, 2))[:2].min() > 1e-3


@torch.inference_mode()
def test_every_view_changes_the_output(tiny_model, study_batch):
    batch = study_batch(only=[0])
    output = tiny_model(**batch)
    batch["pixel_values"][:, 1] = 0
    other = tiny_model(**batch)
    assert (output.finding_logits - other.finding_logits).abs().max() > 1e-2
    assert (output.logits - other.logits).abs().max() > 1e-3


@torch.inference_mode()
def test_kind_of_view_changes_the_output(tiny_model, study_batch):
    batch = study_batch(only=[1])
    output = tiny_model(**batch)
    batch["view_indices"] = torch.tensor([[3]])
    assert (output.finding_logits - tiny_model(**batch).finding_logits).abs().max() > 1e-3


@torch.inference_mode()
def test_indication_changes_the_text_and_not_the_findings(model, study_batch):
    batch = study_batch(only=[0])
    output = model(**batch)
    batch["prompt_ids"] = batch["prompt_ids"] + 1
    other = model(**batch)
    assert (output.logits - other.logits).abs().max() > 1e-3
    assert torch.equal(output.finding_logits, other.finding_logits)


@torch.inference_mode()
def test_padding_changes_no_loss_and_no_logits(model, study_batch):
    """Three studies in one batch, with views, prompts and texts padded, against each alone."""
    together = model(**study_batch())
    alone = [model(**study_batch(only=[number])) for number in range(3)]
    for name in ("report_loss_sum", "finding_loss_sum"):
        expected = sum(getattr(output, name) for output in alone)
        torch.testing.assert_close(getattr(together, name), expected, atol=1e-4, rtol=1e-5)
    for number, output in enumerate(alone):
        torch.testing.assert_close(together.finding_logits[number], output.finding_logits[0], atol=1e-5, rtol=1e-5)
        if output.logits is not None:
            length = output.logits.shape[1]
            torch.testing.assert_close(together.logits[number, :length], output.logits[0], atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_content_of_padding_changes_nothing(model, study_batch):
    batch = study_batch()
    output = model(**batch)
    batch["pixel_values"][~batch["view_mask"]] = 9.0
    batch["view_indices"][~batch["view_mask"]] = 3
    for ids, mask in (("prompt_ids", "prompt_mask"), ("input_ids", "attention_mask")):
        batch[ids] = batch[ids].masked_fill(batch[mask] == 0, 17)
    other = model(**batch)
    assert torch.equal(output.finding_logits, other.finding_logits)
    torch.testing.assert_close(output.report_loss_sum, other.report_loss_sum)
    assert output.finding_loss_sum == other.finding_loss_sum


@torch.inference_mode()
def test_swapped_views_swap_their_maps_and_keep_the_findings(tiny_model, study_batch):
    batch = {name: study_batch(only=[0])[name] for name in IMAGES}
    _, findings = tiny_model.encode_images(**batch)
    _, swapped = tiny_model.encode_images(**{name: value.flip(1) for name, value in batch.items()})
    torch.testing.assert_close(findings.logits, swapped.logits, atol=1e-5, rtol=1e-5)
    views, swapped_views = (output.attention.unflatten(2, (2, 16)) for output in (findings, swapped))
    torch.testing.assert_close(views, swapped_views.flip(2), atol=1e-6, rtol=1e-5)
    assert (views[:, :, 0] - views[:, :, 1]).abs().max() > 1e-3


@torch.inference_mode()
def test_attention_sums_to_1_over_present_views(tiny_model, study_batch):
    batch = study_batch()
    _, findings = tiny_model.encode_images(**{name: batch[name] for name in IMAGES})
    views = findings.attention.unflatten(2, (2, 16))
    torch.testing.assert_close(views.sum(dim=(2, 3)), torch.ones(3, NUM_FINDINGS))
    assert (views[1:, :, 1] == 0).all() and (views[:, :, 0] > 0).all()


@torch.inference_mode()
def test_losses_are_sums_of_cross_entropies(model, study_batch):
    batch = study_batch()
    output = model(**batch)
    expected = 0.0
    for row in range(3):
        log_probabilities = output.logits[row].log_softmax(dim=-1)
        for place in range(int(batch["attention_mask"][row].sum()) - 1):
            expected -= log_probabilities[place, batch["input_ids"][row, place + 1]].item()
    assert output.report_loss_sum.item() == pytest.approx(expected, rel=1e-5)
    mask = batch["finding_mask"]
    labelled = functional.binary_cross_entropy(
        output.finding_logits.sigmoid()[mask], batch["finding_targets"][mask], reduction="sum"
    )
    torch.testing.assert_close(output.finding_loss_sum, labelled)


@torch.inference_mode()
def test_box_loss_is_the_divergence_of_attention_from_the_boxes(tiny_model, study_batch):
    batch = study_batch()
    attention = tiny_model.encode_images(**{name: batch[name] for name in IMAGES})[1].attention
    box_targets = torch.zeros_like(attention)
    box_targets[0, 3, [2, 20]] = torch.tensor([0.25, 0.75])
    box_targets[1, 9, 5] = 1.0
    output = tiny_model(**batch, box_targets=box_targets)
    expected = 0.25 * (0.25 / attention[0, 3, 2]).log() + 0.75 * (0.75 / attention[0, 3, 20]).log()
    torch.testing.assert_close(output.box_loss_sum, expected - attention[1, 9, 5].log())
    box_targets[:2] = attention[:2]
    assert tiny_model(**batch, box_targets=box_targets).box_loss_sum.item() == pytest.approx(0, abs=1e-5)
    for none in (None, torch.zeros_like(box_targets)):
        assert tiny_model(**batch, box_targets=none).box_loss_sum == 0


@torch.inference_mode()
def test_logits_before_a_token_do_not_depend_on_it(tiny_model, study_batch):
    batch = study_batch(only=[1])
    output = tiny_model(**batch)
    batch["input_ids"][0, 5] = 99
    other = tiny_model(**batch)
    torch.testing.assert_close(output.logits[:, :5], other.logits[:, :5])
    assert (output.logits[:, 5] - other.logits[:, 5]).abs().max() > 1e-3


def gradients(model, output):
    model.zero_grad()
    (output.report_loss_sum + output.finding_loss_sum).backward()
    return {name for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_study_without_a_report_trains_only_the_findings_and_skips_the_decoder(build_model, study_batch, monkeypatch):
    model = build_model()
    output = model(**study_batch(only=[2]))
    assert (output.report_loss_sum.item(), output.logits) == (0.0, None)
    trained = gradients(model, output)
    assert "finding_queries.queries" in trained and "encoder.backbone.layers.0.mlp.fc1.weight" in trained
    assert not {name for name in trained if name.startswith(("decoder.", "vision_projector.", "finding_projector."))}


def test_study_without_labels_trains_only_the_report(build_model, study_batch):
    model, batch = build_model(), study_batch(only=[1])
    batch["finding_mask"] = torch.zeros_like(batch["finding_mask"])
    output = model(**batch)
    assert output.finding_loss_sum.item() == 0.0
    assert output.report_loss_sum > 0
    gradients(model, output)
    assert model.finding_queries.finding_bias.grad.abs().max() == 0
    assert model.finding_queries.queries.grad.abs().max() > 0
    assert model.vision_projector.project[0].weight.grad.abs().max() > 0


def test_decoder_is_conditioned_on_the_classifier_without_a_gradient(build_model, study_batch):
    model, batch = build_model(), study_batch(only=[1])
    batch["finding_mask"] = torch.zeros_like(batch["finding_mask"])
    before = model(**batch)
    with torch.no_grad():
        model.finding_queries.finding_bias += 5
    after = model(**batch)
    assert (before.logits - after.logits).abs().max() > 1e-3
    after.report_loss_sum.backward()
    assert model.finding_queries.finding_bias.grad is None
    assert model.finding_presence.grad.abs().max() > 0


@torch.inference_mode()
def test_without_finding_tokens_the_decoder_does_not_depend_on_the_findings(build_model, study_batch):
    model, batch = build_model(use_finding_tokens=False), study_batch(only=[0])
    before = model(**batch)
    model.finding_queries.finding_bias += 5
    model.finding_queries.queries += 1
    after = model(**batch)
    assert torch.equal(before.logits, after.logits)
    assert not torch.equal(before.finding_logits, after.finding_logits)


def test_frozen_image_encoder_gets_no_gradient(build_model, study_batch):
    model = build_model()
    model.freeze_image_encoder()
    model.train()
    assert not model.encoder.training and model.decoder.training
    output = model(**study_batch())
    trained = gradients(model, output)
    assert {name.split(".")[0] for name in trained} == {
        "decoder",
        "vision_projector",
        "finding_projector",
        "finding_presence",
        "finding_locations",
    }


@pytest.mark.parametrize("settings", [{}, {"kind": "lstm"}, {"lora": LoraSettings(encoder_projections=("q_proj",))}])
def test_training_in_bf16_is_close_to_full_precision(settings, build_model, study_batch):
    model = build_model(**settings)
    full = model(**study_batch())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(**study_batch())
    for name in ("report_loss_sum", "finding_loss_sum"):
        assert getattr(output, name).dtype == torch.float32
        torch.testing.assert_close(getattr(output, name), getattr(full, name), rtol=0.05, atol=0.0)
    assert all(model.get_parameter(name).grad.isfinite().all() for name in gradients(model, output))


def test_shapes_in_signatures_are_checked(tiny_model, study_batch):
    batch = study_batch()
    batch["view_mask"] = batch["view_mask"][:, :1]
    with pytest.raises(TypeCheckError, match="view_mask"):
        tiny_model(**batch)


@torch.inference_mode()
def test_the_decoder_reads_decisions_with_decision_logits(build_model, study_batch):
    model, batch = build_model().eval(), study_batch(only=[0])
    inputs = {name: batch[name] for name in ("pixel_values", "view_indices", "view_mask", "prompt_ids", "prompt_mask")}
    logits = model.prefix(**inputs).findings.logits
    limits = logits[0] + torch.tensor([0.1, -0.1]).repeat(7)
    decided = model.prefix(**inputs, decision_logits=limits)
    expected = model.prefix(**inputs, decided_findings=torch.tensor([[-1.0, 1.0] * 7]))
    assert torch.equal(decided.embeds, expected.embeds)
    at_the_limit = model.prefix(**inputs, decision_logits=logits[0])
    assert torch.equal(at_the_limit.embeds, model.prefix(**inputs, decided_findings=torch.ones(1, 14)).embeds)


@torch.inference_mode()
def test_decided_findings_replace_the_classifier_where_they_are_known(build_model, study_batch):
    model, batch = build_model().eval(), study_batch(only=[0])
    logits = model(**batch).finding_logits
    presence = (logits / 2).tanh()
    open_ones = torch.full_like(presence, float("nan"))
    same = model(**batch, decided_findings=open_ones).logits
    torch.testing.assert_close(model(**batch, decided_findings=presence).logits, same)
    assert (model(**batch, decided_findings=torch.ones_like(presence)).logits - same).abs().max() > 1e-4
