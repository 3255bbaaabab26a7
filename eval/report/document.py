"""`metrics.json`: all scores of an evaluation with intervals and controls, and what is needed to repeat it.

An estimate is {value, low, high, num_undefined}. All three are null if the score is undefined; only low and high are
null if there is no interval (a single patient). num_undefined counts the resamples in which the score is undefined.

    program          "eval.batch" (it ran a checkpoint) or "eval.score" (it read a file of predictions)
    verdict          uses_image: yes | slightly | no | unknown; image: the sentence; basis: the control it is based on,
                     "shuffled images" or "shuffled reports" (then it is about the patient, not the image);
                     outperformed_by: sentences on controls that do better, or ""; constant: a sentence; facts: plain
                     sentences, the most important first; differences: {control: {metric: estimate}};
                     differences_to_shuffled_images: the same if basis is "shuffled images", else {}
                     with prior studies also uses_prior (as uses_image) and prior, the sentence
    run              eval.batch: the RunRecord; eval.score: predictions, references, control_reports (path, format,
                     columns, hash of each; null if not given)
    studies          given, written (scored), rejected; eval.score also references, without_prediction
    rejected         [{study_id, reason}], the first 100
    convention       how an uncertain finding counts; other_convention: the other way
    normalization    name, description, options ({} or what was done beyond normalizing each text)
    bootstrap        num_resamples, seed, interval, cider
    systems          {name: system}, the model first. A system: metrics {name in eval.scoring.scores.METRICS: estimate},
                     other_convention (the F1 averages), per_finding [{finding, support, num_predicted, precision,
                     recall, f1, auroc, average_precision, brier, calibration_error, and at the classifier's thresholds
                     accuracy, balanced_accuracy, sensitivity, specificity}] and per_finding_other_convention (up to
                     f1), changes [{state, support, num_stated, num_known, precision, recall, f1, accuracy}] ([] without
                     comparisons with a prior study), errors [{kind, num_errors, rate: estimate of errors per report}]
                     ([] without references), state_agreement {share, kappa: estimates; confusion [reference
                     state][predicted state] in the order blank, positive, negative, uncertain}, num_* counts, distinct
                     ratios
    curves           of the model: {finding: {roc: [[false positive rate, true positive rate]], reliability:
                     [{mean_probability, observed, num_studies}]}}; {} without probabilities
    by_group         of the model: {"view" | "kinds of views" | "source" | "report length": [{group, num_studies,
                     metrics: {name: estimate}}]}
    subgroups        if asked for: {column: {groups: as in by_group, rejected: [{group, num_studies, reason}]}}
    consistency      see eval.checks.consistency; or null
    prior            of the studies with a prior study: num_studies, and by system the rates of
                     eval.checks.temporal.PRIOR_RATES; or null
    views            of the studies with a frontal and a lateral view, if there are view controls: num_studies,
                     num_patients, grades {"lateral" | "frontal": as uses_image}, facts: sentences, descriptions of the
                     rates, and by system metrics and, for controls, differences (model - control) and rates
                     (eval.scoring.views); or null
    grounding        see eval.checks.grounding; or null
    extra_metrics    learned metrics that the user asked for: {name: the keys of an estimate, and note}
    control_reports  {control: the one report that it gives to every study}
    notes            important facts for the reader
    versions         versions of packages
"""

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from eval.checks.consistency import consistency, consistency_document
from eval.checks.grounding import Point, grounding, grounding_document
from eval.checks.temporal import prior_counts, prior_document
from eval.controls.control import ANOTHER_PRIOR, BASELINE, CONSTANT, CONSTANTS, MEANINGS, Control
from eval.metrics.bootstrap import Estimate
from eval.metrics.normalization import DESCRIPTIONS
from eval.metrics.probabilities import curves
from eval.predictions.prediction import Prediction, Rejection
from eval.predictions.subgroups import described
from eval.scoring.groups import scores_by_group, study_groups, subgroup_scores
from eval.scoring.scores import Scores, score_systems
from eval.scoring.verdict import (
    PRIOR_CONTROLS,
    SHUFFLED_IMAGES,
    SHUFFLED_REPORTS,
    baseline_facts,
    constant_facts,
    constant_verdict,
    image_verdict,
    laterality_facts,
    outperformed_by,
    prior_facts,
    prior_verdict,
    report_verdict,
    severity_facts,
)
from eval.scoring.views import VIEW_CONTROLS, views_document

