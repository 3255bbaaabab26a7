"""The vision projector: patch features to image tokens in the decoder's space, one for each square of patches.

Tells the decoder where each finding lies: the rows and columns of patches, in each kind of view.

A finding's token gathers what the patches hold, and patch features hardly know their own place, so a decoder that has
tokens alone puts a finding on either side by chance. Here each row and each column of patches has a vector for each
kind of view, and a finding's place is their mean by how much of it lies there.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from vlm.schema.findings import VIEW_KINDS


class FindingLocationEmbedding(nn.Module):
    """From shares of patches to vectors in the decoder's space; the same vectors for all findings."""

    def __init__(self, *, grid: tuple[int, int], decoder_width: int):
        super().__init__()
        self.grid = grid
        self.rows = nn.Parameter(torch.randn(len(VIEW_KINDS), grid[0], decoder_width) * 0.1)
        self.columns = nn.Parameter(torch.randn(len(VIEW_KINDS), grid[1], decoder_width) * 0.1)

    def forward(
        self, places: Float[Tensor, "batch findings places"], view_indices: Int[Tensor, "batch views"]
    ) -> Float[Tensor, "batch findings decoder_width"]:
        """`places` are shares over the patches of all views, in reading order: a finding's attention, or its boxes.
        They sum to 1, or to 0 where the place is not known, and are 0 in absent views."""
        num_views = view_indices.shape[1]
        shares = places.to(self.rows.dtype).unflatten(2, (num_views, *self.grid))
        kinds = functional.one_hot(view_indices, len(VIEW_KINDS)).to(shares.dtype)
        rows = torch.einsum("bfvr,bvk,krd->bfd", shares.sum(-1), kinds, self.rows)
        return rows + torch.einsum("bfvc,bvk,kcd->bfd", shares.sum(-2), kinds, self.columns)


class VisionProjector(nn.Module):
    """Joins pool x pool neighbouring patches into one vector (pixel shuffle, Shi et al. 2016, reversed), then two
    linear layers. A grid that `pool` does not divide is padded with zeros at its right and lower edge."""

    def __init__(self, *, grid: tuple[int, int], width: int, decoder_width: int, pool: int):
        super().__init__()
        self.grid, self.pool = grid, pool
        self.num_tokens = -(-grid[0] // pool) * -(-grid[1] // pool)
        self.norm = nn.LayerNorm(width)
        self.project = nn.Sequential(
            nn.Linear(width * pool * pool, decoder_width), nn.GELU(), nn.Linear(decoder_width, decoder_width)
        )
        # Silent at first (ControlNet, Zhang et al. 2023): images join in from where `without_images` left off.
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
        """What stands in the place of the image tokens where no image is looked at."""
        return self.project[-1].bias.expand(batch, views, self.num_tokens, -1)
