"""Finding queries: attention maps, finding tokens, logits."""

import pytest
import torch

from vlm.layers.finding_queries import FindingQueries
from vlm.schema.findings import NUM_FINDINGS


@pytest.fixture
def queries():
    module = FindingQueries(width=8, num_heads=2).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module


@torch.inference_mode()
def test_attention_sums_to_1_over_present_patches_and_is_0_on_padding(queries):
    mask = torch.tensor([[True] * 6, [True, False, True, False, False, False]])
    attention = queries(torch.randn(2, 6, 8), mask).attention
    assert attention.shape == (2, NUM_FINDINGS, 6)
    torch.testing.assert_close(attention.sum(dim=2), torch.ones(2, NUM_FINDINGS))
    assert (attention[1][:, ~mask[1]] == 0).all()
    assert (attention >= 0).all() and attention.std(dim=2).min() > 0


@torch.inference_mode()
def test_attention_equals_torch_multihead_attention(queries):
    """The same weights in torch.nn.MultiheadAttention give the same tokens and maps."""
    reference = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    reference.in_proj_weight.copy_(torch.cat([queries.query.weight, queries.key.weight, queries.value.weight]))
    reference.in_proj_bias.copy_(torch.cat([queries.query.bias, queries.key.bias, queries.value.bias]))
    reference.out_proj.load_state_dict(queries.output.state_dict())
    features, mask = torch.randn(3, 5, 8), torch.tensor([[True] * 5, [True] * 4 + [False], [False, True] * 2 + [True]])
    patches = queries.patch_norm(features)
    gathered, attention = reference(queries.queries.expand(3, -1, -1), patches, patches, key_padding_mask=~mask)
    tokens = queries.queries + gathered
    tokens = queries.token_norm(tokens + queries.feed_forward(tokens))
    output = queries(features, mask)
    torch.testing.assert_close(output.attention, attention)
    torch.testing.assert_close(output.tokens, tokens)
    expected = torch.einsum("bfw,fw->bf", tokens, queries.finding_weight) + queries.finding_bias
    torch.testing.assert_close(output.logits, expected)


@torch.inference_mode()
def test_each_finding_has_different_attention(queries):
    attention = queries(torch.randn(1, 6, 8), torch.ones(1, 6, dtype=torch.bool)).attention[0]
    assert torch.pdist(attention).min() > 1e-3


def test_heads_that_do_not_divide_the_width_are_rejected():
    with pytest.raises(ValueError, match="num_query_heads 3 does not divide the encoder's width 8"):
        FindingQueries(width=8, num_heads=3)


@torch.inference_mode()
def test_linear_probe_adds_a_linear_layer_of_the_present_patches_that_starts_at_zero():
    torch.manual_seed(0)
    with_probe = FindingQueries(width=8, num_heads=2, linear_probe=True)
    without = FindingQueries(width=8, num_heads=2)
    without.load_state_dict(with_probe.state_dict(), strict=False)
    features, mask = torch.randn(2, 4, 8), torch.tensor([[True] * 4, [True, True, False, False]])
    torch.testing.assert_close(with_probe(features, mask).logits, without(features, mask).logits)
    with_probe.linear_probe[1].weight.normal_()
    difference = with_probe(features, mask).logits - without(features, mask).logits
    present = features[1, :2]
    expected = with_probe.linear_probe(torch.cat([present.mean(dim=0), present.amax(dim=0)]))
    torch.testing.assert_close(difference[1], expected)


@torch.inference_mode()
def test_mix_gives_the_weighted_mean_of_the_logits_and_keeps_tokens():
    torch.manual_seed(0)
    queries = FindingQueries(width=8, num_heads=2, linear_probe=True)
    queries.finding_bias.normal_()
    queries.linear_probe[1].weight.normal_()
    features, mask = torch.randn(3, 4, 8), torch.ones(3, 4, dtype=torch.bool)
    before = queries(features, mask)
    inputs = queries.linear_probe[0](torch.cat([features.mean(dim=1), features.amax(dim=1)], dim=-1))
    weight, bias = torch.randn(NUM_FINDINGS, 16), torch.randn(NUM_FINDINGS)
    share = torch.linspace(0, 1, NUM_FINDINGS)
    queries.mix(weight, bias, share)
    after = queries(features, mask)
    expected = (1 - share) * before.logits + share * (inputs @ weight.T + bias)
    torch.testing.assert_close(after.logits, expected)
    assert torch.equal(after.tokens, before.tokens) and torch.equal(after.attention, before.attention)
