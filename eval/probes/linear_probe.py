"""What do a model's features know that nobody asked it? A linear probe, learned on training patients, judged on others.

    python -m eval.probes.linear_probe --checkpoint runs/mine/best --dataset runs/kermany --split test
    --statements "bacterial" "viral" --output probe.json

The model stays as it is: logistic regression (Alain and Bengio 2017) on the mean and deviation of its encoder's patches
tells studies whose reference report makes the first statement from those that make the second. Printed: AUROC with a
95 % interval over patients, and the same with other patients' images. It is a property of the features: the model's own
reports need not make use of it (`eval.probes.statements` asks those).
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import datasets
import numpy as np
import tyro
from rich.console import Console
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data.cli import run_main
from data.study import load_studies
from eval.controls.control import derangement
from eval.metrics.bootstrap import NUM_RESAMPLES, interval, point_values, resample
from eval.metrics.probabilities import ranking_scores
from eval.predictions.generate import UNREADABLE
from eval.predictions.run import Track, progress
from eval.probes.prompts import check_statements, which_stated
from vlm.checkpoint.store import SHIPPED, checkpoint_hash, model_line
from vlm.generator import ReportGenerator
from vlm.schema.report_format import compose_report

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Of the regression's penalty, inverse (`C`); the best over NUM_FOLDS groups of training patients is taken."""
NUM_FOLDS = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeConfig:
    """Ask a model's features which of two statements fits."""

    checkpoint: str = SHIPPED
    """Checkpoint folder (or hub id) of the model; by default the one that ships with the project."""
    dataset: Path
    """Prepared data set; the probe is learned on its train split."""
    split: Literal["validation", "test"] = "test"
    """Which studies are judged."""
    statements: tuple[str, str]
    """The two, in the words of the reports; case does not matter."""
    num_resamples: int = NUM_RESAMPLES
    """Resamples of the intervals."""
    seed: int = 0
    """Decides the resamples, and whose images a study gets in the control."""
    output: Path | None = None
    """JSON file for the figures and every study's score."""

    def __post_init__(self):
        check_statements(self.statements)
        if self.num_resamples < 1:
            raise ValueError(f"--num-resamples is {self.num_resamples}; give at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Probed:
    """Studies of a split that make one of the statements: features [studies, width], whether it is the first."""

    features: np.ndarray
    is_first: np.ndarray
    study_ids: list[str]
    patients: list[str]
    num_rejected: int


def main(argv: Sequence[str] | None = None) -> None:
    """Parses, learns the probe, judges it, tells."""
    config = tyro.cli(ProbeConfig, args=argv, description=__doc__)
    console = Console()
    console.print(model_line(config.checkpoint), highlight=False, soft_wrap=True)
    datasets.disable_progress_bars()
    generator = ReportGenerator.from_pretrained(config.checkpoint)
    with progress(console) as track:
        document = probe(config, generator, track)
    if config.output is not None:
        config.output.parent.mkdir(parents=True, exist_ok=True)
        config.output.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    one, other = config.statements
    figures = {name: document[name] for name in ("auroc", "auroc_shuffled", "difference")}
    console.print(f"{one!r} against {other!r}: {document['num_studies']} studies, learned on {document['num_learned']}")
    for name, figure in figures.items():
        console.print(f"{name}: {figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]", highlight=False)


def probe(config: ProbeConfig, generator: ReportGenerator, track: Track) -> dict[str, Any]:
    """The figures with intervals, what they rest on, and every study's score, ready for JSON.

    Raises:
        ValueError: too few patients of the train split, or none of the other, make one of the statements.
    """
    studies = load_studies(config.dataset)
    learned, judged = (_probed(config, generator, studies, split, track) for split in ("train", config.split))
    num_patients = min(
        len({patient for patient, is_first in zip(learned.patients, learned.is_first, strict=True) if is_first == kind})
        for kind in (True, False)
    )
    if num_patients < NUM_FOLDS:
        raise ValueError(
            f"{config.dataset}: a statement is made of {num_patients} patients of the train split; a probe needs "
            f"{NUM_FOLDS} of each"
        )
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
        {"logisticregression__C": STRENGTHS},
        scoring="roc_auc",
        cv=GroupKFold(NUM_FOLDS),
    ).fit(learned.features, learned.is_first, groups=learned.patients)
    scores = search.decision_function(judged.features)
    donors = derangement(judged.patients, config.seed)

    def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
        own, others = (ranking_scores(odds, judged.is_first, weights)["auroc"] for odds in (scores, scores[donors]))
        return {"auroc": own, "auroc_shuffled": others, "difference": own - others}

    values = point_values(statistic, len(scores))
    samples = resample(statistic, judged.patients, config.num_resamples, config.seed)
    return {
        "statements": list(config.statements),
        "checkpoint": config.checkpoint,
        "checkpoint_hash": checkpoint_hash(config.checkpoint),
        "dataset": str(config.dataset),
        "split": config.split,
        "num_learned": len(learned.features),
        "num_studies": len(scores),
        "num_patients": len(set(judged.patients)),
        "num_rejected": learned.num_rejected + judged.num_rejected,
        "inverse_penalty": search.best_params_["logisticregression__C"],
        "auroc_of_folds": float(search.best_score_),
        **{name: asdict(interval(values[name], samples[name])) for name in values},
        "studies": [
            {
                "study_id": study_id,
                "stated": config.statements[int(not is_first)],
                "log_odds": round(float(score), 4),
            }
            for study_id, is_first, score in zip(judged.study_ids, judged.is_first, scores, strict=True)
        ],
    }


def _probed(config: ProbeConfig, generator: ReportGenerator, studies, split: str, track: Track) -> Probed:
    rows = studies.get(split, ())
    if not len(rows):
        raise ValueError(f"{config.dataset} has no studies in its {split} split")
    sections = zip(rows["findings"][:], rows["impression"][:], strict=True)
    reports = [compose_report(findings=findings, impression=impression) for findings, impression in sections]
    truths = [which_stated(report, config.statements) for report in reports]
    for number, statement in enumerate(config.statements):
        if number not in truths:
            raise ValueError(
                f"no report of the {split} split of {config.dataset} makes the statement {statement!r} without the "
                "other, so there is nothing to tell apart; give --statements in the reports' own words"
            )
    stating = [row for row, truth in enumerate(truths) if truth is not None]
    advance = track(len(stating), f"features of {split}")
    features, kept = [], []
    for row in stating:
        try:
            images = generator.image_features(rows[row]["images"])
        except UNREADABLE as error:
            logger.warning("study %s is left out: %s", rows.select_columns("study_id")[row]["study_id"], error)
        else:
            features.append(images[:, : 2 * generator.model.encoder.width].mean(axis=0))
            kept.append(row)
        advance(1)
    study_ids, subjects = rows["study_id"][:], rows["subject_id"][:]
    return Probed(
        features=np.stack(features),
        is_first=np.array([truths[row] == 0 for row in kept]),
        study_ids=[study_ids[row] for row in kept],
        patients=[subjects[row] or study_ids[row] for row in kept],
        num_rejected=len(stating) - len(kept),
    )


if __name__ == "__main__":
    run_main(main)
