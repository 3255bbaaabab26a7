"""Runs of the training programs under `accelerate launch`."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests.helpers.finetune_runs import arguments, losses, validations
from train import finetune

ROOT = Path(__file__).parents[2]


def test_two_processes_equal_one_with_twice_the_batch_size(small_dataset, tmp_path):
    """Two stages, without random numbers: no augmentation, and nano has no dropout."""
    still = ["--num-epochs=2", "--no-lora", "--findings-epochs=1", "--freeze-after-findings", "--no-use-augmentation"]
    finetune.main(arguments(small_dataset, tmp_path / "one", *still))
    given = arguments(small_dataset, tmp_path / "two", *still, "--batch-size=2")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*launch, "--main_process_port=0", "train/finetune.py", *given],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    one, two = (dict(losses(tmp_path / name)) for name in ("one", "two"))
    assert len(one) == 2 * 4
    assert two == pytest.approx(one, abs=1e-4)
    assert len(validations(tmp_path / "two")) == 3
    for first, second in zip(validations(tmp_path / "one"), validations(tmp_path / "two"), strict=True):
        assert second == pytest.approx(first, abs=1e-4)


@pytest.mark.parametrize("program", ["train/finetune.py", "train/pretrain.py"])
def test_user_errors_under_accelerate_launch_print_one_line(tmp_path, program):
    dataset = ["--dataset", str(tmp_path)] if "finetune" in program else ["images", "--datasets", str(tmp_path)]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", "--cpu", "--num_processes=1", program]
    done = subprocess.run(
        [*command, *dataset, "--output-dir", str(tmp_path / "run")],
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    [message] = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert f"{tmp_path} is not a prepared data set" in message


@pytest.mark.filterwarnings("ignore")
def test_ctrl_c_under_accelerate_launch_prints_one_line_without_traceback(small_dataset, tmp_path):
    """The launcher prints its own traceback; the program must not."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes=1", "train/finetune.py"]
    process = subprocess.Popen(
        [*command, *arguments(small_dataset, tmp_path / "run", "--num-epochs=999", "--no-lora")],
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell starts background jobs with SIGINT ignored, and programs inherit that.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    log = tmp_path / "run" / "train_log.jsonl"
    deadline = time.monotonic() + 300
    try:
        while not log.is_file():
            assert process.poll() is None and time.monotonic() < deadline, "training did not start"
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert "stopped; to continue from the last saved state, repeat the command with --resume" in errors.splitlines()
    assert str(ROOT / "train") not in errors
