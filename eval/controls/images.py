"""Controls that run the model: other images, blank images, mismatched views, another checkpoint, nearest neighbour.

They are resumable and shared by processes, like the reports of the model. Each control has its own file of predictions.
If the model input equals that of a study already done, its report is copied: decoding is deterministic.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import datasets
import numpy as np

from eval.controls.control import BASELINE, BLANK, MISMATCHED, NEAREST, SHUFFLED, Control, derangement
from eval.controls.neighbours import neighbour_predictions
from eval.predictions.generate import GenerationRun, Job, copied, predictions_name, write_predictions
from eval.predictions.prediction import Prediction, write_lines
from eval.predictions.run import RunRecord, claim_folder
from eval.retrieval.features import feature_origin, index_studies
from vlm.checkpoint.store import checkpoint_hash
from vlm.generator import ReportGenerator


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelControlOptions:
    """`kinds`: "shuffled", "blank", "mismatched" and "nearest"; `baseline`: another checkpoint, or "".

    `neighbour_pool`: number of random training studies searched for neighbours; 0 for all.
    """

    kinds: Collection[str]
    baseline: str
    neighbour_pool: int
    seed: int


def model_controls(
    run: GenerationRun,
    training: datasets.Dataset | None,
    own: Sequence[Prediction],
    record: RunRecord,
    options: ModelControlOptions,
) -> list[Control]:
    """The requested controls for the studies with a prediction of the model (`own`)."""
    controls = []
    if "shuffled" in options.kinds:
        controls.append(shuffled_images(run, own, options.seed))
    if "blank" in options.kinds:
        controls.append(blank_images(run, own))
    if "mismatched" in options.kinds:
        controls.append(mismatched_views(run, own))
    if options.baseline:
        controls.append(_baseline(run, own, record, options.baseline))
    if "nearest" in options.kinds:
        controls.append(_nearest(run, training, own, record, options))
    return controls


def shuffled_images(run: GenerationRun, own: Sequence[Prediction], seed: int) -> Control:
    """Each study with the images of another patient and its own indication."""
    try:
        donors = derangement([prediction.subject_id or prediction.study_id for prediction in own], seed)
    except ValueError as error:
        return Control(name=SHUFFLED, predictions=None, reason=str(error))
    row_of, indications = _rows(run.studies), list(run.studies["indication"])
    done, jobs = {}, []
    for prediction, donor in zip(own, donors, strict=True):
        row, images_of = row_of[prediction.study_id], row_of[own[donor].study_id]
        if indications[row] == indications[images_of]:
            done[prediction.study_id] = copied(prediction, own[donor], SHUFFLED, own[donor].study_id)
        else:
            jobs.append(Job(study=row, images_of=images_of))
    return _generated(SHUFFLED, run, own, jobs, done=done)


def blank_images(run: GenerationRun, own: Sequence[Prediction]) -> Control:
    """Each study with gray images; generated once for all studies with the same views and indication."""
    row_of = _rows(run.studies)
    indications, view_positions = (run.studies[column][:] for column in ("indication", "view_positions"))
    first_with: dict[tuple, str] = {}
    same_as = {}
    for prediction in own:
        row = row_of[prediction.study_id]
        key = (indications[row], *view_positions[row])
        same_as[prediction.study_id] = first_with.setdefault(key, prediction.study_id)
    return _generated(BLANK, run, own, _jobs(run, first_with.values(), "blank"), same_as=same_as)


def mismatched_views(run: GenerationRun, own: Sequence[Prediction]) -> Control:
    """Each study with its own images and wrong view positions."""
    jobs = _jobs(run, [prediction.study_id for prediction in own], "mismatched")
    return _generated(MISMATCHED, run, own, jobs)


def _rows(studies: datasets.Dataset) -> dict[str, int]:
    return {study_id: row for row, study_id in enumerate(studies["study_id"])}


def _jobs(run: GenerationRun, study_ids: Collection[str], shown: str) -> list[Job]:
    row_of = _rows(run.studies)
    return [Job(study=row_of[study_id], images_of=row_of[study_id], shown=shown) for study_id in study_ids]


def _generated(
    name: str,
    run: GenerationRun,
    own: Sequence[Prediction],
    jobs: Sequence[Job],
    *,
    done: Mapping[str, Prediction] | None = None,
    same_as: Mapping[str, str] | None = None,
) -> Control:
    """Run the jobs and add what is `done`; `same_as` names the study whose prediction is copied for each study."""
    written = write_predictions(run, jobs, name)
    given = {**(done or {}), **written.predictions}
    if same_as is not None:
        given = {
            prediction.study_id: copied(prediction, given[same_as[prediction.study_id]], name, "")
            for prediction in own
            if same_as[prediction.study_id] in given
        }
    ordered = [given[prediction.study_id] for prediction in own if prediction.study_id in given]
    if run.processes.is_main_process:
        write_lines(run.folder / f"{predictions_name(name)}.jsonl", ordered)
    if len(ordered) < len(own):
        reason = f"{len(own) - len(ordered)} studies were rejected with {name}, see rejected.jsonl"
        return Control(name=name, predictions=None, reason=reason, rejections=tuple(written.rejections))
    return Control(name=name, predictions=tuple(ordered))


def _baseline(run: GenerationRun, own: Sequence[Prediction], record: RunRecord, checkpoint: str) -> Control:
    """Another checkpoint on the same studies, in its own folder with its own record."""
    other = ReportGenerator.from_pretrained(checkpoint, device=run.generator.device)
    run = replace(run, generator=other, folder=run.folder / "baseline")
    if run.processes.is_main_process:
        claim_folder(run.folder, replace(record, checkpoint=checkpoint, checkpoint_hash=checkpoint_hash(checkpoint)))
    run.processes.wait_for_everyone()
    jobs = _jobs(run, [prediction.study_id for prediction in own], "unchanged")
    return _complete(BASELINE, own, write_predictions(run, jobs).predictions)


def _nearest(
    run: GenerationRun,
    training: datasets.Dataset | None,
    own: Sequence[Prediction],
    record: RunRecord,
    options: ModelControlOptions,
) -> Control:
    if training is None or not len(training):
        return Control(name=NEAREST, predictions=None, reason="there are no training studies")
    if 0 < options.neighbour_pool < len(training):
        chosen = np.random.default_rng(options.seed).choice(len(training), options.neighbour_pool, replace=False)
        training = training.select(sorted(chosen))
    index, training_index = (
        index_studies(
            run.generator,
            studies,
            run.folder / f"features_{name}.safetensors",
            origin=feature_origin(record.checkpoint_hash, studies),
            batch_size=run.batch_size,
            processes=run.processes,
            track=run.track,
        )
        for name, studies in ((record.split, run.studies), ("pool", training))
    )
    found = neighbour_predictions(run.studies, index, training, training_index)
    control = _complete(NEAREST, own, {prediction.study_id: prediction for prediction in found})
    if control.predictions is not None and run.processes.is_main_process:
        write_lines(run.folder / f"{predictions_name(NEAREST)}.jsonl", control.predictions)
    return control


def _complete(name: str, own: Sequence[Prediction], given: dict[str, Prediction]) -> Control:
    """The control, if it has a prediction for each study of the model."""
    missing = [prediction.study_id for prediction in own if prediction.study_id not in given]
    if missing:
        reason = f"it has no report for {len(missing)} of {len(own)} studies, first {missing[0]}"
        return Control(name=name, predictions=None, reason=reason)
    return Control(name=name, predictions=tuple(given[prediction.study_id] for prediction in own))
