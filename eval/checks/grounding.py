"""The pointing game (Zhang et al. 2016): is the peak of a finding's attention inside a box of that finding?

Peaks, boxes and labels of each study go in; hits and hit rates come out. Only positive findings with a box are scored.
Two controls do not use the image but know the right view: the center of the view, and the most frequent location, which
is the point inside the most boxes of the finding in the training studies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from eval.metrics.bootstrap import NUM_RESAMPLES, estimates
from eval.metrics.clinical import divide
from vlm.schema.findings import FINDINGS, NUM_FINDINGS, POSITIVE, is_lateral

Point = tuple[float, float]
"""x and y as fractions of the width and height of a view."""

MODEL, CENTER, FREQUENT = "model", "center of the view", "most frequent location"
CENTER_POINT: Point = (0.5, 0.5)
GRID = 50
"""The most frequent location is searched on a grid of this many points per axis."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grounding:
    """`is_scored` [studies, 14]; `hits` [studies, 14] of the model and each control, by name."""

    is_scored: np.ndarray
    hits: dict[str, np.ndarray]

    def statistic(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Hit rates by name [resamples, 14], and over all findings as "name, all" [resamples]; NaN where undefined."""
        scored = weights @ self.is_scored.astype(np.float64)
        values = {}
        for name, hits in self.hits.items():
            hit = weights @ (hits & self.is_scored).astype(np.float64)
            values[name] = divide(hit, scored)
            values[f"{name}, all"] = divide(hit.sum(axis=1), scored.sum(axis=1))
        for name in self.hits.keys() - {MODEL}:
            values[f"difference to {name}"] = values[f"{MODEL}, all"] - values[f"{name}, all"]
        return values


def grounding(
    peaks: Sequence[Sequence[Sequence[float]] | None],
    boxes: Sequence[Sequence[Sequence[float]]],
    reference_labels: Sequence[Sequence[int]],
    *,
    view_positions: Sequence[Sequence[str]] | None = None,
    frequent: Mapping[tuple[int, bool], Point] | None = None,
) -> Grounding:
    """Compare peaks (view, x, y per finding) with boxes (finding, view, left, top, right, bottom).

    `frequent` is what `frequent_locations` found in training studies; it needs `view_positions`.
    """
    is_scored = np.zeros((len(peaks), NUM_FINDINGS), dtype=bool)
    hits = {name: is_scored.copy() for name in (MODEL, CENTER, *([FREQUENT] if frequent is not None else []))}
    for study, (points, study_boxes, labels) in enumerate(zip(peaks, boxes, reference_labels, strict=True)):
        of_finding: dict[int, list[Sequence[float]]] = {}
        for finding, *box in study_boxes:
            of_finding.setdefault(int(finding), []).append(box)
        for finding, found in of_finding.items():
            if points is None or labels[finding] != POSITIVE:
                continue
            is_scored[study, finding] = True
            view = int(found[0][0])
            pointed = {MODEL: tuple(points[finding]), CENTER: (view, *CENTER_POINT)}
            if frequent is not None:
                kind = (finding, _is_lateral(view_positions[study], view))
                pointed[FREQUENT] = (view, *frequent.get(kind, CENTER_POINT))
            for name, point in pointed.items():
                hits[name][study, finding] = any(_is_inside(point, box) for box in found)
    return Grounding(is_scored=is_scored, hits=hits)


def frequent_locations(
    boxes: Sequence[Sequence[Sequence[float]]], view_positions: Sequence[Sequence[str]]
) -> dict[tuple[int, bool], Point]:
    """The point inside the most boxes, for each finding on frontal and on lateral views.

    The mean of the boxes would be between left and right, where the finding never is.
    """
    centers = (np.arange(GRID) + 0.5) / GRID
    counts: dict[tuple[int, bool], np.ndarray] = {}
    for study_boxes, positions in zip(boxes, view_positions, strict=True):
        for finding, view, left, top, right, bottom in study_boxes:
            kind = (int(finding), _is_lateral(positions, int(view)))
            inside = np.outer((centers >= top) & (centers <= bottom), (centers >= left) & (centers <= right))
            counts.setdefault(kind, np.zeros((GRID, GRID), dtype=np.int64))[...] += inside
    places = {}
    for kind, count in counts.items():
        best = np.argwhere(count == count.max())
        # Of equally good points, take the one closest to their center.
        row, column = best[np.square(best - best.mean(axis=0)).sum(axis=1).argmin()]
        places[kind] = (float(centers[column]), float(centers[row]))
    return places


def grounding_document(
    result: Grounding, subject_ids: Sequence[str], *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> dict[str, Any] | None:
    """Hit rates with intervals, over all findings and per finding, ready for JSON; None if nothing is scored."""
    if not result.is_scored.any():
        return None
    found = estimates(result.statistic, subject_ids, num_resamples, seed)
    return {
        "systems": list(result.hits),
        "num_scored": int(result.is_scored.sum()),
        "all": {name: asdict(found[f"{name}, all"]) for name in result.hits},
        "differences": {name: asdict(found[f"difference to {name}"]) for name in result.hits if name != MODEL},
        "per_finding": [
            {
                "finding": finding,
                "num_scored": int(result.is_scored[:, index].sum()),
                "num_hits": {
                    name: int((hits & result.is_scored)[:, index].sum()) for name, hits in result.hits.items()
                },
                "share": {name: asdict(found[name][index]) for name in result.hits},
            }
            for index, finding in enumerate(FINDINGS)
        ],
        "note": "a hit: the peak of the finding's attention is inside one of its boxes, in that box's view; scored for "
        "positive findings with a box; the controls know the view. Attention that was trained with boxes hits more "
        "often than attention trained without",
    }


def _is_inside(point: Sequence[float], box: Sequence[float]) -> bool:
    """Whether (view, x, y) is inside (view, left, top, right, bottom)."""
    (view, x, y), (box_view, left, top, right, bottom) = point, box
    return view == box_view and left <= x <= right and top <= y <= bottom


def _is_lateral(view_positions: Sequence[str], view: int) -> bool:
    return view < len(view_positions) and is_lateral(view_positions[view])
