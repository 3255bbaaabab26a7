"""One experiment: a model is trained in stages and evaluated on data sets, and one JSON file has the results.

Every stage and every evaluation is a run of train/finetune.py or eval/batch.py that a user could start by hand. A
finished experiment is skipped; a killed one is resumed (`bench.experiment.attempts`).

The JSON file, <results>/<group>/<name>.json:

    group, name, description, about     `about` has the numbers that the group varies
    training                            dataset, threads, and for each stage name, flags, cpu_seconds, wall_seconds
    num_parameters                      of the evaluated model
    evaluations                         {data set: {dataset, split, num_studies, flags, verdict, systems: {name:
                                        {metrics, distinct_ratio; for the model also per_finding}}, differences:
                                        {other experiment: {metric: estimate}}}}; metrics as in metrics.json without
                                        undefined ones, and for controls only those that tables show
    finished, commit, machine, versions
"""

import json
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from bench.experiment.attempts import RESUME, StepError, attempts_in, run_step
from bench.speed.compare import commit, describe_machine, describe_versions
from eval.report.tables import SHOWN
from vlm.schema.atomic import write_json

ROOT = Path(__file__).parents[2]
DECIMALS = 5
FINETUNE, PRETRAIN_TEXT = ("train/finetune.py",), ("train/pretrain.py", "text")
SHARED = "shared"
"""Folder of the stages that several experiments share."""
FINDING_METRICS = ("f1", "auroc", "calibration_error", "accuracy", "sensitivity", "specificity")


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A run of a training program. `{name}` in its flags stands for the output folder of the stage of this name."""

    name: str
    flags: tuple[str, ...]
    program: tuple[str, ...] = FINETUNE
    """The program below the project's folder, and its command, if it has one."""
    starts_from_previous: bool = True
    """Start from the report model of the previous stage (--init-from)."""
    is_shared: bool = False
    """Run it once for all experiments that have a shared stage with this name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """A run of eval/batch.py with the checkpoint of the last stage."""

    name: str
    dataset: Path
    split: str = "test"
    num_studies: int = 0
    """Number of studies from the start of the split; 0: all."""
    flags: tuple[str, ...] = ()
    references: Path | None = None
    """Other references for the reports of the evaluation before it: eval/score.py is run instead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """An experiment; its folder and its file have its name."""

    group: str
    name: str
    description: str
    dataset: Path
    stages: tuple[Stage, ...]
    evaluations: tuple[Evaluation, ...]
    about: dict[str, int | str] = field(default_factory=dict)
    paths: dict[str, Path | str] = field(default_factory=dict)
    """Files and folders that `{name}` in the flags of a stage stands for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """Where and how experiments run."""

    work: Path
    """Folder for checkpoints, predictions and logs; finished steps in it are not repeated."""
    results: Path = Path("docs/results")
    """Folder for the JSON files, one per experiment."""
    threads: int = 1
    """Number of threads of each training and evaluation."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Precision of training. auto: bf16 on a GPU that supports it, or if it is measured to be faster on this processor;
    otherwise fp32."""

    def folder(self, experiment: Experiment) -> Path:
        return self.work / experiment.name

    def stage_folder(self, experiment: Experiment, stage: Stage) -> Path:
        """The folder of the stage's log and attempts; its output folder below it has the name of the stage."""
        return self.work / SHARED if stage.is_shared else self.folder(experiment)

    def record(self, experiment: Experiment) -> Path:
        return self.results / experiment.group / f"{experiment.name}.json"


def run_experiments(experiments: Iterable[Experiment], running: Running, console: Console) -> list[str]:
    """Run experiments one by one; return the names of failed experiments."""
    if running.precision == "auto":
        from train.loop.step import is_bf16_fast, mixed_precision  # late: the programs import torch themselves

        is_bf16 = mixed_precision("auto") == "bf16" or is_bf16_fast()
        running = replace(running, precision="bf16" if is_bf16 else "fp32")
    failed = []
    for experiment in experiments:
        try:
            run_experiment(experiment, running, lambda line: console.print(line, highlight=False))
        except StepError as error:
            console.print(f"[red]{experiment.name}:[/] {error}", highlight=False)
            failed.append(experiment.name)
    return failed


