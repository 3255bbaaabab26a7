"""Predictions with errors at random: findings with side, severity and change, and their probabilities."""

import dataclasses

import numpy as np

from eval.predictions.prediction import Prediction
from vlm.schema.findings import CHANGES, FINDINGS, SEVERITIES, UNKNOWN_CHANGE, UNKNOWN_SEVERITY

NAMES = [finding.lower() for finding in FINDINGS]
SIDES = ("left", "right")
CHANGED = ("", "new", "worsening", "unchanged", "improved")
"""Words of the first five of CHANGES."""


def synthetic(num_studies: int, seed: int = 0, error_rate: float = 0.1) -> list[Prediction]:
    random = np.random.default_rng(seed)
    predictions = []
    for study in range(num_studies):
        truth = random.random(14) < 0.3
        stated = truth ^ (random.random(14) < error_rate)
        sides = [SIDES[side] for side in random.integers(0, 2, 14)]
        written = [side if random.random() > error_rate else SIDES[side == "left"] for side in sides]
        severities, other = np.random.default_rng([seed, study]).integers(1, 4, (2, 14))
        changes, other_changes = np.random.default_rng([seed, study, 2]).integers(1, 5, (2, 14))
        stated_changes = np.where(
            np.random.default_rng([seed, study, 3]).random(14) > error_rate, changes, other_changes
        )
        guessed = np.where(np.random.default_rng([seed, study, 1]).random(14) > error_rate, severities, other)
        reference = "Findings: " + ". ".join(
            f"{CHANGED[change]} {SEVERITIES[severity]} {side} {name}"
            for change, severity, side, name, present in zip(changes, severities, sides, NAMES, truth, strict=True)
            if present
        )
        predictions.append(
            Prediction(
                study_id=f"study{study}",
                subject_id=f"subject{study // 2}",
                report=". ".join(
                    f"{CHANGED[change]} {SEVERITIES[severity]} {side} {name}"
                    for change, severity, side, name, present in zip(
                        stated_changes, guessed, written, NAMES, stated, strict=True
                    )
                    if present
                ),
                change_probabilities=tuple(map(tuple, np.eye(len(CHANGES))[stated_changes].tolist())),
                reference_changes=tuple(int(code) for code in np.where(truth, changes, UNKNOWN_CHANGE)),
                has_prior=True,
                severity_probabilities=tuple(map(tuple, np.eye(4)[guessed].tolist())),
                reference_severities=tuple(int(code) for code in np.where(truth, severities, UNKNOWN_SEVERITY)),
                probabilities=tuple(np.clip(truth + random.normal(0, 0.5, 14), 0, 1).tolist()),
                reference=reference if truth.any() else "Findings: clear lungs",
                reference_labels=tuple(int(present) for present in truth),
            )
        )
    return predictions


def of_other_patients(predictions: list[Prediction]) -> list[Prediction]:
    others = predictions[10:] + predictions[:10]
    return [dataclasses.replace(own, report=other.report) for own, other in zip(predictions, others, strict=True)]
