"""The model card: README.md of a checkpoint, written from the run itself, so that no figure in it is by hand.

    python -m train.card --run runs/mine

train/finetune.py does it at its end; this program does it again for a run whose card or `training_data.json` is of
before. `eval/report/model_card.py` writes a fuller card, with scores on studies that chose nothing.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import tyro
from huggingface_hub import ModelCard, ModelCardData

from data.cli import run_main
from data.sources.credits import credits_of
from train.build import LSTM_SIZES
from train.learned_studies import learned_studies
from train.options import FinetuneOptions
from train.run_studies import load_run_studies
from train.stages import stage_epochs
from vlm.checkpoint.provenance import (
    LINEAGE,
    Lineage,
    TrainingRun,
    lineage_table,
    load_lineage,
    save_lineage,
    unrecorded,
)
from vlm.checkpoint.store import fetch_checkpoint
from vlm.config import DECODER_SIZES, ENCODER_SIZES, ReportModelConfig
from vlm.schema.strict_json import read_json

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

It has seen only the data above. On pictures from elsewhere its reports and probabilities may be wrong without any
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
    for name in ("README.md", LINEAGE, "training_config.json"):
        if (folder / "merged").is_dir():
            shutil.copy(folder / "best" / name, folder / "merged" / name)
    print(f"{folder / 'best' / 'README.md'} and {LINEAGE} are written")


def write_card(folder: Path, options: FinetuneOptions, studies: datasets.DatasetDict) -> None:
    """Writes best/README.md and puts the run's settings beside it."""
    best = folder / "best"
    records = [json.loads(line) for line in (folder / "train_log.jsonl").read_text(encoding="utf-8").splitlines()]
    validations = [record for record in records if "validation" in record]
    lineage = Lineage(runs=(*_before(options).runs, _this_run(options, studies)))
    save_lineage(best, lineage)
    writes_reports = read_json(best / "config.json", ReportModelConfig).writes_reports
    ModelCard.from_template(
        card_data=ModelCardData(
            library_name="cxrscribe",
            tags=["chest-x-ray", "report-generation", "not-a-medical-device"],
            license="other",
            license_name="; ".join(lineage.licenses) or "unknown",
        ),
        template_str=_TEMPLATE,
        encoder=options.start_from or options.encoder,
        decoder=options.start_from or options.decoder,
        adaptation=_adaptation(options),
        silence="" if writes_reports else _SILENCE,
        boxes=_box_note(options, studies),
        data=lineage_table(lineage),
        credits="\n".join(f"- {credit}" for credit in credits_of(lineage.sources)),
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


def _before(options: FinetuneOptions) -> Lineage:
    """What the weights that the run started from had learned from."""
    if options.start_from is not None:
        return load_lineage(fetch_checkpoint(options.start_from))
    built_in = {*ENCODER_SIZES, *DECODER_SIZES, *LSTM_SIZES}
    runs = []
    for name in dict.fromkeys((options.encoder, options.decoder)):
        if name not in built_in:
            runs += (load_lineage(Path(name)) if Path(name).is_dir() else unrecorded(name)).runs
    return Lineage(runs=tuple(runs))


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
