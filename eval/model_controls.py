"""The controls that need a model, in the order they are told: the model with other images, another checkpoint, and the
nearest neighbour by the model's own features. Resumable; shared by processes."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from eval.controls import BASELINE, NEAREST, Control
from eval.generating import Job, predictions_name, write_predictions
from eval.image_controls import blank_images, mismatched_views, shuffled_images
from eval.neighbours import neighbour_predictions
from eval.predictions import Prediction, write_lines
from eval.run_record import RunRecord, checkpoint_hash, claim_folder
from eval.study_features import feature_origin, index_studies
from vlm.generator import ReportGenerator


def model_controls(
    generator: ReportGenerator,
    studies: datasets.Dataset,
    training: datasets.Dataset | None,
    own: Sequence[Prediction],
    folder: Path,
    record: RunRecord,
    *,
    kinds: Collection[str],
    baseline: str,
    neighbour_pool: int,
    seed: int,
    **shared: Any,
) -> list[Control]:
    """The controls of these kinds ("shuffled", "blank", "mismatched", "nearest") and the `baseline` checkpoint, if one
    is named, for the studies that the model reported on. `shared` are options of write_predictions."""
    controls = []
    if "shuffled" in kinds:
        controls.append(shuffled_images(generator, studies, own, folder, seed=seed, **shared))
    if "blank" in kinds:
        controls.append(blank_images(generator, studies, own, folder, **shared))
    if "mismatched" in kinds:
        controls.append(mismatched_views(generator, studies, own, folder, **shared))
    if baseline:
        controls.append(_baseline(baseline, generator, studies, own, folder / "baseline", record, shared))
    if "nearest" in kinds:
        controls.append(
            _nearest(
                generator,
                studies,
                training,
                own,
                folder,
                record,
                neighbour_pool=neighbour_pool,
                seed=seed,
                shared=shared,
            )
        )
    return controls


def _baseline(
    name: str,
    generator: ReportGenerator,
    studies: datasets.Dataset,
    own: Sequence[Prediction],
    folder: Path,
    record: RunRecord,
    shared: dict[str, Any],
) -> Control:
    """Another checkpoint on the same studies, in a folder and under a record of its own."""
    record = replace(record, checkpoint=name, checkpoint_hash=checkpoint_hash(name))
    other = ReportGenerator.from_pretrained(name, device=generator.device)
    if shared["processes"].is_main_process:
        claim_folder(folder, record)
    shared["processes"].wait_for_everyone()
    row_of = {study_id: row for row, study_id in enumerate(studies["study_id"])}
    rows = [row_of[prediction.study_id] for prediction in own]
    jobs = [Job(study=row, images_of=row) for row in rows]
    return _complete(BASELINE, own, write_predictions(other, studies, jobs, folder, **shared).predictions)


def _nearest(
    generator: ReportGenerator,
    studies: datasets.Dataset,
    training: datasets.Dataset | None,
    own: Sequence[Prediction],
    folder: Path,
    record: RunRecord,
    *,
    neighbour_pool: int,
    seed: int,
    shared: dict[str, Any],
) -> Control:
    if training is None or not len(training):
        return Control(name=NEAREST, predictions=None, reason="there are no training studies")
    if 0 < neighbour_pool < len(training):
        drawn = np.random.default_rng(seed).choice(len(training), neighbour_pool, replace=False)
        training = training.select(sorted(drawn))
    options = {name: shared[name] for name in ("batch_size", "processes", "track")}
    index, training_index = (
        index_studies(
            generator, some, folder / f"features_{name}.safetensors",
            origin=feature_origin(record.checkpoint_hash, some), **options,
        )
        for name, some in ((record.split, studies), ("pool", training))
    )  # fmt: skip
    found = neighbour_predictions(studies, index, training, training_index)
    control = _complete(NEAREST, own, {prediction.study_id: prediction for prediction in found})
    if control.predictions is not None and shared["processes"].is_main_process:
        write_lines(folder / f"{predictions_name(NEAREST)}.jsonl", control.predictions)
    return control


def _complete(name: str, own: Sequence[Prediction], given: dict[str, Prediction]) -> Control:
    """The control, if it has something for every study of the model."""
    missing = [prediction.study_id for prediction in own if prediction.study_id not in given]
    if missing:
        reason = f"it has nothing for {len(missing)} of {len(own)} studies, first {missing[0]}"
        return Control(name=name, predictions=None, reason=reason)
    return Control(name=name, predictions=tuple(given[prediction.study_id] for prediction in own))
