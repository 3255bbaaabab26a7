"""Complete runs of train/pretrain.py on a few small synthetic studies."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoTokenizer, GPT2LMHeadModel, ViTModel

from data.cli import run_main
from data.study import load_studies
from train import pretrain
from train.build import build_model, build_tokenizer
from train.loop import tasks, trainer
from train.options import ArchitectureOptions, FinetuneOptions
from train.run.progress import MISTAKES
from vlm.checkpoint.provenance import load_provenance
from vlm.config import ImageGeometry

ROOT = Path(__file__).parents[2]
SMALL = {
    "images": ["--encoder=nano", "--image-size=32", "--batch-size=8"],
    "text": ["--decoder=nano", "--vocab-size=300", "--batch-size=4"],
}


def _arguments(program, datasets, output, *more):
    folders = [str(folder) for folder in datasets]
    own = [f"--output-dir={output}", "--num-workers=0", "--num-epochs=2", *SMALL[program]]
    return [program, "--datasets", *folders, *own, *more]


def _records(folder):
    return [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]


def _losses(folder):
    return [(record["step"], record["loss"]) for record in _records(folder) if "loss" in record]


def _validations(folder):
    return [record["validation"]["loss"] for record in _records(folder) if "validation" in record]


@pytest.fixture(scope="module")
def other_dataset(small_dataset, tmp_path_factory):
    """The same images with other subjects and another license; two training studies have no report."""
    folder = tmp_path_factory.mktemp("other") / "other"
    load_studies(small_dataset).map(
        lambda row, number: {
            "subject_id": f"other-{row['subject_id']}",
            "license": "CC BY 4.0",
            "source": "elsewhere",
            "findings": row["findings"] if number > 1 else "",
            "impression": row["impression"] if number > 1 else "",
        },
        with_indices=True,
        keep_in_memory=True,
    ).save_to_disk(str(folder))
    (folder / "rejected.jsonl").write_text('{"study_id": "1"}\n{"study_id": "2"}\n')
    return folder


@pytest.fixture(scope="module")
def encoder_folder(small_dataset, other_dataset, tmp_path_factory):
    """Tests must not change it."""
    output = tmp_path_factory.mktemp("pretrained") / "encoder"
    pretrain.main(_arguments("images", [small_dataset, other_dataset], output))
    return output


@pytest.fixture(scope="module")
def decoder_folder(small_dataset, tmp_path_factory):
    """Tests must not change it."""
    output = tmp_path_factory.mktemp("pretrained") / "decoder"
    pretrain.main(_arguments("text", [small_dataset], output))
    return output


def test_encoder_is_loaded_unchanged_for_fine_tuning(small_dataset, encoder_folder, tiny_tokenizer):
    options = FinetuneOptions(
        dataset=str(small_dataset), output_dir="", encoder=str(encoder_folder), decoder="nano", lora=False
    )
    model = build_model(options, tiny_tokenizer)
    assert model.config.image == ImageGeometry(size=32)
    assert model.encoder.grid == (2, 2)
    saved = ViTModel.from_pretrained(encoder_folder, add_pooling_layer=False).state_dict()
    taken = model.encoder.backbone.state_dict()
    assert saved.keys() == taken.keys()
    assert all(torch.equal(saved[name], taken[name]) for name in saved)
    assert saved["embeddings.position_embeddings"].abs().max() > 0.5


def test_decoder_is_loaded_for_fine_tuning_with_its_tokenizer(small_dataset, decoder_folder):
    plain = GPT2LMHeadModel.from_pretrained(decoder_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(decoder_folder)
    options = FinetuneOptions(
        dataset=str(small_dataset),
        output_dir="",
        encoder="nano",
        decoder=str(decoder_folder),
        architecture=ArchitectureOptions(image_size=32),
    )
    taken = build_tokenizer(options, [])
    report = "Findings: The lungs are clear."
    assert taken.encode(report) == tokenizer.encode(report)
    decoder = build_model(options, taken).decoder.eval()
    input_ids = torch.tensor([tokenizer.encode(report)])
    logits, _ = decoder(decoder.embed(input_ids), torch.ones_like(input_ids), 0)
    torch.testing.assert_close(logits, plain(input_ids).logits, atol=1e-4, rtol=1e-4)


def test_card_lists_data_licenses_and_losses(small_studies, encoder_folder, decoder_folder):
    card = (encoder_folder / "README.md").read_text()
    num_images = sum(map(len, small_studies["train"]["view_positions"]))
    assert "| 1 | train | synthetic | Apache-2.0 | 16 | 16 |" in card
    assert "| 1 | train | elsewhere | CC BY 4.0 | 16 | 14 |" in card
    assert f"{2 * num_images} training images" in card
    assert "license_name: Apache-2.0; CC BY 4.0" in card
    losses = [loss for _, loss in _losses(encoder_folder)]
    before, *validations = _validations(encoder_folder)
    assert f"| 0 |  | {before:.4f} |" in card
    for epoch, loss in enumerate(validations):
        steps = losses[epoch * len(losses) // 2 :][: len(losses) // 2]
        assert f"| {epoch + 1} | {sum(steps) / len(steps):.4f} | {loss:.4f} |" in card
    assert f"--encoder {encoder_folder} --no-lora" in card
    assert f"--decoder {decoder_folder}" in (decoder_folder / "README.md").read_text()
    settings = json.loads((decoder_folder / "training_config.json").read_text())
    assert settings["learning_rate"] == 1e-3
    [run] = load_provenance(encoder_folder).runs
    assert (run.program, run.studies[1].license) == ("train/pretrain.py", "CC BY 4.0")
    assert [studies.num_with_report for studies in run.studies if studies.split == "train"] == [16, 14]
    with Image.open(encoder_folder / "reconstruction.png") as sheet:
        assert sheet.width > 3 * 32
        assert sheet.height > 8 * 32


def test_summary_counts_reports_and_rejected_studies(small_dataset, other_dataset, tmp_path, capsys):
    pretrain.main(_arguments("text", [small_dataset, other_dataset], tmp_path / "run", "--num-epochs=1"))
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "train 30, validation 10; 2 and 2 studies have none" in printed
    assert "2 studies during data preparation" in printed
    assert "epoch 1 validation: loss" in printed


def test_weights_of_the_best_validation_are_kept(small_dataset, tmp_path, monkeypatch):
    saved, losses = [], iter([9.0, 2.0, 1.0, 3.0])

    def validate(self, epoch, accelerator):
        loss = next(losses)
        return trainer.ValidationResult(metrics={"loss": loss}, loss=loss)

    monkeypatch.setattr(tasks.PretrainTask, "validate", validate)
    true_write = tasks.write_files
    monkeypatch.setattr(tasks, "write_files", lambda folder, write: (saved.append(1), true_write(folder, write)))
    pretrain.main(_arguments("text", [small_dataset], tmp_path / "run", "--num-epochs=3"))
    assert len(saved) == 2
    assert "those of epoch 2" in (tmp_path / "run" / "README.md").read_text()


@pytest.mark.parametrize("program", ["images", "text"])
def test_interrupted_run_resumes_with_the_same_losses(small_dataset, tmp_path, monkeypatch, program):
    options = ["--save-steps=2", "--seed=3"]
    pretrain.main(_arguments(program, [small_dataset], tmp_path / "whole", *options))
    true_step, calls = trainer.training_step, []

    def failing_step(*arguments, **named):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return true_step(*arguments, **named)

    monkeypatch.setattr(trainer, "training_step", failing_step)
    with pytest.raises(KeyboardInterrupt):
        pretrain.main(_arguments(program, [small_dataset], tmp_path / "cut", *options))
    monkeypatch.undo()
    pretrain.main(_arguments(program, [small_dataset], tmp_path / "cut", *options, "--resume"))
    assert _losses(tmp_path / "cut") == _losses(tmp_path / "whole")
    assert _validations(tmp_path / "cut") == _validations(tmp_path / "whole")
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("cut", "whole"))
    assert all(torch.equal(one[name], two[name]) for name in two)


def test_two_processes_equal_one_with_twice_the_batch_size(small_dataset, tmp_path):
    pretrain.main(_arguments("images", [small_dataset], tmp_path / "one", "--num-epochs=1"))
    arguments = _arguments("images", [small_dataset], tmp_path / "two", "--num-epochs=1", "--batch-size=4")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*launch, "--main_process_port=0", "train/pretrain.py", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert dict(_losses(tmp_path / "two")) == pytest.approx(dict(_losses(tmp_path / "one")), abs=1e-4)
    assert _validations(tmp_path / "two") == pytest.approx(_validations(tmp_path / "one"), abs=1e-4)


@pytest.mark.parametrize("program", ["images", "text"])
def test_data_sets_are_not_changed(small_dataset, tmp_path, program):
    studies = shutil.copytree(small_dataset, tmp_path / "studies")
    before = sorted(studies.rglob("*"))
    pretrain.main(_arguments(program, [studies], tmp_path / "run", "--num-epochs=1"))
    assert sorted(studies.rglob("*")) == before


def _error(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        run_main(lambda: pretrain.main(arguments), mistakes=MISTAKES)
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    return " ".join((printed.out + printed.err).replace("│", " ").split())


def test_error_messages_name_the_option(small_dataset, encoder_folder, tmp_path, capsys):
    def images(*more):
        return _error(capsys, _arguments("images", [small_dataset], tmp_path / "run", *more))

    assert "--image-size 100 cannot be divided into patches of 16 pixels" in images("--image-size=100")
    assert "such as 96 or 112" in images("--image-size=100")
    assert "--mask-ratio 0.9 must leave some of the 4 patches visible" in images("--mask-ratio=0.9")
    assert "--learning-rate must be above 0" in images("--learning-rate=0")
    assert "cnn" in images("--encoder=cnn")
    message = _error(capsys, _arguments("images", [tmp_path / "nothing"], tmp_path / "run"))
    assert "nothing does not exist; make it with `python -m data.prepare`" in message
    assert "is given twice" in _error(capsys, _arguments("images", [small_dataset] * 2, tmp_path / "run"))
    message = _error(capsys, _arguments("images", [small_dataset], encoder_folder))
    assert "already holds a run or other files; give --resume" in message
    message = _error(capsys, _arguments("text", [small_dataset], tmp_path / "run", "--max-position-shift=300"))
    assert "--max-position-shift must be in 0..263" in message
    assert not (tmp_path / "run").exists()


def test_data_without_reports_is_rejected_for_text_but_not_for_images(small_dataset, tmp_path, capsys):
    studies = load_studies(small_dataset).map(lambda row: {"findings": "", "impression": ""}, keep_in_memory=True)
    studies.save_to_disk(str(tmp_path / "silent"))
    message = _error(capsys, _arguments("text", [tmp_path / "silent"], tmp_path / "run"))
    assert "no study of the train splits has a report" in message
    pretrain.main(_arguments("images", [tmp_path / "silent"], tmp_path / "run", "--num-epochs=1"))
    assert (tmp_path / "run" / "model.safetensors").is_file()
