"""Pretrain one half of a report model: the encoder on images without text, or the decoder on reports without images.

    accelerate launch train/pretrain.py images --datasets data/mine data/more --output-dir runs/encoder
    accelerate launch train/pretrain.py text --datasets data/mine --output-dir runs/decoder

The output folder is in Hugging Face format and goes into `train/finetune.py --encoder` or `--decoder`. It holds the
weights of the best epoch on validation. A killed run goes on with the same command and --resume.
"""

import datetime
import logging
import sys
from pathlib import Path

import datasets
import tyro
from accelerate import Accelerator
from accelerate.utils import set_seed
from transformers import PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from train.card import write_pretrain_card
from train.loop.step import mixed_precision
from train.loop.trainer import Pretrainee, Pretrainer
from train.options import ImageOptions, PretrainOptions, TextOptions
from train.pretraining.images import ImageDataset
from train.pretraining.masked_autoencoder import MaskedAutoencoder, draw_reconstructions
from train.pretraining.texts import IGNORED, LanguageModel, ReportTexts, reports_of
from train.run.folder import open_run, write_whole
from train.run.progress import console, print_summary
from train.studies.select import load_pretraining_studies
from vlm.config import ImageGeometry
from vlm.inputs.tokenizer import load_tokenizer, train_tokenizer


def main(argv: list[str] | None = None) -> None:
    programs = {"images": ImageOptions, "text": TextOptions}
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    disable_progress_bar()  # of writing weights, which would tear the bar of the run
    try:
        run(tyro.extras.subcommand_cli_from_dict(programs, args=argv, description=__doc__))
    except (ValueError, FloatingPointError) as error:
        console.print(f"[bold red]error:[/] {error}", soft_wrap=True, highlight=False)
        sys.exit(2)


def run(options: PretrainOptions) -> Path:
    """Trains and returns the folder with the weights."""
    accelerator = Accelerator(mixed_precision=mixed_precision(options.precision))
    studies = load_pretraining_studies(options.datasets)
    if isinstance(options, TextOptions):
        _check_reports(studies.splits)
    if accelerator.is_main_process:
        open_run(options)
    accelerator.wait_for_everyone()
    folder = Path(options.output_dir)
    set_seed(options.seed)
    if isinstance(options, ImageOptions):
        pretrainee, about = _images(options, studies.splits)
    else:
        pretrainee, about = _reports(options, studies.splits, folder, accelerator)
    trainer = Pretrainer(options, pretrainee, accelerator, folder)
    if options.resume:
        trainer.resume()
    if accelerator.is_main_process:
        about["rejected"] = f"{studies.num_rejected:,} studies, when the data was prepared (rejected.jsonl says why)"
        print_summary(about | _about_run(trainer), title="Pretraining")
    trainer.run()
    if accelerator.is_main_process:
        write_pretrain_card(folder, options, studies.splits)
        console.print(f"weights of epoch {trainer.position.best_epoch + 1}: {folder}")
    accelerator.end_training()
    return folder


def _images(options: ImageOptions, studies: datasets.DatasetDict) -> tuple[Pretrainee, dict[str, str]]:
    """What is trained, and what to tell the user of it."""
    geometry = ImageGeometry(size=options.image_size)
    model = MaskedAutoencoder(options.encoder, geometry, mask_ratio=options.mask_ratio)
    common = {"geometry": geometry, "num_patches": options.num_patches, "seed": options.seed}
    augmentation = options.augmentation if options.use_augmentation else None
    training = ImageDataset(studies["train"], augmentation=augmentation, **common)
    validation = ImageDataset(studies["validation"], **common)
    is_kept = [images.keep_images(round(options.image_cache_gib * 2**30)) for images in (training, validation)]

    def save(folder: Path) -> None:
        model.save_encoder(folder, geometry)
        draw_reconstructions(model, validation, folder / "reconstruction.png")

    pretrainee = Pretrainee(
        model=model,
        training=training,
        validation=validation,
        lengths=None,
        count=lambda batch: len(batch["pixel_values"]),
        save=save,
        unit="images",
    )
    return pretrainee, {
        "images": f"train {len(training):,}, validation {len(validation):,}; every view of "
        f"{len(studies['train']):,} and {len(studies['validation']):,} studies; "
        + ("kept in memory" if is_kept[0] else "read from disk as needed"),
        "encoder": f"{options.encoder}, {options.num_visible} of {options.num_patches} patches seen",
    }


def _reports(
    options: TextOptions, studies: datasets.DatasetDict, folder: Path, accelerator: Accelerator
) -> tuple[Pretrainee, dict[str, str]]:
    """What is trained, and what to tell the user of it."""
    if accelerator.is_main_process and not (folder / "tokenizer_config.json").is_file():
        write_whole(folder, lambda partial: _tokenizer(options, studies["train"]).save_pretrained(str(partial)))
    accelerator.wait_for_everyone()
    tokenizer = load_tokenizer(folder)
    model = LanguageModel(options.decoder, tokenizer)
    training, validation = (
        ReportTexts(
            studies[split],
            tokenizer,
            max_report_tokens=options.max_report_tokens,
            max_position_shift=options.max_position_shift,
            seed=options.seed,
        )
        for split in ("train", "validation")
    )
    encoded = tokenizer(training.reports, add_special_tokens=False)["input_ids"]
    num_cut = sum(len(ids) + 1 > options.max_report_tokens for ids in encoded)
    pretrainee = Pretrainee(
        model=model,
        training=training,
        validation=validation,
        lengths=[len(report) for report in training.reports],
        count=lambda batch: (batch["labels"] != IGNORED).sum(),
        save=model.language_model.save_pretrained,
        unit="reports",
    )
    return pretrainee, {
        "reports": f"train {len(training):,}, validation {len(validation):,}; without one "
        f"{len(studies['train']) - len(training):,} and {len(studies['validation']) - len(validation):,} studies",
        "tokens": f"{sum(map(len, encoded)):,} of train; {num_cut:,} reports cut at {options.max_report_tokens}",
        "decoder": f"{options.decoder}, {len(tokenizer):,} tokens in its vocabulary",
    }


def _tokenizer(options: TextOptions, rows: datasets.Dataset) -> PreTrainedTokenizerBase:
    if options.tokenizer is not None:
        return load_tokenizer(options.tokenizer)
    reports, indications = reports_of(rows)
    prompts = [f"Indication: {indication}\n" for indication in indications if indication]
    return train_tokenizer(reports + prompts, vocab_size=options.vocab_size)


def _check_reports(studies: datasets.DatasetDict) -> None:
    for split, rows in studies.items():
        if not reports_of(rows)[0]:
            raise ValueError(
                f"--datasets: no study of the {split} splits has a report; text needs reports, images alone go "
                "into `images`"
            )


def _about_run(trainer: Pretrainer) -> dict[str, str]:
    seconds, memory = trainer.estimate()
    num_parameters = sum(parameter.numel() for parameter in trainer.pretrainee.model.parameters())
    accelerator = trainer.accelerator
    return {
        "parameters": f"{num_parameters:,}",
        "steps": f"{trainer.num_steps - trainer.position.step:,} of {trainer.num_steps:,} in "
        f"{trainer.options.num_epochs} epochs",
        "device": f"{accelerator.device}, {accelerator.num_processes} process(es), "
        f"precision {accelerator.mixed_precision}",
        "time, about": str(datetime.timedelta(seconds=round(seconds))) + " and the validations",
        "memory, about": f"{memory:.1f} GiB a process",
    }


if __name__ == "__main__":
    main()
