"""Stopped and killed runs of train/finetune.py continue with the same losses."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.processes.finetune_runs import arguments, losses
from train import finetune
from train.loop import trainer as loop

ROOT = Path(__file__).parents[3]


def test_interrupted_run_resumes_with_the_same_losses(small_dataset, tmp_path, monkeypatch):
    options = ["--num-epochs=3", "--no-lora", "--save-steps=3"]
    finetune.main(arguments(small_dataset, tmp_path / "whole", *options))

    true_step, calls = loop.training_step, []

    def failing_step(*arguments, **options):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return true_step(*arguments, **options)

    monkeypatch.setattr(loop, "training_step", failing_step)
    with pytest.raises(KeyboardInterrupt):
        finetune.main(arguments(small_dataset, tmp_path / "cut", *options))
    monkeypatch.undo()
    finetune.main(arguments(small_dataset, tmp_path / "cut", *options, "--resume"))
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


@pytest.mark.filterwarnings("ignore")
def test_killed_launch_resumes_with_the_same_losses(small_dataset, tmp_path):
    """`kill -9` on `accelerate launch` at a random moment."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

    def launch(*more):
        command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes=1"]
        given = arguments(small_dataset, tmp_path / "run", "--num-epochs=8", "--no-lora", "--save-steps=2", *more)
        return subprocess.Popen(
            [*command, "train/finetune.py", *given],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    log = tmp_path / "run" / "train_log.jsonl"
    process = launch()
    deadline = time.monotonic() + 120
    while (
        time.monotonic() < deadline and process.poll() is None and not (log.is_file() and len(losses(log.parent)) > 5)
    ):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = dict(losses(log.parent))
    process = launch("--resume")
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    after = losses(log.parent)
    assert [step for step, _ in after] == list(range(1, 8 * 4 + 1))
    shared = {step: loss for step, loss in after if step in before}
    assert len(shared) > 5
    assert shared == pytest.approx(before, rel=1e-6)
