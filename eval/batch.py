"""Reports for a split of a data set, and what they are worth: predictions, figures with controls, a page.

    python eval/batch.py --checkpoint runs/mine/best --dataset studies --split test --output-dir runs/mine/test
    accelerate launch --num_processes 4 eval/batch.py …          (each process takes its share of the studies)

Writes to the output directory: predictions.jsonl (a line a study, as soon as it is done), predictions_shuffled_images
.jsonl (the control), refused.jsonl, metrics.json, report.html. Run again after a kill, it goes on where it was.
"""

import json
import logging
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Literal

import datasets
import torch
import tyro
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from data.labeler import label_report
from data.study import SPLITS, load_studies, saved_preprocessing
from eval.bootstrap import NUM_RESAMPLES
from eval.controls import constant_sentence, derangement, most_frequent_report
from eval.generating import Job, Written, as_shuffled, write_predictions
from eval.heat_panel import findings_to_show, heat_panels
from eval.metrics_file import metrics_document
from eval.page_study import PageStudy, page_study
from eval.predictions import Prediction, write_lines
from eval.report_page import render_page
from eval.run_record import RunRecord, checkpoint_hash, claim_folder, dataset_hash
from eval.score_table import score_table
from eval.scoring import Scores, score_predictions
from eval.study_choice import StudyChoice, choose_studies
from eval.verdict import constant_verdict, image_verdict
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.report import compose_report

