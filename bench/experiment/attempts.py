"""Long steps as separate programs: each is run until it succeeds once, and the cost of all attempts is recorded.

The file `attempts.jsonl` of a folder has one line per attempt: step, arguments, exit status, seconds of wall time and
CPU time. A step is done if one of its attempts ended with status 0.
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

RESUME = "--resume"
"""Argument that makes a killed program resume; it does not change the result."""
NUM_LOG_CHARACTERS = 2000
"""The end of the log that an error message shows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One run of the program of a step."""

    step: str
    arguments: tuple[str, ...]
    status: int
    """0: success; below 0: killed by this signal."""
    cpu_seconds: float
    wall_seconds: float


class StepError(RuntimeError):
    """The program of a step failed; the message has the end of its output."""


def exit_on_sigterm() -> None:
    """Make `kill` end this program like Ctrl-C does, so that it stops its child process; a second signal is ignored."""

    def stop(*_) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)


def attempts_in(folder: Path) -> list[Attempt]:
    """All attempts, in order."""
    path = folder / "attempts.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [
        from_dict(json.loads(line), Attempt, where=f"{path}, line {number}") for number, line in enumerate(lines, 1)
    ]


def run_step(folder: Path, step: str, arguments: Sequence[str], *, threads: int) -> None:
    """Run `python ARGUMENTS` unless the step is done; its output goes to <step>.log. It ends when this program ends.

    Raises:
        StepError: it failed.
        ValueError: the step was done with other arguments.
    """
    if done := [attempt for attempt in attempts_in(folder) if attempt.step == step and attempt.status == 0]:
        _check_same(folder, step, done[-1].arguments, arguments)
        return
    folder.mkdir(parents=True, exist_ok=True)
    environment = {"HF_HUB_OFFLINE": "1"} | os.environ | {"OMP_NUM_THREADS": str(threads)}
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
        printed = log.read_bytes()[-NUM_LOG_CHARACTERS:].decode("utf-8", "replace")
        raise StepError(f"{step} ended with status {process.returncode}; the end of {log}:\n{printed}")


def _check_same(folder: Path, step: str, saved: Sequence[str], given: Sequence[str]) -> None:
    saved, given = ([argument for argument in arguments if argument != RESUME] for arguments in (saved, given))
    if saved != given:
        odd = sorted(set(saved) ^ set(given))
        raise ValueError(
            f"{folder / 'attempts.jsonl'}: {step!r} was done with other arguments ({', '.join(odd)}); delete {folder} "
            "to run it again, or give another --work"
        )
