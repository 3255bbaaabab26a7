"""From image features to the embedding space of the decoder: image tokens, and the locations of findings.

The vision projector makes one image token of each square of patches. The location embedding gives the decoder the
location of each finding. It is needed because patch features contain little information about their position: with
finding tokens alone, the decoder chooses left or right by chance.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from vlm.schema.findings import VIEW_KINDS

LOCATED = 0.15
"""A patch belongs to the location of a finding if its attention is at least this share of the view's maximum."""


def decided_locations(
    attention: Float[Tensor, "batch findings patches"], num_views: int
) -> Float[Tensor, "batch findings patches"]:
    """The location of each finding as certain as the boxes of training: uniform over the located patches of a view.

    Each view keeps its share of the attention; padded views keep 0.
    """
    views = attention.unflatten(2, (num_views, -1))
    located = (views >= LOCATED * views.amax(dim=-1, keepdim=True)).to(views.dtype)
    located = located / located.sum(dim=-1, keepdim=True)
    return (located * views.sum(dim=-1, keepdim=True)).flatten(2)


class FindingLocationEmbedding(nn.Module):
    """One learned vector for each row and each column of patches, per kind of view; the same for all findings.

    The embedding of a finding is their mean, weighted by the distribution of the finding over the patches.
    """

    def __init__(self, *, grid: tuple[int, int], decoder_width: int):
        super().__init__()
        self.grid = grid
        self.rows = nn.Parameter(torch.randn(len(VIEW_KINDS), grid[0], decoder_width) * 0.1)
        self.columns = nn.Parameter(torch.randn(len(VIEW_KINDS), grid[1], decoder_width) * 0.1)

    def forward(
        self, locations: Float[Tensor, "batch findings patches"], view_indices: Int[Tensor, "batch views"]
    ) -> Float[Tensor, "batch findings decoder_width"]:
        """`locations` are distributions over the patches of all views, in row-major order: attention, or boxes.

        Each sums to 1, or to 0 if the location is unknown, and is 0 in padded views.
        """
        num_views = view_indices.shape[1]
        shares = locations.to(self.rows.dtype).unflatten(2, (num_views, *self.grid))
        kinds = functional.one_hot(view_indices, len(VIEW_KINDS)).to(shares.dtype)
        rows = torch.einsum("bfvr,bvk,krd->bfd", shares.sum(-1), kinds, self.rows)
        return rows + torch.einsum("bfvc,bvk,kcd->bfd", shares.sum(-2), kinds, self.columns)


class VisionProjector(nn.Module):
    """Concatenate pool x pool neighboring patches (inverse pixel shuffle, Shi et al. 2016), then two linear layers.

    If `pool` does not divide the grid, it is padded with zeros at the right and at the bottom.
    """

    def __init__(self, *, grid: tuple[int, int], width: int, decoder_width: int, pool: int):
        super().__init__()
        self.grid, self.pool = grid, pool
        self.num_tokens = -(-grid[0] // pool) * -(-grid[1] // pool)
        self.norm = nn.LayerNorm(width)
        self.project = nn.Sequential(
            nn.Linear(width * pool * pool, decoder_width), nn.GELU(), nn.Linear(decoder_width, decoder_width)
        )
        # Zero at the start (ControlNet, Zhang et al. 2023), so the first output equals `without_images`.
        nn.init.zeros_(self.project[-1].weight)

    def forward(
        self, patch_features: Float[Tensor, "batch views patches width"]
    ) -> Float[Tensor, "batch views tokens decoder_width"]:
        rows, columns = self.grid
        features = self.norm(patch_features).unflatten(2, self.grid)
        features = functional.pad(features, (0, 0, 0, -columns % self.pool, 0, -rows % self.pool))
        squares = features.unflatten(3, (-1, self.pool)).unflatten(2, (-1, self.pool))
        squares = squares.movedim(3, 4).flatten(2, 3).flatten(3)
        return self.project(squares)

    def without_images(self, batch: int, views: int) -> Float[Tensor, "batch views tokens decoder_width"]:
        """The image tokens of a prefix without images."""
        return self.project[-1].bias.expand(batch, views, self.num_tokens, -1)
