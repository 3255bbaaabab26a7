"""Controls that run the model: other images or views, other prior studies, another checkpoint, nearest neighbor.

They are resumable and shared by processes, like the reports of the model. Each control has its own file of predictions.
If the model input equals that of a study already done, its report is copied: decoding is deterministic.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import datasets
import numpy as np

from eval.controls.control import (
    ANOTHER_FRONTAL,
    ANOTHER_LATERAL,
    ANOTHER_PRIOR,
    BASELINE,
    BLANK,
    MISMATCHED,
    NEAREST,
    NO_FRONTAL,
    NO_LATERAL,
    NO_PRIOR,
    OWN_PRIOR,
    SHUFFLED,
    Control,
    derangement,
)
from eval.controls.neighbors import neighbor_predictions
from eval.predictions.generate import GenerationRun, Job, copied, has_priors, predictions_name, write_predictions
from eval.predictions.prediction import Prediction, write_lines
from eval.predictions.run import RunRecord, claim_folder
from eval.retrieval.features import index_studies
from eval.scoring.views import VIEW_CONTROLS
from vlm.checkpoint.store import checkpoint_hash
from vlm.generator import ReportGenerator
from vlm.schema.findings import BOTH_VIEWS, views_shown


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelControlOptions:
    """`kinds`: "shuffled", "blank", "mismatched", "views", "prior" and "nearest"; `baseline`: a checkpoint, or "".

    `neighbor_pool`: number of random training studies searched for neighbors; 0 for all.
    """

    kinds: Collection[str]
    baseline: str
    neighbor_pool: int
    seed: int


def model_controls(
    run: GenerationRun,
    training: datasets.Dataset | None,
    own: Sequence[Prediction],
    record: RunRecord,
    options: ModelControlOptions,
) -> list[Control]:
    """The requested controls for the studies with a prediction of the model (`own`)."""
    row_of = {study_id: row for row, study_id in enumerate(run.studies["study_id"])}
    rows = [row_of[prediction.study_id] for prediction in own]
    controls = []
    if "shuffled" in options.kinds:
        try:
            donors = derangement([prediction.subject_id or prediction.study_id for prediction in own], options.seed)
        except ValueError as error:
            controls.append(Control(name=SHUFFLED, predictions=None, reason=str(error)))
        else:
            jobs = [Job(study=row, images_of=rows[donor]) for row, donor in zip(rows, donors, strict=True)]
            controls.append(_generated(SHUFFLED, run, own, rows, jobs))
    for kind, name in (("blank", BLANK), ("mismatched", MISMATCHED)):
        if kind in options.kinds:
            jobs = [Job(study=row, images_of=row, shown=kind) for row in rows]
            controls.append(_generated(name, run, own, rows, jobs))
    if "views" in options.kinds:
        controls += _view_controls(run, own, rows, options.seed)
    if "prior" in options.kinds:
        controls += _prior_controls(run, own, rows, options.seed)
    if options.baseline:
        controls.append(_baseline(run, own, rows, record, options.baseline))
    if "nearest" in options.kinds:
        controls.append(_nearest(run, training, own, record, options))
    return controls


def _view_controls(run: GenerationRun, own: Sequence[Prediction], rows: Sequence[int], seed: int) -> Iterator[Control]:
    """Another patient's lateral or frontal views, and the frontal or the lateral views alone.

    Studies without both kinds of views keep their prediction, so that all controls have the same studies.
    """
    with_both = [number for number, one in enumerate(own) if views_shown(one.view_positions) == BOTH_VIEWS]
    if not with_both:
        reason = "no study has both a frontal and a lateral view"
        yield from (Control(name=name, predictions=None, reason=reason) for name in VIEW_CONTROLS)
        return
    jobs = [Job(study=row, images_of=row) for row in rows]
    try:
        others = _rows_of_others(own, rows, with_both, seed)
    except ValueError:
        reason = "one patient has more than half of the studies with both views, so views cannot be exchanged"
        yield from (Control(name=name, predictions=None, reason=reason) for name in (ANOTHER_LATERAL, ANOTHER_FRONTAL))
    else:
        for name, kept in ((ANOTHER_LATERAL, "frontal"), (ANOTHER_FRONTAL, "lateral")):
            given = {number: replace(jobs[number], images_of=others[number], own_views=kept) for number in with_both}
            yield _generated(name, run, own, rows, [given.get(number, job) for number, job in enumerate(jobs)])
    for name, kept in ((NO_LATERAL, "frontal"), (NO_FRONTAL, "lateral")):
        given = {number: replace(jobs[number], shown=kept) for number in with_both}
        yield _generated(name, run, own, rows, [given.get(number, job) for number, job in enumerate(jobs)])


def _rows_of_others(
    own: Sequence[Prediction], rows: Sequence[int], numbers: Sequence[int], seed: int
) -> dict[int, int]:
    """For each of the studies in `numbers`, the row of one of another patient. ValueError: one patient has too many."""
    donors = derangement([own[number].subject_id or own[number].study_id for number in numbers], seed)
    return {number: rows[numbers[donor]] for number, donor in zip(numbers, donors, strict=True)}


def _prior_controls(run: GenerationRun, own: Sequence[Prediction], rows: Sequence[int], seed: int) -> Iterator[Control]:
    """Another patient's prior, the study as its own prior, and no prior; nothing if the model was given none.

    Studies without a prior keep their prediction, so that all controls have the same studies.
    """
    with_prior = [number for number, prediction in enumerate(own) if prediction.has_prior]
    if not with_prior:
        return
    jobs = [Job(study=row, images_of=row) for row in rows]
    try:
        others = _rows_of_others(own, rows, with_prior, seed)
    except ValueError:
        reason = "one patient has more than half of the prior studies, so they cannot be given to other patients"
        yield Control(name=ANOTHER_PRIOR, predictions=None, reason=reason)
    else:
        given = [replace(job, prior_of=others.get(number)) for number, job in enumerate(jobs)]
        yield _generated(ANOTHER_PRIOR, run, own, rows, given)
    for name, prior in ((OWN_PRIOR, "itself"), (NO_PRIOR, "none")):
        yield _generated(name, run, own, rows, [replace(job, prior=prior) for job in jobs])


def _generated(
    name: str, run: GenerationRun, own: Sequence[Prediction], rows: Sequence[int], jobs: Sequence[Job]
) -> Control:
    """Run one job for each model input that is new; studies with an equal input get a copy of the prediction."""
    study_ids, indications, view_positions = (
        run.studies[column][:] for column in ("study_id", "indication", "view_positions")
    )
    priors = run.studies["prior_view_positions"][:] if has_priors(run) else []
    with_prior = {number for number, views in enumerate(priors) if views}

    def input_of(job: Job) -> tuple:
        prior = (job.prior, job.prior_row) if job.prior_row in with_prior and job.prior != "none" else None
        images = tuple(view_positions[job.images_of]) if job.shown == "blank" else job.images_of
        own_images = (job.own_views, job.study) if job.own_views else ()
        return indications[job.study], prior, job.shown, images, own_images

    done = {input_of(Job(study=row, images_of=row)): prediction for row, prediction in zip(rows, own, strict=True)}
    new: dict[tuple, Job] = {}
    for job in jobs:
        if input_of(job) not in done:
            new.setdefault(input_of(job), job)
    written = write_predictions(run, list(new.values()), name)
    done |= {
        model_input: written.predictions[study_ids[job.study]]
        for model_input, job in new.items()
        if study_ids[job.study] in written.predictions
    }
    given = [
        copied(prediction, done[input_of(job)], name, job, study_ids)
        for prediction, job in zip(own, jobs, strict=True)
        if input_of(job) in done
    ]
    if run.processes.is_main_process:
        write_lines(run.folder / f"{predictions_name(name)}.jsonl", given)
    if len(given) < len(own):
        reason = f"{len(own) - len(given)} studies were rejected with {name}, see rejected.jsonl"
        return Control(name=name, predictions=None, reason=reason, rejections=tuple(written.rejections))
    return Control(name=name, predictions=tuple(given))


def _baseline(
    run: GenerationRun, own: Sequence[Prediction], rows: Sequence[int], record: RunRecord, checkpoint: str
) -> Control:
    """Another checkpoint on the same studies, in its own folder with its own record."""
    model = run.generator
    other = ReportGenerator.from_pretrained(checkpoint, device=model.device, precision=model.precision)
    run = replace(run, generator=other, folder=run.folder / "baseline")
    if run.processes.is_main_process:
        claim_folder(run.folder, replace(record, checkpoint=checkpoint, checkpoint_hash=checkpoint_hash(checkpoint)))
    run.processes.wait_for_everyone()
    jobs = [Job(study=row, images_of=row) for row in rows]
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
    if 0 < options.neighbor_pool < len(training):
        chosen = np.random.default_rng(options.seed).choice(len(training), options.neighbor_pool, replace=False)
        training = training.select(sorted(chosen))
    index, training_index = (
        index_studies(
            run.generator,
            studies,
            run.folder / f"features_{name}.safetensors",
            checkpoint=record.checkpoint_hash,
            batch_size=run.batch_size,
            processes=run.processes,
            track=run.track,
        )
        for name, studies in ((record.split, run.studies), ("pool", training))
    )
    found = neighbor_predictions(run.studies, index, training, training_index)
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
