"""Small runs of train/finetune.py: their arguments, losses, validations and error messages."""

import json

import pytest

from data.cli import run_main
from train import finetune
from train.run.progress import MISTAKES

SMALL = [
    "--image-size=32",
    "--encoder=nano",
    "--decoder=nano",
    "--vocab-size=300",
    "--batch-size=4",
    "--num-validation-reports=2",
    "--max-new-tokens=8",
    "--num-workers=0",
]


def arguments(dataset, output, *more):
    return [f"--dataset={dataset}", f"--output-dir={output}", *SMALL, *more]


def from_checkpoint(dataset, output, start, *more):
    """The arguments of a run that starts from a checkpoint."""
    own = ("--image-size", "--encoder", "--decoder", "--vocab-size")
    given = [argument for argument in arguments(dataset, output, *more) if not argument.startswith(own)]
    return [*given, f"--init-from={start}"]


def validations(output):
    records = [json.loads(line) for line in (output / "train_log.jsonl").read_text().splitlines()]
    return [record["validation"] for record in records if "validation" in record]


def losses(output):
    records = [json.loads(line) for line in (output / "train_log.jsonl").read_text().splitlines()]
    return [(record["step"], record["loss"]) for record in records if "loss" in record]


def error(capsys, given):
    """The message with which a run ends."""
    with pytest.raises(SystemExit) as stopped:
        run_main(lambda: finetune.main(given), mistakes=MISTAKES)
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    return " ".join((printed.out + printed.err).replace("│", " ").split())
