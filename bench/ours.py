"""Our side: the report model at the measured size, with random weights, writing and learning as users have it do."""

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor

from bench.inputs import geometry
from bench.sizes import START_TOKEN, BenchSizes
from train.loop.step import build_optimizer, training_step
from vlm.config import ENCODER_SIZES, DecoderConfig, EncoderConfig, LoraSettings, ReportModelConfig
from vlm.decoding import GenerationOptions, write_reports
from vlm.model import ReportModel

INPUTS = ("pixel_values", "view_indices", "view_mask", "prompt_ids", "prompt_mask")
"""What of a batch the prefix is made of."""
NO_TOKEN = -1
"""An end token that never comes."""


def build_ours(sizes: BenchSizes, *, lora: bool) -> ReportModel:
    """`lora`: adapted as a pretrained GPT-2 is in training, else as the merged checkpoint is."""
    torch.manual_seed(0)
    return ReportModel(
        ReportModelConfig(
            encoder=EncoderConfig(architecture=ENCODER_SIZES[sizes.encoder]),
            decoder=DecoderConfig(architecture=sizes.decoder_architecture),
            image=geometry(sizes),
            pool=sizes.pool,
            lora=LoraSettings() if lora else None,
        )
    ).eval()


def write(model: ReportModel, batch: dict[str, Tensor], num_new_tokens: int) -> list[list[int]]:
    """The tokens of a report for each study, greedily."""
    with torch.inference_mode():
        prefix = model.prefix(**{name: batch[name] for name in INPUTS})
        options = GenerationOptions(max_new_tokens=num_new_tokens)
        written = write_reports(model, prefix, bos_token_id=START_TOKEN, eos_token_id=NO_TOKEN, options=options)
    return [report.token_ids for report in written]


def make_training_step(model: ReportModel, batch: dict[str, Tensor], *, learning_rate: float) -> Callable[[], float]:
    """A function that moves the weights once, as train/finetune.py does, and returns the report's loss a token."""
    accelerator = Accelerator(cpu=True)
    optimizer = build_optimizer(model, learning_rate=learning_rate, encoder_learning_rate=None, weight_decay=0.05)
    model, optimizer = accelerator.prepare(model.train(), optimizer)
    weights = {"finding_weight": 1.0, "box_weight": 0.3, "max_gradient_norm": 1.0}
    return lambda: training_step(model, optimizer, [batch], accelerator, **weights).report_loss
