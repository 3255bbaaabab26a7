"""The model card: README.md of a checkpoint or of pretrained weights, written from the data of the run.

The programs write it at the end of a run; `python -m train.card` writes it again for an older run of train/finetune.py.
`eval/report/model_card.py` writes a longer card with test scores.
"""

import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import datasets
from huggingface_hub import ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from data.sources.credits import credits_of
from train.build import LSTM_SIZES, describe_adaptation
from train.loop.selection import image_is_unused
from train.loop.tasks import describe_stages
from train.options import FinetuneOptions
from train.pretraining.options import ImageOptions, PretrainOptions
from train.run.folder import TrainLog
from train.studies.stream import Rows
from vlm.checkpoint.provenance import (
    LearnedStudies,
    Provenance,
    TrainingRun,
    load_provenance,
    provenance_table,
    save_provenance,
    unrecorded,
)
from vlm.checkpoint.store import fetch_checkpoint, find_checkpoint
from vlm.config import DECODER_SIZES, ENCODER_SIZES, ReportModelConfig
from vlm.inputs.tokenizer import load_tokenizer
from vlm.schema.strict_json import read_json

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    keep_trailing_newline=True,
)


def write_report_card(run: Path, options: FinetuneOptions, studies: Mapping[str, Rows]) -> None:
    """Write README.md, training_data.json and training_config.json of the best checkpoint of a fine-tuning run."""
    best, adaptation = run / "best", describe_adaptation(options)
    config = read_json(best / "config.json", ReportModelConfig)
    this_run = TrainingRun(
        program="train/finetune.py",
        what=f"{adaptation}, {_mean_of(options)}epochs: {describe_stages(options)}",
        studies=learned_studies(studies),
    )
    _write_card(
        best,
        Provenance(runs=(*_earlier_runs(options), this_run)),
        metrics=_metrics_table(TrainLog(run).read()),
        template="report_model.md.j2",
        tags=["report-generation"],
        library="cxrscribe",
        options=options,
        adaptation=adaptation,
        writes_reports=config.writes_reports,
        reads_priors=config.prior,
        warning=image_is_unused(TrainLog(run).read()),
        uses_boxes=options.losses.box_weight > 0
        and any(row["boxes"] for row in studies["train"].select_columns(["boxes"])),
    )
    shutil.copyfile(run / "training_config.json", best / "training_config.json")


def write_probe_card(
    source: Path, folder: Path, studies: Mapping[str, Rows], *, share: float, learned: str, **facts: str
) -> None:
    """Write README.md and training_data.json of a checkpoint that train/fit_probe.py made of the one in `source`."""
    this_run = TrainingRun(
        program="train/fit_probe.py",
        what=f"a linear classifier of {learned}, with a share of {share}",
        studies=learned_studies(studies),
    )
    _write_card(
        folder,
        Provenance(runs=(*load_provenance(source).runs, this_run)),
        template="probe.md.j2",
        tags=["report-generation"],
        library="cxrscribe",
        share=share,
        learned=learned,
        **facts,
    )
    if (source / "training_config.json").is_file():
        shutil.copyfile(source / "training_config.json", folder / "training_config.json")


def write_pretrain_card(run: Path, options: PretrainOptions, studies: datasets.DatasetDict, best_epoch: int) -> None:
    """Write README.md and training_data.json of pretrained weights."""
    if isinstance(options, ImageOptions):
        learned, template, flags = "masked autoencoding of images", "images.md.j2", f"--encoder {run} --no-lora"
        facts = {"num_images": {split: sum(map(len, rows["view_positions"])) for split, rows in studies.items()}}
    else:
        learned, template, flags = "reports without images", "text.md.j2", f"--decoder {run}"
        facts = {"vocab_size": len(load_tokenizer(run))}
    this_run = TrainingRun(
        program="train/pretrain.py",
        what=f"{learned}, {options.num_epochs} epochs",
        studies=learned_studies(studies),
    )
    _write_card(
        run,
        Provenance(runs=(this_run,)),
        metrics=_metrics_table(TrainLog(run).read()),
        template=template,
        tags=["pretraining"],
        library="transformers",
        options=options,
        flags=flags,
        best_epoch=best_epoch,
        **facts,
    )


