"""Long work as separate programs, each done once: what a kill left is gone on with, and what it cost is counted whole.

A folder's `attempts.jsonl` has a line an attempt: step, arguments, exit status, seconds of wall time and of CPU. A step
is done when one of its attempts ended with 0.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vlm.schema.strict_json import from_dict

GOES_ON = "--resume"
"""Told to a program that goes on with what a kill left; it changes nothing in what is done."""
TOLD_OF_A_FAILURE = 2000
"""Characters of its output."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One run of a step's program."""

    step: str
    arguments: tuple[str, ...]
    status: int
    """0: it was done; below 0: killed by that signal."""
    cpu_seconds: float
    wall_seconds: float


class StepError(RuntimeError):
    """A step's program ended with an error; the message has the end of what it printed."""


def stop_when_told() -> None:
    """`kill` ends this program as Ctrl-C does, so that it stops what it runs; being told twice changes nothing."""

    def stop(*_) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)


def attempts_in(folder: Path) -> list[Attempt]:
    """All attempts, in their order; none where nothing was tried."""
    path = folder / "attempts.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [
        from_dict(json.loads(line), Attempt, where=f"{path}, line {number}") for number, line in enumerate(lines, 1)
    ]


def run_step(folder: Path, step: str, arguments: Sequence[str], *, threads: int) -> None:
    """Runs `python ARGUMENTS` unless the step is done; what it prints goes to <step>.log. When this program is told to
    stop, that one stops with it.

    Raises:
        StepError: it ended with an error.
        ValueError: the step was done with other arguments.
    """
    if done := [attempt for attempt in attempts_in(folder) if attempt.step == step and attempt.status == 0]:
        _check_same(folder, step, done[-1].arguments, arguments)
        return
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    log = folder / f"{step.replace(' ', '_')}.log"
    start = time.perf_counter()
    with log.open("ab") as file:
        process = subprocess.Popen([sys.executable, *arguments], stdout=file, stderr=file, env=environment)
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        _, status, usage = os.wait4(process.pid, 0)
        raise
    finally:
        process.returncode = os.waitstatus_to_exitcode(status)
        attempt = Attempt(
            step=step,
            arguments=tuple(arguments),
            status=process.returncode,
            cpu_seconds=round(usage.ru_utime + usage.ru_stime, 1),
            wall_seconds=round(time.perf_counter() - start, 1),
        )
        with (folder / "attempts.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(attempt)) + "\n")
    if process.returncode != 0:
        printed = log.read_bytes()[-TOLD_OF_A_FAILURE:].decode("utf-8", "replace")
        raise StepError(f"{step} ended with status {process.returncode}; the end of {log}:\n{printed}")


def _check_same(folder: Path, step: str, held: Sequence[str], given: Sequence[str]) -> None:
    held, given = ([argument for argument in arguments if argument != GOES_ON] for arguments in (held, given))
    if held != given:
        odd = sorted(set(held) ^ set(given))
        raise ValueError(
            f"{folder / 'attempts.jsonl'}: {step!r} was done with other arguments ({', '.join(odd)}); delete {folder} "
            "to do it anew, or give another --work"
        )
