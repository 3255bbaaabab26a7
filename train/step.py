"""One optimiser step over one or more batches, weighted so that how they are cut changes nothing.

Each loss is divided by what it counts (tokens, labels) over all batches of the step and all processes, before the
backward pass; a mean of batch means would favour short reports.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from vlm.findings import NUM_FINDINGS


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
    batches: Sequence[dict[str, Tensor]],
    accelerator: Accelerator,
    *,
    finding_weight: float,
    box_weight: float,
    max_gradient_norm: float,
) -> StepLosses:
    """Moves the weights once.

    Raises:
        FloatingPointError: the loss is no number; the step is not taken.
    """
    counts = torch.zeros(4, device=accelerator.device)
    for batch in batches:
        counts += torch.tensor(
            [
                batch["attention_mask"][:, 1:].sum(),
                batch["finding_mask"].sum() / NUM_FINDINGS,
                batch["box_mask"].any(dim=-1).sum() if "box_mask" in batch else 0,
                len(batch["input_ids"]),
            ],
            device=accelerator.device,
        )
    num_tokens, num_labelled, num_boxed, num_studies = accelerator.reduce(counts).tolist()
    sums = torch.zeros(3, device=accelerator.device)
    for number, batch in enumerate(batches):
        batch = {key: value.to(accelerator.device, non_blocking=True) for key, value in batch.items()}
        is_last = number + 1 == len(batches)
        with nullcontext() if is_last else accelerator.no_sync(model):
            output = model(**batch)
            report_loss = output.report_loss_sum / max(num_tokens, 1)
            finding_loss = output.finding_loss_sum / max(num_labelled * NUM_FINDINGS, 1)
            box_loss = output.box_loss_sum / max(num_boxed, 1)
            loss = report_loss + finding_weight * finding_loss + box_weight * box_loss
            # DDP averages gradients over processes; the division above already counted all of them.
            accelerator.backward(loss * accelerator.num_processes)
        sums += torch.stack([report_loss.detach(), finding_loss.detach(), box_loss.detach()]).float()
    report_loss, finding_loss, box_loss = accelerator.reduce(sums).tolist()
    loss = report_loss + finding_weight * finding_loss + box_weight * box_loss
    if loss != loss or loss in (float("inf"), float("-inf")):
        raise FloatingPointError(f"the loss became {loss}; lower --learning-rate, or go back to a state and --resume")
    accelerator.clip_grad_norm_(model.parameters(), max_gradient_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return StepLosses(loss, report_loss, finding_loss, box_loss, int(num_studies))
