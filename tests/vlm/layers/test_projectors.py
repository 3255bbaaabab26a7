"""The vision projector: which patches an image token is made of."""

import torch

from vlm.layers.projectors import VisionProjector


def build_projector(**settings):
    """One that has learned something: a new one is silent."""
    projector = VisionProjector(**settings)
    torch.nn.init.normal_(projector.project[-1].weight)
    return projector


def patches_behind_tokens(grid, pool):
    """For each image token, the numbers of the patches that change it."""
    projector = build_projector(grid=grid, width=4, decoder_width=6, pool=pool)
    num_patches = grid[0] * grid[1]
    features = torch.randn(1, 1, num_patches, 4, requires_grad=True)
    tokens = projector(features)
    assert tokens.shape == (1, 1, projector.num_tokens, 6)
    behind = []
    for token in tokens[0, 0]:
        [gradient] = torch.autograd.grad(token.abs().sum(), features, retain_graph=True)
        behind.append(gradient[0, 0].abs().sum(dim=-1).nonzero().flatten().tolist())
    return behind


def test_image_token_is_made_of_a_square_of_patches():
    assert patches_behind_tokens((4, 4), 2) == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


def test_grid_that_pool_does_not_divide_loses_no_patch():
    assert patches_behind_tokens((3, 5), 2) == [[0, 1, 5, 6], [2, 3, 7, 8], [4, 9], [10, 11], [12, 13], [14]]


def test_without_pooling_each_patch_is_a_token():
    assert patches_behind_tokens((2, 3), 1) == [[0], [1], [2], [3], [4], [5]]


def test_order_of_patches_in_a_square_matters():
    """Swapping two patches of one square changes its token: they are joined, not averaged."""
    projector = build_projector(grid=(2, 2), width=4, decoder_width=6, pool=2)
    features = torch.randn(1, 1, 4, 4)
    assert not torch.allclose(projector(features), projector(features[:, :, [1, 0, 2, 3]]), atol=1e-3)


def test_views_do_not_mix():
    projector = build_projector(grid=(2, 2), width=4, decoder_width=6, pool=2)
    features = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(projector(features)[1, 2], projector(features[1:, 2:])[0, 0])


def test_new_projector_equals_the_tokens_without_images():
    projector = VisionProjector(grid=(4, 4), width=4, decoder_width=6, pool=2)
    torch.nn.init.normal_(projector.project[-1].bias)
    tokens = projector(torch.randn(2, 3, 16, 4))
    torch.testing.assert_close(tokens, projector.without_images(2, 3))
    assert tokens.abs().min() > 0
