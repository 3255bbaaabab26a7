"""Reports for a split of a data set, and what they are worth: predictions, figures with controls, a page.

    python eval/batch.py --dataset studies --split test --output-dir runs/mine/test --checkpoint runs/mine/best
    accelerate launch --num_processes 4 eval/batch.py …          (each process takes its share of the studies)

Writes to the output directory: predictions.jsonl (a line a study, as soon as it is done), a predictions_….jsonl for
each control that asks the model, rejected.jsonl, metrics.json, report.html. Run again after a kill, it goes on where it
was; run again with other controls, it adds them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import datasets
import tyro
from rich.console import Console

from data.cli import run_main
from data.study import SPLITS, load_studies, saved_preprocessing
from eval.checks.consistency import consistency_lines
from eval.checks.grounding import grounding_lines
from eval.controls.images import model_controls
from eval.controls.text import split_controls
from eval.metrics.bootstrap import NUM_RESAMPLES
from eval.predictions.generate import Job, Written, write_predictions
from eval.predictions.prediction import write_lines
from eval.predictions.run import RunRecord, claim_folder, dataset_hash, progress, start_processes
from eval.report.document import run_document, score_run
from eval.report.page import render_page
from eval.report.selection import page_studies
from eval.report.tables import score_table
from eval.scoring.scores import Scores
from vlm.checkpoint.store import SHIPPED, checkpoint_hash, fetch_checkpoint, model_line
from vlm.generator import GenerationOptions, ReportGenerator

ControlKind = Literal["shuffled", "blank", "mismatched", "nearest", "random", "constant", "frequent"]


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchConfig:
    """Write reports for a split and judge them."""

    checkpoint: str = SHIPPED
    """Checkpoint folder (or hub id) of the model; by default the one that ships with the project."""
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
    controls: tuple[ControlKind, ...] = ("shuffled", "blank", "nearest", "random", "constant", "frequent")
    """What the model is held against; give no kind to have none. Shuffled (other patients' images: it proves that the
    image is used) and mismatched (views announced wrongly) take as long as the reports themselves, blank images less,
    nearest (the most similar training study's report) a look at the training studies, the others nothing."""
    baseline: str = ""
    """Another checkpoint, say of the LSTM, to report on the same studies; it takes its time as well."""
    neighbour_pool: int = 5000
    """Among so many training studies, drawn by lot, the nearest is looked for; 0: among all."""
    num_resamples: int = NUM_RESAMPLES
    """Bootstrap resamples for the intervals."""
    seed: int = 0
    """Of the bootstrap and of the shuffling."""
    num_page_studies: int = 12
    """Studies shown on the page: a third each the worst, the best, and drawn by lot."""

    def __post_init__(self):
        least_of = {"num_studies": 0, "batch_size": 1, "num_resamples": 1, "num_page_studies": 0, "neighbour_pool": 0}
        for name, least in least_of.items():
            if getattr(self, name) < least:
                raise ValueError(f"--{name.replace('_', '-')} is {getattr(self, name)}; give at least {least}")


def main(argv: Sequence[str] | None = None):
    """Parses, generates, scores, shows."""
    config = tyro.cli(BatchConfig, args=argv, description=__doc__)
    processes = start_processes()
    console = Console(quiet=not processes.is_main_process)
    console.print(model_line(config.checkpoint), highlight=False, soft_wrap=True)
    studies, splits = _chosen_studies(config)
    if config.baseline:
        fetch_checkpoint(config.baseline)  # a wrong name is told before hours of work
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
    _warn_of_other_preprocessing(config, generator, console)
    with progress(console) as track:
        shared = {
            "options": GenerationOptions(max_new_tokens=config.max_new_tokens, num_beams=config.num_beams),
            "batch_size": config.batch_size,
            "processes": processes,
            "track": track,
        }
        jobs = [Job(study=row, images_of=row) for row in range(len(studies))]
        written = write_predictions(generator, studies, jobs, config.output_dir, **shared)
        controls = model_controls(
            generator,
            studies,
            splits.get("train"),
            list(written.predictions.values()),
            config.output_dir,
            record,
            kinds=config.controls,
            baseline=config.baseline,
            neighbour_pool=config.neighbour_pool,
            seed=config.seed,
            **shared,
        )
    if not processes.is_main_process:
        return
    rejections = [*written.rejections, *(rejection for control in controls for rejection in control.rejections)]
    write_lines(config.output_dir / "rejected.jsonl", rejections)
    counts = _counted(studies, written)
    console.print(f"{counts['written']} of {counts['given']} studies reported, {counts['rejected']} rejected")
    if not written.predictions:
        raise ValueError(f"no study could be reported on; {config.output_dir / 'rejected.jsonl'} says why")
    predictions = list(written.predictions.values())
    with console.status("scoring"):
        conventions = {"uncertain_is_positive": config.uncertain == "positive"}
        of_text, notes = split_controls(predictions, splits, kinds=config.controls, seed=config.seed, **conventions)
        controls += of_text
        if not generator.writes_reports:
            notes = [*notes, "the model has learned no reports and writes none: only its probabilities are judged"]
        resampling = {"num_resamples": config.num_resamples, "seed": config.seed}
        systems = score_run(predictions, controls, **conventions, **resampling)
        document = run_document(
            systems,
            predictions,
            controls,
            splits.get("train"),
            record=record,
            counts=counts,
            rejections=written.rejections,
            notes=notes,
            resampling=resampling,
            **conventions,
        )
        shown = page_studies(
            generator,
            studies,
            predictions,
            systems["model"],
            number=config.num_page_studies,
            seed=config.seed,
        )
        metrics = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
        (config.output_dir / "metrics.json").write_text(metrics + "\n", encoding="utf-8")
        (config.output_dir / "report.html").write_text(render_page(document, shown), encoding="utf-8")
    _print(console, config.output_dir, document, list(systems.values()))


def _chosen_studies(config: BatchConfig) -> tuple[datasets.Dataset, datasets.DatasetDict]:
    splits = load_studies(config.dataset)
    if config.split not in splits or not len(splits[config.split]):
        there = ", ".join(split for split in SPLITS if split in splits and len(splits[split]))
        raise ValueError(f"{config.dataset} has no studies in split {config.split!r}; choose --split of: {there}")
    studies = splits[config.split]
    if config.num_studies:
        studies = studies.select(range(min(config.num_studies, len(studies))))
    return studies, splits


def _warn_of_other_preprocessing(config: BatchConfig, generator: ReportGenerator, console: Console) -> None:
    given, learned = saved_preprocessing(config.dataset), generator.config.preprocessing
    if given != learned:
        console.print(
            f"[yellow]Warning:[/] the data set's images went through {given}, but the model learned from images "
            f"that went through {learned}; prepare the data set with the same switches",
            highlight=False,
        )


def _counted(studies: datasets.Dataset, written: Written) -> dict[str, int]:
    counts = {"given": len(studies), "written": len(written.predictions), "rejected": len(written.rejections)}
    if counts["written"] + counts["rejected"] != counts["given"]:
        raise RuntimeError(f"studies were lost: {counts}")  # pragma: no cover
    return counts


def _print(console: Console, folder: Path, document: dict[str, Any], systems: Sequence[Scores]) -> None:
    """The table, what was found beside it, and the verdict."""
    console.print(score_table(systems))
    for line in (*consistency_lines(document["consistency"]), *grounding_lines(document["grounding"])):
        console.print(line, highlight=False)
    for note in document["notes"]:
        if note.startswith("no control"):
            console.print(f"[yellow]Note:[/] {note}", highlight=False)
    verdict = document["verdict"]
    console.print(verdict["image"], style="bold green" if verdict["uses_image"] == "yes" else "bold yellow")
    if verdict["outperformed_by"]:
        console.print(verdict["outperformed_by"], style="bold yellow", markup=False, highlight=False)
    for fact in verdict["facts"]:
        console.print(f"- {fact}", markup=False, highlight=False)
    console.print(f"Page: {folder / 'report.html'}   Figures: {folder / 'metrics.json'}")


if __name__ == "__main__":
    run_main(main)
