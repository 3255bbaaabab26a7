"""The studies that the page of a run shows, with their images and where the model looked.

Which studies the page shows: the worst, the best and some drawn by lot, so that nobody picks them.

A study's score is the F1 of the findings that its report names, No Finding left out; between equals the likeness of
the words decides, then the study's name. A study in which both agree that there is nothing has no F1: it is neither
best nor worst, and may be drawn.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import datasets

from data.reports.labeler.labeler import label_report
from eval.metrics.laterality import stated_findings
from eval.predictions.prediction import Prediction
from eval.report.study import BEST, BY_LOT, WORST, PageStudy, findings_to_show, heat_panels, page_study
from eval.scoring.scores import Scores
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.schema.findings import UNLABELED


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyChoice:
    """A study to show. `group` is WORST, BEST or BY_LOT."""

    study_id: str
    group: str
    reason: str


def choose_studies(
    predictions: Sequence[Prediction],
    likeness: Sequence[float],
    number: int,
    *,
    likeness_name: str,
    seed: int = 0,
) -> list[StudyChoice]:
    """At most `number` studies, a third of each group. `likeness` is a text score of each prediction, NaN where there
    is no reference; it alone ranks where no study has labels."""
    f1 = {prediction.study_id: _f1(prediction) for prediction in predictions}
    closeness = {prediction.study_id: value for prediction, value in zip(predictions, likeness, strict=True)}
    ranked = [name for name, value in f1.items() if value is not None]
    ranked = ranked or [name for name, value in closeness.items() if not math.isnan(value)]
    ranked.sort(key=lambda name: (f1[name] or 0, 0 if math.isnan(closeness[name]) else closeness[name], name))
    worst = ranked[: min(number // 3, len(ranked) // 2)]
    best = ranked[::-1][: min(number // 3, len(ranked) - len(worst))]
    others = sorted(f1.keys() - {*worst, *best})
    drawn = random.Random(seed).sample(others, min(number - len(worst) - len(best), len(others)))

    def reason(name: str) -> str:
        told = [] if f1[name] is None else [f"F1 of its findings {f1[name]:.2f}"]
        return ", ".join(told + ([] if math.isnan(closeness[name]) else [f"{likeness_name} {closeness[name]:.3f}"]))

    groups = ((WORST, worst), (BEST, best), (BY_LOT, sorted(drawn)))
    return [StudyChoice(study_id=name, group=group, reason=reason(name)) for group, names in groups for name in names]


def _f1(prediction: Prediction) -> float | None:
    labels = prediction.reference_labels
    named = {finding for finding in stated_findings(label_report(prediction.report)) if labels[finding] != UNLABELED}
    true = set(stated_findings(labels))
    return 2 * len(named & true) / (len(named) + len(true)) if named or true else None


def page_studies(
    generator: ReportGenerator,
    studies: datasets.Dataset,
    predictions: Sequence[Prediction],
    model: Scores,
    *,
    number: int,
    seed: int,
) -> list[PageStudy]:
    """At most `number` studies as the page shows them: the worst, the best and some drawn by lot."""
    row_of = {study_id: row for row, study_id in enumerate(studies["study_id"])}
    prediction_of = {prediction.study_id: prediction for prediction in predictions}
    choices = choose_studies(
        predictions,
        model.per_study.get("rouge_l", [math.nan] * len(predictions)),
        number,
        likeness_name="ROUGE-L",
        seed=seed,
    )
    return [
        _page_study(generator, studies[row_of[choice.study_id]], prediction_of[choice.study_id], choice)
        for choice in choices
    ]


def _page_study(
    generator: ReportGenerator,
    row: dict[str, Any],
    prediction: Prediction,
    choice: StudyChoice,
) -> PageStudy:
    images = row["images"]
    # One token is enough to have the attention maps.
    [seen] = generator.generate(
        [images],
        view_positions=[row["view_positions"]],
        indications=[row["indication"]],
        options=GenerationOptions(max_new_tokens=1),
    )
    shown = findings_to_show(row["labels"], label_report(prediction.report), seen.finding_probabilities)
    panels = heat_panels(shown, images, seen.attention_maps, generator.heatmaps(seen, images), row["boxes"])
    return page_study(images, prediction, heat_panels=panels, group=choice.group, reason=choice.reason)
