"""`metrics.json`: every figure with its interval, its controls, and what it takes to read and repeat it.

An estimate is {value, low, high, num_undefined}: all three null where undefined; low and high alone are null where no
interval can be had (a single patient); num_undefined counts the resamples that had to be left out.

    program          "eval.batch" (a checkpoint was run) or "eval.score" (somebody's predictions)
    verdict          uses_image: yes | slightly | no | unknown; image: the sentence; basis: the control that decides,
                     "shuffled images" or "shuffled reports" (then it is about the patient, not the image);
                     outperformed_by: sentences on controls that do better, or ""; constant: a sentence; facts: plain
                     sentences, most telling first; differences: {control: {metric: estimate}};
                     differences_to_shuffled_images: those of basis "shuffled images", else {}
    run              of eval.batch: the RunRecord; of eval.score: predictions, references, control_reports (path,
                     format, columns, hash each; null where not given)
    studies          given, written (scored), rejected; of eval.score also references, without_prediction, and
    rejected          [{study_id, reason}], the first 100
    convention       how uncertain counts; other_convention: the other way
    normalization    name, description, options ({} or what goes beyond the single text)
    bootstrap        num_resamples, seed, interval, cider
    systems          {name: system}, the model first. A system: metrics {name of eval.scoring.scores.METRICS: estimate},
                     other_convention (the F1 averages), per_finding [{finding, support, num_predicted, precision,
                     recall, f1, auroc, average_precision, brier, calibration_error, and of the classifier's calls at
                     its thresholds accuracy, balanced_accuracy, sensitivity, specificity}] and
                     per_finding_other_convention (up to f1), state_agreement {share, kappa: estimates; confusion
                     [reference state][predicted state] in the order blank, positive, negative, uncertain}, num_*
                     counts, distinct ratios
    curves           of the model: {finding: {roc: [[false positive rate, true positive rate]], reliability:
                     [{mean_probability, observed, num_studies}]}}; {} without probabilities
    by_group         of the model: {"view" | "source" | "report length": [{group, num_studies, metrics: {name:
                     estimate}}]}
    consistency      eval.checks.consistency's, or null
    grounding        eval.checks.grounding's, or null
    extra_metrics    figures of learned metrics that were asked for: {name: an estimate's keys and note}
    control_reports  {control: the one text it gives every study}
    notes            what a reader must know; versions of packages

What predictions show beside their scores: whether reports hold together, and whether attention lies in the boxes.

The document of a run: model and controls scored, consistency and grounding looked at; what metrics.json holds.
"""

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import datasets

from eval.checks.consistency import consistency, consistency_document
from eval.checks.grounding import Point, frequent_locations, grounding, grounding_document
from eval.controls.control import BASELINE, CONSTANT, MEANINGS, MOST_FREQUENT, SHUFFLED, Control
from eval.controls.text import CONSTANTS
from eval.metrics.normalization import DESCRIPTIONS
from eval.metrics.probabilities import curves
from eval.predictions.generate import boxes_of
from eval.predictions.prediction import Prediction, Rejection
from eval.predictions.run import RunRecord
from eval.scoring.scores import Scores, score_predictions, scores_by_group, study_groups
from eval.scoring.verdict import (
    SHUFFLED_IMAGES,
    Verdict,
    baseline_facts,
    constant_facts,
    constant_verdict,
    image_verdict,
    laterality_facts,
    outperformed_by,
)


def check_consistency(
    predictions: Sequence[Prediction], model: Scores, *, uncertain_is_positive: bool, resampling: dict[str, int]
) -> dict[str, Any]:
    """The document of `eval.checks.consistency`; the classifier is asked where it gave a probability."""
    references = [prediction.reference for prediction in predictions]
    has_thresholds = all(prediction.thresholds is not None for prediction in predictions)
    found = consistency(
        [prediction.report for prediction in predictions],
        references,
        model.statistics.probabilities,
        [prediction.thresholds for prediction in predictions] if has_thresholds else None,
        uncertain_is_positive=uncertain_is_positive,
    )
    of_references = consistency(references, references) if any(references) else None
    return consistency_document(found, model.study_ids, model.subject_ids, references=of_references, **resampling)


def check_grounding(
    predictions: Sequence[Prediction],
    model: Scores,
    *,
    frequent: Mapping[tuple[int, bool], Point] | None = None,
    resampling: dict[str, int],
) -> dict[str, Any] | None:
    """The document of `eval.checks.grounding`, None where no study has peaks and boxes; `usual` places of findings
    are those
    of training studies."""
    played = grounding(
        [prediction.peaks for prediction in predictions],
        [prediction.boxes for prediction in predictions],
        [prediction.reference_labels for prediction in predictions],
        view_positions=[prediction.view_positions for prediction in predictions],
        frequent=frequent,
    )
    return grounding_document(played, model.subject_ids, **resampling)


PACKAGES = ("cxrscribe", "torch", "transformers", "peft", "datasets", "numpy")
MAX_REJECTED = 100


