"""Tells the decoder where each finding lies: the rows and columns of patches, in each kind of view.

A finding's token gathers what the patches hold, and patch features hardly know their own place, so a decoder that has
tokens alone puts a finding on either side by chance. Here each row and each column of patches has a vector for each
kind of view, and a finding's place is their mean by how much of it lies there.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from vlm.views import VIEW_KINDS


class FindingPlaces(nn.Module):
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
