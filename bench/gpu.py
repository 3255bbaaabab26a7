"""Speed on an NVIDIA GPU, in one call: writing reports beside transformers, and a training step.

    python -m bench.gpu                                    sizes of bench.speed.sizes.FULL, about a minute on a GPU
    python -m bench.gpu --device cpu --output gpu.json     tiny sizes: a test of the program; its figures mean nothing

Weights and inputs of generation are bf16; training is fp32 with bf16 autocast. What the GPU can do is measured on the
same GPU: copying for the memory bandwidth, a product of two large matrices for the rate of operations. The generator
has no captured graphs and no cache of fixed size, so each token pays for the start of its kernels.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from accelerate import Accelerator
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from bench.speed.compare import commit, describe_versions, summary
from bench.speed.inputs import make_batch
from bench.speed.models import build_hf, build_ours, generate_hf, generate_ours, make_our_step, num_reports
from bench.speed.sizes import FULL, QUICK, BenchSizes
from data.cli import run_main
from vlm.schema.atomic import write_json

NUM_STUDIES, TRAIN_BATCH_SIZE = (1, 64), 32
MEANINGLESS = "Tiny sizes on a CPU: these figures mean nothing; they show that the program works."


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuOptions:
    """Measure writing and training on a GPU."""

    device: Literal["cuda", "cpu"] = "cuda"
    """cpu measures tiny sizes, as a test of the program."""
    output: Path = Path("runs/gpu.json")
    """JSON file to write."""

    def __post_init__(self):
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("--device cuda: this machine has no NVIDIA GPU that torch can use; give --device cpu")


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the program and return the content of the JSON file."""
    options = tyro.cli(GpuOptions, args=argv, prog="python -m bench.gpu", description=__doc__)
    device, is_gpu = torch.device(options.device), options.device == "cuda"
    sizes = replace(FULL, train_batch_size=TRAIN_BATCH_SIZE) if is_gpu else QUICK
    limits = measure_limits(device, side=8192 if is_gpu else 64)
    record = {
        "note": "" if is_gpu else MEANINGLESS,
        "device": torch.cuda.get_device_name() if is_gpu else "cpu",
        "limits": limits,
        "generation": [generation(sizes, number, device, limits) for number in NUM_STUDIES],
        "training": training(sizes, device, limits),
        "sizes": asdict(sizes),
        "versions": describe_versions() | {"cuda": torch.version.cuda},
        "commit": commit(),
    }
    write_json(options.output, record, indent=1)
    console = Console()
    for one in record["generation"]:
        console.print(
            f"{one['num_studies']} studies at a time: {one['ratio']:.2f} times as fast as transformers; the weights of "
            f"the decoder take {one['bandwidth_share']:.1%} of the memory bandwidth",
            highlight=False,
        )
    console.print(f"training: {record['training']['flops_utilization']:.1%} of the rate of operations", highlight=False)
    if record["note"]:
        console.print(record["note"])
    return record


def measure_limits(device: torch.device, *, side: int) -> dict[str, float]:
    """Bytes per second (read and written) of a copy, and bf16 operations per second of a matrix product."""
    matrix = torch.randn(side, side, device=device).bfloat16()
    target = torch.empty_like(matrix)
    copying, product = (
        min(seconds_of(work, device, repetitions=5)) for work in (lambda: target.copy_(matrix), lambda: matrix @ matrix)
    )
    num_bytes = 2 * matrix.numel() * matrix.element_size()
    return {"bytes_per_second": num_bytes / copying, "flops_per_second": 2 * side**3 / product}


def generation(sizes: BenchSizes, num_studies: int, device: torch.device, limits: dict[str, float]) -> dict[str, Any]:
    """Both sides in turn. `bandwidth_share`: each token reads all weights of the decoder once, and the keys and values,
    which are not counted; so it is a lower limit."""
    ours, baseline = (build(sizes, lora=False).to(device, torch.bfloat16) for build in (build_ours, build_hf))
    batch = to_device(make_batch(sizes, num_studies), device)
    batch["pixel_values"] = batch["pixel_values"].bfloat16()
    pixel_values, num_tokens = batch["pixel_values"][:, 0], sizes.num_new_tokens
    sides = {
        "ours": lambda: num_reports(generate_ours(ours, batch, num_tokens), sizes),
        "transformers": lambda: num_reports(generate_hf(baseline, pixel_values, num_tokens), sizes),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(sizes.repetitions):
        for name, work in sides.items():
            seconds[name] += seconds_of(work, device, repetitions=1)
    ratios = [other / own for own, other in zip(seconds["ours"], seconds["transformers"], strict=True)]
    num_bytes = sum(one.numel() * one.element_size() for one in ours.decoder.parameters())
    found = {f"{name}_seconds": summary(tuple(values)) for name, values in seconds.items()}
    return found | {
        "num_studies": num_studies,
        "ratio": summary(tuple(ratios))["median"],
        "bandwidth_share": num_bytes * num_tokens / found["ours_seconds"]["median"] / limits["bytes_per_second"],
    }


def training(sizes: BenchSizes, device: torch.device, limits: dict[str, float]) -> dict[str, Any]:
    """A step with all weights trained. `flops_utilization`: the operations of forward and backward pass that torch
    counts, by time and by what the matrix product reaches."""
    model = build_ours(sizes, lora=False).to(device)
    batch = to_device(make_batch(sizes, sizes.train_batch_size), device)
    run_step = make_our_step(model, batch, Accelerator(cpu=device.type == "cpu"))

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            run_step()

    with FlopCounterMode(display=False) as counter:
        step()
    seconds = summary(tuple(seconds_of(step, device, repetitions=sizes.repetitions)))
    flops = counter.get_total_flops()
    return {
        "batch_size": sizes.train_batch_size,
        "seconds": seconds,
        "flops": flops,
        "flops_utilization": flops / seconds["median"] / limits["flops_per_second"],
    }


def to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}


def seconds_of(work: Callable[[], Any], device: torch.device, *, repetitions: int) -> list[float]:
    """Time of each repetition, after one that is not counted."""
    seconds = []
    for _ in range(1 + repetitions):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


if __name__ == "__main__":
    run_main(main)
