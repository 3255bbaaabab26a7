"""The studies that the page of a run shows, with their pictures and where the model looked."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import datasets

from eval.heat_panel import findings_to_show, heat_panels
from eval.page_study import PageStudy, page_study
from eval.predictions import Prediction
from eval.scoring import Scores
from eval.study_choice import StudyChoice, choose_studies
from vlm.generator import GenerationOptions, ReportGenerator

LabelReport = Callable[[str], Sequence[int]]


def page_studies(
    generator: ReportGenerator,
    studies: datasets.Dataset,
    predictions: Sequence[Prediction],
    model: Scores,
    label_report: LabelReport,
    *,
    number: int,
    seed: int,
) -> list[PageStudy]:
    """At most `number` studies as the page shows them: the worst, the best and some drawn by lot."""
    row_of = {study_id: row for row, study_id in enumerate(studies["study_id"])}
    prediction_of = {prediction.study_id: prediction for prediction in predictions}
    choices = choose_studies(
        predictions,
        label_report,
        model.per_study.get("rouge_l", [math.nan] * len(predictions)),
        number,
        likeness_name="ROUGE-L",
        seed=seed,
    )
    return [
        _page_study(generator, studies[row_of[choice.study_id]], prediction_of[choice.study_id], choice, label_report)
        for choice in choices
    ]


def _page_study(
    generator: ReportGenerator,
    row: dict[str, Any],
    prediction: Prediction,
    choice: StudyChoice,
    label_report: LabelReport,
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
    return page_study(images, prediction, label_report, heat_panels=panels, group=choice.group, reason=choice.reason)
