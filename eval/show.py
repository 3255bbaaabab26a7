"""Show one study: a figure (X-ray, prior X-ray, heatmaps, both reports) and a table of its findings in the terminal.

    python eval/show.py --dataset studies --output study.png --checkpoint runs/mine/best
    python eval/show.py … --study-id synthetic-0-000017

Without --study-id, a fixed rule selects the study; it does not use the output of the model.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import datasets
import numpy as np
import tyro
from PIL import Image
from rich.console import Console
from rich.table import Table

from data.cli import run_main
from data.reports.labeler.changes import report_changes
from data.reports.labeler.labeler import label_report
from data.study import load_studies
from eval.metrics.laterality import stated_findings, stated_sentences
from eval.predictions.generate import interval_words, prior_of
from eval.predictions.prediction import Prediction, read_lines
from eval.report.heatmaps import MAX_PANELS, findings_to_show, heat_panels
from eval.report.study_figure import STATES, StudyFigure, draw_study
from vlm.checkpoint.store import SHIPPED, model_line
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.inputs.batch import Prior
from vlm.schema.findings import BLANK, CHANGES, FINDING_INDEX, FINDINGS, NUM_FINDINGS, UNKNOWN_CHANGE, UNLABELED
from vlm.schema.number_format import format_probability
from vlm.schema.report_format import report_of

RULE = "the first study of the split with at least two findings (Support Devices not counted)"
STYLES = {(True, True): "green", (True, False): "yellow", (False, True): "red", (False, False): "dim"}
"""Style of a table row by (the finding is true, the report names it)."""
DRAWN_SIDE = 640
"""Smaller images are enlarged to this side before the heatmap is drawn over them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShowConfig:
    """Show one study: the output of the model and the truth."""

    checkpoint: str = SHIPPED
    """Checkpoint folder or Hugging Face hub id; by default the checkpoint that ships with the project."""
    dataset: Path
    """Prepared data set, as written by `python -m data.prepare`."""
    output: Path
    """PNG file to write."""
    split: Literal["train", "validation", "test"] = "test"
    """Split of the study."""
    study_id: str = ""
    """The study to show; by default the first of the split with at least two findings."""
    predictions: Path | None = None
    """A predictions.jsonl of eval/batch.py; its reports and probabilities are shown, and only its studies."""
    max_new_tokens: int = GenerationOptions().max_new_tokens
    """Maximum length of a report in tokens."""


def main(argv: Sequence[str] | None = None) -> None:
    config = tyro.cli(ShowConfig, args=argv, description=__doc__)
    console = Console()
    console.print(model_line(config.checkpoint), highlight=False, soft_wrap=True)
    predictions = _read_predictions(config.predictions)
    splits = load_studies(config.dataset)
    if config.split not in splits:
        raise ValueError(f"{config.dataset} has no split {config.split!r}; choose --split of: {', '.join(splits)}")
    row, how = choose_study(splits[config.split], config.study_id, predictions)
    generator = ReportGenerator.from_pretrained(config.checkpoint)
    prediction = None if predictions is None else predictions[row["study_id"]]
    figure = study_figure(generator, row, how, prediction, config.max_new_tokens)
    draw_study(figure, config.output)
    console.print(findings_table(figure))
    if figure.prior is not None:
        console.print(changes_table(figure))
    console.print(f"Shown: {how}.  Image: {config.output}", soft_wrap=True)


def study_figure(
    generator: ReportGenerator, row: dict[str, Any], how: str, prediction: Prediction | None, max_new_tokens: int
) -> StudyFigure:
    """Ask the model about a study; a saved `prediction` gives report and probabilities instead."""
    images = [_enlarged(image) for image in row["images"]]
    # If the report exists already, one token is enough to get the attention maps.
    options = GenerationOptions(max_new_tokens=max_new_tokens if prediction is None else 1)
    priors = [prior_of(row)] if generator.reads_priors else None
    inputs = {"view_positions": [row["view_positions"]], "indications": [row["indication"]], "priors": priors}
    [output] = generator.generate([images], **inputs, options=options)
    report = output.report if prediction is None else prediction.report
    probabilities = (prediction and prediction.probabilities) or output.finding_probabilities
    named, labels = tuple(label_report(report)), tuple(row["labels"])
    reference = report_of(row)
    prior = priors[0] if priors else None
    shown = findings_to_show(labels, named, probabilities)[: MAX_PANELS if prior is None else MAX_PANELS - 1]
    return StudyFigure(
        title=figure_title(row),
        footer=f"{how[0].upper()}{how[1:]}.  Dashed: reference box.  Written by a program, not for diagnosis.",
        image=images[0],
        panels=heat_panels(generator, output, images, shown, row["boxes"]),
        probabilities=tuple(probabilities),
        thresholds=tuple(generator.thresholds),
        labels=labels,
        named=named,
        generated=tuple(stated_sentences(report)),
        reference=tuple(stated_sentences(reference)),
        **({} if prior is None else _since_the_prior(prior, row, report, (prediction or output).change_probabilities)),
    )


