"""A model that is divided among the processes: each keeps a part of all weights, gradients and optimizer states.

PyTorch's `fully_shard` (FSDP2) gathers the weights of one block at a time while it computes, and divides them again.
Accelerate's own FSDP is not used: without a GPU it becomes DDP. All processes must call the same modules in the same
order, else they wait for each other forever; `match_batches` and `plan_epoch` see to this.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn import functional

from train.run.launch import launch_command
from vlm.layers.gpt2 import GPT2Decoder
from vlm.model import ReportModel


def check_shard(model: ReportModel, accelerator: Accelerator, *, with_priors: bool) -> None:
    """Raises ValueError if the model cannot be divided: there is one process, the encoder has batch normalization, or
    there are prior studies."""
    if accelerator.num_processes == 1:
        command = launch_command("train/finetune.py --shard", 2, on_gpu=accelerator.device.type == "cuda")
        raise ValueError(f"--shard divides the model among processes, but there is only one; start several: {command}")
    if any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in model.modules()):
        raise ValueError(
            "--shard cannot divide an encoder with batch normalization, such as cnn or resnet; leave it out, or give "
            "a ViT or a ConvNeXt"
        )
    if with_priors:
        raise ValueError("--shard trains no comparison with prior studies; leave it out, or give --prior off")


def shard(model: ReportModel, device: torch.device) -> None:
    """Divide the model in place, with one unit for each block of encoder and decoder and one for the rest. Its
    parameters become DTensors; make the optimizer after this."""
    # GPT-2's layers return views; our decoder changes none of them in place.
    warnings.filterwarnings("ignore", message=r"FSDP2-wrapped module \(.*\) returned a view tensor")
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for block in chain(_encoder_blocks(model.encoder), _decoder_blocks(model.decoder)):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def gather(model: ReportModel, device: torch.device) -> ReportModel:
    """An ordinary model with the weights of a divided one; all processes must call this."""
    config = model.config
    parts = {name: replace(getattr(config, name), base=None) for name in ("encoder", "decoder")}  # reads no base
    with torch.random.fork_rng(devices=[]), torch.no_grad():  # it is built on the CPU
        whole = ReportModel(replace(config, **parts)).to(device)
        whole.config = config
        divided = model.state_dict()
        for name, target in whole.state_dict().items():
            source = divided[name]
            target.copy_(source.full_tensor() if isinstance(source, DTensor) else source)
    return whole


def local_part(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor, without a copy: all of it if it is not divided."""
    with torch.no_grad():
        return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def match_batches(batches: Sequence[dict[str, Tensor]], accelerator: Accelerator) -> list[dict[str, Tensor]]:
    """The batches of a step, with a masked token where no study has a report, but one of another process has: then the
    decoder runs in all processes."""
    have_reports = torch.tensor([float(batch["input_ids"].shape[1] > 1) for batch in batches])
    num_having = accelerator.reduce(have_reports.to(accelerator.device)).tolist()
    return [
        batch | {name: functional.pad(batch[name], (0, 1)) for name in ("input_ids", "attention_mask")}
        if batch["input_ids"].shape[1] == 1 and number > 0
        else batch
        for batch, number in zip(batches, num_having, strict=True)
    ]


def _encoder_blocks(encoder: nn.Module) -> Iterator[nn.Module]:
    """The members of the outermost lists of modules: the layers of a ViT, the stages of a ConvNeXt."""
    for child in encoder.children():
        yield from child if isinstance(child, nn.ModuleList) else _encoder_blocks(child)


def _decoder_blocks(decoder: nn.Module) -> Iterator[list[nn.Module]]:
    """The modules that `GPT2Decoder.forward` calls of each block. An LSTM has no blocks."""
    for block in decoder.blocks if isinstance(decoder, GPT2Decoder) else []:
        yield [block.ln_1, block.attn.c_attn, block.attn.c_proj, block.ln_2, block.mlp]