SHUFFLED, CONSTANT, MOST_FREQUENT = "shuffled images", "constant sentence", "most frequent report"


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchConfig:
    """Write reports for a split and judge them."""

    checkpoint: str
    """Checkpoint folder (or hub id) of the model."""
    dataset: Path
    """Prepared data set, as `python -m data.prepare` writes it."""
    output_dir: Path
    """Where predictions, figures and the page go; a run that was interrupted there is resumed."""
    split: Literal["train", "validation", "test"] = "test"
    """Which studies are reported on."""
    num_studies: int = 0
    """Only the first so many studies of the split; 0: all."""
    max_new_tokens: int = 128
    """Longest report, in tokens."""
    num_beams: int = 1
    """Beams of the search; 1 is greedy."""
    batch_size: int = 16
    """Studies at a time; memory grows with it."""
    uncertain: Literal["positive", "negative"] = "positive"
    """How an uncertain finding counts in the main figures; the other way is in metrics.json too."""
    shuffled_control: bool = True
    """Also write reports from other patients' images (takes as long again), to prove that the image is used."""
    num_resamples: int = NUM_RESAMPLES
    """Bootstrap resamples for the intervals."""
    seed: int = 0
    """Of the bootstrap and of the shuffling."""
    num_page_studies: int = 12
    """Studies shown on the page: a third each the worst, the best, and drawn by lot."""

    def __post_init__(self):
        for name, least in (("num_studies", 0), ("batch_size", 1), ("num_resamples", 1), ("num_page_studies", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name.replace('_', '-')} is {getattr(self, name)}; give at least {least}")


def main(argv: Sequence[str] | None = None):
    """Parses, generates, scores, shows."""
    config = tyro.cli(BatchConfig, args=argv, description=__doc__)
    # Without `cpu`, each of several processes on a CPU would take itself for the only one.
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    processes = PartialState(cpu=cpu, timeout=timedelta(days=2))  # they may finish their shares hours apart
    console = Console(quiet=not processes.is_main_process)
    studies, splits = _chosen_studies(config)
    options = GenerationOptions(max_new_tokens=config.max_new_tokens, num_beams=config.num_beams)
    record = RunRecord(
        checkpoint=config.checkpoint,
        checkpoint_hash=checkpoint_hash(config.checkpoint),
        dataset=str(config.dataset),
        dataset_hash=dataset_hash(splits[config.split]),
        split=config.split,
        num_studies=config.num_studies,
        max_new_tokens=config.max_new_tokens,
        num_beams=config.num_beams,
    )
    if processes.is_main_process:
        claim_folder(config.output_dir, record)
    processes.wait_for_everyone()
    claim_folder(config.output_dir, record)

    generator = ReportGenerator.from_pretrained(config.checkpoint, device=processes.device)
    given, learned = saved_preprocessing(config.dataset), generator.config.preprocessing
    if given != learned:
        console.print(
            f"[yellow]Warning:[/] the data set's pictures went through {given}, but the model learned from pictures "
            f"that went through {learned}; prepare the data set with the same switches",
            highlight=False,
        )
    jobs = [Job(study=index, images_of=index) for index in range(len(studies))]
    with _progress(console) as track:
        shared = {"options": options, "batch_size": config.batch_size, "processes": processes, "track": track}
        written = write_predictions(generator, studies, jobs, config.output_dir, **shared)
        shuffled, reason = None, "the control was switched off"
        if config.shuffled_control:
            shuffled, reason = _shuffled(generator, studies, written, config, shared)
    if not processes.is_main_process:
        return
    refusals = [*written.refusals, *(shuffled.refusals if shuffled else [])]
    write_lines(config.output_dir / "refused.jsonl", refusals)
    counts = {"given": len(studies), "written": len(written.predictions), "refused": len(written.refusals)}
    if counts["written"] + counts["refused"] != counts["given"]:
        raise RuntimeError(f"studies were lost: {counts}")  # pragma: no cover
    console.print(f"{counts['written']} of {counts['given']} studies reported, {counts['refused']} refused")
    if not written.predictions:
        raise ValueError(f"no study could be reported on; {config.output_dir / 'refused.jsonl'} says why")
    _judge(config, record, console, generator, studies, splits, written, shuffled, reason, counts)


def _judge(config, record, console, generator, studies, splits, written, shuffled, reason, counts):
    """Scores model and controls, writes metrics.json and the page, prints the table and the verdict."""
    predictions = list(written.predictions.values())
    control_reports = _control_reports(splits, config.seed)
    with console.status("scoring"):
        model = _score(config, predictions, "model")
        controls = {
            name: _score(config, [_with_report(prediction, report) for prediction in predictions], name)
            for name, report in control_reports.items()
        }
        if shuffled is not None:
            controls = {SHUFFLED: _score(config, list(shuffled.predictions.values()), SHUFFLED)} | controls
        verdict = image_verdict(model, controls.get(SHUFFLED), reason)
        against_constant = constant_verdict(model, controls.get(CONSTANT))
        systems = [model, *controls.values()]
        document = metrics_document(
            systems,
            verdict,
            against_constant,
            run=asdict(record),
            studies=counts,
            control_reports=control_reports,
            bootstrap={"num_resamples": config.num_resamples, "seed": config.seed},
            notes=[f"no control '{CONSTANT}': the validation split has no reports"] * (CONSTANT not in controls)
            + [f"no control '{MOST_FREQUENT}': the training split has no reports"] * (MOST_FREQUENT not in controls),
        )
        metrics = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
        (config.output_dir / "metrics.json").write_text(metrics + "\n", encoding="utf-8")
        page = render_page(document, _page_studies(generator, studies, written, model, config))
        (config.output_dir / "report.html").write_text(page, encoding="utf-8")
    console.print(score_table(systems))
    console.print(verdict.sentence, style="bold green" if verdict.grade == "yes" else "bold yellow")
    if against_constant:
        console.print(against_constant)
    console.print(f"Page: {config.output_dir / 'report.html'}   Figures: {config.output_dir / 'metrics.json'}")


def _chosen_studies(config: BatchConfig) -> tuple[datasets.Dataset, datasets.DatasetDict]:
    splits = load_studies(config.dataset)
    if config.split not in splits or not len(splits[config.split]):
        there = ", ".join(split for split in SPLITS if split in splits and len(splits[split]))
        raise ValueError(f"{config.dataset} has no studies in split {config.split!r}; choose --split of: {there}")
    studies = splits[config.split]
    if config.num_studies:
        studies = studies.select(range(min(config.num_studies, len(studies))))
    return studies, splits


def _shuffled(generator, studies, written: Written, config: BatchConfig, shared) -> tuple[Written | None, str]:
    """Reports from other patients' images; None and the reason where that cannot be had for every study."""
    own = list(written.predictions.values())
    row_of = {study_id: row for row, study_id in enumerate(studies["study_id"])}
    try:
        donors = derangement([prediction.subject_id or prediction.study_id for prediction in own], config.seed)
    except ValueError as error:
        return None, str(error)
    indications = list(studies["indication"])
    copied, jobs = {}, []
    for prediction, donor in zip(own, donors, strict=True):
        row, images_of = row_of[prediction.study_id], row_of[own[donor].study_id]
        if indications[row] == indications[images_of]:
            # The same images with the same words: decoding without sampling would write the same again.
            copied[prediction.study_id] = as_shuffled(prediction, own[donor], SHUFFLED)
        else:
            jobs.append(Job(study=row, images_of=images_of))
    generated = write_predictions(generator, studies, jobs, config.output_dir, control=SHUFFLED, **shared)
    both = copied | generated.predictions
    ordered = {prediction.study_id: both[prediction.study_id] for prediction in own if prediction.study_id in both}
    if shared["processes"].is_main_process:
        name = f"predictions_{SHUFFLED.replace(' ', '_')}.jsonl"
        write_lines(config.output_dir / name, ordered.values())
    if generated.refusals:
        return None, f"{len(generated.refusals)} studies were refused with shuffled images, see refused.jsonl"
    return Written(predictions=ordered, refusals=[]), ""


def _control_reports(splits: datasets.DatasetDict, seed: int) -> dict[str, str]:
    """The controls that are one report for all, by name; chosen on validation and train, never on test."""
    chosen = {
        CONSTANT: constant_sentence(_reports(splits, "validation"), seed),
        MOST_FREQUENT: most_frequent_report(_reports(splits, "train")),
    }
    return {name: report for name, report in chosen.items() if report is not None}


def _reports(splits: datasets.DatasetDict, split: str) -> list[str]:
    if split not in splits:
        return []
    columns = zip(splits[split]["findings"], splits[split]["impression"], strict=True)
    return [compose_report(findings=findings, impression=impression) for findings, impression in columns]


def _with_report(prediction: Prediction, report: str) -> Prediction:
    return replace(prediction, report=report, probabilities=None)


def _score(config: BatchConfig, predictions: list[Prediction], name: str) -> Scores:
    return score_predictions(
        predictions,
        label_report,
        name=name,
        uncertain_is_positive=config.uncertain == "positive",
        num_resamples=config.num_resamples,
        seed=config.seed,
    )


def _page_studies(
    generator: ReportGenerator, studies: datasets.Dataset, written: Written, model: Scores, config: BatchConfig
) -> list[PageStudy]:
    row_of = {study_id: row for row, study_id in enumerate(studies["study_id"])}
    choices = choose_studies(
        list(written.predictions.values()),
        label_report,
        model.per_study.get("rouge_l", [math.nan] * len(written.predictions)),
        config.num_page_studies,
        likeness_name="ROUGE-L",
        seed=config.seed,
    )
    return [
        _page_study(generator, studies[row_of[choice.study_id]], written.predictions[choice.study_id], choice)
        for choice in choices
    ]


def _page_study(generator: ReportGenerator, row: dict, prediction: Prediction, choice: StudyChoice) -> PageStudy:
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


@contextmanager
def _progress(console: Console) -> Iterator:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console) as progress:

        def track(total: int, description: str):
            task = progress.add_task(description, total=total)
            return lambda amount: progress.advance(task, amount)

        yield track


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    try:
        main()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
