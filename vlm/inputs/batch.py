"""Studies in memory to the tensors of one batch: views, prompts and texts are padded and masked."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from vlm.config import ImageGeometry
from vlm.inputs.image import letterbox, normalize_pixels
from vlm.inputs.tokenizer import encode_prompt
from vlm.schema.findings import view_index

Views = Image.Image | Sequence[Image.Image]
"""The images of a study; a single image needs no list."""


def batch_images(
    images: Image.Image | Sequence[Views],
    view_positions: Sequence[Sequence[str]] | None,
    indications: Sequence[str] | None,
    *,
    tokenizer: PreTrainedTokenizerBase,
    geometry: ImageGeometry,
) -> dict[str, Tensor]:
    """The arguments of `ReportModel.prefix`.

    Raises:
        ValueError: no study, a study without an image, or lists of unequal length.
        TypeError: an entry is not a PIL image.
    """
    studies = _as_studies(images)
    if view_positions is None:
        view_positions = [["UNKNOWN"] * len(views) for views in studies]
    if indications is None:
        indications = [""] * len(studies)
    for name, values in (("view_positions", view_positions), ("indications", indications)):
        if len(values) != len(studies):
            raise ValueError(f"{name} has {len(values)} entries for {len(studies)} studies")
    for number, (views, positions) in enumerate(zip(studies, view_positions, strict=True)):
        if len(views) != len(positions):
            raise ValueError(f"study {number} has {len(views)} images but {len(positions)} view positions")
    squares = [[letterbox(image, geometry.size) for image in views] for views in studies]
    prompts = [encode_prompt(tokenizer, indication) for indication in indications]
    prompt_ids, prompt_mask = batch_tokens(prompts, pad_token_id=tokenizer.pad_token_id)
    return batch_views(squares, view_positions, geometry) | {"prompt_ids": prompt_ids, "prompt_mask": prompt_mask}


def batch_views(
    pixels: Sequence[Sequence[np.ndarray]], view_positions: Sequence[Sequence[str]], geometry: ImageGeometry
) -> dict[str, Tensor]:
    """`pixel_values`, `view_indices` and `view_mask` of studies with unequal numbers of views.

    `pixels` are uint8 squares from `vlm.inputs.image.letterbox`.
    """
    shape = (len(pixels), max(map(len, pixels)))
    squares = torch.zeros(*shape, geometry.size, geometry.size, dtype=torch.uint8)
    for row, views in enumerate(pixels):
        for column, square in enumerate(views):
            squares[row, column] = torch.from_numpy(np.array(square))
    return {"pixel_values": normalize_pixels(squares, geometry), **index_views(view_positions)}


def index_views(view_positions: Sequence[Sequence[str]]) -> dict[str, Tensor]:
    """`view_indices` and `view_mask`, [studies, views]: the kind of each view, and whether it is not padding."""
    indices = [list(map(view_index, positions)) for positions in view_positions]
    view_indices, view_mask = batch_tokens(indices, pad_token_id=0)
    return {"view_indices": view_indices, "view_mask": view_mask.bool()}


def batch_tokens(token_ids: Sequence[Sequence[int]], *, pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Token ids padded on the right to the longest, and their mask."""
    lengths = list(map(len, token_ids))
    padded = [[*tokens, *[pad_token_id] * (max(lengths) - len(tokens))] for tokens in token_ids]
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return torch.tensor(padded, dtype=torch.long), mask.long()


def _as_studies(images: Image.Image | Sequence[Views]) -> list[list[Image.Image]]:
    entries = [images] if isinstance(images, Image.Image) else list(images)
    if not entries:
        raise ValueError("there is no study to report on")
    studies = [[entry] if isinstance(entry, Image.Image) else list(entry) for entry in entries]
    for number, views in enumerate(studies):
        if not views:
            raise ValueError(f"study {number} has no image")
        for image in views:
            if not isinstance(image, Image.Image):
                raise TypeError(f"study {number}: expected a PIL image, got {type(image).__name__}; read files first")
    return studies