def run_experiment(experiment: Experiment, running: Running, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Run the missing steps of an experiment; return the content of its JSON file.

    Raises:
        StepError: one of its programs failed.
        ValueError: the JSON file is from an experiment with other settings.
    """
    path, folder = running.record(experiment), running.folder(experiment)
    if path.is_file():
        record = json.loads(path.read_text(encoding="utf-8"))
        _check_same(experiment, record, path)
        say(f"{experiment.name}: already done, {path}")
        return record
    outputs: dict[str, Path] = {}
    for stage in experiment.stages:
        say(f"{experiment.name}: {stage.name}")
        outputs[stage.name] = _run_stage(experiment, stage, outputs, running)
    checkpoint = [*outputs.values()][-1] / "best"
    predictions = None
    for evaluation in experiment.evaluations:
        say(f"{experiment.name}: evaluation on {evaluation.name}")
        output = evaluation_folder(folder, evaluation.name)
        if evaluation.references is None:
            arguments = [str(ROOT / "eval" / "batch.py"), f"--checkpoint={checkpoint}", f"--output-dir={output}"]
            arguments += [f"--dataset={evaluation.dataset}", f"--split={evaluation.split}", "--num-page-studies=0"]
            arguments.append(f"--num-studies={evaluation.num_studies}")
            predictions = output / "predictions.jsonl"
        else:
            arguments = ["-m", "eval.score", str(predictions), str(evaluation.references), f"--output-dir={output}"]
            arguments.append(f"--reference-split={evaluation.split}")
        run_step(folder, f"judge {evaluation.name}", [*arguments, *evaluation.flags], threads=running.threads)
    record = _record(experiment, running, checkpoint)
    write_json(path, record, indent=1)
    return record


def _run_stage(experiment: Experiment, stage: Stage, outputs: dict[str, Path], running: Running) -> Path:
    """Run or resume a stage, and return its output folder; `outputs` has those of the stages before it."""
    folder = running.stage_folder(experiment, stage)
    output = folder / stage.name
    dataset = "--dataset" if stage.program == FINETUNE else "--datasets"
    program, *command = stage.program
    arguments = [str(ROOT / program), *command, f"{dataset}={experiment.dataset}", f"--output-dir={output}"]
    arguments.append("--num-workers=0")
    if stage.starts_from_previous and outputs:
        arguments.append(f"--init-from={[*outputs.values()][-1]}")
    if (output / "training_config.json").is_file():
        arguments.append(RESUME)
    flags = [flag.format_map(experiment.paths | outputs) for flag in stage.flags]
    run_step(folder, stage.name, [*arguments, f"--precision={running.precision}", *flags], threads=running.threads)
    return output


def evaluation_folder(folder: Path, name: str) -> Path:
    """Folder of the predictions and metrics on one data set."""
    return folder / f"on_{name.replace(' ', '_')}"


def _record(experiment: Experiment, running: Running, checkpoint: Path) -> dict[str, Any]:
    from vlm.checkpoint.store import load_checkpoint  # late: this runs hours after the start, like the programs above

    folder = running.folder(experiment)
    return {
        **_identity(experiment),
        "training": {
            "dataset": str(experiment.dataset),
            "threads": running.threads,
            "precision": running.precision,
            "stages": [
                {"name": stage.name, "flags": stage.flags} | _cost(running.stage_folder(experiment, stage), stage.name)
                for stage in experiment.stages
            ],
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
    systems["model"]["other_convention"] = _figures(document["systems"]["model"]["other_convention"], None)
    findings = document["systems"]["model"]["per_finding"]
    systems["model"]["per_finding"] = [
        {"finding": finding["finding"], "support": finding["support"]} | _figures(finding, FINDING_METRICS)
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
    """The selected metrics that are defined, rounded."""
    return {
        name: {end: None if value is None else round(value, DECIMALS) for end, value in estimate.items()}
        for name, estimate in estimates.items()
        if (wanted is None or name in wanted) and estimate["value"] is not None
    }


def _check_same(experiment: Experiment, record: dict[str, Any], path: Path) -> None:
    """Compare the settings that decide the figures; paths may differ."""
    given = {
        **_identity(experiment),
        "stages": {stage.name: list(stage.flags) for stage in experiment.stages},
        "evaluations": {one.name: [one.split, list(one.flags)] for one in experiment.evaluations},
    }
    saved = {
        **{name: record[name] for name in _identity(experiment)},
        "stages": {stage["name"]: stage["flags"] for stage in record["training"]["stages"]},
        "evaluations": {
            # The British spelling is that of version 0.1.0.
            name: [one["split"], [flag.replace("--neighbour-pool", "--neighbor-pool") for flag in one["flags"]]]
            for name, one in record["evaluations"].items()
        },
    }
    for name, value in given.items():
        if value != saved[name]:
            raise ValueError(
                f"{path} is of another experiment: {name} {saved[name]!r}, now {value!r}; delete it and its folder to "
                "run it again, or give another --results and --work"
            )
