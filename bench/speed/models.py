"""What is measured against the peer: writing reports and learning to, at equal sizes and with equal work.

Equal are the images (already as tensors), the number of patches, the widths and depths of ViT and GPT-2, the
vocabulary, and the number of tokens of every report, which none ends earlier. How the images reach the text
differs: here as a prefix of pooled patches and finding tokens, in the peer by cross-attention.

Our side: the report model at the measured size, with random weights, writing and learning as users have it do.

The peer: transformers' VisionEncoderDecoderModel, the same ViT and the same GPT-2 joined by cross-attention.

The usual way to make a report writer of the two, with transformers' own `generate`. Random weights; sdpa attention,
as on our side.
"""

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTModel,
)

from bench.speed.compare import Task, Work
from bench.speed.sizes import START_TOKEN, BenchSizes, geometry, make_batch
from train.loop.step import build_optimizer, training_step
from vlm.config import ENCODER_SIZES, DecoderConfig, EncoderConfig, LoraSettings, ReportModelConfig
from vlm.decoding import GenerationOptions, generate_reports
from vlm.layers.gpt2 import add_lora
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


def write_ours(model: ReportModel, batch: dict[str, Tensor], num_new_tokens: int) -> list[list[int]]:
    """The tokens of a report for each study, greedily."""
    with torch.inference_mode():
        prefix = model.prefix(**{name: batch[name] for name in INPUTS})
        options = GenerationOptions(max_new_tokens=num_new_tokens)
        written = generate_reports(model, prefix, bos_token_id=START_TOKEN, eos_token_id=NO_TOKEN, options=options)
    return [report.token_ids for report in written]


def make_our_step(model: ReportModel, batch: dict[str, Tensor], *, learning_rate: float) -> Callable[[], float]:
    """A function that moves the weights once, as train/finetune.py does, and returns the report's loss a token."""
    accelerator = Accelerator(cpu=True)
    optimizer = build_optimizer(model, learning_rate=learning_rate, encoder_learning_rate=None, weight_decay=0.05)
    model, optimizer = accelerator.prepare(model.train(), optimizer)
    weights = {"finding_weight": 1.0, "box_weight": 0.3, "max_grad_norm": 1.0}
    return lambda: training_step(model, optimizer, [batch], accelerator, **weights).report_loss


CROSS_ATTENTION = ("crossattention.c_attn", "crossattention.q_attn", "crossattention.c_proj")


def build_peer(sizes: BenchSizes, *, lora: bool) -> VisionEncoderDecoderModel:
    """`lora`: adapters as on our side, on the same projections and on those of the cross-attention, by which alone
    the images reach the text; all else is frozen."""
    torch.manual_seed(0)
    vit = ENCODER_SIZES[sizes.encoder] | {"image_size": sizes.image_size, "num_channels": 3}
    encoder = ViTModel(ViTConfig(**vit), add_pooling_layer=False)
    # Joined by hand: transformers 5 fails at `from_encoder_decoder_pretrained` for this pair.
    gpt2 = GPT2LMHeadModel(GPT2Config(**sizes.decoder_architecture, add_cross_attention=True, is_decoder=True))
    model = VisionEncoderDecoderModel(encoder=encoder, decoder=gpt2)
    model.config.decoder_start_token_id = model.config.pad_token_id = START_TOKEN
    if lora:
        settings = LoraSettings()
        model.requires_grad_(False)
        model.decoder = add_lora(model.decoder, settings, settings.decoder_projections + CROSS_ATTENTION)
    return model.eval()


def write_peer(model: VisionEncoderDecoderModel, pixel_values: Tensor, num_new_tokens: int) -> list[list[int]]:
    """The tokens of a report for each study, greedily, as `generate` returns them but for the start token."""
    options = GenerationConfig(
        max_new_tokens=num_new_tokens,
        do_sample=False,
        decoder_start_token_id=START_TOKEN,
        pad_token_id=START_TOKEN,
        eos_token_id=None,
    )
    with torch.inference_mode():
        return model.generate(pixel_values, generation_config=options)[:, 1:].tolist()


