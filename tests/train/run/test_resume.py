"""A run that was stopped after any step continues to the same losses, validations and weights, to the last bit."""

import json
import logging
import shutil

import pytest
import torch
from safetensors.torch import load_file

from tests.helpers.files.parquet_files import write_parquet
from tests.helpers.processes.finetune_runs import arguments, error, from_checkpoint, losses, validations
from train import finetune, pretrain
from train.loop import tasks

STATES = ["--save-steps=1", "--save-total-limit=99"]
WORKERS = "--num-workers=2"


def _finetune(*more):
    return finetune.main, lambda dataset, output: arguments(dataset, output, "--num-epochs=2", "--no-lora", *more)


def _pretrain(kind, *more):
    def given(dataset, output):
        return [kind, f"--datasets={dataset}", f"--output-dir={output}", "--num-epochs=2", "--num-workers=0", *more]

    return pretrain.main, given


RUNS = {
    "dropout": _finetune("--decoder=lstm-nano"),
    "workers, no augmentation": _finetune("--decoder=lstm-nano", WORKERS, "--no-use-augmentation"),
    "stages, workers, accumulation": _finetune(
        "--decoder=lstm-nano", "--findings-epochs=1", WORKERS, "--batch-size=2", "--gradient-accumulation-steps=2"
    ),
    "images, workers": _pretrain("images", "--encoder=nano", "--image-size=32", "--batch-size=8", WORKERS),
    "text": _pretrain("text", "--decoder=tiny", "--vocab-size=300", "--batch-size=8"),
}


def _weights(folder):
    """All weights at the end of a run."""
    return load_file(max((folder / "states").iterdir()) / "state.safetensors")


def _assert_equal_after_each_stop(main, given, dataset, whole, tmp_path, stops):
    """Run once; then, for each of `stops`, start again from a copy that has no later state."""
    main([*given(dataset, whole), *STATES])
    for stop in stops:
        cut = tmp_path / f"cut-{stop}"
        shutil.copytree(whole, cut)
        for state in (cut / "states").iterdir():
            if int(state.name.removeprefix("step-")) > stop:
                shutil.rmtree(state)
        main([*given(dataset, cut), *STATES, "--resume"])
        assert losses(cut) == losses(whole), stop
        assert validations(cut) == validations(whole), stop
        one, other = _weights(cut), _weights(whole)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in other), stop
        shutil.rmtree(cut)


@pytest.mark.parametrize("name", RUNS)
def test_resumed_run_equals_an_uninterrupted_run(small_dataset, tmp_path, name):
    stops = (1, 3) if name == "text" else (2, 5)  # text has two steps per epoch
    _assert_equal_after_each_stop(*RUNS[name], small_dataset, tmp_path / "whole", tmp_path, stops)


@pytest.mark.parametrize("workers", ["--num-workers=0", WORKERS])
def test_resumed_run_on_a_stream_equals_an_uninterrupted_run(small_dataset, tmp_path, workers):
    """Row groups of three studies, six in memory. A stop within a row group, one within the second epoch."""
    shards = write_parquet(small_dataset, tmp_path / "shards")
    main, given = _finetune("--decoder=lstm-nano", "--stream", "--shuffle-buffer=3", "--batch-size=2", workers)
    _assert_equal_after_each_stop(main, given, shards, tmp_path / "whole", tmp_path, (2, 11))


def test_resumed_run_with_lora_equals_an_uninterrupted_run(small_dataset, tiny_checkpoint, tmp_path):
    def given(dataset, output):
        more = ["--num-epochs=2", "--lora-settings.dropout=0.2", "--max-report-tokens=20"]
        return from_checkpoint(dataset, output, tiny_checkpoint, *more)

    _assert_equal_after_each_stop(finetune.main, given, small_dataset, tmp_path / "whole", tmp_path, (1, 4))


def test_more_epochs_continue_a_finished_run_on_the_new_schedule(small_dataset, tmp_path, caplog, capsys):
    output = tmp_path / "run"
    finetune.main(arguments(small_dataset, output, "--num-epochs=1", "--no-lora", "--merge"))
    before = losses(output)
    with caplog.at_level(logging.WARNING):
        finetune.main(arguments(small_dataset, output, "--num-epochs=3", "--no-lora", "--merge", "--resume"))
    assert "raised from 1 to 3" in caplog.text
    assert losses(output)[:4] == before
    assert [step for step, _ in losses(output)] == list(range(1, 13))
    records = [json.loads(line) for line in (output / "train_log.jsonl").read_text().splitlines()]
    rates = [record["learning_rate"] for record in records if "loss" in record]
    assert rates[3] < rates[4] > rates[11]
    assert json.loads((output / "training_config.json").read_text())["num_epochs"] == 3
    message = error(capsys, arguments(small_dataset, output, "--num-epochs=2", "--no-lora", "--merge", "--resume"))
    assert "says num_epochs = 3 but 2 was given" in message
    assert "can only be raised" in message


def test_failed_start_leaves_the_folder_free(small_dataset, tmp_path, capsys, monkeypatch):
    output = tmp_path / "run"
    message = error(capsys, arguments(small_dataset, output, "--num-epochs=1"))
    assert "LoRA needs pretrained weights" in message
    assert (output / "training_config.json").is_file()
    finetune.main(arguments(small_dataset, output, "--num-epochs=1", "--no-lora", "--vocab-size=280"))
    assert len(losses(output)) == 4
    assert len(load_file(output / "best" / "model.safetensors")["decoder.language_model.transformer.wte.weight"]) == 280


def test_early_stopping_ends_a_run_that_no_longer_improves_also_after_resuming(
    small_dataset, tmp_path, monkeypatch, capsys
):
    given = [0.3, 0.5, 0.6, 0.7, 0.4]

    def validate(self, epoch, accelerator):
        return tasks.ValidationResult(metrics={"loss": given[epoch + 1]}, loss=given[epoch + 1])

    monkeypatch.setattr(tasks.PretrainTask, "validate", validate)
    main, build = _pretrain("images", "--encoder=nano", "--image-size=32", "--batch-size=8", "--early-stopping=2")
    run = [argument for argument in build(small_dataset, tmp_path / "run") if not argument.startswith("--num-epochs")]
    main([*run, "--num-epochs=4"])
    assert validations(tmp_path / "run") == [{"loss": loss} for loss in given[:4]]
    printed = capsys.readouterr().out
    assert "stopped after epoch 3: --early-stopping 2 epochs without a better one" in printed
    assert "No epoch is better than epoch 0" in printed
    main([*run, "--num-epochs=4", "--resume"])
    assert len(validations(tmp_path / "run")) == 4
    assert "stopped after epoch 3" in capsys.readouterr().out
    main([*[argument for argument in run if not argument.startswith("--early")], "--num-epochs=4", "--resume"])
    assert validations(tmp_path / "run")[-1] == {"loss": 0.4}
