"""The model's figures by group of studies: by view, by source, by length of the reference report."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from eval.bootstrap import NUM_RESAMPLES, interval, point_values, resample
from eval.predictions import Prediction
from eval.scoring import UNDEFINED, Scores

GROUP_METRICS = ("macro_f1", "micro_f1", "macro_auroc", "cider", "rouge_l", "bleu_4")
MAX_GROUPS = 12
"""Of one kind; the smaller ones become "other"."""
OTHER, LENGTH = "other", "report length"


def scores_by_group(
    scores: Scores, groups: Mapping[str, Sequence[str]], *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> dict[str, list[dict[str, Any]]]:
    """For each kind of group its groups, the largest first (lengths: the shortest), each with its number of studies and
    estimates of GROUP_METRICS. A kind with a single group says nothing new and is left out.

    `groups` gives each study's group by kind, in the order of the studies scored.
    """
    return {
        kind: [
            _group_scores(scores, group, np.array([name == group for name in names]), num_resamples, seed)
            for group in sorted(set(names), key=_by_length if kind == LENGTH else _by_size(names))
        ]
        for kind, names in ((kind, _largest(list(names))) for kind, names in groups.items())
        if len(set(names)) > 1
    }


def study_groups(predictions: Sequence[Prediction]) -> dict[str, list[str]]:
    """Each study's group by view, by source and by length of its reference."""
    return {
        "view": [" and ".join(sorted(set(prediction.view_positions))) for prediction in predictions],
        "source": [prediction.source for prediction in predictions],
        LENGTH: length_groups([prediction.reference for prediction in predictions]),
    }


def length_groups(references: Sequence[str]) -> list[str]:
    """Thirds of the reference reports by number of words, named by their bounds; "no report" for empty ones."""
    lengths = np.array([len(reference.split()) for reference in references])
    if not lengths.any():
        return ["no report"] * len(lengths)
    low, high = (int(bound) for bound in np.percentile(lengths[lengths > 0], [100 / 3, 200 / 3]))
    if low == high:
        return ["any length" if length else "no report" for length in lengths]
    names = [f"1 to {low} words", f"{low + 1} to {high} words", f"{high + 1} words and more"]
    return [names[int(length > low) + int(length > high)] if length else "no report" for length in lengths]


def _by_length(name: str) -> int:
    """Order of the names that `length_groups` gives: by their lower bound."""
    first = name.split()[0]
    return int(first) if first.isdigit() else 0


def _by_size(names: list[str]):
    counts = Counter(names)
    return lambda name: (name == OTHER, -counts[name], name)


def _largest(names: list[str]) -> list[str]:
    named = [name or "not given" for name in names]
    kept = sorted(set(named), key=lambda name: (-named.count(name), name))
    if len(kept) > MAX_GROUPS:
        kept = kept[: MAX_GROUPS - 1]
    return [name if name in kept else OTHER for name in named]


def _group_scores(scores: Scores, group: str, members: np.ndarray, num_resamples: int, seed: int) -> dict[str, Any]:
    statistics = scores.statistics.take(members)
    subject_ids = [subject for subject, is_member in zip(scores.subject_ids, members, strict=True) if is_member]
    values = point_values(statistics.figures, statistics.num_studies)
    samples = resample(statistics.figures, subject_ids, num_resamples, seed)
    return {
        "group": group,
        "num_studies": statistics.num_studies,
        "metrics": {
            metric: asdict(interval(values[metric], samples[metric]) if metric in values else UNDEFINED)
            for metric in GROUP_METRICS
        },
    }
