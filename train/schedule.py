"""The learning rate as a function of the step alone, and the groups of parameters it applies to."""

import math

import torch
from torch import nn


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
