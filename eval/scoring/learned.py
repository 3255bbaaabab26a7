"""Learned metrics that were asked for (`--also chexbert=FOLDER`), with intervals; one that cannot be had says why and
the rest is scored.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from eval.metrics.bootstrap import NUM_RESAMPLES, interval, point_values, resample
from eval.metrics.learned.registry import LEARNED, TAKES_NORMALIZED, WHERE, learned_scores
from eval.metrics.normalization import ReferenceVocabulary, normalize_prediction, normalize_report
from eval.predictions.prediction import Prediction


def parse_also(asked: Sequence[str]) -> dict[str, str]:
    """Metric and where to find what it needs, from "metric=where".

    Raises:
        ValueError: there is no "=", or no metric of that name.
    """
    parsed = {}
    for text in asked:
        name, _, where = text.partition("=")
        if name not in LEARNED or not where:
            known = "; ".join(f"{name}=… ({what})" for name, what in WHERE.items())
            raise ValueError(f"--also {text!r} is not understood; give one of {known}")
        parsed[name] = where
    return parsed


def also_scores(
    asked: dict[str, str],
    predictions: Sequence[Prediction],
    *,
    normalization: str,
    reference_vocabulary: ReferenceVocabulary | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> tuple[dict[str, Any], list[str]]:
    """Each figure of the metrics asked, an estimate and a note, ready for JSON; and notes on metrics that failed."""
    scored = [prediction for prediction in predictions if prediction.reference.strip()]
    subject_ids = [prediction.subject_id or f"study {prediction.study_id}" for prediction in scored]
    document, failures = {}, []
    for name, where in asked.items():
        reports, references = ([getattr(one, what) for one in scored] for what in ("report", "reference"))
        if name in TAKES_NORMALIZED:
            reports = [normalize_prediction(text, normalization) for text in reports]
            if reference_vocabulary is None:
                references = [normalize_report(text, normalization) for text in references]
            else:
                references = [reference_vocabulary.apply(text) for text in references]
        try:
            scores = learned_scores(name, where, reports, references)
        except ValueError as error:
            failures.append(f"{name} was not scored: {error}")
            continue

        def statistic(weights, scores=scores):
            return scores.figures_of(weights @ scores.statistics)

        values = point_values(statistic, len(scored))
        samples = resample(statistic, subject_ids, num_resamples, seed)
        for figure in values:
            estimate = interval(values[figure], samples[figure])
            document[f"{name}: {figure}"] = asdict(estimate) | {"note": scores.note}
    return document, failures
