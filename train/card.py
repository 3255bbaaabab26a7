"""The model card: README.md of a checkpoint or of pretrained weights, written from the data of the run.

    python -m train.card --run runs/mine

The training programs write it at the end of a run. This program writes it again for an older run of train/finetune.py.
`eval/report/model_card.py` writes a longer card with test scores.
"""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import tyro
from huggingface_hub import ModelCard, ModelCardData

from data.cli import run_main
from data.sources.credits import credits_of
from train.build import LSTM_SIZES, describe_adaptation
from train.loop.tasks import describe_stages
from train.options import FinetuneOptions, ImageOptions, PretrainOptions, TextOptions, read_options
from train.run.folder import TrainLog
from train.studies.select import load_run_studies
from vlm.checkpoint.provenance import (
    PROVENANCE_FILE,
    LearnedStudies,
    Provenance,
    TrainingRun,
    load_provenance,
    provenance_table,
    save_provenance,
    unrecorded,
)
from vlm.checkpoint.store import fetch_checkpoint
from vlm.config import DECODER_SIZES, ENCODER_SIZES, ReportModelConfig
from vlm.inputs.tokenizer import load_tokenizer
from vlm.schema.strict_json import read_json

_TEMPLATE = """---
{{ card_data }}
---

# {{ title }}

**Not a medical device.** {{ purpose }}

{{ description }}

## Data

{{ data }}

{{ credits }}

The test splits were not used for training.

## Validation

{{ metrics }}

{{ selection }}

## {{ last_title }}

{{ last }}
"""

_REPORT_LIMITS = """The model was trained only on the data above. On images from other sources, its reports and
probabilities may be wrong, and nothing may indicate this. Attention maps show which image regions the model used, not
why{boxes}. The model does not use prior studies."""

_IMAGES = """A ViT (`{encoder}`, {image_size} x {image_size} pixels, gray), pretrained by masked autoencoding: it saw
{visible} of {patches} patches of each image, and a small decoder, which is not saved, reconstructed the others. There
were {num_training:,} training images and {num_validation:,} validation images, resized to fit into the square and
padded with black; the input is (x / 255 - 0.5) / 0.25.

![Validation images: original, visible patches, reconstruction](reconstruction.png)

The reconstructed patches are shown with the mean and the standard deviation of the true patches, because the model does
not predict these. The loss is the squared error per masked pixel of normalized patches."""

