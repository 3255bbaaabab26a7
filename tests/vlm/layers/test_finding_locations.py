"""What the decoder is told of the findings, outright and without images: that they are there, and where."""

import copy

import pytest
import torch

from vlm.layers.projectors import FindingLocationEmbedding
from vlm.schema.findings import NUM_FINDINGS

IMAGES = ("pixel_values", "view_indices", "view_mask")


@pytest.fixture(params=["tiny_model", "tiny_lstm"])
def model(request):
    return request.getfixturevalue(request.param)


def test_a_place_is_the_mean_of_its_rows_and_columns_in_the_kind_of_its_view():
    places = FindingLocationEmbedding(grid=(2, 3), decoder_width=5)
    shares = torch.zeros(1, NUM_FINDINGS, 2, 2, 3)
    shares[0, 4, 0, 1, 2] = 1.0
    shares[0, 7, 0, 0, 0], shares[0, 7, 1, 1, 1] = 0.25, 0.75
    told = places(shares.flatten(2), torch.tensor([[1, 3]]))[0]
    torch.testing.assert_close(told[4], places.rows[1, 1] + places.columns[1, 2])
    frontal, lateral = places.rows[1, 0] + places.columns[1, 0], places.rows[3, 1] + places.columns[3, 1]
    torch.testing.assert_close(told[7], 0.25 * frontal + 0.75 * lateral)
    assert not told[[finding for finding in range(NUM_FINDINGS) if finding not in (4, 7)]].any()


def test_where_a_finding_was_looked_at_reaches_the_decoder_and_no_gradient_comes_back(build_model, study_batch):
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


def test_a_finding_has_no_place_as_far_as_it_is_absent(build_model, study_batch):
    model, batch = build_model(), study_batch(only=[1])
    for bias, is_told in ((-50.0, False), (50.0, True)):
        with torch.no_grad():
            model.finding_queries.finding_bias.fill_(bias)
            model.finding_locations.columns.fill_(0.0)
        before = model(**batch).logits
        with torch.no_grad():
            model.finding_locations.columns[:, 0] = torch.randn(model.decoder.width)
        assert torch.equal(before, model(**batch).logits) != is_told


def _told(batch, presence):
    return {name: value for name, value in batch.items() if name != "pixel_values"} | {"finding_condition": presence}


def test_being_told_of_the_findings_equals_seeing_them_through_projectors_that_are_silent(model, study_batch):
    model = copy.deepcopy(model)
    torch.nn.init.zeros_(model.vision_projector.project[-1].weight)
    torch.nn.init.zeros_(model.finding_projector.weight)
    batch = study_batch()
    seen = model(**batch)
    attention = model.encode_images(**{name: batch[name] for name in IMAGES})[1].attention.detach()
    told = model(**_told(batch, seen.finding_logits.detach().sigmoid() * 2 - 1), box_targets=attention)
    torch.testing.assert_close(told.logits, seen.logits)
    torch.testing.assert_close(told.report_loss_sum, seen.report_loss_sum)
    assert told.num_tokens == seen.num_tokens


def test_a_decoder_that_is_told_teaches_the_image_side_nothing(model, study_batch):
    model = copy.deepcopy(model)
    presence = torch.zeros(3, NUM_FINDINGS)
    output = model(**_told(study_batch(), presence))
    assert output.finding_logits is None
    assert (output.finding_loss_sum, output.num_labels, output.box_loss_sum, output.num_box_targets) == (0, 0, 0, 0)
    other = model(**_told(study_batch(), presence + 1))
    assert (output.logits - other.logits).abs().max() > 1e-3
    place = torch.zeros(3, NUM_FINDINGS, 2 * model.encoder.grid[0] * model.encoder.grid[1])
    place[..., 0] = 1
    placed = model(**_told(study_batch(), presence + 1), box_targets=place)
    assert (placed.logits - other.logits).abs().max() > 1e-3
    other.report_loss_sum.backward()
    learns = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert not [name for name in learns if name.startswith(("encoder.", "finding_queries.", "view_embedding."))]
    assert "finding_presence" in learns
    assert any(name.startswith("decoder.") for name in learns)
