"""Fine-tune a report model on a prepared data set.

    accelerate launch train/finetune.py --dataset data/mine --output-dir runs/mine

Runs on a CPU, one GPU or several processes, as `accelerate launch` is told. The best checkpoint, chosen on validation,
is in <output-dir>/best. A killed run goes on with the same command and --resume.
"""

import datetime
import logging
import sys
from dataclasses import fields, replace
from pathlib import Path

import tyro
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import set_seed

from data.study import saved_preprocessing
from train.build import build_model, build_tokenizer
from train.card import write_card
from train.fit_ood import fit_ood_detector
from train.loop.step import mixed_precision
from train.loop.trainer import Trainee, Trainer, stage_epochs
from train.options import FinetuneOptions
from train.run.folder import open_run
from train.run.progress import console, print_summary
from train.studies.dataset import Collator, StudyDataset
from train.studies.select import RunStudies, load_run_studies
from vlm.checkpoint.store import merge_checkpoint
from vlm.inputs.tokenizer import MAX_PROMPT_TOKENS, load_tokenizer
from vlm.layers.gpt2 import GPT2Decoder
from vlm.model import ReportModel
from vlm.schema.findings import NUM_FINDINGS
from vlm.schema.preprocessing import Preprocessing
from vlm.schema.report_format import compose_report


