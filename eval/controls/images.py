"""Controls that ask the model once more about the same studies, with other images, none, or wrongly named views.

Resumable and shared by processes as the model's own reports are; each control is a file of predictions of its own.
Where the model would read the very same as for a study already done, its report is copied: decoding without sampling
would write the same again.

The controls that need a model, in the order they are told: the model with other images, another checkpoint, and the
nearest neighbour by the model's own features. Resumable; shared by processes.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from eval.controls.control import BASELINE, BLANK, MISMATCHED, NEAREST, SHUFFLED, Control, derangement
from eval.controls.neighbours import neighbour_predictions
from eval.predictions.generate import Job, copied, predictions_name, write_predictions
from eval.predictions.prediction import Prediction, write_lines
from eval.predictions.run import RunRecord, claim_folder
from eval.retrieval.index import feature_origin, index_studies
from vlm.checkpoint.store import checkpoint_hash
from vlm.generator import ReportGenerator


def shuffled_images(
    generator: ReportGenerator,
    studies: datasets.Dataset,
    own: Sequence[Prediction],
    folder: Path,
    *,
    seed: int,
    **shared: Any,
) -> Control:
    """Every study with another patient's images and its own indication. `shared` are options of write_predictions."""
    try:
        donors = derangement([prediction.subject_id or prediction.study_id for prediction in own], seed)
    except ValueError as error:
        return Control(name=SHUFFLED, predictions=None, reason=str(error))
    row_of, indications = _rows(studies), list(studies["indication"])
    done, jobs = {}, []
    for prediction, donor in zip(own, donors, strict=True):
        row, images_of = row_of[prediction.study_id], row_of[own[donor].study_id]
        if indications[row] == indications[images_of]:
            done[prediction.study_id] = copied(prediction, own[donor], SHUFFLED, own[donor].study_id)
        else:
            jobs.append(Job(study=row, images_of=images_of))
    return _asked(SHUFFLED, generator, studies, own, jobs, folder, done=done, shared=shared)


def blank_images(
    generator: ReportGenerator, studies: datasets.Dataset, own: Sequence[Prediction], folder: Path, **shared: Any
) -> Control:
    """Every study with gray in place of its images; asked once for all with the same views and indication."""
    row_of = _rows(studies)
    first_with: dict[tuple, str] = {}
    same_as = {}
    for prediction, indication, positions in _texts(studies, own, "indication", "view_positions"):
        same_as[prediction.study_id] = first_with.setdefault((indication, *positions), prediction.study_id)
    rows = [row_of[study_id] for study_id in first_with.values()]
    jobs = [Job(study=row, images_of=row, shown="blank") for row in rows]
    return _asked(BLANK, generator, studies, own, jobs, folder, same_as=same_as, shared=shared)


def mismatched_views(
    generator: ReportGenerator, studies: datasets.Dataset, own: Sequence[Prediction], folder: Path, **shared: Any
) -> Control:
    """Every study with its own images under the other kind's view position."""
    row_of = _rows(studies)
    rows = [row_of[prediction.study_id] for prediction in own]
    jobs = [Job(study=row, images_of=row, shown="mismatched") for row in rows]
    return _asked(MISMATCHED, generator, studies, own, jobs, folder, shared=shared)


def _asked(
    name: str,
    generator: ReportGenerator,
    studies: datasets.Dataset,
    own: Sequence[Prediction],
    jobs: Sequence[Job],
    folder: Path,
    *,
    done: Mapping[str, Prediction] | None = None,
    same_as: Mapping[str, str] | None = None,
    shared: dict[str, Any],
) -> Control:
    """Does the jobs and joins them with what is `done`; `same_as` names the study whose answer serves for each."""
    written = write_predictions(generator, studies, jobs, folder, control=name, **shared)
    answers = {**(done or {}), **written.predictions}
    if same_as is not None:
        answers = {
            prediction.study_id: copied(prediction, answers[same_as[prediction.study_id]], name, "")
            for prediction in own
            if same_as[prediction.study_id] in answers
        }
    ordered = [answers[prediction.study_id] for prediction in own if prediction.study_id in answers]
    if shared["processes"].is_main_process:
        write_lines(folder / f"{predictions_name(name)}.jsonl", ordered)
    if len(ordered) < len(own):
        reason = f"{len(own) - len(ordered)} studies were rejected with {name}, see rejected.jsonl"
        return Control(name=name, predictions=None, reason=reason, rejections=tuple(written.rejections))
    return Control(name=name, predictions=tuple(ordered))


def _rows(studies: datasets.Dataset) -> dict[str, int]:
    return {study_id: row for row, study_id in enumerate(studies["study_id"])}


def _texts(studies: datasets.Dataset, own: Sequence[Prediction], *columns: str):
    """Each prediction with the values of its study in these columns."""
    row_of = _rows(studies)
    values = [studies[column][:] for column in columns]
    for prediction in own:
        row = row_of[prediction.study_id]
        yield prediction, *(column[row] for column in values)


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
