"""The model card: README.md of a checkpoint, written from the run itself, so that no figure in it is by hand.

    python -m train.card --run runs/mine

train/finetune.py does it at its end; this program does it again for a run whose card or `training_data.json` is of
before. `eval/report/model_card.py` writes a fuller card, with scores on studies that chose nothing.

The studies of a run as `training_data.json` counts them (vlm.checkpoint.provenance).

README.md of pretrained weights: what they learned from, under which licences, and how far, from the run itself.
"""

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import tyro
from huggingface_hub import ModelCard, ModelCardData

from data.cli import run_main
from data.sources.credits import credits_of
from train.build import LSTM_SIZES
from train.loop.trainer import stage_epochs
from train.options import FinetuneOptions, ImageOptions, PretrainOptions, TextOptions
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
from vlm.schema.strict_json import read_json


def learned_studies(splits: Mapping[str, datasets.Dataset]) -> tuple[LearnedStudies, ...]:
    """Of the train and validation splits, by source and licence, the most first. A study that lies in two data sets of
    the run counts once."""
    return tuple(counted for split in ("train", "validation") for counted in _counted(split, splits[split]))


def _counted(split: str, studies: datasets.Dataset) -> list[LearnedStudies]:
    seen, counts, with_report = set(), Counter(), Counter()
    for row in studies.select_columns(["study_id", "source", "license", "findings", "impression"]):
        kind = (row["source"], row["license"])
        if (kind, row["study_id"]) not in seen:
            seen.add((kind, row["study_id"]))
            counts[kind] += 1
            with_report[kind] += bool(row["findings"] or row["impression"])
    return [
        LearnedStudies(
            split=split, source=source, license=license, num_studies=count, num_with_report=with_report[source, license]
        )
        for (source, license), count in counts.most_common()
    ]


_PRETRAIN_TEMPLATE = """---
{{ card_data }}
---

# {{ title }}

{{ what }}

Pretrained by `train/pretrain.py` of cxrscribe; `training_config.json` holds every setting. It is one half of a report
model, to be fine-tuned with the other. **Not a medical device**, nor is what comes of it.

```sh
{{ usage }}
```

## Data

{{ data }}

Test splits were not read.

## {{ loss }}

{{ losses }}

The weights are those of epoch {{ best }}, the lowest on validation.
"""

_IMAGES = """A ViT (`{encoder}`, {image_size} x {image_size} pixels, gray) that learned by masked autoencoding: it saw
{visible} of {patches} patches of each image, and a small decoder, since thrown away, filled in the rest. Images are
fitted into the square, the rest is black, and pixels become (x / 255 - 0.5) / 0.25.

![Validation images: original, seen, filled in](reconstruction.png)

In the image, filled-in patches have the mean and the contrast of the true ones, which the model is not asked for."""

_TEXT = """A GPT-2 (`{decoder}`, {vocab_size:,} tokens of its own) that learned to write reports after their
indications, without images. Texts began at positions 0 to {max_position_shift}, since in fine-tuning they stand behind
image tokens."""


def write_pretrain_card(folder: Path, options: PretrainOptions, studies: datasets.DatasetDict) -> None:
    """Writes README.md, and training_data.json for whoever starts from the weights, into a finished run's folder."""
    records = [json.loads(line) for line in (folder / "train_log.jsonl").read_text(encoding="utf-8").splitlines()]
    validations = [record for record in records if "validation" in record]
    best = min(validations, key=lambda record: record["validation"]["loss"])
    licenses = sorted(set(studies["train"]["license"]) - {""})
    title, what, usage, loss = _about(options, folder)
    learned = "masked autoencoding of images" if isinstance(options, ImageOptions) else "reports without images"
    run = TrainingRun(
        program="train/pretrain.py", what=f"{learned}, {options.num_epochs} epochs", studies=learned_studies(studies)
    )
    save_provenance(folder, Provenance(runs=(run,)))
    ModelCard.from_template(
        card_data=ModelCardData(
            library_name="transformers",
            tags=["chest-x-ray", "pretraining", "not-a-medical-device"],
            license="other",
            license_name="; ".join(licenses) or "unknown",
        ),
        template_str=_PRETRAIN_TEMPLATE,
        title=title,
        what=what,
        usage=usage,
        data=_data_table(studies),
        loss=loss,
        losses=_loss_table(records),
        best=best["epoch"] + 1,
    ).save(str(folder / "README.md"))


