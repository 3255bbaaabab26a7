"""One optimiser step over one or more batches, weighted so that how they are cut changes nothing.

Each loss is divided by what it counts (tokens, labels, images) over all batches of the step and all processes,
before the backward pass; a mean of batch means would favour short reports.

The arithmetic of a run: which precision its --precision means on the device at hand.

The learning rate as a function of the step alone, and the groups of parameters it applies to.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from vlm.model import ReportModelOutput


def mixed_precision(precision: str) -> str:
    """As `Accelerator(mixed_precision=…)` takes it; "auto" is bf16 where a GPU computes in it, else full precision."""
    if precision == "auto":
        return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "no"
    return precision


def learning_rate_factor(step: int, *, num_steps: int, warmup_fraction: float) -> float:
    """Rises linearly to 1 over the warm-up, then falls to 0 along half a cosine (Loshchilov and Hutter 2017)."""
    num_warmup = max(1, round(num_steps * warmup_fraction))
    if step < num_warmup:
        return (step + 1) / num_warmup
    progress = (step - num_warmup) / max(1, num_steps - num_warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def build_optimizer(
    model: nn.Module, *, learning_rate: float, encoder_learning_rate: float | None, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW over what is trained; biases, norms and embeddings of a single vector are not decayed.

    Each group keeps its `peak` learning rate, to which `set_learning_rate` applies the schedule.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_encoder = name.startswith("encoder.") and encoder_learning_rate is not None
        peak = encoder_learning_rate if is_encoder else learning_rate
        decay = 0.0 if parameter.ndim < 2 or "embedding" in name else weight_decay
        groups.setdefault((peak, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": peak, "peak": peak, "weight_decay": decay}
            for (peak, decay), parameters in groups.items()
        ],
        betas=(0.9, 0.98),
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


Batch = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class StepLosses:
    """Means over the step on all processes: report loss a token, finding loss a label, box loss a boxed finding."""

    loss: float
    report_loss: float
    finding_loss: float
    box_loss: float
    num_studies: int


def training_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[Batch],
    accelerator: Accelerator,
    *,
    finding_weight: float,
    box_weight: float,
    max_grad_norm: float,
) -> StepLosses:
    """Moves the weights of a report model once; raises as `optimizer_step`."""
    loss, means, counts = optimizer_step(
        model,
        optimizer,
        batches,
        accelerator,
        count=_counts,
        loss_sums=loss_sums,
        weights=(1.0, finding_weight, box_weight),
        max_grad_norm=max_grad_norm,
    )
    return StepLosses(loss, *means, num_studies=int(counts[-1]))


def optimizer_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[Batch],
    accelerator: Accelerator,
    *,
    count: Callable[[Batch], Sequence[Any]],
    loss_sums: Callable[[Any], Sequence[Tensor]],
    weights: Sequence[float],
    max_grad_norm: float,
) -> tuple[float, list[float], list[float]]:
    """Moves the weights once; returns the weighted loss, the mean of each loss, and the counts.

    `loss_sums` takes the model's output apart into the sums of its losses, one for each of `weights`; `count` says of
    a batch how many each sum is over, and may count more.

    Raises:
        FloatingPointError: the loss is no number; the step is not taken.
    """
    counts = sum(torch.tensor([float(number) for number in count(batch)]) for batch in batches)
    counts = accelerator.reduce(counts.to(accelerator.device)).tolist()
    sums = torch.zeros(len(weights), device=accelerator.device)
    for number, batch in enumerate(batches):
        is_last = number + 1 == len(batches)
        with nullcontext() if is_last else accelerator.no_sync(model):
            output = model(**on_device(batch, accelerator))
            means = [part / max(total, 1) for part, total in zip(loss_sums(output), counts, strict=False)]
            loss = sum(weight * mean for weight, mean in zip(weights, means, strict=True))
            # DDP averages gradients over processes; the division above already counted all of them.
            accelerator.backward(loss * accelerator.num_processes)
        sums += torch.stack([mean.detach() for mean in means]).float()
    means = accelerator.reduce(sums).tolist()
    loss = sum(weight * mean for weight, mean in zip(weights, means, strict=True))
    if loss != loss or loss in (float("inf"), float("-inf")):
        raise FloatingPointError(f"the loss became {loss}; lower --learning-rate, or go back to a state and --resume")
    accelerator.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss, means, counts


def time_step(
    model: nn.Module, batches: Sequence[Batch], accelerator: Accelerator, loss_sums: Callable[[Any], Sequence[Tensor]]
) -> float:
    """Seconds of a step's forward and backward passes, which leave gradients in `model`: give it a copy."""
    seconds = []
    for _ in range(4):  # the first pass also pays for warming up; others may be held up by other programs
        start = time.perf_counter()
        for batch in batches:
            with accelerator.autocast():
                output = model(**on_device(batch, accelerator))
            sum(loss_sums(output)).backward()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def on_device(batch: Batch, accelerator: Accelerator) -> Batch:
    return {key: value.to(accelerator.device, non_blocking=True) for key, value in batch.items()}


def _counts(batch: Batch) -> list[Any]:
    """Tokens, labels, boxed findings, studies."""
    return [
        batch["attention_mask"][:, 1:].sum(),
        batch["finding_mask"].sum(),
        batch["box_targets"].any(dim=-1).sum() if "box_targets" in batch else 0,
        len(batch["input_ids"]),
    ]


def loss_sums(output: ReportModelOutput) -> list[Tensor]:
    """Of a report model: reports, findings, boxes."""
    return [output.report_loss_sum, output.finding_loss_sum, output.box_loss_sum]
