"""The document of a run: model and controls scored, consistency and grounding looked at; what metrics.json holds."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import datasets

from eval.controls import BASELINE, CONSTANT, MEANINGS, MOST_FREQUENT, SHUFFLED, Control
from eval.generating import boxes_of
from eval.grounding import Point, usual_places
from eval.groups import study_groups
from eval.metrics_file import metrics_document
from eval.prediction_checks import check_consistency, check_grounding
from eval.predictions import Prediction, Refusal
from eval.run_record import RunRecord
from eval.scoring import Scores, score_predictions
from eval.text_controls import CONSTANTS
from eval.verdict import baseline_facts, beaten_by, constant_facts, constant_verdict, image_verdict, side_facts

LabelReport = Callable[[str], Sequence[int]]


def score_run(
    predictions: Sequence[Prediction],
    controls: Sequence[Control],
    label_report: LabelReport,
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
            label_report,
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
    refusals: Sequence[Refusal],
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
        beaten=beaten_by(model, {name: scores for name, scores in systems.items() if name not in ("model", SHUFFLED)}),
        run=asdict(record),
        studies=counts,
        refused=[{"study_id": refusal.study_id, "reason": refusal.reason} for refusal in refusals],
        facts=(
            *baseline_facts(model, systems.get(BASELINE)),
            *constant_facts(model, constants),
            *side_facts(model, systems.get(SHUFFLED)),
        ),
        groups=study_groups(predictions),
        consistency=check_consistency(
            predictions, model, uncertain_is_positive=uncertain_is_positive, resampling=resampling
        ),
        grounding=check_grounding(predictions, model, usual=_usual(training), resampling=resampling),
        control_reports=_texts(controls),
        bootstrap=resampling,
        notes=[*notes, *missing, *(f"'{name}': {MEANINGS[name]}" for name in systems if name in MEANINGS)],
    )


def _usual(training: datasets.Dataset | None) -> dict[tuple[int, bool], Point] | None:
    """Where findings lie in the training studies; None where no box is known."""
    if training is None:
        return None
    rows = training.select_columns(["boxes", "view_positions"])
    return usual_places([boxes_of(row) for row in rows], rows["view_positions"][:]) or None


def _texts(controls: Sequence[Control]) -> dict[str, str]:
    """The one report that a control gives to all, by its name."""
    texts = {}
    for control in controls:
        reports = {prediction.report for prediction in control.predictions or ()}
        if control.name in (*CONSTANTS.values(), MOST_FREQUENT) and len(reports) == 1:
            texts[control.name] = reports.pop()
    return texts
