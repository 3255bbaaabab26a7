"""The commands that the README and the Makefile give: every program takes every flag that is given to it."""

import re
from pathlib import Path

import pytest

import app
from data import prepare
from data.audit import __main__ as audit
from data.pipeline import parquet
from eval import batch, compare, score, show
from page import report
from page.archive import __main__ as archive
from page.node import __main__ as node
from train import finetune

ROOT = Path(__file__).parent.parent
PROGRAMS = {
    r"python -m data\.prepare (table|synthetic|dicom|open_i|mimic_cxr|kermany|nih|corrections)": prepare,
    r"python -m data\.audit": audit,
    r"python -m data\.pipeline\.parquet": parquet,
    r"train/finetune\.py": finetune,
    r"eval/batch\.py": batch,
    r"eval/show\.py": show,
    r"python -m eval\.score": score,
    r"python -m eval\.compare": compare,
    r"python -m page\.report": report,
    r"python -m page\.archive": archive,
    r"python -m page\.node": node,
    r"python app\.py": app,
}


def _commands():
    readme = "\n".join(re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL))
    text = f"{readme}\n{(ROOT / 'Makefile').read_text()}"
    for command in re.sub(r"\\\n\s*", " ", text).splitlines():
        for pattern, program in PROGRAMS.items():
            if found := re.search(pattern, command):
                arguments = command[found.end() :]
                yield program, found.groups(), sorted(set(re.findall(r"(?<!\S)--[a-z][a-z.-]+", arguments)))


@pytest.mark.parametrize(
    "program, subcommand, flags", list(_commands()), ids=lambda value: getattr(value, "__name__", None)
)
def test_every_flag_of_a_documented_command_exists(program, subcommand, flags, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as left:
        program.main([*subcommand, "--help"])
    assert left.value.code in (0, None)
    explained = capsys.readouterr().out
    for flag in flags:
        assert re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", explained), f"{program.__name__} knows no {flag}"


def test_every_program_has_a_documented_command():
    assert {program for program, _, _ in _commands()} == set(PROGRAMS.values())
