"""Does the classifier use all information in its features? It is compared with logistic regression on them.

    python -m eval.probes.findings --checkpoint runs/mine/best --dataset prepared --split validation --output probe.json

For each finding, logistic regression on the mean and standard deviation of the encoder's patches (averaged over the
views of a study) is trained on the train split. Then both rank the studies of the evaluated split. If the regression is
better, the finding queries need more epochs, another learning rate or `--linear-probe`, or `python -m train.fit_probe`
mixes such a regression in; if both are poor, the features do not show the finding. The penalty of each regression is
selected by cross-validation over groups of training patients.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import datasets
import numpy as np
import tyro
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data.cli import run_main
from data.study import sample_rows
from eval.metrics.bootstrap import estimates
from eval.metrics.clinical import is_positive, mean_of_defined
from eval.metrics.probabilities import ranking_scores
from eval.predictions.generate import UNREADABLE
from eval.predictions.processes import Track
from eval.probes.probe import CheckpointOptions, run_probe
from eval.probes.prompts import FINDING_PROBE
from vlm.generator import ReportGenerator
from vlm.schema.findings import FINDINGS, UNLABELED
from vlm.schema.number_format import format_interval

INVERSE_PENALTIES = (1e-3, 1e-2, 1e-1)
NUM_FOLDS = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class FindingProbeConfig(CheckpointOptions):
    """Compare the classifier with logistic regression on its features."""

    split: Literal["validation", "test"] = "test"
    """Split to evaluate."""
    num_studies: int = 0
    """Train the regression on a sample of this many training studies; 0: on all. train/finetune.py takes the same
    ones with the same --num-studies and its default seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbedStudies:
    """Features [studies, 2 * width], CheXbert codes and the classifier's probabilities [studies, 14]."""

    features: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    patients: np.ndarray
    num_rejected: int


def main(argv: Sequence[str] | None = None) -> None:
    run_probe(tyro.cli(FindingProbeConfig, args=argv, description=__doc__), probe_findings, finding_probe_lines)


def probe_findings(
    config: FindingProbeConfig, generator: ReportGenerator, splits: datasets.DatasetDict, track: Track
) -> dict[str, Any]:
    """AUROC of classifier and regression for each finding and on average, with paired differences, ready for JSON.

    A finding needs positive and negative studies of five training patients each, and both kinds in the evaluated
    split; the others are listed as left out.

    Raises:
        ValueError: no finding has them, or a split is empty.
    """
    for split in ("train", config.split):
        if not len(splits.get(split, ())):
            raise ValueError(f"{config.dataset} has no studies in its {split} split")
    train = splits["train"]
    if config.num_studies:
        train = train.select(sample_rows(len(train), config.num_studies))
    trained = _studies(generator, train, "train", track)
    evaluated = _studies(generator, splits[config.split], config.split, track, classify=True)
    advance = track(len(FINDINGS), "logistic regression")
    rankings, rows, left_out = {}, [], []
    for finding, name in enumerate(FINDINGS):
        known = evaluated.labels[:, finding] != UNLABELED
        positive = is_positive(evaluated.labels[:, finding], uncertain_is_positive=True)[known]
        scores = _regression_scores(trained, evaluated, finding) if 0 < positive.sum() < len(positive) else None
        advance(1)
        if scores is None:
            left_out.append(name)
            continue
        rankings[name] = (known, positive, evaluated.probabilities[known, finding], scores[known])
        rows.append({"finding": name, "num_positive": int(positive.sum()), "num_studies": int(known.sum())})
    if not rows:
        raise ValueError(
            f"{config.dataset}: no finding has {NUM_FOLDS} positive and {NUM_FOLDS} negative patients in train, and "
            f"both kinds in {config.split}"
        )

    def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
        pairs = [
            [ranking_scores(scores, positive, weights[:, known])["auroc"] for scores in (probabilities, regression)]
            for known, positive, probabilities, regression in rankings.values()
        ]
        classifier, regression = np.moveaxis(np.array(pairs), 1, 0).transpose(0, 2, 1)
        values = {"classifier": classifier, "regression": regression, "difference": classifier - regression}
        return values | {f"macro_{kind}": mean_of_defined(value) for kind, value in values.items()}

    found = estimates(statistic, evaluated.patients.tolist(), config.num_resamples, config.seed)
    for number, row in enumerate(rows):
        row.update({kind: asdict(found[kind][number]) for kind in FINDING_PROBE})
    return {
        **config.description(config.split),
        "num_learned": len(trained.features),
        "num_studies": len(evaluated.features),
        "num_patients": len(set(evaluated.patients)),
        "num_rejected": trained.num_rejected + evaluated.num_rejected,
        "left_out": left_out,
        "finding_probe": rows,
        **{kind: asdict(found[f"macro_{kind}"]) for kind in FINDING_PROBE},
    }


