"""Paired differences between experiments that were judged on the same studies, from their saved predictions."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.experiment import evaluation_folder
from bench.run import write_record
from data.reports.labeler.labeler import label_report
from eval.predictions.prediction import Prediction, read_lines
from eval.scoring.scores import Scores, paired_difference, score_predictions

COMPARED = ("macro_f1", "cider", "macro_auroc", "pooled_calibration_error")


def add_differences(records: list[Path], work: Path, to: str) -> None:
    """Writes into each record by how much it differs from the experiment `to`, on each data set that both were judged
    on, where the predictions of both are still in `work`. Differences that are there already stay."""
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
            write_record(path, record)


def _scores(predictions: Path) -> Scores:
    return score_predictions(read_lines(predictions, Prediction), label_report)


def _differences(own: Scores, base: Scores) -> dict[str, Any]:
    differences = {metric: asdict(paired_difference(own, base, metric)) for metric in COMPARED}
    return {metric: estimate for metric, estimate in differences.items() if estimate["value"] is not None}
