"""Which studies the page shows: the worst, the best and random ones, selected by a fixed rule.

The score of a study is the F1 of the findings in its report, without No Finding; ties are ordered by the text score,
then by the study id. If reference and report both state no finding, there is no F1: the study is neither best nor
worst, but can be drawn at random.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data.reports.labeler.labeler import label_report
from eval.metrics.laterality import stated_findings
from eval.predictions.prediction import Prediction
from vlm.schema.findings import UNLABELED

WORST, BEST, RANDOM = "Worst", "Best", "Random"
TEXT_SCORE, TEXT_SCORE_NAME = "rouge_l", "ROUGE-L"


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectedStudy:
    """A study to show. `group` is WORST, BEST or RANDOM."""

    prediction: Prediction
    group: str
    reason: str


def select_studies(
    predictions: Sequence[Prediction],
    per_study: Mapping[str, Sequence[float]],
    number: int,
    *,
    seed: int = 0,
) -> list[SelectedStudy]:
    """Select at most `number` studies, a third for each group. `per_study` are scores of each prediction, NaN without a
    reference; if no study has labels, the text score alone ranks."""
    text_scores = per_study.get(TEXT_SCORE, [math.nan] * len(predictions))
    by_id = {prediction.study_id: prediction for prediction in predictions}
    f1 = {study_id: _f1(prediction) for study_id, prediction in by_id.items()}
    text = dict(zip(by_id, text_scores, strict=True))
    ranked = [name for name, value in f1.items() if value is not None]
    ranked = ranked or [name for name, value in text.items() if not math.isnan(value)]
    ranked.sort(key=lambda name: (f1[name] or 0, 0 if math.isnan(text[name]) else text[name], name))
    worst = ranked[: min(number // 3, len(ranked) // 2)]
    best = ranked[::-1][: min(number // 3, len(ranked) - len(worst))]
    others = sorted(f1.keys() - {*worst, *best})
    drawn = random.Random(seed).sample(others, min(number - len(worst) - len(best), len(others)))

    def reason(name: str) -> str:
        parts = [] if f1[name] is None else [f"F1 of its findings {f1[name]:.2f}"]
        return ", ".join(parts + ([] if math.isnan(text[name]) else [f"{TEXT_SCORE_NAME} {text[name]:.3f}"]))

    groups = ((WORST, worst), (BEST, best), (RANDOM, sorted(drawn)))
    return [
        SelectedStudy(prediction=by_id[name], group=group, reason=reason(name))
        for group, names in groups
        for name in names
    ]


def _f1(prediction: Prediction) -> float | None:
    labels = prediction.reference_labels
    named = {finding for finding in stated_findings(label_report(prediction.report)) if labels[finding] != UNLABELED}
    true = set(stated_findings(labels))
    return 2 * len(named & true) / (len(named) + len(true)) if named or true else None
