"""Scores of groups of studies: by view, source, length of the reference, or a column that the user names."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from eval.metrics.bootstrap import NUM_RESAMPLES, estimates
from eval.predictions.prediction import Prediction
from eval.scoring.scores import UNDEFINED, Scores
from eval.scoring.statistics import GROUP_METRICS
from vlm.schema.findings import views_shown

MAX_GROUPS = 12
"""Maximum groups per kind; smaller groups become "other"."""
OTHER, LENGTH = "other", "report length"


def scores_by_group(
    scores: Scores, groups: Mapping[str, Sequence[str]], *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> dict[str, list[dict[str, Any]]]:
    """Number of studies and estimates of GROUP_METRICS per group, largest group first (lengths: shortest first).

    `groups` gives the group of each study by kind. A kind with a single group is left out.
    """
    found = {}
    for kind, given in groups.items():
        names = [name or "not given" for name in given]
        largest = [name for name, _ in sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))]
        if len(largest) > MAX_GROUPS:
            largest = [*largest[: MAX_GROUPS - 1], OTHER]
            names = [name if name in largest else OTHER for name in names]
        if len(largest) > 1:
            # Lengths are named by their bounds.
            order = (
                sorted(largest, key=lambda name: int((re.match(r"\d+", name) or "0")[0])) if kind == LENGTH else largest
            )
            found[kind] = [
                _group_scores(scores, group, np.array(names) == group, num_resamples, seed) for group in order
            ]
    return found


MIN_SUBGROUP = 20
"""Subgroups with fewer studies are not scored."""


def subgroup_scores(
    scores: Scores, names: Sequence[str], *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> dict[str, list[dict[str, Any]]]:
    """The scored `groups`, largest first, and the `rejected` ones with the reason; together they have all studies.

    `names` gives the group of each study.
    """
    found = {"groups": [], "rejected": []}
    for name, count in sorted(Counter(names).items(), key=lambda item: (-item[1], item[0])):
        if count < MIN_SUBGROUP:
            found["rejected"].append(
                {"group": name, "num_studies": count, "reason": f"fewer than {MIN_SUBGROUP} studies"}
            )
        else:
            found["groups"].append(_group_scores(scores, name, np.array(names) == name, num_resamples, seed))
    return found


def study_groups(predictions: Sequence[Prediction]) -> dict[str, list[str]]:
    """The group of each study by view position, kinds of views, source and length of its reference."""
    return {
        "view": [" and ".join(sorted(set(prediction.view_positions))) for prediction in predictions],
        "kinds of views": [views_shown(prediction.view_positions) for prediction in predictions],
        "source": [prediction.source for prediction in predictions],
        LENGTH: length_groups([prediction.reference for prediction in predictions]),
    }


def length_groups(references: Sequence[str]) -> list[str]:
    """Terciles of the reference reports by number of words, named by their bounds; "no report" if empty."""
    lengths = np.array([len(reference.split()) for reference in references])
    if not lengths.any():
        return ["no report"] * len(lengths)
    low, high = (int(bound) for bound in np.percentile(lengths[lengths > 0], [100 / 3, 200 / 3]))
    if low == high:
        return ["any length" if length else "no report" for length in lengths]
    names = [f"1 to {low} words", f"{low + 1} to {high} words", f"{high + 1} words and more"]
    return [names[int(length > low) + int(length > high)] if length else "no report" for length in lengths]


def _group_scores(scores: Scores, group: str, members: np.ndarray, num_resamples: int, seed: int) -> dict[str, Any]:
    statistics = scores.statistics.take(members)
    subject_ids = [subject for subject, is_member in zip(scores.subject_ids, members, strict=True) if is_member]
    found = estimates(statistics.group_figures, subject_ids, num_resamples, seed)
    return {
        "group": group,
        "num_studies": statistics.num_studies,
        "metrics": {metric: asdict(found.get(metric, UNDEFINED)) for metric in GROUP_METRICS},
    }
