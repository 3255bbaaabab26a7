"""Generate reports for the studies of a data set, in batches. Each study is saved when its batch is done.

Several processes share the work: each appends to its own file (`predictions.rank1.jsonl`), and the main process merges
the files. A study that cannot be read or reported becomes a Rejection; written + rejected = given.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import datasets
from accelerate import PartialState
from PIL import Image

from data.study import without_images
from eval.checks.candidates import generate_reports
from eval.predictions.prediction import (
    DECIMALS,
    AppendedLines,
    Prediction,
    Rejection,
    boxes_of,
    read_lines,
    truth_of,
    write_lines,
)
from eval.predictions.processes import Track
from vlm.explain.attention import attention_peaks
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.inputs.batch import Prior
from vlm.schema.findings import is_lateral
from vlm.schema.study_report import StudyReport

UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""Exceptions raised when a broken image is decoded."""
GRAY = 128
_Pair = tuple[dict[str, Any], dict[str, Any]]
"""A study, and the row whose images are shown for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """Generate a report for row `study` of the data set from the images of row `images_of`.

    The images are unchanged, blank (gray instead of each view), mismatched (frontal views labeled as lateral, lateral
    views as PA), or only those that are "frontal" or "lateral". The views of kind `own_views` are those of the study,
    not of `images_of`. The prior study is the one of row `prior_of`; by default the one of the study. Instead, the
    study itself can be given as its own prior (without a prior report, which would tell the reference), or none.
    """

    study: int
    images_of: int
    shown: Literal["unchanged", "blank", "mismatched", "frontal", "lateral"] = "unchanged"
    own_views: Literal["", "frontal", "lateral"] = ""
    prior: Literal["given", "itself", "none"] = "given"
    prior_of: int | None = None

    @property
    def prior_row(self) -> int:
        """The row whose prior study is given."""
        return self.study if self.prior_of is None else self.prior_of


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationRun:
    """A model, the studies it reports on, and how and where: options, batch size, processes, folder of predictions."""

    generator: ReportGenerator
    studies: datasets.Dataset
    folder: Path
    options: GenerationOptions
    batch_size: int
    processes: PartialState
    track: Track


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """The result of the jobs: predictions by study_id, and rejected studies."""

    predictions: dict[str, Prediction]
    rejections: list[Rejection]


def write_predictions(run: GenerationRun, jobs: Sequence[Job], control: str = "") -> Written:
    """Run the jobs that are not yet in the folder and return the predictions of all, in every process."""
    name, folder, processes = predictions_name(control), run.folder, run.processes
    done = _read_all(folder, name, Prediction)
    if processes.is_main_process:
        for leftover in folder.glob(f"{name}.rejected.rank*.jsonl"):
            leftover.unlink()  # rejected in a run that was killed: try again
    processes.wait_for_everyone()  # all have read before anyone writes

    study_ids = list(run.studies["study_id"])
    pending = [job for job in jobs if not _is_done(done.get(study_ids[job.study]), job, study_ids)]
    mine = pending[processes.process_index :: processes.num_processes]
    alone = processes.num_processes == 1
    shard = folder / (f"{name}.jsonl" if alone else f"{name}.rank{processes.process_index}.jsonl")
    rejected_shard = folder / f"{name}.rejected.rank{processes.process_index}.jsonl"
    advance = run.track(len(mine), f"reports from {control}" if control else "reports")
    with AppendedLines(shard) as predictions, AppendedLines(rejected_shard) as rejections:
        for start in range(0, len(mine), run.batch_size):
            batch = mine[start : start + run.batch_size]
            for line in _write_batch(run, batch, control):
                (rejections if isinstance(line, Rejection) else predictions).write(line)
            advance(len(batch))

    processes.wait_for_everyone()
    done = _read_all(folder, name, Prediction)
    rejected = list(_read_all(folder, f"{name}.rejected", Rejection).values())
    processes.wait_for_everyone()  # all have read before the main process merges
    ordered = {study_ids[job.study]: done[study_ids[job.study]] for job in jobs if study_ids[job.study] in done}
    if processes.is_main_process:
        write_lines(folder / f"{name}.jsonl", ordered.values())
        for shard in [*folder.glob(f"{name}.rank*.jsonl"), *folder.glob(f"{name}.rejected.rank*.jsonl")]:
            shard.unlink()
    return Written(predictions=ordered, rejections=rejected)


def predictions_name(control: str = "") -> str:
    """The name of the file of predictions, without its suffix."""
    return f"predictions_{control.replace(' ', '_')}" if control else "predictions"


_WRITTEN = (
    *("report", "findings", "impression", "probabilities", "thresholds", "severity_probabilities"),
    *("change_probabilities", "has_prior", "mean_token_log_probability", "is_truncated"),
)
"""The fields of a prediction that the model writes."""


def copied(own: Prediction, other: Prediction, control: str, job: Job, study_ids: Sequence[str]) -> Prediction:
    """The prediction of `other` for `own`, if both have the same model input; `job` is that of `own`."""
    return replace(
        own,
        **{name: getattr(other, name) for name in _WRITTEN},
        peaks=None,
        boxes=(),
        control=control,
        **_others_of(job, study_ids),
    )


def _others_of(job: Job, study_ids: Sequence[str]) -> dict[str, str]:
    """The other studies whose images and prior study are used."""
    others = {"image_study_id": job.images_of, "prior_study_id": job.prior_row}
    return {name: study_ids[row] if row != job.study else "" for name, row in others.items()}


def _is_done(prediction: Prediction | None, job: Job, study_ids: Sequence[str]) -> bool:
    """Whether a prediction exists for this job; the assignment of a control may have changed."""
    if prediction is None:
        return False
    others = _others_of(job, study_ids)
    return prediction.image_study_id in ("", others["image_study_id"]) and (
        prediction.prior_study_id in ("", others["prior_study_id"])
    )


def has_priors(run: GenerationRun) -> bool:
    """Whether the model reads the prior studies of this data set."""
    return run.generator.reads_priors and "prior_images" in run.studies.column_names


def _write_batch(run: GenerationRun, jobs: Sequence[Job], control: str) -> Iterator[Prediction | Rejection]:
    rows, texts = run.studies, without_images(run.studies)
    current = rows.select_columns([name for name in rows.column_names if name != "prior_images"])
    study_ids = rows["study_id"]
    read: list[_Pair] = []
    for job in jobs:
        try:
            study = texts[job.study] | {"prior": _prior_shown(run, job)}
            study["prior_study_id"] = _others_of(job, study_ids)["prior_study_id"]
            read.append((study, _shown(texts if job.shown == "blank" else current, job)))
        except UNREADABLE as error:
            yield _rejection(texts[job.study]["study_id"], error, control)
    yield from _write_read(run, read, control)


def _prior_shown(run: GenerationRun, job: Job) -> Prior | None:
    """The prior study that the model is given; it stays that of the study if a control shows other images."""
    if not has_priors(run) or job.prior == "none":
        return None
    prior = prior_of(run.studies.remove_columns("images")[job.prior_row])
    if prior is None or job.prior == "given":
        return prior
    itself = run.studies.select_columns(["images", "view_positions"])[job.study]
    return Prior(**itself, interval_days=prior.interval_days)


def interval_words(days: int | None) -> str:
    """A title for the prior study with the time since then."""
    return "prior study" if days is None else f"prior study, {days} {'day' if days == 1 else 'days'} earlier"


def prior_of(row: dict[str, Any]) -> Prior | None:
    """The prior study of a row of a data set."""
    if not row.get("prior_images"):
        return None
    return Prior(
        images=row["prior_images"],
        view_positions=row["prior_view_positions"],
        report=row["prior_report"],
        interval_days=row["prior_interval_days"],
    )


def _shown(rows: datasets.Dataset, job: Job) -> dict[str, Any]:
    """The row with the images that the model is shown."""
    row = rows[job.images_of]
    if job.shown == "blank":
        return _blank(row)
    if job.shown == "mismatched":
        return _mismatched(row)
    if job.own_views:
        return _with_views_of(row, rows[job.study], job.own_views)
    return row if job.shown == "unchanged" else row | _views(row, job.shown)


def _views(row: dict[str, Any], kind: str) -> dict[str, list]:
    """The frontal or the lateral views; an unknown view position counts as frontal."""
    kept = [view for view, position in enumerate(row["view_positions"]) if is_lateral(position) == (kind == "lateral")]
    return {name: [row[name][view] for view in kept] for name in ("images", "view_positions")}


def _with_views_of(row: dict[str, Any], other: dict[str, Any], kind: str) -> dict[str, Any]:
    """The row with the views of this kind of the other row instead of its own; frontal views come first."""
    frontal, lateral = (_views(other if kind == one else row, one) for one in ("frontal", "lateral"))
    return row | {name: frontal[name] + lateral[name] for name in frontal}


def _blank(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"images": [Image.new("L", (8, 8), GRAY) for _ in row["view_positions"]]}


def _mismatched(row: dict[str, Any]) -> dict[str, Any]:
    positions = ["PA" if is_lateral(position) else "LATERAL" for position in row["view_positions"]]
    return row | {"view_positions": positions}


def _write_read(run: GenerationRun, read: list[_Pair], control: str) -> Iterator[Prediction | Rejection]:
    if not read:
        return
    try:
        reports = generate_reports(
            run.generator,
            [shown["images"] for _, shown in read],
            view_positions=[shown["view_positions"] for _, shown in read],
            indications=[study["indication"] for study, _ in read],
            priors=[study["prior"] for study, _ in read],
            options=run.options,
        )
    except UNREADABLE as error:
        if len(read) == 1:
            yield _rejection(read[0][0]["study_id"], error, control)
            return
        for one in read:  # one study fails: the others still get their reports
            yield from _write_read(run, [one], control)
        return
    for (study, shown), report in zip(read, reports, strict=True):
        yield _prediction(run.generator, study, shown, report, control)


def _prediction(
    generator: ReportGenerator, study: dict[str, Any], shown: dict[str, Any], report: StudyReport, control: str
) -> Prediction:
    log_probabilities = report.token_log_probabilities
    sizes = [image.size for image in shown["images"]]
    peaks = [] if control else attention_peaks(report.attention_maps, sizes, generator.config.image.size)
    return Prediction(
        **truth_of(study),
        report=report.report,
        findings=report.findings,
        impression=report.impression,
        probabilities=tuple(float(probability) for probability in report.finding_probabilities),
        thresholds=tuple(generator.thresholds),
        severity_probabilities=report.severity_probabilities,
        change_probabilities=report.change_probabilities,
        has_prior=study["prior"] is not None,
        prior_study_id=study["prior_study_id"],
        peaks=tuple((view, round(x, DECIMALS), round(y, DECIMALS)) for view, x, y in peaks) or None,
        boxes=() if control else boxes_of(study),
        mean_token_log_probability=float(sum(log_probabilities) / len(log_probabilities))
        if log_probabilities
        else None,
        is_truncated=report.is_truncated,
        control=control,
        image_study_id=shown["study_id"] if shown["study_id"] != study["study_id"] else "",
    )


def _rejection(study_id: str, error: Exception, control: str) -> Rejection:
    return Rejection(study_id=study_id, reason=str(error) or type(error).__name__, control=control)


def _read_all(folder: Path, name: str, line_type: type) -> dict[str, Any]:
    """Lines by study_id of the merged file and the files of all processes."""
    files = [folder / f"{name}.jsonl", *sorted(folder.glob(f"{name}.rank*.jsonl"))]
    return {line.study_id: line for file in files for line in read_lines(file, line_type)}