def _about(options: PretrainOptions, folder: Path) -> tuple[str, str, str, str]:
    """Title, what it is, how to use it, what the loss is."""
    command = "accelerate launch train/finetune.py --dataset STUDIES --output-dir RUN"
    if isinstance(options, ImageOptions):
        what = _IMAGES.format(
            encoder=options.encoder,
            image_size=options.image_size,
            visible=options.num_visible,
            patches=options.num_patches,
        )
        usage = f"{command} --encoder {folder} --no-lora"
        return "A chest X-ray encoder", what, usage, "Squared error of a hidden pixel, patches normalised"
    assert isinstance(options, TextOptions)
    vocab_size = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    what = _TEXT.format(decoder=options.decoder, vocab_size=vocab_size, max_position_shift=options.max_position_shift)
    return "A language model of chest X-ray reports", what, f"{command} --decoder {folder}", "Cross-entropy of a token"


def _data_table(studies: datasets.DatasetDict) -> str:
    lines = ["| split | source | licence | studies | images | reports |", "|---|---|---|---|---|---|"]
    for split, rows in studies.items():
        numbers: Counter[tuple[str, str]] = Counter()
        images, reports = numbers.copy(), numbers.copy()
        for row in rows.select_columns(["source", "license", "view_positions", "findings", "impression"]):
            kind = (row["source"] or "unknown", row["license"] or "unknown")
            numbers[kind] += 1
            images[kind] += len(row["view_positions"])
            reports[kind] += bool(row["findings"] or row["impression"])
        lines += [
            f"| {split} | {' | '.join(kind)} | {number:,} | {images[kind]:,} | {reports[kind]:,} |"
            for kind, number in numbers.most_common()
        ]
    return "\n".join(lines)


def _loss_table(records: list[dict]) -> str:
    """Training loss (mean over the epoch's steps) beside validation loss."""
    training: dict[int, list[float]] = {}
    for record in records:
        if "loss" in record:
            training.setdefault(record["epoch"], []).append(record["loss"])
    lines = ["| epoch | training | validation |", "|---|---|---|"]
    for record in records:
        if "validation" in record:
            steps = training[record["epoch"]]
            loss = record["validation"]["loss"]
            lines.append(f"| {record['epoch'] + 1} | {sum(steps) / len(steps):.4f} | {loss:.4f} |")
    return "\n".join(lines)


_TEMPLATE = """---
{{ card_data }}
---

# A cxrscribe report model

**Not a medical device.** It writes drafts for research and teaching; no diagnosis may rest on it.

Encoder `{{ encoder }}`, decoder `{{ decoder }}`, {{ adaptation }}. Trained by `train/finetune.py`
(`training_config.json` holds every setting).{{ silence }}

## Data

{{ data }}

{{ credits }}

## Scores on validation

{{ scores }}

The checkpoint was chosen by these figures, so they flatter it. Scores with controls and intervals on studies that
chose nothing come from `eval/batch.py --split test`.

## Limits

It has seen only the data above. On images from elsewhere its reports and probabilities may be wrong without any
sign of it. Attention maps show where the model looked, not why{{ boxes }}. It was given no prior studies.
"""

