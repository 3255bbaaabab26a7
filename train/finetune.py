"""Fine-tune a report model on a prepared data set.

    accelerate launch train/finetune.py --dataset studies --output-dir runs/mine

It runs on a CPU, a GPU or in several processes, as configured for `accelerate launch`. <output-dir>/best contains the
checkpoint with the best validation metrics. To continue a killed run, repeat the command with --resume.

About 200 studies: --init-from a checkpoint with LoRA (the encoder stays frozen), --num-epochs 20, --early-stopping 5.
About 2,000: the same with 10 epochs; if the images look different from those of the checkpoint, --no-lora with
--encoder-learning-rate 5e-5 and --findings-epochs 3. About 20,000: train all weights, the findings first (--no-lora,
--findings-epochs, --text-only-epochs), then LoRA from the result. The README has the whole commands.
"""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from itertools import chain
from pathlib import Path

import torch
import tyro
from accelerate import Accelerator, DistributedDataParallelKwargs

from data.cli import run_main
from train.build import build_model, build_tokenizer, describe_adaptation, keep_decisions
from train.card.card import write_report_card
from train.fit_ood import fit_or_explain
from train.loop.selection import image_is_unused
from train.loop.step import mixed_precision
from train.loop.tasks import ReportTask, describe_stages
from train.loop.trainer import Trainer
from train.options import FinetuneOptions
from train.run.folder import start_run
from train.run.launch import check_launch
from train.run.progress import MISTAKES, STOPPED, console, print_summary
from train.run.shard import check_shard
from train.studies.dataset import Collator, StudyDataset, count_truncated
from train.studies.features import cached_features
from train.studies.same_studies import check_same_studies
from train.studies.select import RunStudies, load_run_studies, measure
from train.studies.stream import Rows
from train.studies.stream_files import check_same_files
from vlm.checkpoint.store import merge_checkpoint
from vlm.inputs.tokenizer import MAX_PRIOR_TOKENS, MAX_PROMPT_TOKENS, load_tokenizer
from vlm.layers.gpt2 import GPT2Decoder
from vlm.model import ReportModel
from vlm.schema.atomic import atomic_folder
from vlm.schema.findings import NUM_FINDINGS
from vlm.schema.preprocessing import Preprocessing
from vlm.schema.report_format import report_of


