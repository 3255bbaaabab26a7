"""Studies in memory to the tensors of one batch: views, prompts and texts are padded and masked."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from vlm.config import ImageGeometry
from vlm.inputs.image import normalize_pixels
from vlm.inputs.patch_features import PatchFeatures
from vlm.inputs.tokenizer import encode_prompt
from vlm.schema.findings import view_index

Views = Image.Image | Sequence[Image.Image]
"""The images of a study; a single image needs no list."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prior:
    """One earlier study of the same patient, with which a study is compared."""

    images: Sequence[Image.Image]
    """One or more."""
    view_positions: Sequence[str] = ()
    """Empty: unknown."""
    report: str = ""
    """"Findings: … Impression: …"; "" if it is unknown."""
    interval_days: int | None = None
    """Days between the studies, None if unknown. The model does not read it."""

    def __post_init__(self):
        if not self.images:
            raise ValueError("the prior study has no image; give its images, or leave the prior out")
        if self.view_positions and len(self.view_positions) != len(self.images):
            raise ValueError(
                f"the prior study has {len(self.images)} images but {len(self.view_positions)} view positions"
            )


def batch_images(
    images: Image.Image | Sequence[Views],
    view_positions: Sequence[Sequence[str]] | None,
    indications: Sequence[str] | None,
    priors: Sequence[Prior | None] | None = None,
    *,
    tokenizer: PreTrainedTokenizerBase,
    patch_features: PatchFeatures,
) -> dict[str, Tensor]:
    """The arguments of `ReportModel.prefix`; those of the prior are absent if no study has one.

    The images pass through the encoder here, those of the priors as a batch of their own.

    Raises:
        ValueError: no study, a study without an image, or lists of unequal length.
        TypeError: an entry is not a PIL image.
    """
    studies = _as_studies(images)
    if view_positions is None:
        view_positions = [["UNKNOWN"] * len(views) for views in studies]
    if indications is None:
        indications = [""] * len(studies)
    if priors is None:
        priors = [None] * len(studies)
    given = {"view_positions": view_positions, "indications": indications, "priors": priors}
    for name, values in given.items():
        if len(values) != len(studies):
            raise ValueError(f"{name} has {len(values)} entries for {len(studies)} studies")
    for number, (views, positions) in enumerate(zip(studies, view_positions, strict=True)):
        if len(views) != len(positions):
            raise ValueError(f"study {number} has {len(views)} images but {len(positions)} view positions")
    prior_reports = ["" if prior is None else prior.report for prior in priors]
    prompts = [encode_prompt(tokenizer, *texts) for texts in zip(indications, prior_reports, strict=True)]
    prompt_ids, prompt_mask = batch_tokens(prompts, pad_token_id=tokenizer.pad_token_id)
    batch = _encoded_views(studies, view_positions, patch_features)
    batch |= {"prompt_ids": prompt_ids, "prompt_mask": prompt_mask}
    if not any(priors):
        return batch
    images = [[] if prior is None else prior.images for prior in priors]
    positions = [[] if prior is None else prior.view_positions or ["UNKNOWN"] * len(prior.images) for prior in priors]
    return batch | of_prior(_encoded_views(images, positions, patch_features))


def of_prior(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The views of a batch as those of the prior studies: `prior_patch_features`, `prior_view_mask`, …"""
    return {f"prior_{name}": value for name, value in batch.items()}


def _encoded_views(
    studies: Sequence[Sequence[Image.Image]], view_positions: Sequence[Sequence[str]], patch_features: PatchFeatures
) -> dict[str, Tensor]:
    """`patch_features` [studies, views, patches, features], `view_indices` and `view_mask`; padded views are 0."""
    views = index_views(view_positions)
    present = patch_features([image for images in studies for image in images])
    padded = present.new_zeros(*views["view_mask"].shape, *present.shape[1:])
    padded[views["view_mask"].to(present.device)] = present
    return {"patch_features": padded, **views}


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
