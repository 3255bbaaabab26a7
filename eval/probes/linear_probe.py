"""A linear probe: do the features of a model separate two statements, although no output of the model does?

    python -m eval.probes.linear_probe --checkpoint runs/mine/best --dataset runs/kermany --split test
    --statements "bacterial" "viral" --output probe.json

The model is not changed. Logistic regression (Alain and Bengio 2017) on the mean and standard deviation of the
encoder's patches separates studies whose reference report makes the first statement from studies that make the second.
It is trained on training patients and evaluated on others. The program prints the AUROC with a 95% interval over
patients, and the AUROC with another patient's images. The probe measures the features: the reports of the model may not
use them (eval.probes.statements measures the reports).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import datasets
import numpy as np
import tyro
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data.cli import run_main
from eval.controls.control import derangement
from eval.predictions.generate import UNREADABLE
from eval.predictions.processes import Track
from eval.probes.probe import ProbeOptions, run_probe
from eval.probes.prompts import auroc_lines, auroc_with_control, find_statements
from vlm.generator import ReportGenerator

INVERSE_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Values of `C` of the regression; cross-validation over NUM_FOLDS groups of training patients selects one."""
NUM_FOLDS = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeConfig(ProbeOptions):
    """Predict which of two statements is true from the features of a model; the probe is trained on the train split."""

    split: Literal["validation", "test"] = "test"
    """Split to evaluate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeStudies:
    """Studies that make one of the statements: features [studies, width], and whether it is the first statement."""

    features: np.ndarray
    is_first: np.ndarray
    study_ids: list[str]
    patients: list[str]
    num_rejected: int


def main(argv: Sequence[str] | None = None) -> None:
    run_probe(tyro.cli(ProbeConfig, args=argv, description=__doc__), probe, figure_lines)


def probe(
    config: ProbeConfig, generator: ReportGenerator, splits: datasets.DatasetDict, track: Track
) -> dict[str, Any]:
    """Return the AUROC with intervals, what it is based on, and the score of every study, ready for JSON.

    Raises:
        ValueError: too few training patients, or no study of the evaluated split, make one of the statements.
    """
    trained, evaluated = (_features(config, generator, splits, split, track) for split in ("train", config.split))
    num_patients = min(len(set(np.array(trained.patients)[trained.is_first == kind])) for kind in (True, False))
    if num_patients < NUM_FOLDS:
        raise ValueError(
            f"{config.dataset}: only {num_patients} patients of the train split have one of the statements; a probe "
            f"needs {NUM_FOLDS} for each"
        )
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
        {"logisticregression__C": INVERSE_PENALTIES},
        scoring="roc_auc",
        cv=StratifiedGroupKFold(NUM_FOLDS),
    ).fit(trained.features, trained.is_first, groups=trained.patients)
    scores = search.decision_function(evaluated.features)
    shuffled_scores = scores[derangement(evaluated.patients, config.seed)]
    return {
        **config.description(config.split),
        "num_learned": len(trained.features),
        "num_studies": len(scores),
        "num_patients": len(set(evaluated.patients)),
        "num_rejected": trained.num_rejected + evaluated.num_rejected,
        "inverse_penalty": search.best_params_["logisticregression__C"],
        "auroc_of_folds": float(search.best_score_),
        **auroc_with_control(
            scores, shuffled_scores, evaluated.is_first, evaluated.patients, config.num_resamples, config.seed
        ),
        "studies": [
            {
                "study_id": study_id,
                "stated": config.statements[int(not is_first)],
                "log_odds": round(float(score), 4),
            }
            for study_id, is_first, score in zip(evaluated.study_ids, evaluated.is_first, scores, strict=True)
        ],
    }


def figure_lines(document: dict[str, Any]) -> list[str]:
    """The result in words."""
    one, other = document["statements"]
    counts = f"{document['num_studies']} studies, trained on {document['num_learned']}"
    return [f"{one!r} versus {other!r}: {counts}", *auroc_lines(document)]


def _features(
    config: ProbeConfig, generator: ReportGenerator, splits: datasets.DatasetDict, split: str, track: Track
) -> ProbeStudies:
    stating = find_statements(splits, split, config.statements, dataset=config.dataset)
    studies = stating.studies
    advance = track(len(stating.rows), f"features of {split}")
    study_ids, subjects = studies["study_id"][:], studies["subject_id"][:]
    features, kept = [], []
    for row in stating.rows:
        try:
            images = generator.image_features(studies[row]["images"])
        except UNREADABLE as error:
            logger.warning("study %s is left out: %s", study_ids[row], error)
        else:
            features.append(images[:, : 2 * generator.model.encoder.width].mean(axis=0))
            kept.append(row)
        advance(1)
    return ProbeStudies(
        features=np.stack(features),
        is_first=np.array([stating.truths[row] == 0 for row in kept]),
        study_ids=[study_ids[row] for row in kept],
        patients=[subjects[row] or study_ids[row] for row in kept],
        num_rejected=len(stating.rows) - len(kept),
    )


if __name__ == "__main__":
    run_main(main)
