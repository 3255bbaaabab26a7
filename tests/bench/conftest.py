"""Fakes of the programs that experiments run."""

import json
import shutil
from pathlib import Path

import pytest

from bench import ablations, iu
from bench.experiment import experiment
from bench.experiment.attempts import Attempt, StepError
from bench.experiment.experiment import Running
from tests.helpers.evaluations import ESTIMATE

SYSTEM = {
    "metrics": {"macro_f1": ESTIMATE, "micro_accuracy": ESTIMATE, "cider": ESTIMATE | {"value": None}},
    "other_convention": {"macro_f1": ESTIMATE},
    "per_finding": [{"finding": "Edema", "support": 7, "auroc": ESTIMATE, "recall": ESTIMATE}],
    "distinct_ratio": 0.5,
}


@pytest.fixture
def programs(monkeypatch, tiny_checkpoint, small_dataset):
    """Records (step, arguments) instead of running steps. A step in `.failing` fails."""

    class Programs(list):
        failing = ()

    ran = Programs()

    def run_step(folder, step, arguments, *, threads):
        if step in ran.failing:
            raise StepError(f"{step} ended with status 1")
        ran.append((step, arguments))
        if arguments[:2] == ["-m", "data.prepare"]:
            shutil.copytree(small_dataset, arguments[-1].removeprefix("--out="))
        output = next((Path(flag.partition("=")[2]) for flag in arguments if flag.startswith("--output-dir=")), None)
        if arguments[0].endswith("finetune.py"):
            shutil.copytree(tiny_checkpoint, output / "best", dirs_exist_ok=True)
        elif output is not None:
            output.mkdir(parents=True, exist_ok=True)
            systems = {"model": SYSTEM, "shuffled images": SYSTEM}
            document = {"systems": systems, "studies": {"written": 9}, "verdict": {"image": "It does."}}
            (output / "metrics.json").write_text(json.dumps(document))

    def attempts_in(folder):
        return [
            Attempt(step="base", arguments=(), status=status, cpu_seconds=10, wall_seconds=11) for status in (-9, 0)
        ]

    for module in (experiment, ablations, iu):
        monkeypatch.setattr(module, "run_step", run_step)
    monkeypatch.setattr(experiment, "attempts_in", attempts_in)
    return ran


@pytest.fixture
def running(tmp_path):
    return Running(work=tmp_path / "work", results=tmp_path / "results", precision="bf16")
