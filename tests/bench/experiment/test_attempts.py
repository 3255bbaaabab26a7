"""Steps are run until they succeed once, and the cost of all attempts is recorded."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.experiment import attempts
from bench.experiment.attempts import StepError, attempts_in, run_step

LONG = "print('started', flush=True); import time; time.sleep(60)"


def test_finished_step_is_not_repeated(tmp_path):
    mark = tmp_path / "mark"
    program = ["-c", f"open({str(mark)!r}, 'a').write('x'); print('said'); sum(range(10**7))"]
    for _ in range(2):
        run_step(tmp_path / "work", "a step", program, threads=1)
    assert mark.read_text() == "x"
    [attempt] = attempts_in(tmp_path / "work")
    assert (attempt.step, attempt.status) == ("a step", 0)
    assert 0 < attempt.cpu_seconds <= attempt.wall_seconds + 0.5
    assert (tmp_path / "work" / "a_step.log").read_text() == "said\n"


def test_step_runs_with_its_number_of_threads(tmp_path):
    run_step(tmp_path, "ask", ["-c", "import os; print(os.environ['OMP_NUM_THREADS'])"], threads=3)
    assert (tmp_path / "ask.log").read_text() == "3\n"


def test_failed_step_is_reported_and_run_again(tmp_path):
    mark = tmp_path / "mark"
    program = ["-c", f"import os, sys; os.path.exists({str(mark)!r}) or sys.exit('no mark')"]
    with pytest.raises(StepError, match=r"(?s)learn ended with status 1; the end of .*learn.log:\nno mark"):
        run_step(tmp_path, "learn", program, threads=1)
    mark.touch()
    run_step(tmp_path, "learn", [*program, "--resume"], threads=1)
    assert [attempt.status for attempt in attempts_in(tmp_path)] == [1, 0]
    run_step(tmp_path, "learn", program, threads=1)  # --resume does not make it another step
    assert len(attempts_in(tmp_path)) == 2


def test_step_with_other_arguments_is_rejected(tmp_path):
    run_step(tmp_path, "learn", ["-c", "pass", "--rate=1"], threads=1)
    with pytest.raises(ValueError, match=r"'learn' was done with other arguments \(--rate=1, --rate=2\); delete"):
        run_step(tmp_path, "learn", ["-c", "pass", "--rate=2"], threads=1)


def test_program_that_is_killed_twice_stops_its_child_process_first(tmp_path):
    code = f"""
import pathlib
from bench.experiment.attempts import run_step, exit_on_sigterm
exit_on_sigterm()
run_step(pathlib.Path({str(tmp_path)!r}), "long", ["-c", {LONG!r}], threads=1)
"""
    program = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3])
    log = tmp_path / "long.log"
    while not (log.is_file() and log.read_text()):
        time.sleep(0.02)
    program.send_signal(signal.SIGTERM)
    program.send_signal(signal.SIGTERM)
    assert program.wait() == 128 + signal.SIGTERM
    assert [attempt.status for attempt in attempts_in(tmp_path)] == [-signal.SIGKILL]


def test_interrupted_step_stops_its_process_and_is_recorded(tmp_path, monkeypatch):
    wait, waited = os.wait4, []

    def interrupted_once(process, options):
        waited.append(process)
        if len(waited) == 1:
            raise KeyboardInterrupt
        return wait(process, options)

    monkeypatch.setattr(attempts.os, "wait4", interrupted_once)
    with pytest.raises(KeyboardInterrupt):
        run_step(tmp_path, "long", ["-c", "import time; time.sleep(60)"], threads=1)
    [attempt] = attempts_in(tmp_path)
    assert attempt.status == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(waited[0], 0)
