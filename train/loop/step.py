"""One optimizer step over one or more batches, the optimizer, the learning-rate schedule and the precision.

Each loss is a sum divided by the number of its items (tokens, labels, images) in all batches of the step and on all
processes. How the samples are divided into batches therefore has no effect.
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

from vlm.schema.findings import UNKNOWN_CHANGE, UNKNOWN_SEVERITY

Batch = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Losses:
    """The losses of a model."""

    weights: dict[str, float]
    """Name and weight of each loss."""
    sums: Callable[[Any], Sequence[Tensor]]
    """Takes the model's output; returns the sum of each loss."""
    counts: Callable[[Batch], Sequence[Any]]
    """Takes a batch; returns the number of items in each of the sums, and last the number of samples."""


@dataclass(frozen=True, slots=True)
class StepLosses:
    """Losses of one optimizer step on all processes."""

    loss: float
    means: dict[str, float]
    num_samples: int


def report_losses(*, finding_weight: float, box_weight: float, severity_weight: float, change_weight: float) -> Losses:
    """Losses of a report model: per report token, per finding label, per finding with boxes, per known severity, per
    known change."""
    names = ("report_loss", "finding_loss", "box_loss", "severity_loss", "change_loss")
    weights = (1.0, finding_weight, box_weight, severity_weight, change_weight)
    return Losses(
        weights=dict(zip(names, weights, strict=True)),
        sums=lambda output: [getattr(output, f"{name}_sum") for name in names],
        counts=report_counts,
    )


def report_counts(batch: Batch) -> list[Any]:
    """Number of report tokens, finding labels, findings with boxes, findings with a known severity, findings with a
    known change, and studies."""
    return [
        batch["attention_mask"][:, 1:].sum(),
        batch["finding_mask"].sum(),
        batch["box_targets"].any(dim=-1).sum() if "box_targets" in batch else 0,
        (batch["severity_targets"] != UNKNOWN_SEVERITY).sum() if "severity_targets" in batch else 0,
        (batch["change_targets"] != UNKNOWN_CHANGE).sum() if "change_targets" in batch else 0,
        len(batch["input_ids"]),
    ]


def mixed_precision(precision: str) -> str:
    """Convert --precision to `Accelerator(mixed_precision=…)`."""
    if precision == "auto":
        precision = "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "fp32"
    return "no" if precision == "fp32" else precision


def is_bf16_fast() -> bool:
    """Whether this processor multiplies matrices faster in bf16 than in fp32, measured in about 20 ms. Without
    instructions for bf16 it takes several times longer."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        left, right = torch.ones(512, 256, dtype=dtype), torch.ones(256, 512, dtype=dtype)
        runs = []
        for _ in range(4):  # the first one loads the program's code
            start = time.perf_counter()
            left @ right
            runs.append(time.perf_counter() - start)
        seconds[dtype] = min(runs[1:])
    return seconds[torch.bfloat16] < seconds[torch.float32]


def learning_rate_factor(step: int, *, num_steps: int, warmup_fraction: float) -> float:
    """Linear warm-up to 1, then half a cosine to 0 (Loshchilov and Hutter 2017)."""
    num_warmup = max(1, round(num_steps * warmup_fraction))
    if step < num_warmup:
        return (step + 1) / num_warmup
    progress = (step - num_warmup) / max(1, num_steps - num_warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


FAST_PARTS, FAST_RATE = ("severity_head.", "change_embedding"), 10
"""Parts of the model that learn with so many times the learning rate. They start at 0 and would learn too little in the
few epochs that the other parts need."""


def build_optimizer(
    model: nn.Module, *, learning_rate: float, encoder_learning_rate: float | None, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW over the trainable parameters, without weight decay for biases, norms and embeddings.

    Each group stores its `peak` learning rate, which `set_learning_rate` multiplies by the schedule's factor.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_encoder = name.startswith("encoder.") and encoder_learning_rate is not None
        peak = encoder_learning_rate if is_encoder else learning_rate
        if name.startswith(FAST_PARTS):
            peak *= FAST_RATE
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


def training_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[Batch],
    accelerator: Accelerator,
    losses: Losses,
    *,
    max_grad_norm: float,
) -> StepLosses:
    """Update the weights once.

    Raises:
        FloatingPointError: the loss is NaN or infinite; the weights are not updated.
    """
    counts = sum(torch.tensor([float(number) for number in losses.counts(batch)]) for batch in batches)
    counts = accelerator.reduce(counts.to(accelerator.device)).tolist()
    weights = list(losses.weights.values())
    sums = torch.zeros(len(weights), device=accelerator.device)
    for number, batch in enumerate(batches):
        is_last = number + 1 == len(batches)
        with nullcontext() if is_last else accelerator.no_sync(model):
            output = model(**on_device(batch, accelerator))
            means = [part / max(total, 1) for part, total in zip(losses.sums(output), counts, strict=False)]
            loss = sum(weight * mean for weight, mean in zip(weights, means, strict=True))
            # DDP averages gradients over processes, but `counts` already includes all processes.
            accelerator.backward(loss * accelerator.num_processes)
        sums += torch.stack([mean.detach() for mean in means]).float()
    means = accelerator.reduce(sums).tolist()
    loss = sum(weight * mean for weight, mean in zip(weights, means, strict=True))
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the loss became {loss}; lower --learning-rate, or continue from a saved state with --resume"
        )
    accelerator.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return StepLosses(loss, dict(zip(losses.weights, means, strict=True)), num_samples=int(counts[-1]))


def time_step(model: nn.Module, batches: Sequence[Batch], accelerator: Accelerator, losses: Losses) -> float:
    """Seconds of the forward and backward passes of a step. They leave gradients in `model`: pass a copy."""
    seconds = []
    for _ in range(4):  # the first pass is slower, and other programs may slow down any of them
        start = time.perf_counter()
        for batch in batches:
            with accelerator.autocast():
                output = model(**on_device(batch, accelerator))
            sum(losses.sums(output)).backward()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def on_device(batch: Batch, accelerator: Accelerator) -> Batch:
    return {key: value.to(accelerator.device, non_blocking=True) for key, value in batch.items()}
