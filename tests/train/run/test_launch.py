"""A launch whose processes would train alone, or divide the model, is rejected with a command that works."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.helpers.processes.finetune_runs import arguments
from train.run.launch import SHARDING, check_launch, num_processes_asked

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("environment", "command", "expected"),
    [
        ({}, [], 1),
        ({"WORLD_SIZE": "2"}, [], 2),
        ({"OMPI_COMM_WORLD_SIZE": "3", "WORLD_SIZE": "1"}, [], 3),
        ({"WORLD_SIZE": "many"}, ["bash"], 1),
        ({}, ["python", "/bin/accelerate", "launch", "--cpu", "--num_processes", "2", "train/finetune.py"], 2),
        ({}, ["python", "-m", "accelerate.commands.launch", "--num-processes=4", "x.py"], 4),
        ({}, ["python", "other.py", "--num_processes", "2"], 1),
    ],
)
def test_number_of_processes_is_read_from_environment_and_launcher(environment, command, expected):
    assert num_processes_asked(environment, command) == expected


@pytest.mark.parametrize(
    ("launch", "more"),
    [
        (["-m", "accelerate.commands.launch", "--quiet", "--cpu", "--num_processes=2"], {}),
        ([], {"WORLD_SIZE": "2", "RANK": "1"}),
    ],
)
def test_lone_process_stops_with_the_command_that_works(small_dataset, tmp_path, launch, more):
    done = subprocess.run(
        [sys.executable, *launch, "train/finetune.py", *arguments(small_dataset, tmp_path / "run", "--no-lora")],
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""} | more,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode != 0
    [message] = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "the launch asks for 2 processes, but 1 would train together here" in message
    assert "ACCELERATE_USE_CPU=1 CUDA_VISIBLE_DEVICES= accelerate launch --multi_gpu --num_processes 2" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("num_processes", "device", "command"),
    [
        (1, "cpu", "accelerate launch --num_processes 1 train/finetune.py …"),
        (4, "cuda", "accelerate launch --multi_gpu --num_processes 4 train/finetune.py …"),
    ],
)
@pytest.mark.parametrize("variable", SHARDING)
def test_divided_model_is_rejected_with_the_command_that_works(monkeypatch, variable, num_processes, device, command):
    accelerator = SimpleNamespace(num_processes=num_processes, device=torch.device(device))
    monkeypatch.setenv(variable, "false")
    check_launch(accelerator, "train/finetune.py")
    monkeypatch.setenv(variable, "true")
    with pytest.raises(ValueError, match=r"each process holds the whole model .* add --shard") as rejected:
        check_launch(accelerator, "train/finetune.py")
    assert str(rejected.value).endswith(f"Start with: {command}")
    assert SHARDING[variable] in str(rejected.value)
