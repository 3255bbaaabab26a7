"""Our model compared with a Hugging Face baseline: generation and training at equal sizes and with equal work.

Equal are the images (already as tensors), the number of patches, the widths and depths of ViT and GPT-2, the
vocabulary, and the number of tokens of every report; no report ends earlier. Both sides have random weights and sdpa
attention. The difference is how the images reach the text: our model has a prefix of pooled patches and finding tokens.
The baseline is transformers' VisionEncoderDecoderModel, the usual way to join a ViT and a GPT-2: with cross-attention
and transformers' `generate`.
"""

from collections.abc import Callable
from functools import partial

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
from bench.speed.inputs import geometry, make_batch
from bench.speed.sizes import START_TOKEN, BenchSizes
from train.loop.step import build_optimizer, report_losses, training_step
from vlm.config import ENCODER_SIZES, DecoderConfig, EncoderConfig, LoraSettings, ReportModelConfig
from vlm.decoding import GenerationOptions, generate_reports
from vlm.layers.gpt2 import add_lora
from vlm.layers.int8 import int8_problem
from vlm.model import ReportModel
from vlm.precision import Precision, with_precision

PREFIX_INPUTS = ("pixel_values", "view_indices", "view_mask", "prompt_ids", "prompt_mask")
NO_TOKEN = -1
"""An end token that is never generated."""
CROSS_ATTENTION = ("crossattention.c_attn", "crossattention.q_attn", "crossattention.c_proj")
LEARNING_RATE = 5e-4
HF_BASELINE = "transformers' VisionEncoderDecoderModel and its generate"


def build_ours(sizes: BenchSizes, *, lora: bool, precision: Precision = "fp32") -> ReportModel:
    """`lora`: with adapters as in training, else like a merged checkpoint."""
    torch.manual_seed(0)
    model = ReportModel(
        ReportModelConfig(
            encoder=EncoderConfig(architecture=ENCODER_SIZES[sizes.encoder]),
            decoder=DecoderConfig(architecture=sizes.decoder_architecture),
            image=geometry(sizes),
            pool=sizes.pool,
            lora=LoraSettings() if lora else None,
        )
    ).eval()
    return with_precision(model, precision, torch.device("cpu"))[0]


def build_hf(sizes: BenchSizes, *, lora: bool) -> VisionEncoderDecoderModel:
    """`lora`: with the same adapters as our model, and adapters on the cross-attention; the rest is frozen."""
    torch.manual_seed(0)
    vit = ENCODER_SIZES[sizes.encoder] | {"image_size": sizes.image_size, "num_channels": 3}
    encoder = ViTModel(ViTConfig(**vit), add_pooling_layer=False)
    # Joined by hand: `from_encoder_decoder_pretrained` of transformers 5 fails for this pair.
    gpt2 = GPT2LMHeadModel(GPT2Config(**sizes.decoder_architecture, add_cross_attention=True, is_decoder=True))
    model = VisionEncoderDecoderModel(encoder=encoder, decoder=gpt2)
    model.config.decoder_start_token_id = model.config.pad_token_id = START_TOKEN
    if lora:
        settings = LoraSettings()
        model.requires_grad_(False)
        model.decoder = add_lora(model.decoder, settings, settings.decoder_projections + CROSS_ATTENTION)
    return model.eval()


def generate_ours(model: ReportModel, batch: dict[str, Tensor], num_new_tokens: int) -> list[list[int]]:
    """The tokens of a report for each study, by greedy search."""
    with torch.inference_mode():
        prefix = model.prefix(**{name: batch[name] for name in PREFIX_INPUTS})
        options = GenerationOptions(max_new_tokens=num_new_tokens)
        reports = generate_reports(model, prefix, bos_token_id=START_TOKEN, eos_token_id=NO_TOKEN, options=options)
    return [report.token_ids for report in reports]


def generate_hf(model: VisionEncoderDecoderModel, pixel_values: Tensor, num_new_tokens: int) -> list[list[int]]:
    """The tokens of a report for each study, by greedy search, without the start token."""
    options = GenerationConfig(
        max_new_tokens=num_new_tokens,
        do_sample=False,
        decoder_start_token_id=START_TOKEN,
        pad_token_id=START_TOKEN,
        eos_token_id=None,
    )
    with torch.inference_mode():
        return model.generate(pixel_values, generation_config=options)[:, 1:].tolist()


def make_our_step(
    model: ReportModel, batch: dict[str, Tensor], accelerator: Accelerator | None = None
) -> Callable[[], float]:
    """A function that does one training step like train/finetune.py, on the CPU by default, and returns the report loss
    per token."""
    accelerator = accelerator or Accelerator(cpu=True)
    optimizer = build_optimizer(model, learning_rate=LEARNING_RATE, encoder_learning_rate=None, weight_decay=0.05)
    model, optimizer = accelerator.prepare(model.train(), optimizer)
    losses = report_losses(finding_weight=1.0, box_weight=0.3, severity_weight=0.5, change_weight=0.5)
    step = partial(training_step, model, optimizer, [batch], accelerator, losses, max_grad_norm=1.0)
    return lambda: step().means["report_loss"]


