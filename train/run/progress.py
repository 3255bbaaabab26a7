"""Console output of a run: a summary before it, and a progress bar with the validation results."""

import resource
import time

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

MISTAKES = (ValueError, FloatingPointError)
STOPPED = "stopped; to continue from the last saved state, repeat the command with --resume"

console = Console()


def print_summary(rows: dict[str, str], *, title: str) -> None:
    """Print a table with two columns: names and values."""
    table = Table(title=title, show_header=False, title_justify="left")
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)


class RunProgress(Progress):
    """A bar over all optimizer steps with the loss, the speed in `unit` per second, and the remaining time."""

    def __init__(self, *, num_steps: int, done: int, enabled: bool, unit: str):
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  {task.fields[speed]:.0f} " + unit + "/s"),
            TimeElapsedColumn(),
            TextColumn("remaining"),
            TimeRemainingColumn(),
            console=console,
            disable=not enabled,
        )
        self.task = self.add_task("training", total=num_steps, completed=done, loss=float("nan"), speed=0.0)
        self.speed, self.last = 0.0, time.perf_counter()

    def step(self, *, epoch: int, loss: float, num_done: int) -> None:
        """Update the bar after an optimizer step over `num_done` samples."""
        now = time.perf_counter()
        speed = num_done / max(now - self.last, 1e-9)
        self.speed = speed if self.speed == 0 else 0.9 * self.speed + 0.1 * speed
        self.last = now
        self.update(self.task, advance=1, description=f"epoch {epoch + 1}", loss=loss, speed=self.speed)

    def stopped_early(self, epoch: int, patience: int) -> None:
        """Print why the run ends before its last epoch."""
        console.print(f"stopped after epoch {epoch}: --early-stopping {patience} epochs without a better one")

    def validated(self, epoch: int, summary: str, *, is_best: bool) -> None:
        """Print the result of a validation."""
        console.print(f"epoch {epoch + 1} validation: {summary}{' (best)' if is_best else ''}")
        self.last = time.perf_counter()


def peak_memory_gib(device: torch.device) -> float:
    """Peak memory of this process: on the GPU if it computes there, otherwise main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
