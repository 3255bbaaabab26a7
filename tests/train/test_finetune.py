"""Complete runs of train/finetune.py on a few small synthetic studies."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel, ViTConfig, ViTModel

from data.study import load_studies
from tests.helpers.processes.finetune_runs import arguments, from_checkpoint, losses
from train import finetune
from train.card.__main__ import main as write_card_again
from vlm.checkpoint.provenance import PROVENANCE_FILE, load_provenance
from vlm.checkpoint.store import load_checkpoint
from vlm.generator import ReportGenerator
from vlm.inputs.tokenizer import train_tokenizer
from vlm.schema.preprocessing import Preprocessing


@pytest.fixture(scope="module")
def trained(small_dataset, tmp_path_factory):
    """A run of one epoch without LoRA. Tests must not change it."""
    output = tmp_path_factory.mktemp("trained") / "run"
    finetune.main(arguments(small_dataset, output, "--num-epochs=1", "--no-lora"))
    return output


def test_run_writes_checkpoint_log_card_and_merged_model(small_dataset, trained, tmp_path):
    output = tmp_path / "run"
    finetune.main(from_checkpoint(small_dataset, output, trained, "--num-epochs=2", "--findings-epochs=1", "--merge"))
    assert len(losses(output)) == 2 * 4
    card = (output / "best" / "README.md").read_text()
    assert "Not a medical device" in card
    assert "synthetic" in card
    assert "guided to the bounding boxes" in card
    assert "only classifies" not in card
    assert load_checkpoint(output / "best").model.config.writes_reports
    provenance = load_provenance(output / "merged")
    assert provenance == load_provenance(output / "best")
    assert [run.program for run in provenance.runs] == ["train/finetune.py"] * 2
    assert provenance.runs[1].what == "LoRA of rank 16, epochs: 1 of findings only, 1 of reports"
    train, validation = provenance.runs[1].studies
    assert (train.split, train.source, train.license) == ("train", "synthetic", "Apache-2.0")
    assert (train.num_studies, validation.num_studies) == (16, 6)
    assert "Synthetic studies of this project" in card

    (output / "merged" / PROVENANCE_FILE).unlink()
    (output / "best" / "README.md").unlink()
    write_card_again(["--run", str(output)])
    assert (output / "best" / "README.md").read_text() == card
    assert load_provenance(output / "merged") == provenance
    assert json.loads((output / "best" / "training_config.json").read_text())["num_epochs"] == 2
    image = load_studies(small_dataset)["test"][0]["images"][0]
    [report] = ReportGenerator.from_pretrained(output).generate([image])
    [merged] = ReportGenerator.from_pretrained(output / "merged").generate([image])
    assert report.finding_probabilities == pytest.approx(merged.finding_probabilities, abs=1e-5)
    assert not list((output / "merged").glob("*adapter*"))
    assert load_checkpoint(output / "best").calibration.is_calibrated
    assert list((output / "tensorboard").iterdir())


def test_lora_from_a_checkpoint_keeps_its_weights_and_starts_with_its_loss(small_dataset, trained, tmp_path):
    output = tmp_path / "run"
    finetune.main(from_checkpoint(small_dataset, output, trained, "--num-epochs=1", "--learning-rate=1e-9"))
    start, end = (load_file(folder / "best" / "model.safetensors") for folder in (trained, output))
    frozen = [name for name in start if name.startswith(("encoder.", "decoder."))]
    assert frozen
    assert all(torch.equal(start[name], end[name]) for name in frozen)
    assert (output / "best" / "adapter" / "adapter_model.safetensors").is_file()
    validations = [
        json.loads((folder / "train_log.jsonl").read_text().splitlines()[-1])["validation"]
        for folder in (trained, output)
    ]
    assert validations[1]["report_loss"] == pytest.approx(validations[0]["report_loss"], abs=1e-4)


def test_average_with_starts_from_the_mean_of_the_weights(small_dataset, trained, tmp_path, capsys):
    adapted, output = tmp_path / "adapted", tmp_path / "run"
    finetune.main(from_checkpoint(small_dataset, adapted, trained, "--num-epochs=1", "--learning-rate=0.01", "--merge"))
    averaged = ["--num-epochs=1", "--no-lora", "--learning-rate=1e-9", f"--average-with={adapted}"]
    finetune.main(from_checkpoint(small_dataset, output, trained, *averaged))
    folders = (trained / "best", adapted / "merged", output / "best")
    one, other, mean = (load_file(folder / "model.safetensors") for folder in folders)
    name = next(name for name in one if name.startswith("decoder.") and not torch.equal(one[name], other[name]))
    for key in (name, "finding_queries.finding_bias"):
        assert not torch.allclose(one[key], other[key], atol=1e-4)
        torch.testing.assert_close(mean[key], (one[key] + other[key]) / 2, atol=1e-5, rtol=0)
    assert "encoder          │ mean of" in capsys.readouterr().out
    runs = load_provenance(output / "best").runs
    assert [run.program for run in runs] == ["train/finetune.py"] * 3  # the first run once
    assert "from the mean of 2 checkpoints" in runs[-1].what


def test_pretrained_folders_are_referenced_not_copied(small_dataset, tmp_path):
    tokenizer = train_tokenizer(["Findings: the lungs are clear."], vocab_size=300)
    tokenizer.save_pretrained(str(tmp_path / "gpt2"))
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    gpt2 = GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=512, vocab_size=len(tokenizer), **special)
    GPT2LMHeadModel(gpt2).save_pretrained(tmp_path / "gpt2")
    vit = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=16
    )
    ViTModel(vit, add_pooling_layer=False).save_pretrained(tmp_path / "vit")
    (tmp_path / "vit" / "preprocessor_config.json").write_text(
        json.dumps({"size": {"height": 32, "width": 32}, "image_mean": [0.1] * 3, "image_std": [0.2] * 3})
    )
    own = ("--image-size", "--encoder", "--decoder", "--vocab-size")
    given = [argument for argument in arguments(small_dataset, tmp_path / "run") if not argument.startswith(own)]
    named = [f"--encoder={tmp_path / 'vit'}", f"--decoder={tmp_path / 'gpt2'}", "--num-epochs=1"]
    finetune.main([*given, *named])
    saved = load_file(tmp_path / "run" / "best" / "model.safetensors")
    assert not [name for name in saved if name.startswith(("encoder.", "decoder."))]
    config = load_checkpoint(tmp_path / "run").model.config
    assert config.image.size == 32
    assert config.image.mean == (0.1, 0.1, 0.1)
    assert config.decoder.base.name == str(tmp_path / "gpt2")


def test_lstm_baseline_trains(small_dataset, tmp_path):
    finetune.main(arguments(small_dataset, tmp_path / "run", "--num-epochs=1", "--no-lora", "--decoder=lstm-nano"))
    assert load_checkpoint(tmp_path / "run" / "best").model.config.decoder.kind == "lstm"


def test_data_set_without_reports_trains_only_the_findings(small_dataset, tmp_path):
    studies = load_studies(small_dataset).map(lambda row: {"findings": "", "impression": ""})
    studies.save_to_disk(str(tmp_path / "silent"))
    finetune.main(arguments(tmp_path / "silent", tmp_path / "run", "--num-epochs=1", "--no-lora"))
    records = [json.loads(line) for line in (tmp_path / "run" / "train_log.jsonl").read_text().splitlines()]
    assert records[-1]["validation"]["report_loss"] is None
    assert records[-1]["validation"]["finding_loss"] > 0
    assert not load_checkpoint(tmp_path / "run").model.config.writes_reports
    assert "**It only classifies.**" in (tmp_path / "run" / "best" / "README.md").read_text()


def test_checkpoint_stores_the_preprocessing_of_its_data_set(small_dataset, tmp_path):
    shutil.copytree(small_dataset, tmp_path / "studies")
    switches = {"crop_border": False, "denoise": False, "normalize": "percentile", "clahe": True}
    preparation = {"options": {"image_options": {"preprocessing": switches}}}
    (tmp_path / "studies" / "preparation.json").write_text(json.dumps(preparation))
    finetune.main(arguments(tmp_path / "studies", tmp_path / "run", "--num-epochs=1", "--no-lora"))
    config = ReportGenerator.from_pretrained(tmp_path / "run").config
    assert config.preprocessing == Preprocessing(normalize="percentile", clahe=True)


def test_init_from_with_other_preprocessing_gives_a_warning(small_dataset, trained, tmp_path, capsys):
    shutil.copytree(small_dataset, tmp_path / "studies")
    switches = {"crop_border": False, "denoise": False, "normalize": "none", "clahe": True}
    preparation = {"options": {"image_options": {"preprocessing": switches}}}
    (tmp_path / "studies" / "preparation.json").write_text(json.dumps(preparation))
    finetune.main(from_checkpoint(tmp_path / "studies", tmp_path / "run", trained, "--num-epochs=1"))
    printed = " ".join(capsys.readouterr().out.split())
    assert f"--init-from {trained} was trained with a different preprocessing than that of --dataset" in printed
    assert "(clahe False -> True)" in printed
    finetune.main(from_checkpoint(tmp_path / "studies", tmp_path / "again", tmp_path / "run", "--num-epochs=1"))
    assert "different preprocessing" not in capsys.readouterr().out
