"""The recipe of ablations and data scaling, and paired differences between experiments on the same studies.

First a base is trained on findings and on text only, then on reports with LoRA. Differences are computed from saved
predictions.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.experiment.experiment import Stage, evaluation_folder
from eval.predictions.prediction import Prediction, read_lines
from eval.scoring.scores import Scores, paired_difference, score_predictions
from vlm.schema.atomic import write_json

COMPARED = ("macro_f1", "cider", "macro_auroc", "pooled_calibration_error")


def add_differences(records: list[Path], work: Path, to: str) -> None:
    """Add to each record its differences from the experiment `to`, if `work` has the predictions of both.

    This is done for each data set. Existing differences are kept.
    """
    base: dict[str, Scores] = {}
    for path in records:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["name"] == to:
            continue
        for name, evaluation in record["evaluations"].items():
            files = [evaluation_folder(work / which, name) / "predictions.jsonl" for which in (record["name"], to)]
            if to in evaluation["differences"] or not all(file.is_file() for file in files):
                continue
            own = _scores(files[0])
            if name not in base:
                base[name] = _scores(files[1])
            evaluation["differences"][to] = _differences(own, base[name])
            write_json(path, record, indent=1)


def _scores(predictions: Path) -> Scores:
    return score_predictions(read_lines(predictions, Prediction))


def _differences(own: Scores, base: Scores) -> dict[str, Any]:
    differences = {metric: asdict(paired_difference(own, base, metric)) for metric in COMPARED}
    return {metric: estimate for metric, estimate in differences.items() if estimate["value"] is not None}


GENTLE = (
    "--augmentation.max-rotation=7",
    "--augmentation.max-shift=0.05",
    "--augmentation.max-zoom=0.05",
    "--augmentation.max-shear=5",
)
"""As in the Makefile: small enough for images of children and for phantoms."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Training choices; an ablation replaces one or two of them."""

    encoder: str = "cnn"
    decoder: str = "nano"
    image_size: int = 160
    vocab_size: int = 1000
    batch_size: int = 16
    learning_rate: float = 2e-3
    encoder_learning_rate: float | None = None
    """Learning rate of the encoder in the base stage; by default `learning_rate`."""
    report_learning_rate: float = 5e-4
    findings_epochs: int = 4
    text_only_epochs: int = 3
    report_epochs: int = 1
    """0: only the base stage, without reports from images."""
    lora: bool = True
    finding_tokens: bool = True
    num_validation_reports: int = 100
    data_flags: tuple[str, ...] = ()
    """Flags that select the training studies of both stages."""

    def stages(self) -> tuple[Stage, ...]:
        shared = (
            *self.data_flags,
            *GENTLE,
            f"--batch-size={self.batch_size}",
            f"--num-validation-reports={self.num_validation_reports}",
        )
        base = (
            f"--encoder={self.encoder}",
            f"--decoder={self.decoder}",
            f"--image-size={self.image_size}",
            f"--vocab-size={self.vocab_size}",
            "--no-lora",
            *(() if self.finding_tokens else ("--no-finding-tokens",)),
            f"--learning-rate={self.learning_rate}",
            *((f"--encoder-learning-rate={self.encoder_learning_rate}",) if self.encoder_learning_rate else ()),
            f"--num-epochs={self.findings_epochs + self.text_only_epochs}",
            f"--findings-epochs={self.findings_epochs}",
            f"--text-only-epochs={self.text_only_epochs}",
        )
        reports = (
            f"--learning-rate={self.report_learning_rate}",
            f"--num-epochs={self.report_epochs}",
            *(() if self.lora else ("--no-lora",)),
        )
        stages = Stage(name="base", flags=(*shared, *base)), Stage(name="reports", flags=(*shared, *reports))
        return stages if self.report_epochs else stages[:1]


QUICK = Recipe(image_size=64, vocab_size=300, findings_epochs=1, text_only_epochs=1, num_validation_reports=4)
"""For tests of the programs; its figures are meaningless."""
