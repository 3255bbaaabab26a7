"""A finding's attention map as an image: laid over the X-ray, in its own coordinates.

Where a sentence of a report comes from: what the decoder attended to while it wrote it, over patches of the views.

The decoder sees the image by two ways, and both are followed back: image tokens stand for squares of patches, and
finding tokens for what a finding's query gathered, so the attention that they get goes to where that query looked.
The mean over heads and layers points as well as anything else that was tried (docs/LOG.md).
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional

from vlm.inputs.image import letterbox_geometry
from vlm.model import Prefix, ReportModel
from vlm.schema.findings import NUM_FINDINGS


def sentence_spans(report: str, sentences: Sequence[str]) -> list[tuple[int, int]]:
    """Where each sentence stands in the report, whatever blanks are between its words; (0, 0) where it does not."""
    spans, position = [], 0
    for sentence in sentences:
        start, end = position, position
        for number, word in enumerate(sentence.split()):
            at = report.find(word, end)
            if at < 0:
                start = end = 0
                break
            start, end = (at if number == 0 else start), at + len(word)
        spans.append((start, end))
        position = end or position
    return spans


def sentence_attention(
    model: ReportModel,
    prefix: Prefix,
    token_ids: Sequence[int],
    token_spans: Sequence[tuple[int, int]],
    spans: Sequence[tuple[int, int]],
    *,
    bos_token_id: int,
) -> Float[Tensor, "sentences prefix"]:
    """Attention of each sentence to each position of the prefix of one study.

    `token_ids` are the whole report's, `token_spans` their characters in it, `spans` those of the sentences. What
    decided on a token is the position before it.
    """
    device, num_prefix = prefix.embeds.device, prefix.mask.shape[1]
    if model.decoder.num_positions is not None:
        # Text that is encoded again may take more tokens than it was written in.
        token_ids = token_ids[: model.decoder.num_positions - num_prefix]
        token_spans = token_spans[: len(token_ids)]
    text = model.decoder.embed(torch.tensor([[bos_token_id, *token_ids[:-1]]], device=device))
    mask = torch.cat([prefix.mask, prefix.mask.new_ones(1, text.shape[1])], dim=1)
    attention = model.decoder.prefix_attention(torch.cat([prefix.embeds, text], dim=1), mask, num_prefix)[0]
    starts = torch.tensor([start for start, _ in token_spans])
    ends = torch.tensor([end for _, end in token_spans])
    rows = [attention[((starts < end) & (ends > start)).to(device)] for start, end in spans]
    return torch.stack([row.mean(dim=0) if len(row) else attention.new_zeros(num_prefix) for row in rows])


def over_patches(
    model: ReportModel,
    attention: Float[Tensor, "sentences prefix"],
    finding_attention: Float[Tensor, "findings patches"],
    num_views: int,
) -> Float[Tensor, "sentences views rows columns"]:
    """Attention to the prefix of one study followed back to the patches; each map has the sum 1, or 0 for nothing."""
    rows, columns = model.encoder.grid
    pool = model.config.pool
    num_tokens = model.vision_projector.num_tokens
    image = attention[:, : num_views * num_tokens].unflatten(1, (num_views, -(-rows // pool), -(-columns // pool)))
    image = image.repeat_interleave(pool, dim=2).repeat_interleave(pool, dim=3)[:, :, :rows, :columns] / pool**2
    maps = image.flatten(1)
    if model.config.use_finding_tokens:
        start = num_views * num_tokens
        maps = maps + attention[:, start : start + NUM_FINDINGS] @ finding_attention
    return functional.normalize(maps, p=1, dim=1).unflatten(1, (num_views, rows, columns))


CLEAR_PEAK = 4.0
"""From so many times the even share on, attention is shown at full heat."""


def heatmaps(attention_maps: np.ndarray, image_sizes: Sequence[tuple[int, int]], square: int) -> list[np.ndarray]:
    """For each view, heat 0..1 of each finding in the image's own pixels: float32 [findings, height, width].

    `attention_maps` are [findings, views, rows, columns], each finding's with the sum 1. Only what lies above an even
    share is heat: attention that is spread over everything points nowhere and stays dark. A finding's peak over all
    views is 1, or less where it has less than CLEAR_PEAK even shares.
    """
    if attention_maps.shape[1] != len(image_sizes):
        raise ValueError(f"attention over {attention_maps.shape[1]} views does not fit {len(image_sizes)} images")
    even_share = 1 / np.prod(attention_maps.shape[1:])
    above = (attention_maps - even_share).clip(min=0)
    views = [align_to_image(above[:, view], size, square) for view, size in enumerate(image_sizes)]
    peaks = np.maximum.reduce([view.max(axis=(1, 2), keepdims=True) for view in views])
    return [view / np.maximum(peaks, (CLEAR_PEAK - 1) * even_share, dtype=np.float32) for view in views]


def attention_peaks(
    attention_maps: np.ndarray, image_sizes: Sequence[tuple[int, int]], square: int
) -> list[tuple[int, float, float]]:
    """For each finding the view and the middle of the patch with the most attention, as fractions of the view's width
    and height; beyond 0..1 where that patch lies outside the image."""
    _, _, rows, columns = attention_maps.shape
    peaks = []
    for views in attention_maps:
        view, row, column = (int(index) for index in np.unravel_index(views.argmax(), views.shape))
        place = letterbox_geometry(image_sizes[view], square)
        x = ((column + 0.5) / columns * square - place.left) / place.width
        y = ((row + 0.5) / rows * square - place.top) / place.height
        peaks.append((view, x, y))
    return peaks


def align_to_image(attention: np.ndarray, image_size: tuple[int, int], square: int) -> np.ndarray:
    """Attention over a view's patches, [findings, rows, columns], laid over the image: [findings, height, width].

    Undoes the fitting into the model's square; between patches it is interpolated.
    """
    place = letterbox_geometry(image_size, square)
    aligned = np.empty((len(attention), image_size[1], image_size[0]), dtype=np.float32)
    for index, patches in enumerate(attention):
        whole = cv2.resize(patches.astype(np.float32), (square, square), interpolation=cv2.INTER_CUBIC)
        part = whole[place.top : place.top + place.height, place.left : place.left + place.width]
        aligned[index] = cv2.resize(part, image_size, interpolation=cv2.INTER_LINEAR)
    # Cubic interpolation swings below zero beside a peak.
    return aligned.clip(min=0)


def overlay_heatmap(image: Image.Image, heat: np.ndarray, *, opacity: float = 0.5) -> Image.Image:
    """The image with heat 0..1 of the same size laid over it; cold places stay as they are."""
    if heat.shape != (image.height, image.width):
        raise ValueError(f"the heatmap is {heat.shape[::-1]} pixels, the image {image.size}; align it first")
    gray = np.asarray(image.convert("L"), dtype=np.float32)[:, :, None].repeat(3, axis=2)
    level = (np.clip(heat, 0, 1) * 255).astype(np.uint8)
    color = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB).astype(np.float32)
    weight = (opacity * np.clip(heat * 1.5, 0, 1))[:, :, None]
    return Image.fromarray(np.clip(gray * (1 - weight) + color * weight, 0, 255).astype(np.uint8))