def _since_the_prior(
    prior: Prior, row: dict[str, Any], report: str, probabilities: Sequence[Sequence[float]] | None
) -> dict[str, Any]:
    """The fields of StudyFigure on the prior study."""
    return {
        "prior": prior.images[0],
        "prior_title": interval_words(prior.interval_days),
        "true_changes": tuple("" if code == UNKNOWN_CHANGE else CHANGES[code] for code in row["changes"]),
        "stated_changes": tuple(" and ".join(CHANGES[code] for code in sorted(one)) for one in report_changes(report)),
        "probable_changes": tuple(CHANGES[int(np.argmax(one))] for one in probabilities or ()),
    }


def choose_study(
    studies: datasets.Dataset, study_id: str, predictions: dict[str, Prediction] | None
) -> tuple[dict[str, Any], str]:
    """Return the row to show and, in words, how it was chosen.

    Raises:
        ValueError: no study has that id, or no study of the split has a prediction.
    """
    rows = {identity: number for number, identity in enumerate(studies["study_id"])}
    if predictions is not None:
        rows = {identity: number for identity, number in rows.items() if identity in predictions}
    if study_id:
        if study_id not in rows:
            raise ValueError(
                f"--study-id {study_id!r} is not among the {len(rows)} studies, such as {next(iter(rows), '–')!r}"
            )
        return studies[rows[study_id]], f"study {study_id}, as requested"
    if not rows:
        raise ValueError("there is no study to show: the split is empty, or --predictions has other studies")
    devices = FINDING_INDEX["Support Devices"]
    labels = studies["labels"]
    for number in rows.values():
        if len(set(stated_findings(labels[number])) - {devices}) >= 2:
            return studies[number], RULE
    return studies[next(iter(rows.values()))], "the first study of the split, because no study has two findings"


def figure_title(row: dict[str, Any]) -> str:
    indication = textwrap.shorten(row["indication"], 90, placeholder=" …")
    return f"Study {row['study_id']}" + (f"   Indication: {indication}" if indication else "")


def findings_table(study: StudyFigure) -> Table:
    """Truth, probability and threshold of the 14 findings, and whether the generated report names them."""
    table = Table(title=study.title)
    for column in ("finding", "truth", "prob.", "threshold", "report"):
        table.add_column(column, justify="right" if column in ("prob.", "threshold") else "left", no_wrap=True)
    true, named = set(stated_findings(study.labels)), set(stated_findings(study.named))
    for index, finding in enumerate(FINDINGS):
        table.add_row(
            finding,
            STATES.get(study.labels[index], "–"),
            format_probability(study.probabilities[index]),
            format_probability(study.thresholds[index]),
            "–" if study.named[index] == BLANK else STATES[study.named[index]],
            style="" if study.labels[index] == UNLABELED else STYLES[index in true, index in named],
        )
    table.caption = "green: true and named, yellow: missed, red: named but not true"
    return table


def changes_table(study: StudyFigure) -> Table:
    """The change of the findings since the prior study: the truth, the report and the classifier. Findings that are in
    neither study for all three are left out."""
    table = Table(title=f"Changes since the {study.prior_title}")
    for column in ("finding", "truth", "report", "classifier"):
        table.add_column(column)
    probable = study.probable_changes or ("",) * NUM_FINDINGS
    for row in zip(FINDINGS, study.true_changes, study.stated_changes, probable, strict=True):
        if set(row[1:]) - {"", "none"} and row[0] != "No Finding":
            table.add_row(*(cell or "–" for cell in row))
    return table


def _enlarged(image: Image.Image) -> Image.Image:
    scale = DRAWN_SIDE / max(image.size)
    if scale <= 1:
        return image
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)


def _read_predictions(path: Path | None) -> dict[str, Prediction] | None:
    if path is None:
        return None
    if not path.is_file():
        raise ValueError(f"--predictions {path} does not exist; eval/batch.py writes it as predictions.jsonl")
    return {prediction.study_id: prediction for prediction in read_lines(path, Prediction)}


if __name__ == "__main__":
    run_main(main)
