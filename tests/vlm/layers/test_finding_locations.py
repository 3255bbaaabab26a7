"""Conditioning of the decoder on findings and their locations, with and without images."""

import copy
from dataclasses import replace

import pytest
import torch

from vlm.layers.projectors import FindingLocationEmbedding, decided_locations
from vlm.schema.findings import NUM_FINDINGS

IMAGES = ("pixel_values", "view_indices", "view_mask")


@pytest.fixture(params=["tiny_model", "tiny_lstm"])
def model(request):
    return request.getfixturevalue(request.param)


def test_location_is_the_mean_of_rows_and_columns_for_the_kind_of_view():
    locations = FindingLocationEmbedding(grid=(2, 3), decoder_width=5)
    shares = torch.zeros(1, NUM_FINDINGS, 2, 2, 3)
    shares[0, 4, 0, 1, 2] = 1.0
    shares[0, 7, 0, 0, 0], shares[0, 7, 1, 1, 1] = 0.25, 0.75
    embedding = locations(shares.flatten(2), torch.tensor([[1, 3]]))[0]
    torch.testing.assert_close(embedding[4], locations.rows[1, 1] + locations.columns[1, 2])
    frontal, lateral = locations.rows[1, 0] + locations.columns[1, 0], locations.rows[3, 1] + locations.columns[3, 1]
    torch.testing.assert_close(embedding[7], 0.25 * frontal + 0.75 * lateral)
    assert not embedding[[finding for finding in range(NUM_FINDINGS) if finding not in (4, 7)]].any()


def test_decided_location_is_uniform_over_the_attended_patches_of_each_view():
    attention = torch.zeros(1, NUM_FINDINGS, 8)
    attention[0, 4] = torch.tensor([0.45, 0.10, 0.05, 0.0, 0.3, 0.1, 0.0, 0.0])
    attention[0, 7, :4] = torch.tensor([0.2, 0.8, 0.0, 0.0])  # the second view is padded
    decided = decided_locations(attention, num_views=2)[0]
    torch.testing.assert_close(decided[4], torch.tensor([0.3, 0.3, 0.0, 0.0, 0.2, 0.2, 0.0, 0.0]))
    torch.testing.assert_close(decided[7], torch.tensor([0.5, 0.5, *[0.0] * 6]))
    assert not decided[0].any()


@torch.inference_mode()
def test_decoder_reads_decided_locations_only_with_decisions(build_model, study_batch):
    model, batch = build_model().eval(), study_batch(only=[1])
    inputs = {name: batch[name] for name in (*IMAGES, "prompt_ids", "prompt_mask")}
    logits = torch.full((NUM_FINDINGS,), -100.0)  # all findings are present
    seen = model.prefix(**inputs)
    kept = torch.zeros(*seen.findings.attention.shape[-1:])
    kept[3] = 1.0
    model.finding_queries.register_forward_hook(
        lambda module, given, output: replace(output, attention=0.9 * kept + 0.1 / len(kept) + 0 * output.attention)
    )
    one_patch = model.prefix(**inputs, decision_logits=logits)
    model.finding_queries.register_forward_hook(
        lambda module, given, output: replace(output, attention=kept + 0 * output.attention)
    )
    assert torch.equal(one_patch.embeds, model.prefix(**inputs, decision_logits=logits).embeds)


def test_decoder_is_conditioned_on_attention_without_a_gradient(build_model, study_batch):
    model, batch = build_model(), study_batch(only=[1])
    before = model(**batch)
    with torch.no_grad():
        model.finding_locations.columns[:, 0] += torch.randn(model.decoder.width)
    after = model(**batch)
    assert (before.logits - after.logits).abs().max() > 1e-3
    after.report_loss_sum.backward()
    assert model.finding_queries.key.weight.grad.abs().max() > 0  # by the tokens, which attention gathers
    model.zero_grad()
    torch.nn.init.zeros_(model.finding_projector.weight)
    torch.nn.init.zeros_(model.vision_projector.project[0].weight)
    model(**batch).report_loss_sum.backward()
    assert model.finding_queries.key.weight.grad.abs().max() == 0
    assert model.finding_locations.columns.grad.abs().max() > 0


def test_location_is_weighted_by_the_probability_of_the_finding(build_model, study_batch):
    model, batch = build_model(), study_batch(only=[1])
    for bias, is_conditioned in ((-50.0, False), (50.0, True)):
        with torch.no_grad():
            model.finding_queries.finding_bias.fill_(bias)
            model.finding_locations.columns.fill_(0.0)
        before = model(**batch).logits
        with torch.no_grad():
            model.finding_locations.columns[:, 0] = torch.randn(model.decoder.width)
        assert torch.equal(before, model(**batch).logits) != is_conditioned


def _conditioned(batch, presence):
    return {name: value for name, value in batch.items() if name != "pixel_values"} | {"finding_condition": presence}


def test_finding_condition_equals_images_with_zero_projectors(model, study_batch):
    model = copy.deepcopy(model)
    torch.nn.init.zeros_(model.vision_projector.project[-1].weight)
    torch.nn.init.zeros_(model.finding_projector.weight)
    batch = study_batch()
    seen = model(**batch)
    attention = model.encode_images(**{name: batch[name] for name in IMAGES})[1].attention.detach()
    conditioned = model(**_conditioned(batch, seen.finding_logits.detach().sigmoid() * 2 - 1), box_targets=attention)
    torch.testing.assert_close(conditioned.logits, seen.logits)
    torch.testing.assert_close(conditioned.report_loss_sum, seen.report_loss_sum)


def test_finding_condition_gives_no_gradient_to_the_image_encoder(model, study_batch):
    model = copy.deepcopy(model)
    presence = torch.zeros(3, NUM_FINDINGS)
    output = model(**_conditioned(study_batch(), presence))
    assert output.finding_logits is None
    assert (output.finding_loss_sum, output.box_loss_sum) == (0, 0)
    other = model(**_conditioned(study_batch(), presence + 1))
    assert (output.logits - other.logits).abs().max() > 1e-3
    place = torch.zeros(3, NUM_FINDINGS, 2 * model.encoder.grid[0] * model.encoder.grid[1])
    place[..., 0] = 1
    placed = model(**_conditioned(study_batch(), presence + 1), box_targets=place)
    assert (placed.logits - other.logits).abs().max() > 1e-3
    other.report_loss_sum.backward()
    learns = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert not [name for name in learns if name.startswith(("encoder.", "finding_queries.", "view_embedding."))]
    assert "finding_presence" in learns
    assert any(name.startswith("decoder.") for name in learns)