def metrics_document(
    systems: Sequence[Scores],
    verdict: Verdict,
    constant_verdict: str,
    *,
    outperformed: str = "",
    run: dict[str, Any],
    studies: dict[str, int],
    control_reports: dict[str, str],
    bootstrap: dict[str, int],
    notes: Sequence[str],
    facts: Sequence[str] = (),
    program: str = "eval.batch",
    rejected: Sequence[dict[str, str]] = (),
    groups: Mapping[str, Sequence[str]] | None = None,
    consistency: dict[str, Any] | None = None,
    grounding: dict[str, Any] | None = None,
    extra_metrics: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What is saved as JSON and shown on the page; the first of `systems` is the model, undefined figures are null.

    `groups` names each study's group, by kind ("view", "source", …), for `by_group`.
    """
    model = systems[0]
    differences = {name: asdict(value) for name, value in verdict.differences.items()}
    return {
        "program": program,
        "verdict": {
            "uses_image": verdict.grade,
            "image": verdict.sentence,
            "basis": verdict.basis,
            "outperformed_by": outperformed,
            "constant": constant_verdict,
            "facts": list(facts),
            "differences": {verdict.basis: differences} if differences else {},
            "differences_to_shuffled_images": differences if verdict.basis == SHUFFLED_IMAGES else {},
        },
        "run": run,
        "studies": studies,
        "rejected": list(rejected[:MAX_REJECTED]),
        "convention": model.convention,
        "other_convention": model.other_convention_name,
        "normalization": {
            "name": model.normalization,
            "description": DESCRIPTIONS[model.normalization],
            "options": model.normalization_options,
        },
        "bootstrap": {
            **bootstrap,
            "interval": "95 % percentile, resampled over subjects",
            "cider": "document frequencies are fixed from the references scored",
        },
        "systems": {scores.name: system_document(scores) for scores in systems},
        "curves": model_curves(model),
        "by_group": scores_by_group(model, groups or {}, **bootstrap),
        "consistency": consistency,
        "grounding": grounding,
        "extra_metrics": extra_metrics or {},
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
        "per_finding_other_convention": [
            {
                "finding": finding.finding,
                "support": finding.support,
                "num_predicted": finding.num_predicted,
                "precision": asdict(finding.precision),
                "recall": asdict(finding.recall),
                "f1": asdict(finding.f1),
            }
            for finding in scores.per_finding_other_convention
        ],
        "state_agreement": {
            "share": asdict(scores.metrics["state_agreement"]),
            "kappa": asdict(scores.metrics["state_kappa"]),
            "confusion": scores.statistics.additive["states"].sum(axis=0).astype(int).tolist(),
        },
        "num_studies": len(scores.study_ids),
        "num_with_reference": scores.num_with_reference,
        "num_with_labels": scores.num_with_labels,
        "num_empty_reports": scores.num_empty_reports,
        "num_distinct_reports": scores.num_distinct_reports,
        "distinct_ratio": scores.distinct_ratio,
        "reference_distinct_ratio": scores.reference_distinct_ratio,
    }


def model_curves(scores: Scores) -> dict[str, Any]:
    """ROC and reliability of each finding; nothing where there are no probabilities."""
    statistics = scores.statistics
    if statistics.probabilities is None:
        return {}
    return curves(statistics.probabilities, statistics.labels, statistics.uncertain_is_positive)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def score_run(
    predictions: Sequence[Prediction],
    controls: Sequence[Control],
    *,
    uncertain_is_positive: bool,
    num_resamples: int,
    seed: int,
) -> dict[str, Scores]:
    """Scores of the model, first, and of each control that could be had, by name."""
    systems = {"model": predictions} | {
        control.name: control.predictions for control in controls if control.predictions is not None
    }
    return {
        name: score_predictions(
            given,
            name=name,
            uncertain_is_positive=uncertain_is_positive,
            num_resamples=num_resamples,
            seed=seed,
        )
        for name, given in systems.items()
    }


def run_document(
    systems: dict[str, Scores],
    predictions: Sequence[Prediction],
    controls: Sequence[Control],
    training: datasets.Dataset | None,
    *,
    record: RunRecord,
    counts: dict[str, int],
    rejections: Sequence[Rejection],
    notes: Sequence[str],
    resampling: dict[str, int],
    uncertain_is_positive: bool,
) -> dict[str, Any]:
    """What is saved as metrics.json and shown on the page. `training` studies say where findings usually are."""
    model = systems["model"]
    reason = next((control.reason for control in controls if control.name == SHUFFLED), "the control was switched off")
    constants = {metric: systems[name] for metric, name in CONSTANTS.items() if name in systems}
    missing = [f"no control '{control.name}': {control.reason}" for control in controls if control.predictions is None]
    return metrics_document(
        list(systems.values()),
        image_verdict(model, systems.get(SHUFFLED), reason),
        constant_verdict(model, systems.get(CONSTANT)),
        outperformed=outperformed_by(
            model, {name: scores for name, scores in systems.items() if name not in ("model", SHUFFLED)}
        ),
        run=asdict(record),
        studies=counts,
        rejected=[{"study_id": rejection.study_id, "reason": rejection.reason} for rejection in rejections],
        facts=(
            *baseline_facts(model, systems.get(BASELINE)),
            *constant_facts(model, constants),
            *laterality_facts(model, systems.get(SHUFFLED)),
        ),
        groups=study_groups(predictions),
        consistency=check_consistency(
            predictions, model, uncertain_is_positive=uncertain_is_positive, resampling=resampling
        ),
        grounding=check_grounding(predictions, model, frequent=_frequent(training), resampling=resampling),
        control_reports=_texts(controls),
        bootstrap=resampling,
        notes=[*notes, *missing, *(f"'{name}': {MEANINGS[name]}" for name in systems if name in MEANINGS)],
    )


def _frequent(training: datasets.Dataset | None) -> dict[tuple[int, bool], Point] | None:
    """Where findings lie in the training studies; None where no box is known."""
    if training is None:
        return None
    rows = training.select_columns(["boxes", "view_positions"])
    return frequent_locations([boxes_of(row) for row in rows], rows["view_positions"][:]) or None


def _texts(controls: Sequence[Control]) -> dict[str, str]:
    """The one report that a control gives to all, by its name."""
    texts = {}
    for control in controls:
        reports = {prediction.report for prediction in control.predictions or ()}
        if control.name in (*CONSTANTS.values(), MOST_FREQUENT) and len(reports) == 1:
            texts[control.name] = reports.pop()
    return texts
