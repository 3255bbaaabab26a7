"""Runs of the training programs under `accelerate launch`."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import datasets
import psutil
import pytest
import torch
from safetensors.torch import load_file

from data.study import load_studies
from tests.helpers.files.parquet_files import write_parquet
from tests.helpers.processes.finetune_runs import arguments, losses, validations
from train import finetune
from vlm.checkpoint.store import load_checkpoint

ROOT = Path(__file__).parents[3]
NO_REPORT = {"findings": "", "impression": ""}


@pytest.mark.filterwarnings("ignore")
def test_two_processes_that_are_killed_and_resumed_equal_one_with_twice_the_batch_size(small_dataset, tmp_path):
    still = ["--num-epochs=2", "--findings-epochs=1", "--freeze-after-findings"]
    _check_two_processes(small_dataset, tmp_path, still, ["--batch-size=2"])


@pytest.mark.filterwarnings("ignore")
def test_two_processes_with_a_divided_model_equal_one_process(small_dataset, tmp_path):
    """Three stages, which use different parts of the model. Some batches have reports in one of the processes only."""
    studies = load_studies(small_dataset)
    silent = studies["train"].map(lambda row, number: row | NO_REPORT if number < 5 else row, with_indices=True)
    dataset = tmp_path / "studies"
    datasets.DatasetDict(studies | {"train": silent}).save_to_disk(str(dataset))
    still = ["--num-epochs=3", "--findings-epochs=1", "--text-only-epochs=1"]
    _check_two_processes(dataset, tmp_path, still, ["--shard", "--batch-size=1", "--gradient-accumulation-steps=2"])
    states = tmp_path / "two" / "states"
    parts = [load_file(max(states.iterdir()) / f"state-{rank}.safetensors") for rank in (0, 1)]
    whole = load_checkpoint(tmp_path / "two" / "best").model.state_dict()
    assert len(parts[0]) > 300
    for name, part in parts[0].items():
        if name.startswith("model."):
            both = torch.cat([part, parts[1][name]])
            assert len(part) < max(2, len(both))
            assert both.shape == whole[name.removeprefix("model.")].shape


@pytest.mark.filterwarnings("ignore")
def test_two_processes_on_a_stream_that_are_killed_and_resumed_see_each_study_once(small_dataset, tmp_path):
    """A step has all studies, so the losses equal those of one process only if each study is in one of the two."""
    shards = write_parquet(small_dataset, tmp_path / "shards")
    still = ["--stream", "--shuffle-buffer=3", "--num-epochs=8", "--findings-epochs=7", "--batch-size=16"]
    _check_two_processes(shards, tmp_path, still, ["--batch-size=8"])


def _check_two_processes(dataset, tmp_path, options, two_options):
    """Compare one process with two that are killed and resumed; without random numbers: no augmentation, and nano has
    no dropout."""
    still = ["--no-lora", "--no-use-augmentation", *options]
    finetune.main(arguments(dataset, tmp_path / "one", *still))
    folder = tmp_path / "two"
    given = arguments(dataset, folder, *still, *two_options, "--save-steps=1", "--save-total-limit=99")

    with _two_processes(*given) as process:
        deadline = time.monotonic() + 600
        while not (folder / "states" / "step-00000006").is_dir():
            assert process.poll() is None and time.monotonic() < deadline, "training did not start"
            time.sleep(0.02)
    before = dict(losses(folder))
    for state in (folder / "states").iterdir():
        if state.name > "step-00000002":
            shutil.rmtree(state)
    with _two_processes(*given, "--resume") as process:
        output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert "2 process(es)" in output

    one, two = (dict(losses(tmp_path / name)) for name in ("one", "two"))
    assert len(one) > 6
    assert two == pytest.approx(one, abs=1e-4)
    assert {step: two[step] for step in before} == before
    assert len(validations(folder)) == len(validations(tmp_path / "one"))
    for first, second in zip(validations(tmp_path / "one"), validations(folder), strict=True):
        assert second == pytest.approx(first, abs=1e-4)


@contextmanager
def _two_processes(*given):
    """The command of the README for two processes on a CPU. At the end of the block, `kill -9` ends what still runs."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    process = subprocess.Popen(
        [*launch, "--main_process_port", "0", "train/finetune.py", *given],
        cwd=ROOT,
        env=os.environ | {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            launcher = psutil.Process(process.pid)
            running = [launcher, *launcher.children(recursive=True)]  # each has a session of its own
            for one in running:
                one.kill()
            psutil.wait_procs(running[1:], timeout=60)
            process.communicate()


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
