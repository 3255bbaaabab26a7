"""Studies in memory to the tensors of one batch: views padded and masked, prompts and texts likewise."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vlm.config import ImageGeometry
from vlm.image import normalize_pixels
from vlm.views import view_index


def batch_views(
    pixels: Sequence[Sequence[np.ndarray]], view_positions: Sequence[Sequence[str]], geometry: ImageGeometry
) -> dict[str, Tensor]:
    """`pixel_values`, `view_indices` and `view_mask` of studies with unequal numbers of views.

    `pixels` are uint8 squares as `vlm.image.fit_square` makes them.
    """
    num_views = max(len(views) for views in pixels)
    shape = (len(pixels), num_views)
    squares = torch.zeros(*shape, geometry.size, geometry.size, dtype=torch.uint8)
    view_indices = torch.zeros(shape, dtype=torch.long)
    for row, (views, positions) in enumerate(zip(pixels, view_positions, strict=True)):
        for column, (square, position) in enumerate(zip(views, positions, strict=True)):
            squares[row, column] = torch.from_numpy(np.array(square))
            view_indices[row, column] = view_index(position)
    return {
        "pixel_values": normalize_pixels(squares, geometry),
        "view_indices": view_indices,
        "view_mask": mask_views(list(map(len, pixels))),
    }


def mask_views(num_views: Sequence[int]) -> Tensor:
    """Which of the padded views a study has, [studies, views]."""
    return torch.arange(max(num_views)) < torch.tensor(num_views)[:, None]


def batch_tokens(token_ids: Sequence[Sequence[int]], *, pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Token ids padded at the right to the longest, and the mask of what is no padding."""
    length = max(map(len, token_ids))
    ids = torch.full((len(token_ids), length), pad_token_id, dtype=torch.long)
    mask = torch.zeros(len(token_ids), length, dtype=torch.long)
    for row, tokens in enumerate(token_ids):
        ids[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.long)
        mask[row, : len(tokens)] = 1
    return ids, mask
