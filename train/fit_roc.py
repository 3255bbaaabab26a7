"""Add the ROC curves of the validation studies to a checkpoint, so that programs can use other operating points.

    python -m train.fit_roc --checkpoint runs/mine/best --dataset studies

train/finetune.py saves the curves with every checkpoint; this program is for checkpoints without curves, or for curves
on your own studies. It only writes `roc.json`: probabilities, thresholds and reports of the checkpoint do not change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import datasets
import numpy as np
import torch
import tyro

from data.cli import check_minimum, run_main
from data.study import load_studies
from train.loop.validation import finding_curves
from train.studies.dataset import finding_targets
from vlm.checkpoint.store import find_checkpoint
from vlm.generator import ReportGenerator
from vlm.operating_point import RocCurve
from vlm.schema.findings import FINDINGS
from vlm.uncertainty import ROC, save_curves


@dataclass(frozen=True, kw_only=True, slots=True)
class RocOptions:
    """Add ROC curves to a checkpoint."""

    checkpoint: Path
    """Checkpoint folder; the program writes roc.json into it."""
    dataset: Path
    """Prepared data set; its validation split is used. That of the checkpoint's training is best."""
    uncertain_labels: Literal["positive", "negative", "ignore"] = "positive"
    """How an uncertain finding counts; as in the training."""
    batch_size: int = 16
    """Studies per batch."""

    def __post_init__(self):
        check_minimum(self, batch_size=1)


def main(argv: Sequence[str] | None = None) -> None:
    options = tyro.cli(RocOptions, args=argv, description=__doc__)
    folder = find_checkpoint(options.checkpoint)
    generator = ReportGenerator.from_pretrained(folder)
    studies = load_studies(options.dataset).get("validation", ())
    if not len(studies):
        raise ValueError(f"{options.dataset} has no validation studies; prepare it with a validation split")
    targets, labeled = finding_targets(torch.tensor(studies["labels"][:]), options.uncertain_labels)
    labeled = labeled.numpy()
    probabilities = _classify(generator, studies, options.batch_size)
    curves = finding_curves(probabilities, targets.numpy() == 1, labeled)
    if not any(curve.thresholds for curve in curves):
        raise ValueError(f"no finding has enough cases in the {len(studies)} validation studies of {options.dataset}")
    save_curves(folder, curves)
    if generator.calibration.num_labeled not in ((), tuple(labeled.sum(axis=0).tolist())):
        print("Note: the thresholds of the checkpoint were chosen on other studies; the curves are of these ones.")
    print(f"{folder / ROC}: {_summary(curves)} on {len(studies)} validation studies")


def _classify(generator: ReportGenerator, studies: datasets.Dataset, batch_size: int) -> np.ndarray:
    """Calibrated probabilities [studies, 14]."""
    probabilities = []
    for start in range(0, len(studies), batch_size):
        rows = studies[start : start + batch_size]
        probabilities += generator.classify(rows["images"], view_positions=rows["view_positions"])
    return np.array(probabilities)


def _summary(curves: Sequence[RocCurve]) -> str:
    without = [finding for finding, curve in zip(FINDINGS, curves, strict=True) if not curve.thresholds]
    found = f"curves of {len(curves) - len(without)} findings"
    return found + (f" (too few cases: {', '.join(without)})" if without else "")


if __name__ == "__main__":
    run_main(main)