def make_peer_step(
    model: VisionEncoderDecoderModel, pixel_values: Tensor, labels: Tensor, *, learning_rate: float
) -> Callable[[], float]:
    """A function that moves the weights once and returns the loss: the usual loop, with gradients clipped as ours."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.05)
    model.train()

    def step() -> float:
        loss = model(pixel_values=pixel_values, labels=labels).loss
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


LEARNING_RATE = 5e-4
PEER = "transformers' VisionEncoderDecoderModel and its generate"


def peer_tasks(sizes: BenchSizes) -> list[Task]:
    """Writing about one study and about many, learning, and what an adapter costs that is not merged."""
    many = sizes.num_studies
    return [
        Task(
            name="reports, 1 study at a time",
            one_means=f"as fast as {PEER}",
            prepare=lambda: writing(sizes, 1),
            repetitions=sizes.repetitions,
        ),
        Task(
            name=f"reports, {many} studies at a time",
            one_means=f"as fast as {PEER}",
            prepare=lambda: writing(sizes, many),
            repetitions=sizes.many_repetitions,
        ),
        Task(
            name=f"training with LoRA, batches of {sizes.train_batch_size}",
            one_means="as fast as VisionEncoderDecoderModel with the same LoRA on its GPT-2 and cross-attention",
            prepare=lambda: training(sizes),
            repetitions=sizes.repetitions,
        ),
        Task(
            name="reports with LoRA not merged, 1 study at a time",
            one_means="as fast as our own model without LoRA",
            prepare=lambda: writing_with_lora(sizes),
            repetitions=sizes.repetitions,
        ),
    ]


def writing(sizes: BenchSizes, num_studies: int) -> tuple[Work, Work]:
    return ours_writing(sizes, num_studies), peer_writing(sizes, num_studies)


def writing_with_lora(sizes: BenchSizes) -> tuple[Work, Work]:
    return ours_writing(sizes, 1, lora=True), ours_writing(sizes, 1)


def training(sizes: BenchSizes) -> tuple[Work, Work]:
    return ours_training(sizes), peer_training(sizes)


def ours_writing(sizes: BenchSizes, num_studies: int, *, lora: bool = False) -> Work:
    model, batch = build_ours(sizes, lora=lora), make_batch(sizes, num_studies)
    return lambda: num_reports(write_ours(model, batch, sizes.num_new_tokens), sizes)


def peer_writing(sizes: BenchSizes, num_studies: int) -> Work:
    model, pixel_values = build_peer(sizes, lora=False), make_batch(sizes, num_studies)["pixel_values"][:, 0]
    return lambda: num_reports(write_peer(model, pixel_values, sizes.num_new_tokens), sizes)


def ours_training(sizes: BenchSizes) -> Work:
    batch = make_batch(sizes, sizes.train_batch_size)
    step = make_our_step(build_ours(sizes, lora=True), batch, learning_rate=LEARNING_RATE)
    return lambda: (step(), sizes.train_batch_size)[1]


def peer_training(sizes: BenchSizes) -> Work:
    batch = make_batch(sizes, sizes.train_batch_size)
    pixel_values, labels = batch["pixel_values"][:, 0], batch["input_ids"][:, 1:]
    step = make_peer_step(build_peer(sizes, lora=True), pixel_values, labels, learning_rate=LEARNING_RATE)
    return lambda: (step(), sizes.train_batch_size)[1]


def num_reports(reports: list[list[int]], sizes: BenchSizes) -> int:
    """How many there are; all must have the full length, else the two sides did unequal work."""
    assert all(len(report) == sizes.num_new_tokens for report in reports), reports
    return len(reports)


def work_of_both(sizes: BenchSizes) -> dict[str, dict[str, int]]:
    """What shows that the work is equal, and where it is not."""
    model, other = build_ours(sizes, lora=True), build_peer(sizes, lora=True)
    batch = make_batch(sizes, 1)
    prefix = model.prefix(**{name: batch[name] for name in INPUTS})
    rows, columns = model.encoder.grid
    trained, other_trained = (
        sum(parameter.numel() for parameter in each.parameters() if parameter.requires_grad) for each in (model, other)
    )
    return {
        "patches_of_a_image": {
            "ours": rows * columns,
            "peer": other.encoder.embeddings.patch_embeddings.num_patches,
        },
        "decoder_positions_before_the_text": {"ours": prefix.mask.shape[1], "peer": 0},
        "new_tokens_of_a_report": {"ours": sizes.num_new_tokens, "peer": sizes.num_new_tokens},
        "parameters": {"ours": model.num_parameters()[0], "peer": other.num_parameters()},
        "trained_parameters": {"ours": trained, "peer": other_trained},
    }