def make_hf_step(model: VisionEncoderDecoderModel, pixel_values: Tensor, labels: Tensor) -> Callable[[], float]:
    """A function that does one training step and returns the loss; gradients are clipped as in our step."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.05)
    model.train()

    def step() -> float:
        loss = model(pixel_values=pixel_values, labels=labels).loss
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def model_tasks(sizes: BenchSizes) -> list[Task]:
    """Generation for one study and for many, training, and the cost of an adapter that is not merged."""
    precisions = ("fp32",) if int8_problem(torch.device("cpu")) else ("fp32", "int8")
    return [
        *(
            generation_task(sizes, precision, num_studies)
            for precision in precisions
            for num_studies in (1, sizes.num_studies)
        ),
        *(
            Task(
                name=f"training with LoRA{features}, batches of {sizes.train_batch_size}",
                one_means="as fast as VisionEncoderDecoderModel with the same LoRA on its GPT-2 and cross-attention",
                prepare=lambda saved=bool(features): (ours_training(sizes, saved_features=saved), hf_training(sizes)),
                repetitions=sizes.repetitions,
            )
            for features in ("", " on saved features")
        ),
        Task(
            name="reports with LoRA not merged, 1 study at a time",
            one_means="as fast as our own model without LoRA",
            prepare=lambda: (ours_generation(sizes, 1, lora=True), ours_generation(sizes, 1)),
            repetitions=sizes.repetitions,
        ),
    ]


def generation_task(sizes: BenchSizes, precision: Precision, num_studies: int) -> Task:
    """Ours in a precision, the baseline in fp32."""
    studies = "1 study" if num_studies == 1 else f"{num_studies} studies"
    return Task(
        name=f"reports, {studies} at a time" + ("" if precision == "fp32" else f", {precision}"),
        one_means=f"as fast as {HF_BASELINE}" + ("" if precision == "fp32" else " in fp32"),
        prepare=lambda: (
            ours_generation(sizes, num_studies, precision=precision),
            hf_generation(sizes, num_studies),
        ),
        repetitions=sizes.repetitions if num_studies == 1 else sizes.many_repetitions,
    )


def ours_generation(sizes: BenchSizes, num_studies: int, *, lora: bool = False, precision: Precision = "fp32") -> Work:
    model, batch = build_ours(sizes, lora=lora, precision=precision), make_batch(sizes, num_studies)
    return lambda: num_reports(generate_ours(model, batch, sizes.num_new_tokens), sizes)


def hf_generation(sizes: BenchSizes, num_studies: int) -> Work:
    model, pixel_values = build_hf(sizes, lora=False), make_batch(sizes, num_studies)["pixel_values"][:, 0]
    return lambda: num_reports(generate_hf(model, pixel_values, sizes.num_new_tokens), sizes)


def ours_training(sizes: BenchSizes, *, saved_features: bool = False) -> Work:
    """`saved_features`: the features of the frozen encoder are computed before, as with --feature-cache."""
    model, batch = build_ours(sizes, lora=True), make_batch(sizes, sizes.train_batch_size)
    if saved_features:
        with torch.no_grad():
            batch["patch_features"] = model.encoder(batch.pop("pixel_values").flatten(0, 1)).unflatten(0, (-1, 1))
    step = make_our_step(model, batch)
    return lambda: (step(), sizes.train_batch_size)[1]


def hf_training(sizes: BenchSizes) -> Work:
    batch = make_batch(sizes, sizes.train_batch_size)
    step = make_hf_step(build_hf(sizes, lora=True), batch["pixel_values"][:, 0], batch["input_ids"][:, 1:])
    return lambda: (step(), sizes.train_batch_size)[1]


def num_reports(reports: list[list[int]], sizes: BenchSizes) -> int:
    """The number of reports; all must have full length, else the two sides did unequal work."""
    assert all(len(report) == sizes.num_new_tokens for report in reports), reports
    return len(reports)


def work_of_both(sizes: BenchSizes) -> dict[str, dict[str, int]]:
    """Numbers that show where the work of both sides is equal, and where it is not."""
    model, baseline = build_ours(sizes, lora=True), build_hf(sizes, lora=True)
    batch = make_batch(sizes, 1)
    prefix = model.prefix(**{name: batch[name] for name in PREFIX_INPUTS})
    rows, columns = model.encoder.grid
    trained = [sum(p.numel() for p in each.parameters() if p.requires_grad) for each in (model, baseline)]
    pairs = {
        "patches_of_an_image": (rows * columns, baseline.encoder.embeddings.patch_embeddings.num_patches),
        "decoder_positions_before_the_text": (prefix.mask.shape[1], 0),
        "new_tokens_of_a_report": (sizes.num_new_tokens, sizes.num_new_tokens),
        "parameters": (model.num_parameters()[0], baseline.num_parameters()),
        "trained_parameters": tuple(trained),
    }
    return {name: dict(zip(("ours", "hf_baseline"), pair, strict=True)) for name, pair in pairs.items()}
