"""Complete runs of train/finetune.py on a few small synthetic studies."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel, ViTConfig, ViTModel

from data.cli import run_main
from data.study import load_studies
from train import finetune
from train.card import main as write_card_again
from train.loop import trainer as loop
from train.run.progress import MISTAKES
from vlm.checkpoint.provenance import PROVENANCE_FILE, load_provenance
from vlm.checkpoint.store import load_checkpoint
from vlm.generator import ReportGenerator
from vlm.inputs.tokenizer import train_tokenizer
from vlm.schema.preprocessing import Preprocessing

ROOT = Path(__file__).parents[2]
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


def _arguments(dataset, output, *more):
    return [f"--dataset={dataset}", f"--output-dir={output}", *SMALL, *more]


@pytest.fixture(scope="module")
def trained(small_dataset, tmp_path_factory):
    """A run of one epoch without LoRA. Tests must not change it."""
    output = tmp_path_factory.mktemp("trained") / "run"
    finetune.main(_arguments(small_dataset, output, "--num-epochs=1", "--no-lora"))
    return output


def _from_checkpoint(dataset, output, start, *more):
    own = ("--image-size", "--encoder", "--decoder", "--vocab-size")
    arguments = [argument for argument in _arguments(dataset, output, *more) if not argument.startswith(own)]
    return [*arguments, f"--init-from={start}"]


def _validations(output):
    records = [json.loads(line) for line in (output / "train_log.jsonl").read_text().splitlines()]
    return [record["validation"] for record in records if "validation" in record]


def _losses(output):
    records = [json.loads(line) for line in (output / "train_log.jsonl").read_text().splitlines()]
    return [(record["step"], record["loss"]) for record in records if "loss" in record]


def test_run_writes_checkpoint_log_card_and_merged_model(small_dataset, trained, tmp_path):
    output = tmp_path / "run"
    finetune.main(_from_checkpoint(small_dataset, output, trained, "--num-epochs=2", "--findings-epochs=1", "--merge"))
    assert len(_losses(output)) == 2 * 4
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
    finetune.main(_from_checkpoint(small_dataset, output, trained, "--num-epochs=1", "--learning-rate=1e-9"))
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
    arguments = [argument for argument in _arguments(small_dataset, tmp_path / "run") if not argument.startswith(own)]
    named = [f"--encoder={tmp_path / 'vit'}", f"--decoder={tmp_path / 'gpt2'}", "--num-epochs=1"]
    finetune.main([*arguments, *named])
    saved = load_file(tmp_path / "run" / "best" / "model.safetensors")
    assert not [name for name in saved if name.startswith(("encoder.", "decoder."))]
    config = load_checkpoint(tmp_path / "run").model.config
    assert config.image.size == 32
    assert config.image.mean == (0.1, 0.1, 0.1)
    assert config.decoder.base.name == str(tmp_path / "gpt2")


def test_interrupted_run_resumes_with_the_same_losses(small_dataset, tmp_path, monkeypatch):
    options = ["--num-epochs=3", "--no-lora", "--save-steps=3"]
    finetune.main(_arguments(small_dataset, tmp_path / "whole", *options))

    true_step, calls = loop.training_step, []

    def failing_step(*arguments, **options):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return true_step(*arguments, **options)

    monkeypatch.setattr(loop, "training_step", failing_step)
    with pytest.raises(KeyboardInterrupt):
        finetune.main(_arguments(small_dataset, tmp_path / "cut", *options))
    monkeypatch.undo()
    finetune.main(_arguments(small_dataset, tmp_path / "cut", *options, "--resume"))
    assert _losses(tmp_path / "cut") == _losses(tmp_path / "whole")


def test_two_processes_equal_one_with_twice_the_batch_size(small_dataset, tmp_path):
    """Two stages, without random numbers: no augmentation, and nano has no dropout."""
    still = ["--num-epochs=2", "--no-lora", "--findings-epochs=1", "--freeze-after-findings", "--no-use-augmentation"]
    finetune.main(_arguments(small_dataset, tmp_path / "one", *still))
    arguments = _arguments(small_dataset, tmp_path / "two", *still, "--batch-size=2")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*launch, "--main_process_port=0", "train/finetune.py", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    one, two = (dict(_losses(tmp_path / name)) for name in ("one", "two"))
    assert len(one) == 2 * 4
    assert two == pytest.approx(one, abs=1e-4)
    assert len(_validations(tmp_path / "two")) == 2
    for first, second in zip(_validations(tmp_path / "one"), _validations(tmp_path / "two"), strict=True):
        assert second == pytest.approx(first, abs=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_killed_launch_resumes_with_the_same_losses(small_dataset, tmp_path):
    """`kill -9` on `accelerate launch` at a random moment."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

    def launch(*more):
        command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes=1"]
        arguments = _arguments(small_dataset, tmp_path / "run", "--num-epochs=8", "--no-lora", "--save-steps=2", *more)
        return subprocess.Popen(
            [*command, "train/finetune.py", *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    log = tmp_path / "run" / "train_log.jsonl"
    process = launch()
    deadline = time.monotonic() + 120
    while (
        time.monotonic() < deadline and process.poll() is None and not (log.is_file() and len(_losses(log.parent)) > 5)
    ):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = dict(_losses(log.parent))
    process = launch("--resume")
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    after = _losses(log.parent)
    assert [step for step, _ in after] == list(range(1, 8 * 4 + 1))
    shared = {step: loss for step, loss in after if step in before}
    assert len(shared) > 5
    assert shared == pytest.approx(before, rel=1e-6)


def test_lstm_baseline_trains(small_dataset, tmp_path):
    finetune.main(_arguments(small_dataset, tmp_path / "run", "--num-epochs=1", "--no-lora", "--decoder=lstm-nano"))
    assert load_checkpoint(tmp_path / "run" / "best").model.config.decoder.kind == "lstm"


def test_data_set_without_reports_trains_only_the_findings(small_dataset, tmp_path):
    studies = load_studies(small_dataset).map(lambda row: {"findings": "", "impression": ""})
    studies.save_to_disk(str(tmp_path / "silent"))
    finetune.main(_arguments(tmp_path / "silent", tmp_path / "run", "--num-epochs=1", "--no-lora"))
    records = [json.loads(line) for line in (tmp_path / "run" / "train_log.jsonl").read_text().splitlines()]
    assert records[-1]["validation"]["report_loss"] is None
    assert records[-1]["validation"]["finding_loss"] > 0
    assert not load_checkpoint(tmp_path / "run").model.config.writes_reports
    assert "**It only classifies.**" in (tmp_path / "run" / "best" / "README.md").read_text()


def _error(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        run_main(lambda: finetune.main(arguments), mistakes=MISTAKES)
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    return " ".join((printed.out + printed.err).replace("│", " ").split())


def test_output_folder_of_another_run_is_rejected(small_dataset, tmp_path, capsys):
    output = tmp_path / "run"
    finetune.main(_arguments(small_dataset, output, "--num-epochs=1", "--no-lora"))
    message = _error(capsys, _arguments(small_dataset, output, "--num-epochs=1", "--no-lora"))
    assert "already holds a run or other files; give --resume" in message
    message = _error(
        capsys, _arguments(small_dataset, output, "--num-epochs=1", "--no-lora", "--learning-rate=0.1", "--resume")
    )
    assert "says learning_rate = 0.0005 but 0.1 was given" in message
    message = _error(capsys, _arguments(small_dataset, tmp_path / "other", "--resume"))
    assert "holds no run" in message


def test_error_messages_name_the_option(small_dataset, tmp_path, capsys):
    message = _error(capsys, _arguments(tmp_path / "nothing", tmp_path / "run"))
    assert "nothing does not exist; make one with `python -m data.prepare`" in message
    message = _error(capsys, _arguments(small_dataset, tmp_path / "run", "--findings-epochs=99"))
    assert "--findings-epochs must be in 0..10" in message
    message = _error(capsys, [*_arguments(small_dataset, tmp_path / "run"), "--encoder=/no/such/folder", "--no-lora"])
    assert "no model can be read from '/no/such/folder'" in message
    message = _error(capsys, _arguments(small_dataset, tmp_path / "run1", "--no-lora", "--max-report-tokens=490"))
    assert "up to 2 views" in message
    assert "give --max-report-tokens at most" in message
    message = _error(capsys, _arguments(small_dataset, tmp_path / "run2"))
    assert "LoRA needs pretrained weights, but the decoder 'nano' has random weights" in message
    message = _error(capsys, [*_arguments(small_dataset, tmp_path / "run3"), "--init-from=/no/such/run"])
    assert "--encoder cannot be given with --init-from" in message
    message = _error(capsys, _from_checkpoint(small_dataset, tmp_path / "run4", "/no/such/run"))
    assert "/no/such/run is neither a checkpoint folder nor a hub repository" in message


def test_checkpoint_stores_the_preprocessing_of_its_data_set(small_dataset, tmp_path):
    shutil.copytree(small_dataset, tmp_path / "studies")
    switches = {"crop_border": False, "denoise": False, "normalize": "percentile", "clahe": True}
    preparation = {"options": {"image_options": {"preprocessing": switches}}}
    (tmp_path / "studies" / "preparation.json").write_text(json.dumps(preparation))
    finetune.main(_arguments(tmp_path / "studies", tmp_path / "run", "--num-epochs=1", "--no-lora"))
    config = ReportGenerator.from_pretrained(tmp_path / "run").config
    assert config.preprocessing == Preprocessing(normalize="percentile", clahe=True)


def test_init_from_with_other_preprocessing_gives_a_warning(small_dataset, trained, tmp_path, capsys):
    shutil.copytree(small_dataset, tmp_path / "studies")
    switches = {"crop_border": False, "denoise": False, "normalize": "none", "clahe": True}
    preparation = {"options": {"image_options": {"preprocessing": switches}}}
    (tmp_path / "studies" / "preparation.json").write_text(json.dumps(preparation))
    finetune.main(_from_checkpoint(tmp_path / "studies", tmp_path / "run", trained, "--num-epochs=1"))
    printed = " ".join(capsys.readouterr().out.split())
    assert f"--init-from {trained} was trained with a different preprocessing than that of --dataset" in printed
    assert "(clahe False -> True)" in printed
    finetune.main(_from_checkpoint(tmp_path / "studies", tmp_path / "again", tmp_path / "run", "--num-epochs=1"))
    assert "different preprocessing" not in capsys.readouterr().out


def test_freeze_after_findings_freezes_the_encoder_and_resumes(small_dataset, tmp_path, monkeypatch):
    options = ["--num-epochs=2", "--no-lora", "--findings-epochs=1", "--freeze-after-findings", "--save-steps=1"]
    output = tmp_path / "run"
    finetune.main(_arguments(small_dataset, output, *options, "--save-total-limit=99"))
    middle, last = (load_file(output / "states" / f"step-{step:08d}" / "state.safetensors") for step in (4, 8))
    moved = {name for name in middle if name.startswith("model.") and not torch.equal(middle[name], last[name])}
    assert not [name for name in moved if name.startswith(("model.encoder.", "model.finding_queries."))]
    assert [name for name in moved if name.startswith("model.decoder.")]

    whole = _losses(output)
    for step in (6, 7, 8):
        shutil.rmtree(output / "states" / f"step-{step:08d}")
    finetune.main(_arguments(small_dataset, output, *options, "--save-total-limit=99", "--resume"))
    assert _losses(output) == whole


def test_text_only_epochs_train_the_decoder_without_images_and_resume(small_dataset, tmp_path):
    options = ["--num-epochs=3", "--no-lora", "--findings-epochs=1", "--text-only-epochs=1", "--save-steps=2"]
    output = tmp_path / "run"
    finetune.main(_arguments(small_dataset, output, *options, "--save-total-limit=99"))
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

    whole = _losses(output)
    for step in (8, 10, 12):
        shutil.rmtree(output / "states" / f"step-{step:08d}")
    finetune.main(_arguments(small_dataset, output, *options, "--save-total-limit=99", "--resume"))
    assert _losses(output) == whole


def test_without_finding_tokens_text_only_epochs_train_a_language_model(small_dataset, tmp_path, capsys):
    output = tmp_path / "run"
    options = ["--num-epochs=3", "--no-lora", "--findings-epochs=1", "--text-only-epochs=1", "--no-finding-tokens"]
    finetune.main(_arguments(small_dataset, output, *options, "--save-steps=4", "--save-total-limit=99"))
    before, after = (load_file(output / "states" / f"step-{step:08d}" / "state.safetensors") for step in (4, 12))
    assert torch.equal(before["model.finding_presence"], after["model.finding_presence"])
    assert not torch.equal(before["model.finding_queries.queries"], after["model.finding_queries.queries"])
    language = [loss for step, loss in _losses(output) if 4 < step <= 8]
    assert language[-1] < language[0]
    assert not ReportGenerator.from_pretrained(output).config.use_finding_tokens
    message = _error(capsys, _from_checkpoint(small_dataset, tmp_path / "next", output, "--no-finding-tokens"))
    assert "--finding-tokens cannot be given with" in message


@pytest.mark.parametrize("asked", ["--freeze-after-findings", "--text-only-epochs=1"])
def test_epochs_that_need_reports_are_rejected_without_reports(small_dataset, tmp_path, capsys, asked):
    studies = load_studies(small_dataset).map(lambda row: {"findings": "", "impression": ""})
    studies.save_to_disk(str(tmp_path / "silent"))
    arguments = _arguments(tmp_path / "silent", tmp_path / "run", "--num-epochs=2", "--findings-epochs=1", "--no-lora")
    assert "no training study has a report" in _error(capsys, [*arguments, asked])


def test_help_shows_the_most_important_options_first(capsys):
    with pytest.raises(SystemExit):
        finetune.main(["--help"])
    first, group, *_ = re.split(r"^\W*(\w+) options\W*$", capsys.readouterr().out.split(" options ", 1)[1], flags=re.M)
    names = re.findall(r"^\W+--([a-z][a-z-]+)", first, re.MULTILINE)
    assert names == ["output-dir", "num-epochs", "resume", "dataset", "init-from", "encoder", "decoder", "lora"]
    assert group == "optimization"


@pytest.mark.parametrize("program", ["train/finetune.py", "train/pretrain.py"])
def test_user_errors_under_accelerate_launch_print_one_line(tmp_path, program):
    dataset = ["--dataset", str(tmp_path)] if "finetune" in program else ["images", "--datasets", str(tmp_path)]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", "--cpu", "--num_processes=1", program]
    done = subprocess.run(
        [*command, *dataset, "--output-dir", str(tmp_path / "run")],
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    [message] = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert f"{tmp_path} is not a prepared data set" in message


@pytest.mark.filterwarnings("ignore")
def test_ctrl_c_under_accelerate_launch_prints_one_line_without_traceback(small_dataset, tmp_path):
    """The launcher prints its own traceback; the program must not."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes=1", "train/finetune.py"]
    process = subprocess.Popen(
        [*command, *_arguments(small_dataset, tmp_path / "run", "--num-epochs=999", "--no-lora")],
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    log = tmp_path / "run" / "train_log.jsonl"
    deadline = time.monotonic() + 300
    try:
        while not log.is_file():
            assert process.poll() is None and time.monotonic() < deadline, "training did not start"
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert "stopped; to continue from the last saved state, repeat the command with --resume" in errors.splitlines()
    assert str(ROOT / "train") not in errors