PACKAGES = ("cxrscribe", "torch", "transformers", "peft", "datasets", "numpy")
MAX_REJECTED = 100
OWN_IMAGES = (*PRIOR_CONTROLS, *VIEW_CONTROLS)
"""Controls that show images of the patient; that one of them does better says nothing about the use of the images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What was evaluated: the program with its record of inputs, counts of studies, rejected studies, and notes."""

    program: str
    run: dict[str, Any]
    studies: dict[str, int]
    rejected: Sequence[Rejection] = ()
    notes: Sequence[str] = ()


def evaluate(
    predictions: Sequence[Prediction],
    controls: Sequence[Control],
    source: Source,
    scoring: Mapping[str, Any],
    *,
    frequent_locations: Mapping[tuple[int, bool], Point] | None = None,
    extra_metrics: dict[str, Any] | None = None,
    subgroups: Mapping[str, Sequence[str]] | None = None,
) -> tuple[dict[str, Any], Scores]:
    """Score the model and its controls; return the content of metrics.json, and the scores of the model.

    `scoring` holds the options of `score_predictions`, with num_resamples and seed; `frequent_locations` are those of
    each finding in the training studies; `subgroups` give the group of each study by column.
    """
    given = {"model": predictions} | {one.name: one.predictions for one in controls if one.predictions is not None}
    systems = score_systems(given, **scoring, second_process=True)
    model = systems["model"]
    statistics = model.statistics
    resampling = {name: scoring[name] for name in ("num_resamples", "seed")}
    is_of_reports = any(control.name == SHUFFLED_REPORTS for control in controls)
    missing = [f"no control '{control.name}': {control.reason}" for control in controls if control.predictions is None]
    meanings = [f"'{name}': {MEANINGS[name]}" for name in systems if name in MEANINGS and not is_of_reports]
    prior = _check_priors(given, model.subject_ids, resampling)
    views = views_document(given, scoring)
    by_column = {column: subgroup_scores(model, names, **resampling) for column, names in (subgroups or {}).items()}
    document = {
        "program": source.program,
        "verdict": _verdict(systems, controls, SHUFFLED_REPORTS if is_of_reports else SHUFFLED_IMAGES, prior, views),
        "run": source.run,
        "studies": source.studies,
        "rejected": [
            {"study_id": rejection.study_id, "reason": rejection.reason} for rejection in source.rejected[:MAX_REJECTED]
        ],
        "convention": model.convention,
        "other_convention": model.other_convention_name,
        "normalization": {
            "name": model.normalization,
            "description": DESCRIPTIONS[model.normalization],
            "options": model.normalization_options,
        },
        "bootstrap": {
            **resampling,
            "interval": "95% percentile, resampled over subjects",
            "cider": "document frequencies are fixed from the references scored",
        },
        "systems": {name: system_document(scores) for name, scores in systems.items()},
        "curves": {}
        if statistics.probabilities is None
        else curves(statistics.probabilities, statistics.labels, statistics.uncertain_is_positive),
        "by_group": scores_by_group(model, study_groups(predictions), **resampling),
        "consistency": _check_consistency(predictions, model, resampling),
        "prior": prior,
        "views": views,
        "grounding": _check_grounding(predictions, model, frequent_locations, resampling),
        "extra_metrics": extra_metrics or {},
        "control_reports": {control.name: control.report for control in controls if control.report},
        "notes": list(dict.fromkeys([*model.notes, *source.notes, *described(by_column), *missing, *meanings])),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
    }
    return document | ({"subgroups": by_column} if by_column else {}), model


def system_document(scores: Scores) -> dict[str, Any]:
    """Return the scores of one system."""
    metrics = _as_json(scores.metrics)
    counts = ("num_with_reference", "num_with_labels", "num_empty_reports", "num_distinct_reports")
    ratios = ("distinct_ratio", "reference_distinct_ratio")
    return {
        "metrics": metrics,
        "other_convention": _as_json(scores.other_convention),
        "per_finding": list(map(_as_json, scores.per_finding)),
        "per_finding_other_convention": list(map(_as_json, scores.per_finding_other_convention)),
        "changes": list(map(_as_json, scores.changes)),
        "errors": list(map(_as_json, scores.errors)),
        "state_agreement": {
            "share": metrics["state_agreement"],
            "kappa": metrics["state_kappa"],
            "confusion": scores.statistics.additive["states"].sum(axis=0).astype(int).tolist(),
        },
        "num_studies": len(scores.study_ids),
        **{name: getattr(scores, name) for name in (*counts, *ratios)},
    }


