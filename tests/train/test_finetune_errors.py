"""Messages and help of train/finetune.py."""

import re

import pytest

from tests.helpers.processes.finetune_runs import arguments, error, from_checkpoint
from train import finetune


def test_output_folder_of_another_run_is_rejected(small_dataset, tmp_path, capsys):
    output = tmp_path / "run"
    finetune.main(arguments(small_dataset, output, "--num-epochs=1", "--no-lora"))
    message = error(capsys, arguments(small_dataset, output, "--num-epochs=1", "--no-lora"))
    assert "already holds a run or other files; give --resume" in message
    message = error(
        capsys, arguments(small_dataset, output, "--num-epochs=1", "--no-lora", "--learning-rate=0.1", "--resume")
    )
    assert "says learning_rate = 0.0005 but 0.1 was given" in message
    message = error(capsys, arguments(small_dataset, tmp_path / "other", "--resume"))
    assert "holds no run" in message


def test_error_messages_name_the_option(small_dataset, tmp_path, capsys):
    message = error(capsys, arguments(tmp_path / "nothing", tmp_path / "run"))
    assert "nothing does not exist; make one with `python -m data.prepare`" in message
    message = error(capsys, arguments(small_dataset, tmp_path / "run", "--findings-epochs=99"))
    assert "--findings-epochs must be in 0..10" in message
    message = error(capsys, [*arguments(small_dataset, tmp_path / "run"), "--encoder=/no/such/folder", "--no-lora"])
    assert "no model can be read from '/no/such/folder'" in message
    message = error(capsys, arguments(small_dataset, tmp_path / "run1", "--no-lora", "--max-report-tokens=490"))
    assert "up to 2 views" in message
    assert "give --max-report-tokens at most" in message
    message = error(capsys, arguments(small_dataset, tmp_path / "run2"))
    assert "LoRA needs pretrained weights, but the decoder 'nano' has random weights" in message
    message = error(capsys, [*arguments(small_dataset, tmp_path / "run5"), "--no-lora", "--encoder-layers=1"])
    assert "--encoder-layers needs a pretrained --encoder" in message
    message = error(capsys, arguments(small_dataset, tmp_path / "run6", "--no-lora", "--shard"))
    assert "--shard divides the model among processes, but there is only one; start several: ACCELERATE_USE" in message
    message = error(capsys, arguments(small_dataset, tmp_path / "run7", "--shard", f"--feature-cache={tmp_path}"))
    assert "--shard cannot be given with --feature-cache" in message
    message = error(capsys, [*arguments(small_dataset, tmp_path / "run3"), "--init-from=/no/such/run"])
    assert "--encoder cannot be given with --init-from" in message
    message = error(capsys, from_checkpoint(small_dataset, tmp_path / "run4", "/no/such/run"))
    assert "/no/such/run is neither a checkpoint folder nor a hub repository" in message
    message = error(capsys, arguments(small_dataset, tmp_path / "run8", "--no-lora", "--average-with=/no/such/run"))
    assert "--average-with needs --init-from" in message
    other = tmp_path / "other"
    finetune.main(arguments(small_dataset, other, "--num-epochs=1", "--no-lora"))
    message = error(
        capsys, from_checkpoint(small_dataset, tmp_path / "run9", "cxrscribe-tiny", f"--average-with={other}")
    )
    assert "and --init-from cxrscribe-tiny differ in config.json" in message


def test_help_shows_the_most_important_options_first(capsys):
    with pytest.raises(SystemExit):
        finetune.main(["--help"])
    first, group, *_ = re.split(r"^\W*(\w+) options\W*$", capsys.readouterr().out.split(" options ", 1)[1], flags=re.M)
    names = re.findall(r"^. --([a-z][a-z-]+)", first, re.MULTILINE)  # not in a help text
    assert names == [
        "output-dir",
        "num-epochs",
        "resume",
        "dataset",
        "init-from",
        "average-with",
        "encoder",
        "decoder",
        "lora",
    ]
    assert group == "optimization"
