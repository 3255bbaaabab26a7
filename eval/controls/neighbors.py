"""The nearest-neighbor baseline: each study gets the report of the most similar training study of another patient.

    python -m eval.controls.neighbors --dataset studies --split test --output neighbors.jsonl --checkpoint
    runs/mine/best

Features of the training studies are computed once, in pieces, and saved beside the output (or at --index), so an
interrupted run can resume. Several processes (`accelerate launch -m eval.controls.neighbors …`) share the work.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import datasets
import numpy as np
import tyro
from rich.console import Console

from data.cli import check_minimum, run_main
from data.study import load_studies, without_images
from eval.controls.control import NEAREST
from eval.predictions.prediction import Prediction, truth_of, write_lines
from eval.predictions.processes import progress, start_processes
from eval.retrieval.features import index_studies
from eval.retrieval.index import FeatureIndex, load_index, nearest
from vlm.checkpoint.store import SHIPPED, checkpoint_hash, model_line
from vlm.generator import ReportGenerator
from vlm.schema.report_format import reports_of, split_report


@dataclass(frozen=True, kw_only=True, slots=True)
class NeighborsConfig:
    """Give each study of a split the report of the most similar training study."""

    checkpoint: str = SHIPPED
    """Checkpoint folder or hub id of the model that computes the features; default: the shipped checkpoint."""
    dataset: Path
    """Prepared data set, written by `python -m data.prepare`."""
    output: Path
    """Output file of predictions (JSON lines), in the format of eval/batch.py."""
    split: Literal["train", "validation", "test"] = "test"
    """Split that gets the reports. Studies of the same patient are never neighbors."""
    index: Path | None = None
    """File for the features of the training studies; default: beside the output."""
    batch_size: int = 16
    """Studies per batch. Memory grows with it."""

    def __post_init__(self):
        check_minimum(self, batch_size=1)


def main(argv: Sequence[str] | None = None):
    """Compute the features, find the neighbors and write the predictions."""
    config = tyro.cli(NeighborsConfig, args=argv, description=__doc__)
    if config.index is not None and config.index.exists():
        load_index(config.index)  # an index is replaced if it is of other studies; any other file is rejected
    processes = start_processes()
    console = Console(quiet=not processes.is_main_process)
    console.print(model_line(config.checkpoint), highlight=False, soft_wrap=True)
    splits = load_studies(config.dataset)
    for split in ("train", config.split):
        if split not in splits or not len(splits[split]):
            raise ValueError(f"{config.dataset} has no studies in split {split!r}, which are needed for neighbors")
    generator = ReportGenerator.from_pretrained(config.checkpoint, device=processes.device)
    checkpoint = checkpoint_hash(config.checkpoint)
    kept = {"train": config.index or config.output.with_suffix(".train.safetensors")}
    kept[config.split] = kept.get(config.split, config.output.with_suffix(f".{config.split}.safetensors"))
    with progress(console) as track:
        indices = {
            split: index_studies(
                generator,
                splits[split],
                path,
                checkpoint=checkpoint,
                batch_size=config.batch_size,
                processes=processes,
                track=track,
            )
            for split, path in kept.items()
        }
    if not processes.is_main_process:
        return
    predictions = neighbor_predictions(splits[config.split], indices[config.split], splits["train"], indices["train"])
    config.output.parent.mkdir(parents=True, exist_ok=True)
    write_lines(config.output, predictions)
    given = len(splits[config.split])
    console.print(
        f"{len(predictions)} of {given} studies have a neighbor, {given - len(predictions)} have none: {config.output}"
    )


def neighbor_predictions(
    studies: datasets.Dataset, index: FeatureIndex, training: datasets.Dataset, training_index: FeatureIndex
) -> list[Prediction]:
    """Predict for each study of `index` the report of the nearest training study of another patient.

    Only training studies with a report count. A study without a neighbor is left out.
    """
    reports = dict(zip(training["study_id"], reports_of(training), strict=True))
    training_index = _only(training_index, [bool(reports.get(study_id)) for study_id in training_index.study_ids])
    found, similarities = nearest(
        training_index, index.features, study_ids=index.study_ids, subject_ids=index.subject_ids
    )
    rows = {row["study_id"]: row for row in without_images(studies)}
    predictions = []
    for study_id, position, similarity in zip(index.study_ids, found[:, 0], similarities[:, 0], strict=True):
        if position < 0:
            continue
        neighbor = training_index.study_ids[position]
        sections = split_report(reports[neighbor])
        predictions.append(
            Prediction(
                **truth_of(rows[study_id]),
                report=reports[neighbor],
                findings=sections.findings,
                impression=sections.impression,
                control=NEAREST,
                neighbor_study_id=neighbor,
                similarity=round(float(similarity), 6),
            )
        )
    return predictions


def _only(index: FeatureIndex, chosen: Sequence[bool]) -> FeatureIndex:
    kept = np.flatnonzero(chosen)
    return FeatureIndex(
        features=index.features[kept],
        study_ids=tuple(index.study_ids[position] for position in kept),
        subject_ids=tuple(index.subject_ids[position] for position in kept),
        origin=index.origin,
    )


if __name__ == "__main__":
    run_main(main)
