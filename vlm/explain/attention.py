"""Attention maps of findings and of report sentences, as heatmaps over the image.

The map of a sentence is the decoder's attention while it generated the sentence, traced back to the patches. The image
reaches the decoder in two ways: an image token represents a square of patches, and a finding token for the patches that
its query attended to. The mean over heads and layers localizes as well as all alternatives that were tried
(docs/LOG.md).
"""

import re
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from vlm.inputs.image import letterbox_geometry
from vlm.model import Prefix, ReportModel
from vlm.schema.findings import NUM_FINDINGS


def sentence_maps(
    model: ReportModel,
    prefix: Prefix,
    tokenizer: PreTrainedTokenizerBase,
    report: str,
    sentences: Sequence[str],
    num_views: int,
) -> Float[Tensor, "sentences views rows columns"]:
    """Attention of each sentence of the report of one study over the patches of its views, those of the prior left out.

    Each map sums to 1, or to 0 if the sentence is not in the report. Runs the decoder once over the whole report.
    """
    encoded = tokenizer(report, add_special_tokens=False, return_offsets_mapping=True)
    attention = sentence_attention(
        model,
        prefix,
        encoded["input_ids"],
        encoded["offset_mapping"],
        sentence_spans(report, sentences),
        bos_token_id=tokenizer.bos_token_id,
    )
    return over_patches(model, attention, prefix.findings.attention[0], num_views, prefix.num_prior_tokens)


def sentence_spans(report: str, sentences: Sequence[str]) -> list[tuple[int, int]]:
    """Start and end of each sentence in the report; blanks may differ. (0, 0) for a sentence that is not in it."""
    spans, position = [], 0
    for sentence in sentences:
        words = r"\s*".join(map(re.escape, sentence.split()))
        found = re.compile(words).search(report, position)
        spans.append(found.span() if found else (0, 0))
        position = found.end() if found else position
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

    `token_ids` are the tokens of the whole report, `token_spans` their characters, `spans` the characters of the
    sentences. A token is predicted at the position before it.
    """
    device, num_prefix = prefix.embeds.device, prefix.mask.shape[1]
    if model.decoder.num_positions is not None:
        # Text may take more tokens when it is encoded again than when it was generated.
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
    num_prior_tokens: int = 0,
) -> Float[Tensor, "sentences views rows columns"]:
    """Trace attention to the prefix of one study back to the patches; each map sums to 1, or to 0 without attention.

    The attention to the image tokens of the prior study, the first positions, is left out.
    """
    attention = attention[:, num_prior_tokens:]
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
"""Attention of this many times the uniform share, or more, is shown as full heat."""


def heatmaps(attention_maps: np.ndarray, image_sizes: Sequence[tuple[int, int]], square: int) -> list[np.ndarray]:
    """For each view, heat 0..1 of each finding in the pixels of the image: float32 [findings, height, width].

    `attention_maps` are [findings, views, rows, columns]; the map of each finding sums to 1. Only attention above the
    uniform share is heat, so attention that is spread over everything stays dark. The peak of a finding over all
    views is 1, or less if its attention is below CLEAR_PEAK uniform shares.
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
    """For each finding, the view and the center of the patch with the most attention, as fractions of the view's
    width and height; outside 0..1 if the patch is in the padding."""
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
    """Map attention over patches, [findings, rows, columns], to image pixels: [findings, height, width].

    Undoes the letterbox; values between patches are interpolated.
    """
    place = letterbox_geometry(image_size, square)
    aligned = np.empty((len(attention), image_size[1], image_size[0]), dtype=np.float32)
    for index, patches in enumerate(attention):
        whole = cv2.resize(patches.astype(np.float32), (square, square), interpolation=cv2.INTER_CUBIC)
        part = whole[place.top : place.top + place.height, place.left : place.left + place.width]
        aligned[index] = cv2.resize(part, image_size, interpolation=cv2.INTER_LINEAR)
    # Cubic interpolation can be negative beside a peak.
    return aligned.clip(min=0)


def overlay_heatmap(image: Image.Image, heat: np.ndarray) -> Image.Image:
    """Overlay heat 0..1 of the same size on the image; pixels without heat are not changed."""
    if heat.shape != (image.height, image.width):
        raise ValueError(f"the heatmap is {heat.shape[::-1]} pixels, the image {image.size}; align it first")
    gray = np.asarray(image.convert("L"), dtype=np.float32)[:, :, None].repeat(3, axis=2)
    level = (np.clip(heat, 0, 1) * 255).astype(np.uint8)
    color = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB).astype(np.float32)
    weight = (0.5 * np.clip(heat * 1.5, 0, 1))[:, :, None]
    return Image.fromarray(np.clip(gray * (1 - weight) + color * weight, 0, 255).astype(np.uint8))
