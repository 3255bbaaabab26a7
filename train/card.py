"""The model card: README.md of a checkpoint, written from the run itself, so that no figure in it is by hand."""

import json
from collections import Counter
from pathlib import Path

import datasets
from huggingface_hub import ModelCard, ModelCardData

from train.options import FinetuneOptions

_TEMPLATE = """---
{{ card_data }}
---

# A cxrscribe report model

**Not a medical device.** It writes drafts for research and teaching; no diagnosis may rest on it.

Encoder `{{ encoder }}`, decoder `{{ decoder }}`, {{ adaptation }}. Trained by `train/finetune.py`
(`training_config.json` holds every setting).

## Data

{{ data }}

## Scores on validation

{{ scores }}

The checkpoint was chosen by these figures, so they flatter it. Scores with controls and intervals on studies that
chose nothing come from `eval/batch.py --split test`.

## Limits

It has seen only the data above. On pictures from elsewhere its reports and probabilities may be wrong without any
sign of it. Attention maps show where the model looked, not why{{ boxes }}. It was given no prior studies.
"""


def write_card(folder: Path, options: FinetuneOptions, studies: datasets.DatasetDict) -> None:
    """Writes best/README.md and puts the run's settings beside it."""
    best = folder / "best"
    records = [json.loads(line) for line in (folder / "train_log.jsonl").read_text(encoding="utf-8").splitlines()]
    validations = [record for record in records if "validation" in record]
    licenses = sorted(set(studies["train"]["license"]) - {""})
    ModelCard.from_template(
        card_data=ModelCardData(
            library_name="cxrscribe",
            tags=["chest-x-ray", "report-generation", "not-a-medical-device"],
            license="other",
            license_name="; ".join(licenses) or "unknown",
        ),
        template_str=_TEMPLATE,
        encoder=options.start_from or options.encoder,
        decoder=options.start_from or options.decoder,
        adaptation=f"LoRA of rank {options.lora_settings.rank}" if options.lora else "all weights trained",
        boxes=_box_note(options, studies),
        data=_data_table(studies),
        scores=_score_table(validations),
    ).save(str(best / "README.md"))
    settings = folder / "training_config.json"
    (best / settings.name).write_text(settings.read_text(encoding="utf-8"), encoding="utf-8")


def _box_note(options: FinetuneOptions, studies: datasets.DatasetDict) -> str:
    """Attention that was taught where to lie proves less than attention that found it."""
    if options.box_weight > 0 and any(studies["train"]["boxes"]):
        return "; in training it was drawn into the boxes that the data gives for findings"
    return ""


def _data_table(studies: datasets.DatasetDict) -> str:
    lines = ["| split | source | licence | studies |", "|---|---|---|---|"]
    for split in ("train", "validation"):
        columns = studies[split].select_columns(["source", "license"])
        counts = Counter((row["source"] or "unknown", row["license"] or "unknown") for row in columns)
        lines += [f"| {split} | {source} | {license} | {count} |" for (source, license), count in counts.most_common()]
    return "\n".join(lines)


def _score_table(validations: list[dict]) -> str:
    names = list(validations[-1]["validation"]) if validations else []
    lines = [f"| epoch | {' | '.join(name.replace('_', ' ') for name in names)} |", "|---" * (len(names) + 1) + "|"]
    for record in validations:
        values = ["" if value is None else f"{value:.3f}" for value in record["validation"].values()]
        lines.append(f"| {record['epoch'] + 1} | {' | '.join(values)} |")
    return "\n".join(lines)