def main(argv: list[str] | None = None) -> None:
    options = keep_decisions(tyro.cli(FinetuneOptions, args=argv, description=__doc__))
    accelerator = Accelerator(
        mixed_precision=mixed_precision(options.run.precision),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    check_launch(accelerator, "train/finetune.py")
    studies = load_run_studies(options)
    with start_run(options, accelerator) as folder:
        if accelerator.is_main_process:
            _check_same_data(options, studies, folder)
        _train(options, studies, folder, accelerator)
    accelerator.end_training()


def _check_same_data(options: FinetuneOptions, studies: RunStudies, folder: Path) -> None:
    """Raises ValueError if a resumed run would read another data set than before."""
    if options.studies.stream:
        check_same_files(folder, studies.splits)
        return
    extra = f" or --extra-dataset {options.studies.extra_dataset}" if options.studies.extra_dataset else ""
    name = f"--dataset {options.dataset}{extra}"
    check_same_studies(folder, studies.splits, studies.preprocessing, name=name)


def _train(options: FinetuneOptions, studies: RunStudies, folder: Path, accelerator: Accelerator) -> None:
    task = _report_task(options, studies, folder, accelerator)
    if options.run.shard:
        check_shard(task.model, accelerator, with_priors=task.training.with_priors)
    trainer = Trainer(options, task, accelerator, is_divided=options.run.shard)
    for dataset in (task.training, task.validation):
        if options.studies.stream or (dataset is task.training and not options.sees_images):
            continue
        if options.images.feature_cache is None:
            dataset.keep_images(round(options.images.image_cache_gib * 2**30))
        else:
            cache = Path(options.images.feature_cache)
            inputs = (task.model.encoder, dataset.rows, dataset.geometry, cache, accelerator)
            dataset.features = {column: cached_features(*inputs, column=column) for column in dataset.columns}
    if options.resume:
        trainer.resume()
    if accelerator.is_main_process:
        print_summary(_summary(options, task, studies.splits) | trainer.summary(), title="Fine-tuning")
        for note in studies.notes:
            console.print(f"Note: {note}", highlight=False)
    trainer.run()
    if accelerator.is_main_process:
        best, device = folder / "best", str(accelerator.device)
        write_report_card(folder, options, studies.splits)
        console.print(fit_or_explain(best, studies.splits, base=options.init_from, device=device), highlight=False)
        if options.validation.merge:
            shutil.rmtree(folder / "merged", ignore_errors=True)
            dtype = torch.float16 if options.validation.merge_precision == "fp16" else torch.float32
            merge_checkpoint(best, folder / "merged", dtype=dtype)
        for warning in filter(None, (image_is_unused(trainer.log.read()), trainer.not_improved())):
            console.print(f"[yellow]Warning:[/] {warning}", highlight=False, soft_wrap=True)
        console.print(f"best checkpoint, from epoch {trainer.progress.best_epoch + 1}: {best}")


def _report_task(options: FinetuneOptions, studies: RunStudies, folder: Path, accelerator: Accelerator) -> ReportTask:
    learned = studies.learned
    if accelerator.is_main_process and not (folder / "tokenizer").is_dir():
        indications = (row["indication"] for row in learned.select_columns(["indication"]))
        prompts = (f"Indication: {indication}\n" for indication in indications if indication)
        with atomic_folder(folder / "tokenizer") as partial:
            build_tokenizer(options, chain(filter(None, _reports(learned)), prompts)).save_pretrained(partial)
    accelerator.wait_for_everyone()
    tokenizer = load_tokenizer(folder / "tokenizer")
    sizes = measure(learned)
    model = build_model(
        options, tokenizer, knows_severities=sizes.knows_severities, has_priors=sizes.num_prior_views > 0
    )
    if options.init_from is not None and accelerator.is_main_process:
        _warn_of_other_preprocessing(options, model.config.preprocessing, studies.preprocessing)
    model.config = replace(model.config, preprocessing=studies.preprocessing)
    max_report_tokens = options.studies.max_report_tokens
    with_priors = model.config.prior and options.studies.prior != "off"
    _check_positions(max_report_tokens, model, sizes.num_views, sizes.num_prior_views if with_priors else 0)
    image = model.config.image
    common = {
        "tokenizer": tokenizer,
        "geometry": image,
        "max_report_tokens": max_report_tokens,
        "with_priors": with_priors,
    }
    training = StudyDataset(
        learned,
        augmentation=options.augmentation if options.images.use_augmentation else None,
        view_dropout=options.studies.view_dropout,
        prior_report_dropout=options.studies.prior_report_dropout,
        seed=options.run.seed,
        **common,
    )
    collator = Collator(
        geometry=image,
        grid=model.encoder.grid,
        pad_token_id=tokenizer.pad_token_id,
        uncertain_labels=options.losses.uncertain_labels,
        decide_findings=options.stages.decide_findings,
    )
    validation = StudyDataset(studies.splits["validation"], **common)
    return ReportTask(options, model, training, validation, collator, sizes.lengths)


def _warn_of_other_preprocessing(options: FinetuneOptions, old: Preprocessing, new: Preprocessing) -> None:
    changed = [
        f"{switch.name} {getattr(old, switch.name)} -> {getattr(new, switch.name)}"
        for switch in fields(Preprocessing)
        if getattr(old, switch.name) != getattr(new, switch.name)
    ]
    if changed:
        console.print(
            f"[yellow]Warning:[/] --init-from {options.init_from} was trained with a different preprocessing than that "
            f"of --dataset {options.dataset} ({', '.join(changed)}). The new checkpoint will use that of the data set. "
            "If you do not want this, prepare the data set with the same switches.",
            highlight=False,
            soft_wrap=True,
        )


def _check_positions(max_report_tokens: int, model: ReportModel, num_views: int, num_prior_views: int) -> None:
    """Check before the run that a GPT-2 has enough positions for the longest input."""
    if not isinstance(model.decoder, GPT2Decoder):
        return
    num_finding_tokens = NUM_FINDINGS if model.config.use_finding_tokens else 0
    prompt = MAX_PROMPT_TOKENS + (MAX_PRIOR_TOKENS if num_prior_views else 0)
    prefix = (num_views + num_prior_views) * model.vision_projector.num_tokens + num_finding_tokens + prompt
    prior = f" and {num_prior_views} prior views with their report" if num_prior_views else ""
    room = model.decoder.num_positions - prefix
    if max_report_tokens > room:
        raise ValueError(
            f"the decoder has {model.decoder.num_positions} positions; up to {num_views} views{prior}, the findings "
            f"and the indication use {prefix} of them: give --max-report-tokens at most {room}, or a larger --pool"
            + (", or --prior off" if num_prior_views else "")
        )


def _reports(rows: Rows) -> Iterator[str]:
    return map(report_of, rows.select_columns(["findings", "impression"]))


def _summary(options: FinetuneOptions, task: ReportTask, studies: Mapping[str, Rows]) -> dict[str, str]:
    total, trained = task.model.num_parameters()
    start = options.init_from
    if options.average_with:
        start = f"mean of {', '.join([start, *options.average_with])}"
    tokenizer, limit = task.training.tokenizer, options.studies.max_report_tokens
    num_reports = sum(map(bool, _reports(studies["train"])))
    num_truncated = count_truncated(tokenizer, _reports(studies["train"]), limit)
    return {
        "studies": ", ".join(f"{split} {len(rows):,}" for split, rows in studies.items() if split != "test"),
        "with a report": f"{num_reports:,} of train; {num_truncated} truncated to {limit} tokens",
        "encoder": f"{start or options.encoder}, {'{} x {}'.format(*task.model.encoder.grid)} patches",
        "decoder": f"{start or options.decoder}, {len(tokenizer):,} tokens, {describe_adaptation(options)}",
        "parameters": f"{total:,}, of which {trained:,} are trained ({trained / total:.1%})",
        "epochs": describe_stages(options),
    }


if __name__ == "__main__":
    run_main(main, mistakes=MISTAKES, stopped=STOPPED)
