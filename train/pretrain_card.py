"""README.md of pretrained weights: what they learned from, under which licences, and how far, from the run itself."""

import json
from collections import Counter
from pathlib import Path

import datasets
from huggingface_hub import ModelCard, ModelCardData

from train.learned_studies import learned_studies
from train.pretrain_options import ImageOptions, PretrainOptions, TextOptions
from vlm.checkpoint.provenance import Lineage, TrainingRun, save_lineage

_TEMPLATE = """---
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
{visible} of {patches} patches of each picture, and a small decoder, since thrown away, filled in the rest. Pictures are
fitted into the square, the rest is black, and pixels become (x / 255 - 0.5) / 0.25.

![Validation pictures: original, seen, filled in](reconstruction.png)

In the picture, filled-in patches have the mean and the contrast of the true ones, which the model is not asked for."""

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
    learned = "masked autoencoding of pictures" if isinstance(options, ImageOptions) else "reports without images"
    run = TrainingRun(
        program="train/pretrain.py", what=f"{learned}, {options.num_epochs} epochs", studies=learned_studies(studies)
    )
    save_lineage(folder, Lineage(runs=(run,)))
    ModelCard.from_template(
        card_data=ModelCardData(
            library_name="transformers",
            tags=["chest-x-ray", "pretraining", "not-a-medical-device"],
            license="other",
            license_name="; ".join(licenses) or "unknown",
        ),
        template_str=_TEMPLATE,
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
    lines = ["| split | source | licence | studies | pictures | reports |", "|---|---|---|---|---|---|"]
    for split, rows in studies.items():
        numbers: Counter[tuple[str, str]] = Counter()
        pictures, reports = numbers.copy(), numbers.copy()
        for row in rows.select_columns(["source", "license", "view_positions", "findings", "impression"]):
            kind = (row["source"] or "unknown", row["license"] or "unknown")
            numbers[kind] += 1
            pictures[kind] += len(row["view_positions"])
            reports[kind] += bool(row["findings"] or row["impression"])
        lines += [
            f"| {split} | {' | '.join(kind)} | {number:,} | {pictures[kind]:,} | {reports[kind]:,} |"
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
