"""`metrics.json`: every figure with its interval, its controls, and what it takes to read and repeat it."""

import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from eval.normalization import DESCRIPTIONS
from eval.scoring import Scores
from eval.verdict import Verdict

PACKAGES = ("cxrscribe", "torch", "transformers", "peft", "datasets", "numpy")


def metrics_document(
    systems: Sequence[Scores],
    verdict: Verdict,
    constant_verdict: str,
    *,
    run: dict[str, Any],
    studies: dict[str, int],
    control_reports: dict[str, str],
    bootstrap: dict[str, int],
    notes: Sequence[str],
) -> dict[str, Any]:
    """What is saved as JSON and shown on the page; the first of `systems` is the model, undefined figures are null."""
    model = systems[0]
    return {
        "verdict": {
            "uses_image": verdict.grade,
            "image": verdict.sentence,
            "constant": constant_verdict,
            "differences_to_shuffled_images": {name: asdict(value) for name, value in verdict.differences.items()},
        },
        "run": run,
        "studies": studies,
        "convention": model.convention,
        "other_convention": model.other_convention_name,
        "normalization": {"name": model.normalization, "description": DESCRIPTIONS[model.normalization]},
        "bootstrap": {
            **bootstrap,
            "interval": "95 % percentile, resampled over subjects",
            "cider": "document frequencies are fixed from the references scored",
        },
        "systems": {scores.name: system_document(scores) for scores in systems},
        "control_reports": control_reports,
        "notes": list(dict.fromkeys([*model.notes, *notes])),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
    }


def system_document(scores: Scores) -> dict[str, Any]:
    """One system's figures."""
    return {
        "metrics": {name: asdict(estimate) for name, estimate in scores.metrics.items()},
        "other_convention": {name: asdict(estimate) for name, estimate in scores.other_convention.items()},
        "per_finding": [asdict(finding) for finding in scores.per_finding],
        "num_studies": len(scores.study_ids),
        "num_with_reference": scores.num_with_reference,
        "num_with_labels": scores.num_with_labels,
        "num_empty_reports": scores.num_empty_reports,
        "num_distinct_reports": scores.num_distinct_reports,
        "distinct_ratio": scores.distinct_ratio,
        "reference_distinct_ratio": scores.reference_distinct_ratio,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
