"""Progress of long work in the terminal, and the processes that share it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Track = Callable[[int, str], Callable[[int], None]]
"""`track(total, description)` starts a display and returns what advances it."""


def start_processes() -> PartialState:
    """This process among those that `accelerate launch` or torchrun started; the only one, where none did."""
    # Without `cpu`, each of several processes on a CPU would take itself for the only one.
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    return PartialState(cpu=cpu, timeout=timedelta(days=2))  # they may finish their shares hours apart


@contextmanager
def progress(console: Console) -> Iterator[Track]:
    """Bars with what is done, elapsed and left."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console) as bars:

        def track(total: int, description: str) -> Callable[[int], None]:
            task = bars.add_task(description, total=total)
            return lambda amount: bars.advance(task, amount)

        yield track