_SILENCE = """

**It only classifies.** It has learned no reports, so it writes none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CardOptions:
    """Write the card of a finished run again."""

    run: Path
    """Output folder of train/finetune.py, whose data set and start still lie where they were."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parses, reads the run's settings and studies, writes into best/, and into merged/ where that is there."""
    folder = tyro.cli(CardOptions, args=argv, description=__doc__).run
    options = read_json(folder / "training_config.json", FinetuneOptions)
    write_card(folder, options, load_run_studies(options).splits)
    for name in ("README.md", PROVENANCE_FILE, "training_config.json"):
        if (folder / "merged").is_dir():
            shutil.copy(folder / "best" / name, folder / "merged" / name)
    print(f"{folder / 'best' / 'README.md'} and {PROVENANCE_FILE} are written")


def write_card(folder: Path, options: FinetuneOptions, studies: datasets.DatasetDict) -> None:
    """Writes best/README.md and puts the run's settings beside it."""
    best = folder / "best"
    records = [json.loads(line) for line in (folder / "train_log.jsonl").read_text(encoding="utf-8").splitlines()]
    validations = [record for record in records if "validation" in record]
    provenance = Provenance(runs=(*_before(options).runs, _this_run(options, studies)))
    save_provenance(best, provenance)
    writes_reports = read_json(best / "config.json", ReportModelConfig).writes_reports
    ModelCard.from_template(
        card_data=ModelCardData(
            library_name="cxrscribe",
            tags=["chest-x-ray", "report-generation", "not-a-medical-device"],
            license="other",
            license_name="; ".join(provenance.licenses) or "unknown",
        ),
        template_str=_TEMPLATE,
        encoder=options.init_from or options.encoder,
        decoder=options.init_from or options.decoder,
        adaptation=_adaptation(options),
        silence="" if writes_reports else _SILENCE,
        boxes=_box_note(options, studies),
        data=provenance_table(provenance),
        credits="\n".join(f"- {credit}" for credit in credits_of(provenance.sources)),
        scores=_score_table(validations),
    ).save(str(best / "README.md"))
    settings = folder / "training_config.json"
    (best / settings.name).write_text(settings.read_text(encoding="utf-8"), encoding="utf-8")


def _box_note(options: FinetuneOptions, studies: datasets.DatasetDict) -> str:
    """Attention that was taught where to lie proves less than attention that found it."""
    if options.box_weight > 0 and any(studies["train"]["boxes"]):
        return "; in training it was drawn into the boxes that the data gives for findings"
    return ""


def _adaptation(options: FinetuneOptions) -> str:
    return f"LoRA of rank {options.lora_settings.rank}" if options.lora else "all weights trained"


def _before(options: FinetuneOptions) -> Provenance:
    """What the weights that the run started from had learned from."""
    if options.init_from is not None:
        return load_provenance(fetch_checkpoint(options.init_from))
    built_in = {*ENCODER_SIZES, *DECODER_SIZES, *LSTM_SIZES}
    runs = []
    for name in dict.fromkeys((options.encoder, options.decoder)):
        if name not in built_in:
            runs += (load_provenance(Path(name)) if Path(name).is_dir() else unrecorded(name)).runs
    return Provenance(runs=tuple(runs))


def _this_run(options: FinetuneOptions, studies: datasets.DatasetDict) -> TrainingRun:
    epochs = ", ".join(f"{len(epochs)} of {stage.value}" for stage, epochs in stage_epochs(options).items())
    return TrainingRun(
        program="train/finetune.py",
        what=f"{_adaptation(options)}, epochs: {epochs}",
        studies=learned_studies(studies),
    )


def _score_table(validations: list[dict]) -> str:
    names = list(validations[-1]["validation"]) if validations else []
    lines = [f"| epoch | {' | '.join(name.replace('_', ' ') for name in names)} |", "|---" * (len(names) + 1) + "|"]
    for record in validations:
        values = ["" if value is None else f"{value:.3f}" for value in record["validation"].values()]
        lines.append(f"| {record['epoch'] + 1} | {' | '.join(values)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_main(main)