def main(argv: list[str] | None = None) -> None:
    options = tyro.cli(FinetuneOptions, args=argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        run(options)
    except (ValueError, FloatingPointError) as error:
        console.print(f"[bold red]error:[/] {error}", soft_wrap=True, highlight=False)
        sys.exit(2)


def run(options: FinetuneOptions) -> Path:
    """Trains and returns the folder of the best checkpoint."""
    accelerator = Accelerator(
        mixed_precision=mixed_precision(options.precision),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    studies = load_run_studies(options)
    if accelerator.is_main_process:
        folder = open_run(options)
    accelerator.wait_for_everyone()
    folder = Path(options.output_dir)
    set_seed(options.seed)
    trainer = Trainer(options, _trainee(options, studies, folder, accelerator), accelerator, folder)
    for studies_read in (trainer.trainee.training, trainer.trainee.validation):
        studies_read.keep_images(round(options.image_cache_gib * 2**30))
    if options.resume:
        trainer.resume()
    if accelerator.is_main_process:
        print_summary(_summary(trainer, studies.splits))
        for note in studies.notes:
            console.print(f"Note: {note}", highlight=False)
    trainer.run()
    if accelerator.is_main_process:
        write_card(folder, options, studies.splits)
        console.print(_fit_ood(folder / "best", studies.splits, accelerator), highlight=False)
        if options.merge:
            merge_checkpoint(folder / "best", folder / "merged")
        console.print(f"best checkpoint, of epoch {trainer.position.best_epoch + 1}: {folder / 'best'}")
    accelerator.end_training()
    return folder / "best"


def _trainee(options: FinetuneOptions, studies: RunStudies, folder: Path, accelerator: Accelerator) -> Trainee:
    text = studies.learned.select_columns(["indication", "findings", "impression"])
    reports = [compose_report(findings=row["findings"], impression=row["impression"]) for row in text]
    if accelerator.is_main_process and not (folder / "tokenizer").is_dir():
        indications = [f"Indication: {indication}\n" for indication in text["indication"] if indication]
        build_tokenizer(options, [report for report in reports if report] + indications).save_pretrained(
            str(folder / "tokenizer")
        )
    accelerator.wait_for_everyone()
    tokenizer = load_tokenizer(folder / "tokenizer")
    model = build_model(options, tokenizer)
    preprocessing = saved_preprocessing(options.dataset)
    if options.init_from is not None and accelerator.is_main_process:
        _warn_of_other_preprocessing(options, model.config.preprocessing, preprocessing)
    model.config = replace(model.config, preprocessing=preprocessing)
    _check_positions(options, model, max(map(len, studies.learned["view_positions"])))
    image = model.config.image
    common = {"tokenizer": tokenizer, "geometry": image, "max_report_tokens": options.max_report_tokens}
    return Trainee(
        model=model,
        training=StudyDataset(
            studies.learned,
            augmentation=options.augmentation if options.use_augmentation else None,
            view_dropout=options.view_dropout,
            seed=options.seed,
            **common,
        ),
        validation=StudyDataset(studies.splits["validation"], **common),
        collator=Collator(
            geometry=image,
            grid=model.encoder.grid,
            pad_token_id=tokenizer.pad_token_id,
            uncertain_labels=options.uncertain_labels,
        ),
        lengths=[len(report) for report in reports],
    )


def _warn_of_other_preprocessing(options: FinetuneOptions, learned: Preprocessing, given: Preprocessing) -> None:
    """What images go through from now on is what the data set says."""
    changed = [
        f"{switch.name} {getattr(learned, switch.name)} -> {getattr(given, switch.name)}"
        for switch in fields(Preprocessing)
        if getattr(learned, switch.name) != getattr(given, switch.name)
    ]
    if changed:
        console.print(
            f"[yellow]Warning:[/] --init-from {options.init_from} learned from images prepared otherwise than "
            f"those of --dataset {options.dataset} ({', '.join(changed)}), and the new checkpoint takes the data set's "
            "way; prepare the data set with the same switches, unless that is meant",
            highlight=False,
            soft_wrap=True,
        )


def _check_positions(options: FinetuneOptions, model: ReportModel, num_views: int) -> None:
    """Better before the run than in the middle of it."""
    if not isinstance(model.decoder, GPT2Decoder):
        return
    num_finding_tokens = NUM_FINDINGS if model.config.use_finding_tokens else 0
    prefix = num_views * model.vision_projector.num_tokens + num_finding_tokens + MAX_PROMPT_TOKENS
    room = model.decoder.num_positions - prefix
    if options.max_report_tokens > room:
        raise ValueError(
            f"the decoder has {model.decoder.num_positions} positions; up to {num_views} views with the findings and "
            f"the indication take {prefix} of them: give --max-report-tokens at most {room}, or a larger --pool"
        )


def _summary(trainer: Trainer, studies) -> dict[str, str]:
    options, model = trainer.options, trainer.trainee.model
    total, trained = model.num_parameters()
    seconds, memory = trainer.estimate()
    tokenizer = trainer.trainee.training.tokenizer
    text = studies["train"].select_columns(["findings", "impression"])
    reports = [compose_report(findings=row["findings"], impression=row["impression"]) for row in text]
    encoded = tokenizer([report for report in reports if report] or [""], add_special_tokens=False)["input_ids"]
    num_cut = sum(len(ids) + 1 > options.max_report_tokens for ids in encoded)
    remaining = trainer.num_steps - trainer.position.step
    return {
        "studies": ", ".join(f"{split} {len(rows):,}" for split, rows in studies.items() if split != "test"),
        "with a report": f"{sum(map(bool, reports)):,} of train; {num_cut} cut at {options.max_report_tokens} tokens",
        "encoder": f"{options.init_from or options.encoder}, {'{} x {}'.format(*model.encoder.grid)} patches",
        "decoder": f"{options.init_from or options.decoder}, {len(tokenizer):,} tokens, "
        + (f"LoRA of rank {options.lora_settings.rank}" if options.lora else "all weights trained"),
        "parameters": f"{total:,}, of them trained {trained:,} ({trained / total:.1%})",
        "steps": f"{remaining:,} of {trainer.num_steps:,}; epochs: "
        + ", ".join(f"{len(epochs)} of {stage.value}" for stage, epochs in stage_epochs(options).items()),
        "device": f"{trainer.accelerator.device}, {trainer.accelerator.num_processes} process(es), "
        f"precision {trainer.accelerator.mixed_precision}",
        "time, about": str(datetime.timedelta(seconds=round(seconds))) + " and the validations",
        "memory, about": f"{memory:.1f} GiB a process",
    }


def _fit_ood(checkpoint: Path, studies, accelerator: Accelerator) -> str:
    """Measured last, since only the best checkpoint needs it; a data set too small for it spoils no run."""
    try:
        settings = fit_ood_detector(checkpoint, studies, device=str(accelerator.device)).settings
    except ValueError as error:
        return f"Note: the checkpoint cannot tell which images it knows ({error})."
    return f"what images it knows: measured on {settings.num_training_images} training images"


if __name__ == "__main__":
    main()
