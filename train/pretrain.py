"""Pretrain one half of a report model: the encoder on images without text, or the decoder on reports without images.

    accelerate launch train/pretrain.py images --datasets studies more_studies --output-dir runs/encoder
    accelerate launch train/pretrain.py text --datasets studies --output-dir runs/decoder

The output folder has Hugging Face format and contains the weights with the best validation loss. It can be given to
`train/finetune.py --encoder` or `--decoder`. To continue a killed run, repeat the command with --resume.
"""

from pathlib import Path

import datasets
import tyro
from accelerate import Accelerator
from transformers import PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from data.cli import run_main
from data.study import shared_preprocessing
from train.card.card import write_pretrain_card
from train.loop.step import mixed_precision
from train.loop.tasks import PretrainTask
from train.loop.trainer import Trainer
from train.pretraining.images import ImageDataset
from train.pretraining.masked_autoencoder import MaskedAutoencoder, draw_reconstructions
from train.pretraining.options import ImageOptions, TextOptions
from train.pretraining.texts import IGNORED, LanguageModel, ReportTexts, reports_of
from train.run.folder import start_run, write_files
from train.run.launch import check_launch
from train.run.progress import MISTAKES, STOPPED, console, print_summary
from train.studies.dataset import count_truncated
from train.studies.same_studies import check_same_studies
from train.studies.select import count_rejected, load_pretraining_studies
from vlm.config import ImageGeometry
from vlm.inputs.tokenizer import load_tokenizer, train_tokenizer


def main(argv: list[str] | None = None) -> None:
    disable_progress_bar()  # transformers' bar for saving weights breaks the bar of the run
    options = tyro.extras.subcommand_cli_from_dict(
        {"images": ImageOptions, "text": TextOptions}, args=argv, description=__doc__
    )
    accelerator = Accelerator(mixed_precision=mixed_precision(options.run.precision))
    check_launch(accelerator, "train/pretrain.py")
    studies = load_pretraining_studies(options.datasets)
    if isinstance(options, TextOptions):
        _check_reports(studies)
    with start_run(options, accelerator) as folder:
        if accelerator.is_main_process:
            name = f"--datasets {' '.join(options.datasets)}"
            check_same_studies(folder, studies, shared_preprocessing(options.datasets), name=name)
        _train(options, studies, folder, accelerator)
    accelerator.end_training()


def _train(
    options: ImageOptions | TextOptions, studies: datasets.DatasetDict, folder: Path, accelerator: Accelerator
) -> None:
    if isinstance(options, ImageOptions):
        task, summary = _image_task(options, studies)
    else:
        task, summary = _text_task(options, studies, folder, accelerator)
    trainer = Trainer(options, task, accelerator)
    if options.resume:
        trainer.resume()
    if accelerator.is_main_process:
        summary |= {
            "parameters": f"{sum(parameter.numel() for parameter in task.model.parameters()):,}",
            "rejected": f"{sum(map(count_rejected, options.datasets)):,} studies during data preparation "
            "(see rejected.jsonl)",
        }
        print_summary(summary | trainer.summary(), title="Pretraining")
    trainer.run()
    if accelerator.is_main_process:
        write_pretrain_card(folder, options, studies, trainer.progress.best_epoch)
        if warning := trainer.not_improved():
            console.print(f"[yellow]Warning:[/] {warning}", highlight=False, soft_wrap=True)
        console.print(f"weights from epoch {trainer.progress.best_epoch + 1}: {folder}")


def _image_task(options: ImageOptions, studies: datasets.DatasetDict) -> tuple[PretrainTask, dict[str, str]]:
    """The task and its part of the summary."""
    geometry = ImageGeometry(size=options.image_size)
    model = MaskedAutoencoder(options.encoder, geometry, mask_ratio=options.mask_ratio)
    common = {"geometry": geometry, "num_patches": options.num_patches, "seed": options.run.seed}
    augmentation = options.augmentation if options.images.use_augmentation else None
    training = ImageDataset(studies["train"], augmentation=augmentation, **common)
    validation = ImageDataset(studies["validation"], **common)
    is_kept = [images.keep_images(round(options.images.image_cache_gib * 2**30)) for images in (training, validation)]

    def save(folder: Path) -> None:
        model.save_encoder(folder, geometry)
        draw_reconstructions(model, validation, folder / "reconstruction.png")

    task = PretrainTask(
        options, model, training, validation, count=lambda batch: len(batch["pixel_values"]), save=save, unit="images"
    )
    return task, {
        "images": f"train {len(training):,}, validation {len(validation):,}; all views of "
        f"{len(studies['train']):,} and {len(studies['validation']):,} studies; "
        + ("kept in memory" if is_kept[0] else "read from disk in each epoch"),
        "encoder": f"{options.encoder}, {options.num_visible} of {options.num_patches} patches visible",
    }


def _text_task(
    options: TextOptions, studies: datasets.DatasetDict, folder: Path, accelerator: Accelerator
) -> tuple[PretrainTask, dict[str, str]]:
    """The task and its part of the summary."""
    if accelerator.is_main_process and not (folder / "tokenizer_config.json").is_file():
        write_files(folder, lambda partial: _build_tokenizer(options, studies["train"]).save_pretrained(str(partial)))
    accelerator.wait_for_everyone()
    tokenizer = load_tokenizer(folder)
    model = LanguageModel(options.decoder, tokenizer)
    limit = options.tokens.max_report_tokens
    shared = {"max_position_shift": options.tokens.max_position_shift, "seed": options.run.seed}
    training, validation = (
        ReportTexts(studies[split], tokenizer, max_report_tokens=limit, **shared) for split in ("train", "validation")
    )
    task = PretrainTask(
        options,
        model,
        training,
        validation,
        count=lambda batch: (batch["labels"] != IGNORED).sum(),
        save=model.language_model.save_pretrained,
        unit="reports",
        lengths=[len(report) for report in training.reports],
    )
    num_silent = [
        len(studies[split]) - len(texts) for split, texts in zip(studies, (training, validation), strict=True)
    ]
    num_tokens = sum(map(len, tokenizer(training.reports, add_special_tokens=False)["input_ids"]))
    num_truncated = count_truncated(tokenizer, training.reports, limit)
    return task, {
        "reports": f"train {len(training):,}, validation {len(validation):,}; "
        f"{num_silent[0]:,} and {num_silent[1]:,} studies have none",
        "tokens": f"{num_tokens:,} of train; {num_truncated:,} reports truncated to {limit}",
        "decoder": f"{options.decoder}, vocabulary of {len(tokenizer):,} tokens",
    }


def _build_tokenizer(options: TextOptions, rows: datasets.Dataset) -> PreTrainedTokenizerBase:
    if options.tokens.tokenizer is not None:
        return load_tokenizer(options.tokens.tokenizer)
    reports, indications = reports_of(rows)
    prompts = [f"Indication: {indication}\n" for indication in indications if indication]
    return train_tokenizer(reports + prompts, vocab_size=options.tokens.vocab_size)


def _check_reports(studies: datasets.DatasetDict) -> None:
    for split, rows in studies.items():
        if not reports_of(rows)[0]:
            raise ValueError(
                f"--datasets: no study of the {split} splits has a report; `text` needs reports, use `images` for "
                "images alone"
            )


if __name__ == "__main__":
    run_main(main, mistakes=MISTAKES, stopped=STOPPED)
