"""Learned metrics (`--extra-metrics chexbert=FOLDER`) with intervals.

If a metric fails, a note says why and the other metrics are scored.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from eval.metrics.bootstrap import NUM_RESAMPLES, estimates
from eval.metrics.learned.registry import LEARNED, TAKES_NORMALIZED, WHERE, learned_scores
from eval.metrics.normalization import ReferenceVocabulary
from eval.predictions.prediction import Prediction
from eval.scoring.statistics import normalized_references, normalized_reports, subjects_of


def parse_extra_metrics(requested: Sequence[str]) -> dict[str, str]:
    """Metric names and where to find their files, from "metric=where".

    Raises:
        ValueError: there is no "=", or no metric of that name.
    """
    parsed = {}
    for text in requested:
        name, _, where = text.partition("=")
        if name not in LEARNED or not where:
            known = "; ".join(f"{name}=… ({what})" for name, what in WHERE.items())
            raise ValueError(f"--extra-metrics {text!r} is not valid; give one of {known}")
        parsed[name] = where
    return parsed


def extra_metric_scores(
    requested: dict[str, str],
    predictions: Sequence[Prediction],
    *,
    normalization: str,
    reference_vocabulary: ReferenceVocabulary | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> tuple[dict[str, Any], list[str]]:
    """Estimates and a note for each figure of the requested metrics, ready for JSON; and notes on failed metrics."""
    scored = [prediction for prediction in predictions if prediction.reference.strip()]
    document, failures = {}, []
    for name, where in requested.items():
        if name in TAKES_NORMALIZED:
            references = normalized_references(scored, normalization, reference_vocabulary)
            texts = normalized_reports(scored, normalization), references
        else:
            texts = ([getattr(one, what) for one in scored] for what in ("report", "reference"))
        try:
            scores = learned_scores(name, where, *texts)
        except ValueError as error:
            failures.append(f"{name} was not scored: {error}")
            continue

        def statistic(weights, scores=scores):
            return scores.figures_of(weights @ scores.statistics)

        for figure, estimate in estimates(statistic, subjects_of(scored), num_resamples, seed).items():
            document[f"{name}: {figure}"] = asdict(estimate) | {"note": scores.note}
    return document, failures
