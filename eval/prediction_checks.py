"""What predictions show beside their scores: whether reports hold together, and whether attention lies in the boxes."""

from collections.abc import Mapping, Sequence
from typing import Any

from eval.consistency import consistency, consistency_document
from eval.grounding import Point, grounding, grounding_document
from eval.predictions import Prediction
from eval.scoring import Scores


def check_consistency(
    predictions: Sequence[Prediction], model: Scores, *, uncertain_is_positive: bool, resampling: dict[str, int]
) -> dict[str, Any]:
    """The document of `eval.consistency`; the classifier is asked where it gave a probability."""
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
    usual: Mapping[tuple[int, bool], Point] | None = None,
    resampling: dict[str, int],
) -> dict[str, Any] | None:
    """The document of `eval.grounding`, None where no study has peaks and boxes; `usual` places of findings are those
    of training studies."""
    played = grounding(
        [prediction.peaks for prediction in predictions],
        [prediction.boxes for prediction in predictions],
        [prediction.reference_labels for prediction in predictions],
        view_positions=[prediction.view_positions for prediction in predictions],
        usual=usual,
    )
    return grounding_document(played, model.subject_ids, **resampling)
