"""Heatmaps of a study's findings, each over the view where the finding's attention has its peak.

Importing this loads no torch: the page of scores without a model has the type, and nothing to draw with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from eval.sentences import stated_findings
from vlm.schema.findings import FINDINGS

MAX_PANELS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class HeatPanel:
    """One finding's heatmap laid over its view; `boxes` as in data.study.FindingBox."""

    finding: int
    picture: Image.Image
    boxes: tuple[tuple[float, float, float, float], ...] = ()


def findings_to_show(labels: Sequence[int], named: Sequence[int], probabilities: Sequence[float]) -> list[int]:
    """Up to three findings: true and named first, then missed, then named without being true; else the likeliest."""
    true, said = set(stated_findings(labels)), set(stated_findings(named))
    ranked = sorted(range(len(FINDINGS)), key=lambda finding: -probabilities[finding])
    order = [finding for group in (true & said, true - said, said - true) for finding in ranked if finding in group]
    likeliest = [finding for finding in ranked if FINDINGS[finding] != "No Finding"][:1]
    return order[:MAX_PANELS] or likeliest


def heat_panels(
    findings: Sequence[int],
    images: Sequence[Image.Image],
    attention_maps: np.ndarray,
    heatmaps: Sequence[np.ndarray],
    boxes: Sequence[dict[str, Any]],
) -> tuple[HeatPanel, ...]:
    """`attention_maps` [14, views, rows, columns] and `heatmaps` (a view each) as the generator gives them; `boxes` as
    a row of the data set holds them."""
    from vlm.explain.attention import overlay_heatmap  # loads torch

    panels = []
    for finding in findings:
        view = int(attention_maps[finding].max(axis=(1, 2)).argmax())
        inside = (tuple(box["box"]) for box in boxes if box["finding"] == finding and box["view"] == view)
        picture = overlay_heatmap(images[view], heatmaps[view][finding])
        panels.append(HeatPanel(finding=finding, picture=picture, boxes=tuple(inside)))
    return tuple(panels)
