"""Heatmaps of a study's findings, each over the view where the attention of the finding has its peak.

This file asks the model, so it loads torch; the page of eval.score does without.
"""

from collections.abc import Sequence
from typing import Any

import datasets
from PIL import Image

from data.reports.labeler.labeler import label_report
from eval.metrics.laterality import stated_findings
from eval.predictions.generate import interval_words, prior_of
from eval.report.selection import SelectedStudy
from eval.report.study import HeatPanel, PageStudy, page_study
from vlm.explain.attention import overlay_heatmap
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.inputs.batch import Prior
from vlm.schema.findings import FINDINGS
from vlm.schema.study_report import StudyReport

MAX_PANELS = 3


def findings_to_show(labels: Sequence[int], named: Sequence[int], probabilities: Sequence[float]) -> list[int]:
    """Up to three findings: first true and named, then missed, then added; if none, the most probable finding."""
    true, predicted = set(stated_findings(labels)), set(stated_findings(named))
    ranked = sorted(range(len(FINDINGS)), key=lambda finding: -probabilities[finding])
    groups = (true & predicted, true - predicted, predicted - true)
    order = [finding for group in groups for finding in ranked if finding in group]
    most_probable = [finding for finding in ranked if FINDINGS[finding] != "No Finding"][:1]
    return order[:MAX_PANELS] or most_probable


def heat_panels(
    generator: ReportGenerator,
    output: StudyReport,
    images: Sequence[Image.Image],
    findings: Sequence[int],
    boxes: Sequence[dict[str, Any]],
) -> tuple[HeatPanel, ...]:
    """A heatmap for each finding from the output for these images; `boxes` as in a row of the data set."""
    heatmaps = generator.heatmaps(output, images)
    panels = []
    for finding in findings:
        view = int(output.attention_maps[finding].max(axis=(1, 2)).argmax())
        inside = (tuple(box["box"]) for box in boxes if box["finding"] == finding and box["view"] == view)
        image = overlay_heatmap(images[view], heatmaps[view][finding])
        panels.append(HeatPanel(finding=finding, image=image, boxes=tuple(inside)))
    return tuple(panels)


def page_studies(
    generator: ReportGenerator, studies: datasets.Dataset, selected: Sequence[SelectedStudy]
) -> list[PageStudy]:
    """The selected studies with images and heatmaps."""
    row_of = {study_id: row for row, study_id in enumerate(studies["study_id"])}
    shown = []
    for one in selected:
        row, prediction = studies[row_of[one.prediction.study_id]], one.prediction
        images, prior = row["images"], prior_of(row) if generator.reads_priors else None
        # One token is enough to get the attention maps.
        [output] = generator.generate(
            [images],
            view_positions=[row["view_positions"]],
            indications=[row["indication"]],
            priors=[prior],
            options=GenerationOptions(max_new_tokens=1),
        )
        findings = findings_to_show(row["labels"], label_report(prediction.report), output.finding_probabilities)
        panels = heat_panels(generator, output, images, findings, row["boxes"])
        shown.append(
            page_study(
                images,
                prediction,
                prior_images=_titled(prior),
                heat_panels=panels,
                group=one.group,
                reason=one.reason,
            )
        )
    return shown


def _titled(prior: Prior | None) -> dict[str, Image.Image]:
    """The images of a prior study by title."""
    if prior is None:
        return {}
    days = interval_words(prior.interval_days)
    views = zip(prior.view_positions, prior.images, strict=True)
    return {f"{days}: {position} {number}": image for number, (position, image) in enumerate(views, start=1)}
