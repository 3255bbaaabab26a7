"""Progress bars of long work, and the processes that share it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from rich.console import Console

from data.cli import progress_bars

Track = Callable[[int, str], Callable[[int], None]]
"""`track(total, description)` starts a progress bar and returns a function that advances it."""


def start_processes() -> PartialState:
    """Join the processes that `accelerate launch` or torchrun started, if any."""
    # Without `cpu`, each of several processes on a CPU would act as the only one.
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    return PartialState(cpu=cpu, timeout=timedelta(days=2))  # processes may finish hours apart


@contextmanager
def progress(console: Console) -> Iterator[Track]:
    """Progress bars with the work done, the elapsed and the remaining time."""
    with progress_bars(console) as bars:

        def track(total: int, description: str) -> Callable[[int], None]:
            task = bars.add_task(description, total=total)
            return lambda amount: bars.advance(task, amount)

        yield track