def _write_card(
    folder: Path,
    provenance: Provenance,
    *,
    metrics: str,
    template: str,
    library: str,
    tags: list[str],
    **facts: Any,
) -> None:
    save_provenance(folder, provenance)
    card_data = ModelCardData(
        library_name=library,
        tags=["chest-x-ray", *tags, "not-a-medical-device"],
        license="other",
        license_name="; ".join(provenance.licenses) or "unknown",
    )
    card = _TEMPLATES.get_template(template).render(
        card_data=card_data,
        data=provenance_table(provenance),
        credits="\n".join(f"- {credit}" for credit in credits_of(provenance.sources)),
        metrics=metrics,
        **facts,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


def learned_studies(splits: Mapping[str, Rows]) -> tuple[LearnedStudies, ...]:
    """Count the train and validation studies by source and license, largest first. A study that is in two data sets of
    the run counts once."""
    learned = []
    for split in ("train", "validation"):
        rows = splits[split].select_columns(["study_id", "source", "license", "findings", "impression"])
        studies = (
            ((row["source"], row["license"], row["study_id"]), bool(row["findings"] or row["impression"]))
            for row in rows
        )
        if isinstance(rows, datasets.Dataset):  # a stream is one data set, whose studies need not be held to compare
            studies = dict(studies).items()
        num_studies, with_report = Counter(), Counter()
        for (source, license, _), has_report in studies:
            num_studies[source, license] += 1
            with_report[source, license] += has_report
        learned += [
            LearnedStudies(
                split=split,
                source=source,
                license=license,
                num_studies=count,
                num_with_report=with_report[source, license],
            )
            for (source, license), count in num_studies.most_common()
        ]
    return tuple(learned)


def _mean_of(options: FinetuneOptions) -> str:
    return f"from the mean of {1 + len(options.average_with)} checkpoints, " if options.average_with else ""


def _earlier_runs(options: FinetuneOptions) -> tuple[TrainingRun, ...]:
    """The runs that produced the weights with which this run started."""
    if options.init_from is not None:
        runs = load_provenance(fetch_checkpoint(options.init_from)).runs
        for name in options.average_with:
            runs += tuple(run for run in load_provenance(fetch_checkpoint(name)).runs if run not in runs)
        return runs
    built_in = {*ENCODER_SIZES, *DECODER_SIZES, *LSTM_SIZES}
    names = [name for name in dict.fromkeys((options.encoder, options.decoder)) if name not in built_in]
    known = [
        load_provenance(find_checkpoint(Path(name))) if Path(name).is_dir() else unrecorded(name) for name in names
    ]
    return tuple(dict.fromkeys(run for provenance in known for run in provenance.runs))


def _metrics_table(records: list[dict]) -> str:
    """For each epoch, the mean training loss of its steps and the validation metrics."""
    validations = {record["epoch"]: record["validation"] for record in records if "validation" in record}
    names = [*next(iter(validations.values()))]
    titles = ["validation loss" if name == "loss" else name.replace("_", " ") for name in names]
    lines = [f"| epoch | training loss | {' | '.join(titles)} |", "|---" * (len(titles) + 2) + "|"]
    for epoch, metrics in validations.items():
        steps = [record["loss"] for record in records if "loss" in record and record["epoch"] == epoch]
        numbers = [fmean(steps) if steps else None, *metrics.values()]
        cells = ["" if number is None else f"{number:.4f}" for number in numbers]
        lines.append(f"| {epoch + 1} | {' | '.join(cells)} |")
    return "\n".join(lines)
