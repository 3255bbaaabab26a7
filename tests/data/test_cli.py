"""How programs end: message and exit status."""

import ast
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from data.cli import run_main

ROOT = Path(__file__).parents[2]


def ending(capsys, main, **options):
    with pytest.raises(SystemExit) as left:
        run_main(main, **options)
    return left.value.code, capsys.readouterr().err


def raising(error):
    def main():
        raise error

    return main


def test_a_mistake_prints_one_line_and_exits_with_status_2(capsys):
    assert ending(capsys, raising(ValueError("no table.csv"))) == (2, "error: no table.csv\n")


def test_only_the_given_exceptions_are_mistakes(capsys):
    lost = raising(RuntimeError("a worker died"))
    assert ending(capsys, lost, mistakes=(ValueError, RuntimeError)) == (2, "error: a worker died\n")
    with pytest.raises(RuntimeError):
        run_main(lost)


@pytest.mark.parametrize(
    ("number", "fix"),
    [
        (errno.ENOSPC, "free some space, or give a folder on another disk"),
        (errno.EROFS, "check its permissions, or give another path"),
        (errno.EACCES, "check its permissions, or give another path"),
        (errno.ENOTDIR, "give another path"),
        (errno.ENOENT, "check the path"),
    ],
)
def test_path_that_cannot_be_written_is_one_line_with_the_fix(capsys, number, fix):
    error = OSError(number, os.strerror(number), "runs/mine/metrics.json")
    message = f"error: runs/mine/metrics.json: {os.strerror(number)}; {fix}\n"
    assert ending(capsys, raising(error)) == (2, message)
    assert ending(capsys, raising(error), mistakes=(ValueError, OSError)) == (2, message)


def test_other_errors_of_the_system_keep_their_traceback():
    with pytest.raises(ConnectionResetError):
        run_main(raising(ConnectionResetError(errno.ECONNRESET, "reset")))


def test_ctrl_c_prints_no_traceback(capsys):
    assert ending(capsys, raising(KeyboardInterrupt()), stopped="stopped; resume") == (130, "stopped; resume\n")


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (3, 3), ({"a": 1}, 0), (True, 0)])
def test_the_returned_number_is_the_exit_status(capsys, returned, status):
    assert ending(capsys, lambda: returned) == (status, "")


@pytest.mark.parametrize("module", ["data.audit", "eval.compare", "page.accounts"])
def test_programs_report_a_mistake_in_one_line(tmp_path, module):
    arguments = {"data.audit": ["no_such_folder"], "eval.compare": ["a.jsonl", "b.jsonl", "c.jsonl"]}.get(module)
    command = [sys.executable, "-m", module, *(arguments or [str(tmp_path / "accounts"), "a:b"])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, input="\n")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_every_program_ends_through_run_main():
    """No program has its own try statement at its end."""
    for path in ROOT.glob("*/*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test) and path.parent.name != "tests":
                assert not any(isinstance(part, ast.Try) for part in ast.walk(node)), path
