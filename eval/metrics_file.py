"""`metrics.json`: every figure with its interval, its controls, and what it takes to read and repeat it.

An estimate is {value, low, high, num_undefined}: all three null where undefined; low and high alone are null where no
interval can be had (a single patient); num_undefined counts the resamples that had to be left out.

    program          "eval.batch" (a checkpoint was run) or "eval.score" (somebody's predictions)
    verdict          uses_image: yes | slightly | no | unknown; image: the sentence; basis: the control that decides,
                     "shuffled images" or "shuffled reports" (then it is about the patient, not the picture);
                     constant: a sentence; facts: plain sentences, most telling first; differences: {control: {metric:
                     estimate}}; differences_to_shuffled_images: those of basis "shuffled images", else {}
    run              of eval.batch: the RunRecord; of eval.score: predictions, references, control_reports (path, format,
                     columns, hash each; null where not given)
    studies          given, written (scored), refused; of eval.score also references, without_prediction, and
    refused          [{study_id, reason}], the first 100
    convention       how uncertain counts; other_convention: the other way
    normalization    name, description, options ({} or what goes beyond the single text)
    bootstrap        num_resamples, seed, interval, cider
    systems          {name: system}, the model first. A system: metrics {name of eval.scoring.METRICS: estimate},
                     other_convention (the F1 averages), per_finding [{finding, support, num_predicted, precision,
                     recall, f1, auroc, average_precision, brier, calibration_error}] and per_finding_other_convention
                     (up to f1), state_agreement {share, kappa: estimates; confusion [reference state][predicted state]
                     in the order blank, positive, negative, uncertain}, num_* counts, distinct ratios
    curves           of the model: {finding: {roc: [[false positive rate, true positive rate]], reliability:
                     [{mean_probability, observed, num_studies}]}}; {} without probabilities
    by_group         of the model: {"view" | "source" | "report length": [{group, num_studies, metrics: {name: estimate}}]}
    consistency      eval.consistency's, or null
    grounding        eval.grounding's, or null
    also             figures of learned metrics that were asked for: {name: {value, low, high, num_undefined, note}}
    control_reports  {control: the one text it gives every study}
    notes            what a reader must know; versions of packages
"""

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