_TEXT = """A GPT-2 (`{decoder}`, {vocab_size:,} tokens in its own vocabulary), pretrained to write reports after their
indications, without images. Texts started at positions 0 to {max_position_shift}, because image tokens precede them in
fine-tuning. The loss is the cross-entropy per token."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CardOptions:
    """Write the model card of a finished run again."""

    run: Path
    """Output folder of train/finetune.py. Its data set and the checkpoint it started from must still exist."""


def main(argv: Sequence[str] | None = None) -> None:
    folder = tyro.cli(CardOptions, args=argv, description=__doc__).run
    options = read_options(folder / "training_config.json", FinetuneOptions)
    write_report_card(folder, options, load_run_studies(options).splits)
    if (folder / "merged").is_dir():
        for name in ("README.md", PROVENANCE_FILE, "training_config.json"):
            shutil.copy(folder / "best" / name, folder / "merged" / name)
    print(f"wrote {folder / 'best' / 'README.md'} and {PROVENANCE_FILE}")


def write_report_card(run: Path, options: FinetuneOptions, studies: datasets.DatasetDict) -> None:
    """Write README.md, training_data.json and training_config.json of the best checkpoint of a fine-tuning run."""
    best = run / "best"
    encoder, decoder = options.init_from or options.encoder, options.init_from or options.decoder
    adaptation = describe_adaptation(options)
    this_run = TrainingRun(
        program="train/finetune.py",
        what=f"{adaptation}, epochs: {describe_stages(options)}",
        studies=learned_studies(studies),
    )
    writes_reports = read_json(best / "config.json", ReportModelConfig).writes_reports
    uses_boxes = options.losses.box_weight > 0 and any(studies["train"]["boxes"])
    _write_card(
        best,
        Provenance(runs=(*_earlier_runs(options), this_run)),
        TrainLog(run).read(),
        library="cxrscribe",
        tag="report-generation",
        title="A cxrscribe report model",
        purpose="It writes drafts for research and teaching; do not base any diagnosis on it.",
        description=f"Encoder `{encoder}`, decoder `{decoder}`, {adaptation}. Trained by `train/finetune.py`; "
        "`training_config.json` contains all options."
        + ("" if writes_reports else "\n\n**It only classifies.** It was not trained on reports and writes none."),
        selection="The checkpoint was chosen by these metrics, so they are optimistic. `eval/batch.py --split test` "
        "computes test scores with controls and confidence intervals.",
        last_title="Limits",
        last=_REPORT_LIMITS.format(
            boxes="; in training, it was guided to the bounding boxes of the findings" if uses_boxes else ""
        ),
    )
    shutil.copyfile(run / "training_config.json", best / "training_config.json")


def write_pretrain_card(run: Path, options: PretrainOptions, studies: datasets.DatasetDict) -> None:
    """Write README.md and training_data.json of pretrained weights."""
    if isinstance(options, ImageOptions):
        title, learned = "A chest X-ray encoder", "masked autoencoding of images"
        flags = f"--encoder {run} --no-lora"
        description = _IMAGES.format(
            encoder=options.encoder,
            image_size=options.image_size,
            visible=options.num_visible,
            patches=options.num_patches,
            num_training=sum(map(len, studies["train"]["view_positions"])),
            num_validation=sum(map(len, studies["validation"]["view_positions"])),
        )
    else:
        assert isinstance(options, TextOptions)
        title, learned = "A language model of chest X-ray reports", "reports without images"
        flags = f"--decoder {run}"
        description = _TEXT.format(
            decoder=options.decoder,
            vocab_size=len(load_tokenizer(run)),
            max_position_shift=options.tokens.max_position_shift,
        )
    records = TrainLog(run).read()
    validations = [record for record in records if "validation" in record]
    best = min(validations, key=lambda record: record["validation"]["loss"])["epoch"]
    this_run = TrainingRun(
        program="train/pretrain.py",
        what=f"{learned}, {options.num_epochs} epochs",
        studies=learned_studies(studies),
    )
    _write_card(
        run,
        Provenance(runs=(this_run,)),
        records,
        library="transformers",
        tag="pretraining",
        title=title,
        purpose="It is one half of a report model and must be fine-tuned together with the other half.",
        description=f"{description}\n\nPretrained by `train/pretrain.py`; `training_config.json` contains all options.",
        selection=f"The weights are those of epoch {best + 1}, which has the lowest validation loss.",
        last_title="Usage",
        last=f"```sh\naccelerate launch train/finetune.py --dataset STUDIES --output-dir RUN {flags}\n```",
    )


def _write_card(
    folder: Path, provenance: Provenance, records: list[dict], *, library: str, tag: str, **sections: Any
) -> None:
    save_provenance(folder, provenance)
    card_data = ModelCardData(
        library_name=library,
        tags=["chest-x-ray", tag, "not-a-medical-device"],
        license="other",
        license_name="; ".join(provenance.licenses) or "unknown",
    )
    card = ModelCard.from_template(
        card_data=card_data,
        template_str=_TEMPLATE,
        data=provenance_table(provenance),
        credits="\n".join(f"- {credit}" for credit in credits_of(provenance.sources)),
        metrics=_metrics_table(records),
        **sections,
    )
    card.save(str(folder / "README.md"))


def learned_studies(splits: Mapping[str, datasets.Dataset]) -> tuple[LearnedStudies, ...]:
    """Count the train and validation studies by source and license, largest first. A study that is in two data sets of
    the run counts once."""
    learned = []
    for split in ("train", "validation"):
        seen, counts, with_report = set(), Counter(), Counter()
        for row in splits[split].select_columns(["study_id", "source", "license", "findings", "impression"]):
            kind = (row["source"], row["license"])
            if (kind, row["study_id"]) not in seen:
                seen.add((kind, row["study_id"]))
                counts[kind] += 1
                with_report[kind] += bool(row["findings"] or row["impression"])
        learned += [
            LearnedStudies(
                split=split,
                source=source,
                license=license,
                num_studies=count,
                num_with_report=with_report[source, license],
            )
            for (source, license), count in counts.most_common()
        ]
    return tuple(learned)


def _earlier_runs(options: FinetuneOptions) -> tuple[TrainingRun, ...]:
    """The runs that produced the weights with which this run started."""
    if options.init_from is not None:
        return load_provenance(fetch_checkpoint(options.init_from)).runs
    built_in = {*ENCODER_SIZES, *DECODER_SIZES, *LSTM_SIZES}
    names = [name for name in dict.fromkeys((options.encoder, options.decoder)) if name not in built_in]
    folders = [load_provenance(Path(name)) if Path(name).is_dir() else unrecorded(name) for name in names]
    return tuple(run for provenance in folders for run in provenance.runs)


def _metrics_table(records: list[dict]) -> str:
    """For each epoch, the mean training loss of its steps and the validation metrics."""
    losses: dict[int, list[float]] = {}
    lines = []
    for record in records:
        if "loss" in record:
            losses.setdefault(record["epoch"], []).append(record["loss"])
        else:
            metrics, steps = record["validation"], losses.get(record["epoch"], [])
            if not lines:
                names = ["validation loss" if name == "loss" else name.replace("_", " ") for name in metrics]
                lines = [f"| epoch | training loss | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
            loss = sum(steps) / len(steps) if steps else None
            values = ["" if value is None else f"{value:.4f}" for value in (loss, *metrics.values())]
            lines.append(f"| {record['epoch'] + 1} | {' | '.join(values)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_main(main)
