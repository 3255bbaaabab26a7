"""One optimizer step: the division into batches has no effect."""

import copy
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator

from train.loop import step, trainer
from train.loop.step import is_bf16_fast, mixed_precision, report_losses, training_step

LOSSES = report_losses(finding_weight=1.0, box_weight=0.5, severity_weight=0.5, change_weight=0.5)


def _batch(model, lengths):
    torch.manual_seed(0)
    size, rows, longest = model.config.image.size, len(lengths), max(lengths)
    attention_mask = torch.tensor([[1] * length + [0] * (longest - length) for length in lengths])
    finding_mask = torch.rand(rows, 14) > 0.4
    return {
        "pixel_values": torch.randn(rows, 1, model.config.image.num_channels, size, size),
        "view_indices": torch.ones(rows, 1, dtype=torch.long),
        "view_mask": torch.ones(rows, 1, dtype=torch.bool),
        "prompt_ids": torch.zeros(rows, 0, dtype=torch.long),
        "prompt_mask": torch.zeros(rows, 0, dtype=torch.long),
        "input_ids": torch.randint(1, 50, (rows, longest)),
        "attention_mask": attention_mask,
        "finding_targets": torch.randint(0, 2, (rows, 14)).float(),
        "finding_mask": finding_mask,
        "box_targets": (torch.rand(rows, 14, 16) * (torch.rand(rows, 14, 1) > 0.5)).softmax(-1),
    }


def _rows(batch, rows):
    return {name: value[rows] for name, value in batch.items()}


@pytest.fixture
def model_without_dropout(tiny_model):
    """Without dropout the losses of different batches can be compared."""
    model = copy.deepcopy(tiny_model)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def _stepped(model, batches):
    model = copy.deepcopy(model).train()
    optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.1)
    losses = training_step(model, optimizer, batches, Accelerator(cpu=True), LOSSES, max_grad_norm=1e9)
    return losses, dict(model.named_parameters())


def test_four_batches_of_one_equal_one_batch_of_four(model_without_dropout):
    batch = _batch(model_without_dropout, [12, 3, 7, 1])
    whole_losses, whole = _stepped(model_without_dropout, [batch])
    parts_losses, parts = _stepped(model_without_dropout, [_rows(batch, slice(n, n + 1)) for n in range(4)])
    assert parts_losses.loss == pytest.approx(whole_losses.loss, abs=1e-5)
    assert parts_losses.num_samples == whole_losses.num_samples == 4
    for name, parameter in whole.items():
        torch.testing.assert_close(parts[name], parameter, atol=1e-5, rtol=1e-4, msg=name)


def test_report_loss_is_the_mean_over_tokens_not_over_batches(model_without_dropout):
    batch = _batch(model_without_dropout, [12, 3])
    outputs = [model_without_dropout.train()(**_rows(batch, slice(n, n + 1))) for n in range(2)]
    losses, _ = _stepped(model_without_dropout, [_rows(batch, slice(n, n + 1)) for n in range(2)])
    expected = sum(output.report_loss_sum.item() for output in outputs) / 13
    assert losses.means["report_loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("precision, chosen", [("auto", "no"), ("fp32", "no"), ("bf16", "bf16")])
def test_precision_on_a_cpu_is_fp32_unless_asked(precision, chosen, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert mixed_precision(precision) == chosen


@pytest.mark.parametrize(
    "precision, is_fast, warns", [("bf16", False, True), ("bf16", True, False), ("no", False, False)]
)
def test_summary_warns_of_bf16_on_a_processor_without_it(precision, is_fast, warns, monkeypatch):
    monkeypatch.setattr(trainer, "is_bf16_fast", lambda: is_fast)
    device = SimpleNamespace(mixed_precision=precision, device=torch.device("cpu"), num_processes=2)
    progress, options = SimpleNamespace(step=0), SimpleNamespace(num_epochs=1)
    run = SimpleNamespace(accelerator=device, num_steps=5, progress=progress, options=options, is_divided=True)
    assert ("--precision fp32 takes less time" in trainer.Trainer.summary(run)["device"]) == warns


@pytest.mark.parametrize("seconds, is_fast", [((1, 4), False), ((4, 1), True)])
def test_bf16_is_fast_if_its_product_takes_less_time(seconds, is_fast, monkeypatch):
    """The first product of each type is slow and does not count."""
    fp32, bf16 = ([9, of_one, of_one, of_one] for of_one in seconds)
    times = iter([time for run in (*fp32, *bf16) for time in (0, run)])
    monkeypatch.setattr(step, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    assert is_bf16_fast() == is_fast


def test_nan_loss_stops_the_run_and_names_the_fix(tiny_model):
    batch = _batch(tiny_model, [4, 4])
    batch["pixel_values"][:] = float("nan")
    with pytest.raises(FloatingPointError, match="lower --learning-rate"):
        _stepped(tiny_model, [batch])
