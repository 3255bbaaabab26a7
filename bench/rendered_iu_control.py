"""How far codes alone lead: each study gets the report of a training study with the same codes, or the most alike ones.

These controls are told what the model has to see, so they stand above a perfect reader who copies: what a report says
beyond its codes cannot be known from a phantom. Of several training studies that are equally alike the most typical
report is taken, the one nearest to the others by CIDEr, since any of them could be meant.
"""

import random
from collections.abc import Callable, Sequence

import datasets

from bench.rendered_iu_codes import scene_findings
from eval.controls.control import Control, with_reports
from eval.controls.text import split_reports
from eval.metrics.cider import CiderReferences
from eval.metrics.normalization import normalize_report
from eval.predictions.prediction import Prediction

Codes = tuple[str, ...]
Items = frozenset[str]
MAX_CANDIDATES = 100
"""Of more equally alike reports so many are drawn by lot."""


def code_items(codes: Codes) -> Items:
    """A study's codes, each also by its heading alone, so that a like code counts for half."""
    return frozenset(item for code in codes for item in (code.lower(), code.lower().partition("/")[0]))


def drawn_items(codes: Codes) -> Items:
    """What the phantom shows: each kind, and each kind with its side, zone and degree."""
    return frozenset(
        item
        for finding in scene_findings(codes)
        for item in (finding.kind, f"{finding.kind}/{finding.side}/{finding.zone}/{finding.degree}")
    )


UPPER_CONTROLS: dict[str, tuple[Callable[[Codes], Items], str]] = {
    "same codes": (code_items, "the most typical report of the training studies whose MeSH codes are most alike"),
    "same drawn findings": (
        drawn_items,
        "the most typical report of the training studies whose phantoms show most alike findings",
    ),
}
"""Name -> what is compared, and what the control is in words."""


def upper_controls(predictions: Sequence[Prediction], splits: datasets.DatasetDict) -> list[Control]:
    """The controls for the test studies predicted, from the training studies alone."""
    codes_of = dict(zip(splits["test"]["study_id"], map(tuple, splits["test"]["mesh"]), strict=True))
    pairs = zip(map(tuple, splits["train"]["mesh"]), split_reports(splits, "train"), strict=True)
    training = [(codes, report) for codes, report in pairs if normalize_report(report)]
    typical = _Typical([report for _, report in training])
    controls = []
    for name, (items_of, _) in UPPER_CONTROLS.items():
        known = [items_of(codes) for codes, _ in training]
        chosen = {
            items: typical.of(_most_alike(items, known))
            for items in {items_of(codes_of[prediction.study_id]) for prediction in predictions}
        }
        reports = [chosen[items_of(codes_of[prediction.study_id])] for prediction in predictions]
        controls.append(Control(name=name, predictions=tuple(with_reports(predictions, reports))))
    return controls


def _most_alike(items: Items, known: Sequence[Items]) -> list[int]:
    """Positions of the sets with the largest overlap by Jaccard; two empty sets are the same."""
    shares = [len(items & other) / len(items | other) if items | other else 1.0 for other in known]
    most = max(shares)
    return [position for position, share in enumerate(shares) if share == most]


class _Typical:
    """Reports, counted once, of which the most typical of any group can be asked for."""

    def __init__(self, reports: Sequence[str]):
        self._reports = reports
        self._words = [normalize_report(report).split() for report in reports]
        self._corpus = CiderReferences(self._words)

    def of(self, group: Sequence[int]) -> str:
        candidates = group if len(group) <= MAX_CANDIDATES else random.Random(0).sample(group, MAX_CANDIDATES)
        if len(candidates) == 1:
            return self._reports[candidates[0]]
        best = max(candidates, key=lambda number: self._corpus.score_against_all(self._words[number])[group].mean())
        return self._reports[best]
