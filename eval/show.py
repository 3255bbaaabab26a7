"""One study to look at: an image (X-ray, heatmaps, both reports) and a table of its findings in the terminal.

    python eval/show.py --dataset studies --output study.png --checkpoint runs/mine/best
    python eval/show.py … --study-id synthetic-0-000017

Without --study-id the study is chosen by a fixed rule that does not look at the model's answer.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import datasets
import tyro
from PIL import Image
from rich.console import Console
from rich.table import Table

from data.cli import run_main
from data.reports.labeler.labeler import label_report
from data.study import load_studies
from eval.metrics.laterality import stated_findings, stated_sentences
from eval.predictions.prediction import Prediction, read_lines
from eval.report.study import findings_to_show, heat_panels
from eval.report.study_image import STATES, StudyImage, draw_study
from vlm.checkpoint.store import SHIPPED, model_line
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.schema.findings import BLANK, FINDING_INDEX, FINDINGS, UNLABELED
from vlm.schema.report_format import compose_report

RULE = "the first study of the split with at least two findings (Support Devices not counted)"
STYLES = {(True, True): "green", (True, False): "yellow", (False, True): "red", (False, False): "dim"}
"""Of a table's row, by whether the finding is true and whether the report names it."""
DRAWN_SIDE = 640
"""Small images are enlarged to this before the heat is laid over them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShowConfig:
    """Show one study: what the model sees and writes, beside the truth."""

    checkpoint: str = SHIPPED
    """Checkpoint folder (or hub id) of the model; by default the one that ships with the project."""
    dataset: Path
    """Prepared data set, as `python -m data.prepare` writes it."""
    output: Path
    """The image to write (PNG)."""
    split: Literal["train", "validation", "test"] = "test"
    """The study's split."""
    study_id: str = ""
    """Which study; empty: the first of the split with at least two findings."""
    predictions: Path | None = None
    """A predictions.jsonl of eval/batch.py: its report and probabilities are shown, and only its studies."""
    max_new_tokens: int = 128
    """Longest report, in tokens."""


def main(argv: Sequence[str] | None = None):
    """Parses, generates, draws, prints."""
    config = tyro.cli(ShowConfig, args=argv, description=__doc__)
    console = Console()
    console.print(model_line(config.checkpoint), highlight=False, soft_wrap=True)
    written = _written(config.predictions)
    row, how = choose_study(load_studies(config.dataset)[config.split], config.study_id, written)
    generator = ReportGenerator.from_pretrained(config.checkpoint)
    prediction = None if written is None else written[row["study_id"]]
    images = [_enlarged(image) for image in row["images"]]
    # With the report already written, one token is enough to have the attention maps.
    options = GenerationOptions(max_new_tokens=config.max_new_tokens if prediction is None else 1)
    [seen] = generator.generate(
        [images], view_positions=[row["view_positions"]], indications=[row["indication"]], options=options
    )
    report = seen.report if prediction is None else prediction.report
    probabilities = (prediction and prediction.probabilities) or seen.finding_probabilities
    named, labels = tuple(label_report(report)), tuple(row["labels"])
    shown = findings_to_show(labels, named, probabilities)
    figure = StudyImage(
        title=title_of(row),
        footer=f"{how[0].upper()}{how[1:]}.  Dashed: where the finding truly is.  Machine-written, not for diagnosis.",
        image=images[0],
        panels=heat_panels(shown, images, seen.attention_maps, generator.heatmaps(seen, images), row["boxes"]),
        probabilities=tuple(probabilities),
        thresholds=tuple(generator.thresholds),
        labels=labels,
        named=named,
        generated=tuple(stated_sentences(report)),
        reference=tuple(stated_sentences(compose_report(findings=row["findings"], impression=row["impression"]))),
    )
    draw_study(figure, config.output)
    console.print(findings_table(figure))
    console.print(f"Shown: {how}.  Image: {config.output}", soft_wrap=True)


def choose_study(
    studies: datasets.Dataset, study_id: str, written: dict[str, Prediction] | None
) -> tuple[dict[str, Any], str]:
    """The row to show and, in words, how it was chosen.

    Raises:
        ValueError: no study has that id, or none of the split is among the predictions.
    """
    rows = {identity: number for number, identity in enumerate(studies["study_id"])}
    if written is not None:
        rows = {identity: number for identity, number in rows.items() if identity in written}
    if study_id:
        if study_id not in rows:
            raise ValueError(
                f"--study-id {study_id!r} is not among the {len(rows)} studies, such as {next(iter(rows), '–')!r}"
            )
        return studies[rows[study_id]], f"study {study_id}, as asked for"
    if not rows:
        raise ValueError("there is no study to show: the split is empty, or --predictions is of other studies")
    devices = FINDING_INDEX["Support Devices"]
    labels = studies["labels"]
    for number in rows.values():
        if len(set(stated_findings(labels[number])) - {devices}) >= 2:
            return studies[number], RULE
    return studies[next(iter(rows.values()))], "the first study of the split, as none has two findings"


def title_of(row: dict[str, Any]) -> str:
    """Which study, and what was asked, in one line."""
    indication = textwrap.shorten(row["indication"], 90, placeholder=" …")
    return f"Study {row['study_id']}" + (f"   Indication: {indication}" if indication else "")


def findings_table(study: StudyImage) -> Table:
    """Truth, probability and threshold of the 14 findings, and whether the written report names them."""
    table = Table(title=study.title)
    for column in ("finding", "truth", "prob.", "threshold", "report"):
        table.add_column(column, justify="right" if column in ("prob.", "threshold") else "left", no_wrap=True)
    true, said = set(stated_findings(study.labels)), set(stated_findings(study.named))
    for index, finding in enumerate(FINDINGS):
        table.add_row(
            finding,
            STATES.get(study.labels[index], "–"),
            f"{study.probabilities[index]:.0%}",
            f"{study.thresholds[index]:.0%}",
            "–" if study.named[index] == BLANK else STATES[study.named[index]],
            style="" if study.labels[index] == UNLABELED else STYLES[index in true, index in said],
        )
    table.caption = "green: true and named, yellow: missed, red: named without being true"
    return table


def _enlarged(image: Image.Image) -> Image.Image:
    scale = DRAWN_SIDE / max(image.size)
    if scale <= 1:
        return image
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)


def _written(path: Path | None) -> dict[str, Prediction] | None:
    if path is None:
        return None
    if not path.is_file():
        raise ValueError(f"--predictions {path} does not exist; eval/batch.py writes it as predictions.jsonl")
    return {prediction.study_id: prediction for prediction in read_lines(path, Prediction)}


if __name__ == "__main__":
    run_main(main)
