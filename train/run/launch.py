"""Check that a launch of several processes made one run of them, not several runs that overwrite each other, and that
accelerate does not divide the model (train/run/shard.py does, with --shard).

`accelerate launch --cpu --num_processes 2` starts one process. `torchrun` and `mpirun` without a GPU start processes
that know nothing of each other, unless ACCELERATE_USE_CPU is set. Accelerate ignores FSDP without a GPU.
"""

import os
import re
from collections.abc import Mapping, Sequence

import psutil
from accelerate import Accelerator

SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
"""Environment variables in which launchers state the number of processes."""

SHARDING = {
    "ACCELERATE_USE_FSDP": "FSDP (--use_fsdp)",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed (--use_deepspeed)",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM (--use_megatron_lm)",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism config (--use_parallelism_config)",
}
"""Environment variables with which `accelerate launch` asks for a divided model."""


def check_launch(accelerator: Accelerator, program: str) -> None:
    """Raises ValueError, with a command that works, if the launch asks accelerate for a divided model, or if fewer
    processes train together than the launch asks for."""
    parent = psutil.Process().parent()
    try:
        command = parent.cmdline() if parent else []
    except psutil.Error:
        command = []
    num_asked = num_processes_asked(os.environ, command)
    for name, asked in SHARDING.items():
        if os.environ.get(name, "").lower() in ("true", "1"):
            num_processes, on_gpu = max(num_asked, accelerator.num_processes), accelerator.device.type == "cuda"
            raise ValueError(
                f"the launch asks for {asked}, which {program} does not use: by default each process holds the whole "
                "model (DDP). Leave it out, also in the file of `accelerate config`. "
                + ("To divide the model among the processes, add --shard at the end. " if "finetune" in program else "")
                + f"Start with: {launch_command(program, num_processes, on_gpu=on_gpu)}"
            )
    if num_asked > accelerator.num_processes:
        raise ValueError(
            f"the launch asks for {num_asked} processes, but {accelerator.num_processes} would train together here. "
            f"Start them with: {launch_command(program, num_asked, on_gpu=accelerator.device.type == 'cuda')}"
        )


def num_processes_asked(environment: Mapping[str, str], command: Sequence[str]) -> int:
    """The number of processes in the launcher's environment variables and in its command line."""
    values = [environment.get(name, "") for name in SIZES]
    if any("accelerate" in word for word in command):
        values += re.findall(r"--num[_-]processes[ =](\d+)", " ".join(command))
    return max((int(value) for value in values if value.isdecimal()), default=1)


def launch_command(program: str, num_processes: int, *, on_gpu: bool) -> str:
    if num_processes == 1:
        return f"accelerate launch --num_processes 1 {program} …"
    launch = f"accelerate launch --multi_gpu --num_processes {num_processes} {program} …"
    return launch if on_gpu else f"ACCELERATE_USE_CPU=1 CUDA_VISIBLE_DEVICES= {launch}"