def finding_probe_lines(document: Mapping[str, Any]) -> list[str]:
    """The result in words."""
    counts = f"{document['num_studies']} studies; the regression was trained on {document['num_learned']}"
    lines = [f"AUROC of {len(document['finding_probe'])} findings, {counts}", _line("mean", document)]
    lines += [_line(row["finding"], row) for row in document["finding_probe"]]
    low, high = document["difference"]["low"], document["difference"]["high"]
    if high is not None and high < 0:
        lines.append("The classifier is worse than logistic regression on its own features: train it longer.")
    elif low is not None and low > 0:
        lines.append("The classifier is better than logistic regression on its features.")
    else:
        lines.append("On average, the classifier and logistic regression on its features do not differ clearly.")
    if document["left_out"]:
        lines.append(f"Left out, too few positive or negative studies: {', '.join(document['left_out'])}")
    return lines


def _line(name: str, row: Mapping[str, Any]) -> str:
    return f"{name}: " + ", ".join(
        f"{title} {format_interval(row[kind]['value'], row[kind]['low'], row[kind]['high'])}"
        for kind, title in FINDING_PROBE.items()
    )


def _regression_scores(trained: ProbedStudies, evaluated: ProbedStudies, finding: int) -> np.ndarray | None:
    """Log-odds of the finding in each evaluated study; None if too few training patients have or lack it."""
    known = trained.labels[:, finding] != UNLABELED
    positive = is_positive(trained.labels[:, finding], uncertain_is_positive=True)[known]
    patients = trained.patients[known]
    if min(len(set(patients[positive == kind])) for kind in (True, False)) < NUM_FOLDS:
        return None
    folds = [
        fold
        for fold in GroupKFold(NUM_FOLDS, shuffle=True, random_state=0).split(patients, positive, patients)
        if all(0 < positive[part].sum() < len(part) for part in fold)
    ]
    if not folds:
        return None
    regression = LogisticRegressionCV(
        Cs=INVERSE_PENALTIES,
        l1_ratios=(0,),
        cv=folds,
        scoring="roc_auc",
        max_iter=1000,
        use_legacy_attributes=False,
    )
    model = make_pipeline(StandardScaler(), regression).fit(trained.features[known], positive)
    return model.decision_function(evaluated.features)


def _studies(
    generator: ReportGenerator, studies: datasets.Dataset, split: str, track: Track, *, classify: bool = False
) -> ProbedStudies:
    """Without `classify`, the probabilities are empty."""
    advance = track(len(studies), f"features of {split}")
    study_ids, subject_ids = studies["study_id"][:], studies["subject_id"][:]
    features, probabilities, kept = [], [], []
    for number, study_id in enumerate(study_ids):
        try:
            row = studies[number]
            images = generator.image_features(row["images"])[:, : 2 * generator.model.encoder.width]
            if classify:
                probabilities += generator.classify([row["images"]], view_positions=[row["view_positions"]])
        except UNREADABLE as error:
            logger.warning("study %s is left out: %s", study_id, error)
        else:
            features.append(images.mean(axis=0))
            kept.append(number)
        advance(1)
    if not kept:
        raise ValueError(f"no study of the {split} split can be read")
    patients = [subject or study for subject, study in zip(subject_ids, study_ids, strict=True)]
    return ProbedStudies(
        features=np.stack(features),
        labels=np.array(studies["labels"])[kept],
        probabilities=np.array(probabilities),
        patients=np.array(patients, dtype=str)[kept],
        num_rejected=len(studies) - len(kept),
    )


if __name__ == "__main__":
    run_main(main)
