"""One experiment: a model trained in stages and judged on one or several data sets, told in one JSON file.

Every stage, and every evaluation, is a program of its own (train/finetune.py, eval/batch.py), so an experiment is what
a user could have typed. A finished experiment is skipped; one that was killed goes on where it was
(`bench.experiment.attempts`).

The JSON, <results>/<group>/<name>.json:

    group, name, description, about     whose experiment it is; `about` is what the group wants to know of it (numbers)
    training                            dataset, threads, and by stage its name, flags, cpu_seconds, wall_seconds
    num_parameters                      of the model that was judged
    evaluations                         {data set's name: {dataset, split, num_studies, flags, verdict, systems: {name:
                                        {metrics, distinct_ratio; the model's also per_finding}}, differences: {other
                                        experiment: {metric: estimate}}}}; figures as in metrics.json, those that are
                                        undefined left out, and of the controls the few that tables show
    finished, commit, machine, versions
"""

import json
from collections.abc import Callable, Container, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.experiment.attempts import GOES_ON, attempts_in, run_step
from bench.speed.compare import commit, describe_machine, describe_versions
from eval.report.tables import SHOWN
from vlm.schema.atomic import write_json

ROOT = Path(__file__).parents[2]
DECIMALS = 5
OF_A_FINDING = ("f1", "auroc", "calibration_error", "accuracy", "sensitivity", "specificity")


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A run of train/finetune.py, from the checkpoint of the stage before it."""

    name: str
    flags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """A run of eval/batch.py on the last stage's checkpoint."""

    name: str
    dataset: Path
    split: str = "test"
    num_studies: int = 0
    """The first so many; 0: all."""
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """What is tried. Its name is its folder's and its file's."""

    group: str
    name: str
    description: str
    dataset: Path
    stages: tuple[Stage, ...]
    evaluations: tuple[Evaluation, ...]
    about: dict[str, int | str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """Where experiments run, and with what."""

    work: Path
    """Folder for checkpoints, predictions and logs; what was done there is not done again."""
    results: Path = Path("docs/results")
    """Folder for the JSON files, one an experiment."""
    threads: int = 1
    """Of each program that trains or evaluates."""
    precision: str = "bf16"
    """Of training: bf16 is 2 to 3 times faster where the processor computes in it."""

    def folder(self, experiment: Experiment) -> Path:
        return self.work / experiment.name

    def record(self, experiment: Experiment) -> Path:
        return self.results / experiment.group / f"{experiment.name}.json"


def run_experiment(experiment: Experiment, running: Running, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Trains and judges what is not yet trained and judged; returns the content of the JSON.

    Raises:
        StepError: one of its programs ended with an error.
        ValueError: the JSON is there already, of an experiment with other settings.
    """
    path, folder = running.record(experiment), running.folder(experiment)
    if path.is_file():
        record = json.loads(path.read_text(encoding="utf-8"))
        _check_same(experiment, record, path)
        say(f"{experiment.name}: done before, {path}")
        return record
    previous = None
    for stage in experiment.stages:
        say(f"{experiment.name}: {stage.name}")
        output = folder / stage.name
        start = [f"--init-from={previous}"] if previous else []
        resume = [GOES_ON] if (output / "training_config.json").is_file() else []
        arguments = [f"--dataset={experiment.dataset}", f"--output-dir={output}", "--num-workers=0", *start, *resume]
        program = [str(ROOT / "train" / "finetune.py"), *arguments, f"--precision={running.precision}", *stage.flags]
        run_step(folder, stage.name, program, threads=running.threads)
        previous = output
    checkpoint = previous / "best"
    for evaluation in experiment.evaluations:
        say(f"{experiment.name}: judged on {evaluation.name}")
        arguments = [f"--checkpoint={checkpoint}", f"--output-dir={evaluation_folder(folder, evaluation.name)}"]
        arguments += [f"--dataset={evaluation.dataset}", f"--split={evaluation.split}", "--num-page-studies=0"]
        arguments += [f"--num-studies={evaluation.num_studies}", *evaluation.flags]
        program = [str(ROOT / "eval" / "batch.py"), *arguments]
        run_step(folder, f"judge {evaluation.name}", program, threads=running.threads)
    record = _record(experiment, running, checkpoint)
    write_json(path, record, indent=1)
    return record


def evaluation_folder(folder: Path, name: str) -> Path:
    """Of the predictions and figures on one data set."""
    return folder / f"on_{name.replace(' ', '_')}"


def _record(experiment: Experiment, running: Running, checkpoint: Path) -> dict[str, Any]:
    from vlm.checkpoint.store import load_checkpoint  # late: hours after the start, as the programs above saw it

    folder = running.folder(experiment)
    return {
        **_identity(experiment),
        "training": {
            "dataset": str(experiment.dataset),
            "threads": running.threads,
            "precision": running.precision,
            "stages": [asdict(stage) | _cost(folder, stage.name) for stage in experiment.stages],
        },
        "num_parameters": load_checkpoint(checkpoint).model.num_parameters()[0],
        "evaluations": {
            evaluation.name: _evaluation(evaluation, evaluation_folder(folder, evaluation.name))
            for evaluation in experiment.evaluations
        },
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": describe_machine(),
        "versions": describe_versions(),
    }


def _identity(experiment: Experiment) -> dict[str, Any]:
    return {name: getattr(experiment, name) for name in ("group", "name", "description", "about")}


def _cost(folder: Path, step: str) -> dict[str, float]:
    attempts = [attempt for attempt in attempts_in(folder) if attempt.step == step]
    return {
        "cpu_seconds": round(sum(attempt.cpu_seconds for attempt in attempts), 1),
        "wall_seconds": round(sum(attempt.wall_seconds for attempt in attempts), 1),
        "num_attempts": len(attempts),
    }


def _evaluation(evaluation: Evaluation, folder: Path) -> dict[str, Any]:
    document = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    systems = {
        name: {
            "metrics": _figures(system["metrics"], None if name == "model" else SHOWN),
            "distinct_ratio": system["distinct_ratio"],
        }
        for name, system in document["systems"].items()
    }
    findings = document["systems"]["model"]["per_finding"]
    systems["model"]["per_finding"] = [
        {"finding": finding["finding"], "support": finding["support"]} | _figures(finding, OF_A_FINDING)
        for finding in findings
    ]
    return {
        "dataset": str(evaluation.dataset),
        "split": evaluation.split,
        "num_studies": document["studies"]["written"],
        "flags": list(evaluation.flags),
        "verdict": document["verdict"]["image"],
        "systems": systems,
        "differences": {},
    }


def _figures(estimates: Mapping[str, Any], wanted: Container[str] | None) -> dict[str, Any]:
    """Those that are defined and wanted, to as many digits as say something."""
    return {
        name: {end: None if value is None else round(value, DECIMALS) for end, value in estimate.items()}
        for name, estimate in estimates.items()
        if (wanted is None or name in wanted) and estimate["value"] is not None
    }


def _check_same(experiment: Experiment, record: dict[str, Any], path: Path) -> None:
    """Compares what decides the figures; where the files lie may change."""
    given = {
        **_identity(experiment),
        "stages": {stage.name: list(stage.flags) for stage in experiment.stages},
        "evaluations": {one.name: [one.split, list(one.flags)] for one in experiment.evaluations},
    }
    held = {
        **{name: record[name] for name in _identity(experiment)},
        "stages": {stage["name"]: stage["flags"] for stage in record["training"]["stages"]},
        "evaluations": {name: [one["split"], one["flags"]] for name, one in record["evaluations"].items()},
    }
    for name, value in given.items():
        if value != held[name]:
            raise ValueError(
                f"{path} is of another experiment: {name} {held[name]!r}, now {value!r}; delete it and its folder to "
                "run it anew, or give another --results and --work"
            )
