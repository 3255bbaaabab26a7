"""The arithmetic of a run: which precision its --precision means on the device at hand."""

import torch


def mixed_precision(precision: str) -> str:
    """As `Accelerator(mixed_precision=…)` takes it; "auto" is bf16 where a GPU computes in it, else full precision."""
    if precision == "auto":
        return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "no"
    return precision