def _as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: asdict(value) if isinstance(value, Estimate) else value for name, value in values.items()}


def _verdict(
    systems: Mapping[str, Scores],
    controls: Sequence[Control],
    basis: str,
    prior: Mapping[str, Any] | None,
    views: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The verdict in words; `basis` is the shuffled control, `prior` and `views` are those parts of the document."""
    model = systems["model"]
    judge = report_verdict if basis == SHUFFLED_REPORTS else image_verdict
    shuffled = systems.get(basis)
    reasons = {control.name: control.reason for control in controls}
    not_requested = "the control was not requested"
    verdict = judge(model, shuffled, reasons.get(basis, not_requested))
    of_prior, prior_words = {}, ()
    if prior is not None:
        found = prior_verdict(model, systems.get(ANOTHER_PRIOR), reasons.get(ANOTHER_PRIOR, not_requested))
        of_prior = {"uses_prior": found.grade, "prior": found.sentence}
        prior_words = (found.sentence, *prior_facts(prior["systems"]))
    others = {name: scores for name, scores in systems.items() if name not in ("model", basis, *OWN_IMAGES)}
    constants = {metric: systems[name] for metric, name in CONSTANTS.items() if name in systems}
    differences = _as_json(verdict.differences)
    return {
        "uses_image": verdict.grade,
        "image": verdict.sentence,
        "basis": basis,
        "outperformed_by": outperformed_by(model, others),
        "constant": constant_verdict(model, systems.get(CONSTANT)) if basis == SHUFFLED_IMAGES else "",
        **of_prior,
        "facts": [
            *prior_words,
            *(views["facts"] if views else ()),
            *baseline_facts(model, systems.get(BASELINE)),
            *constant_facts(model, constants),
            *laterality_facts(model, shuffled),
            *severity_facts(model, shuffled),
        ],
        "differences": {basis: differences} if differences else {},
        "differences_to_shuffled_images": differences if basis == SHUFFLED_IMAGES else {},
    }


def _check_consistency(predictions: Sequence[Prediction], model: Scores, resampling: dict[str, int]) -> dict[str, Any]:
    references = [prediction.reference for prediction in predictions]
    has_thresholds = all(prediction.thresholds is not None for prediction in predictions)
    found = consistency(
        [prediction.report for prediction in predictions],
        references,
        model.statistics.probabilities,
        [prediction.thresholds for prediction in predictions] if has_thresholds else None,
        has_prior=(has_prior := [prediction.has_prior for prediction in predictions]),
        uncertain_is_positive=model.statistics.uncertain_is_positive,
    )
    of_references = consistency(references, references, has_prior=has_prior) if any(references) else None
    return consistency_document(found, model.study_ids, model.subject_ids, references=of_references, **resampling)


def _check_priors(
    systems: Mapping[str, Sequence[Prediction]], subject_ids: Sequence[str], resampling: dict[str, int]
) -> dict[str, Any] | None:
    """The model and the controls of prior studies on the studies with a prior; None if the model was given none."""
    counted = [study for study, prediction in enumerate(systems["model"]) if prediction.has_prior]
    if not counted:
        return None
    counts = {
        name: prior_counts(
            [predictions[study].report for study in counted],
            [predictions[study].change_probabilities for study in counted],
        )
        for name, predictions in systems.items()
        if name in ("model", *PRIOR_CONTROLS)
    }
    return prior_document(counts, [subject_ids[study] for study in counted], **resampling)


def _check_grounding(
    predictions: Sequence[Prediction],
    model: Scores,
    frequent_locations: Mapping[tuple[int, bool], Point] | None,
    resampling: dict[str, int],
) -> dict[str, Any] | None:
    """Play the pointing game; None if no study has both attention peaks and boxes."""
    played = grounding(
        [prediction.peaks for prediction in predictions],
        [prediction.boxes for prediction in predictions],
        [prediction.reference_labels for prediction in predictions],
        view_positions=[prediction.view_positions for prediction in predictions],
        frequent=frequent_locations,
    )
    return grounding_document(played, model.subject_ids, **resampling)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
