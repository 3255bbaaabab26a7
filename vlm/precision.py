"""The precision of inference: fp32, or int8 for the linear layers of encoder and GPT-2 on a CPU.

int8 is opt-in, because it changes reports and probabilities (docs/LOG.md: at no measurable cost for cxrscribe-tiny).
The layers of the finding queries, the projectors and an LSTM stay in fp32: they are small, and the first decide the
probabilities.
"""

import copy
import time
from typing import Literal

import torch

from vlm.decoding import GenerationOptions, generate_reports
from vlm.layers.gpt2 import GPT2Decoder
from vlm.layers.int8 import int8_problem, quantize_linear_layers
from vlm.model import ReportModel

Precision = Literal["fp32", "int8"]
PrecisionChoice = Literal["fp32", "int8", "auto"]
MEASURED_TOKENS = 8
NO_TOKEN = -1
"""An end token that is never generated."""


def with_precision(model: ReportModel, choice: PrecisionChoice, device: torch.device) -> tuple[ReportModel, Precision]:
    """The model in this precision, and the precision; "auto" measures both and takes the faster one.

    The model must have no adapters. It may be changed in place.

    Raises:
        ValueError: int8 cannot be used on this device.
    """
    if choice == "fp32":
        return model, "fp32"
    problem = int8_problem(device)
    if choice == "int8":
        if problem:
            raise ValueError(f"--precision int8: {problem}")
        return _quantize(model), "int8"
    if problem:
        return model, "fp32"
    quantized = _quantize(copy.deepcopy(model))
    return (quantized, "int8") if _seconds(quantized) < _seconds(model) else (model, "fp32")


def _quantize(model: ReportModel) -> ReportModel:
    quantize_linear_layers(model.encoder.backbone)
    if isinstance(model.decoder, GPT2Decoder):
        quantize_linear_layers(model.decoder.language_model)
    return model


@torch.inference_mode()
def _seconds(model: ReportModel) -> float:
    """Time of a short report of a black image: the faster of two, after one that loads the program's code."""
    image, view = model.config.image, torch.zeros(1, 1, dtype=torch.long)
    prompt = torch.zeros(1, 0, dtype=torch.long)
    options = GenerationOptions(max_new_tokens=MEASURED_TOKENS)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        prefix = model.prefix(
            pixel_values=torch.zeros(1, 1, image.num_channels, image.size, image.size),
            view_indices=view,
            view_mask=torch.ones_like(view, dtype=torch.bool),
            prompt_ids=prompt,
            prompt_mask=prompt,
        )
        if model.config.writes_reports:
            generate_reports(model, prefix, bos_token_id=0, eos_token_id=NO_TOKEN, options=options)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])
