"""The stages of a run of train/finetune.py: findings, text, reports."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from data.study import load_studies
from tests.helpers.processes.finetune_runs import arguments, error, from_checkpoint, losses, validations
from train import finetune
from vlm.checkpoint.provenance import load_provenance
from vlm.generator import ReportGenerator


def test_freeze_after_findings_freezes_the_encoder_and_resumes(small_dataset, tmp_path, monkeypatch):
    options = ["--num-epochs=2", "--no-lora", "--findings-epochs=1", "--freeze-after-findings", "--save-steps=1"]
    output = tmp_path / "run"
    finetune.main(arguments(small_dataset, output, *options, "--save-total-limit=99"))
    middle, last = (load_file(output / "states" / f"step-{step:08d}" / "state.safetensors") for step in (4, 8))
    moved = {name for name in middle if name.startswith("model.") and not torch.equal(middle[name], last[name])}
    assert not [name for name in moved if name.startswith(("model.encoder.", "model.finding_queries."))]
    assert [name for name in moved if name.startswith("model.decoder.")]

    whole = losses(output)
    for step in (6, 7, 8):
        shutil.rmtree(output / "states" / f"step-{step:08d}")
    finetune.main(arguments(small_dataset, output, *options, "--save-total-limit=99", "--resume"))
    assert losses(output) == whole


def test_decided_findings_are_kept_by_the_checkpoint(small_dataset, tmp_path):
    finetune.main(arguments(small_dataset, tmp_path / "run", "--num-epochs=1", "--no-lora", "--decide-findings"))
    assert ReportGenerator.from_pretrained(tmp_path / "run").calibration.decides_reports
    finetune.main(from_checkpoint(small_dataset, tmp_path / "next", tmp_path / "run", "--num-epochs=1"))
    assert ReportGenerator.from_pretrained(tmp_path / "next").calibration.decides_reports
    assert validations(tmp_path / "run")[-1]["report_cider"] is not None


def test_encoder_of_a_trained_classifier_is_reused_frozen_and_with_saved_features(small_dataset, tmp_path):
    classifier, cache = tmp_path / "classifier", tmp_path / "features"
    finetune.main(arguments(small_dataset, classifier, "--num-epochs=1", "--findings-epochs=1", "--no-lora"))
    own = ("--image-size", "--encoder")
    given = [argument for argument in arguments(small_dataset, tmp_path / "run") if not argument.startswith(own)]
    given += [f"--encoder={classifier}", "--no-lora", "--freeze-after-findings", f"--feature-cache={cache}"]
    finetune.main([*given, "--num-epochs=2", "--text-only-epochs=1"])
    before, after = (load_file(folder / "best" / "model.safetensors") for folder in (classifier, tmp_path / "run"))
    kept = [name for name in before if name.startswith(("encoder.", "view_embedding.", "finding_queries."))]
    assert all(torch.equal(before[name], after[name]) for name in kept)
    assert any(name.startswith("decoder.") and not torch.equal(before[name], after[name]) for name in after)
    assert len(list(cache.glob("*/features.f16"))) == 1  # for train and validation
    assert [run.program for run in load_provenance(tmp_path / "run" / "best").runs] == ["train/finetune.py"] * 2
    rows = load_studies(small_dataset)["validation"]
    probabilities = [
        ReportGenerator.from_pretrained(folder).classify(
            [rows[0]["images"]], view_positions=[rows[0]["view_positions"]]
        )
        for folder in (classifier, tmp_path / "run")
    ]
    temperatures = [
        ReportGenerator.from_pretrained(folder).calibration.temperature for folder in (classifier, tmp_path / "run")
    ]
    assert temperatures[0] == pytest.approx(temperatures[1], rel=0.05)
    assert probabilities[0][0] == pytest.approx(probabilities[1][0], rel=0.05)


def test_text_only_epochs_train_the_decoder_without_images_and_resume(small_dataset, tmp_path):
    options = ["--num-epochs=3", "--no-lora", "--findings-epochs=1", "--text-only-epochs=1", "--save-steps=2"]
    output = tmp_path / "run"
    finetune.main(arguments(small_dataset, output, *options, "--save-total-limit=99"))
    before, after, last = (
        load_file(output / "states" / f"step-{step:08d}" / "state.safetensors") for step in (4, 8, 12)
    )
    image_side = ("model.encoder.", "model.finding_queries.", "model.view_embedding.")
    moved = {name for name in before if name.startswith("model.") and not torch.equal(before[name], after[name])}
    assert not [name for name in moved if name.startswith(image_side)]
    assert {"model.finding_presence", "model.vision_projector.project.2.bias"} <= moved
    moved = {name for name in after if name.startswith(image_side) and not torch.equal(after[name], last[name])}
    assert moved
    rates = [json.loads(line).get("learning_rate") for line in (output / "train_log.jsonl").read_text().splitlines()]
    rates = [rate for rate in rates if rate is not None]
    assert rates[:4] == rates[4:8] == rates[8:]

    whole = losses(output)
    for step in (8, 10, 12):
        shutil.rmtree(output / "states" / f"step-{step:08d}")
    finetune.main(arguments(small_dataset, output, *options, "--save-total-limit=99", "--resume"))
    assert losses(output) == whole


def test_without_finding_tokens_text_only_epochs_train_a_language_model(small_dataset, tmp_path, capsys):
    output = tmp_path / "run"
    options = ["--num-epochs=3", "--no-lora", "--findings-epochs=1", "--text-only-epochs=1", "--no-finding-tokens"]
    finetune.main(arguments(small_dataset, output, *options, "--save-steps=4", "--save-total-limit=99"))
    before, after = (load_file(output / "states" / f"step-{step:08d}" / "state.safetensors") for step in (4, 12))
    assert torch.equal(before["model.finding_presence"], after["model.finding_presence"])
    assert not torch.equal(before["model.finding_queries.queries"], after["model.finding_queries.queries"])
    language = [loss for step, loss in losses(output) if 4 < step <= 8]
    assert language[-1] < language[0]
    assert not ReportGenerator.from_pretrained(output).config.use_finding_tokens
    message = error(capsys, from_checkpoint(small_dataset, tmp_path / "next", output, "--no-finding-tokens"))
    assert "--finding-tokens cannot be given with" in message


@pytest.mark.parametrize("asked", ["--freeze-after-findings", "--text-only-epochs=1"])
def test_epochs_that_need_reports_are_rejected_without_reports(small_dataset, tmp_path, capsys, asked):
    studies = load_studies(small_dataset).map(lambda row: {"findings": "", "impression": ""})
    studies.save_to_disk(str(tmp_path / "silent"))
    given = arguments(tmp_path / "silent", tmp_path / "run", "--num-epochs=2", "--findings-epochs=1", "--no-lora")
    assert "no training study has a report" in error(capsys, [*given, asked])
