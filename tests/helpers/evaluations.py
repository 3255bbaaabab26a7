"""Predictions and a metrics document for the evaluation page."""

import dataclasses

from eval.controls.control import SHUFFLED, Control
from eval.predictions.prediction import Prediction
from eval.report.document import Source, evaluate
from eval.scoring.groups import scores_by_group

WORDS = {"edema": 4, "effusion": 9, "fracture": 11}
EVIL = '<script>alert("x")</script> & {{ 7 * 7 }}'


def label_by_word(report: str) -> tuple[int, ...]:
    """A fake labeler: the words of a few findings, uncertain after "possible"."""
    labels = [0] * 14
    for word, finding in WORDS.items():
        if word in report.lower():
            labels[finding] = 3 if f"possible {word}" in report.lower() else 1
    labels[13] = int(not any(labels))
    return tuple(labels)


def make_predictions(num_studies: int = 12) -> list[Prediction]:
    texts = ["There is edema.", "Large left effusion. No edge.", "A rib fracture. There is edema.", "Clear lungs."]
    return [
        Prediction(
            study_id=f"study{number:02d}",
            subject_id=f"subject{number:02d}",
            report=f"Findings: {texts[number % 4]} Impression: {texts[(number + number // 9) % 4]}",
            probabilities=tuple(0.8 if label else 0.2 for label in label_by_word(texts[number % 4])),
            reference=f"Findings: {texts[number % 4]}",
            reference_labels=label_by_word(texts[number % 4]),
        )
        for number in range(num_studies)
    ]


def make_document(
    predictions: list[Prediction],
    checkpoint: str = "runs/mine",
    *,
    groups=None,
    outperformed_by="",
    rejected=(),
    **parts,
) -> dict:
    """The content of metrics.json; consistency, grounding and groups are left out unless they are given."""
    shifted = predictions[1:] + predictions[:1]
    others = [dataclasses.replace(own, report=other.report) for own, other in zip(predictions, shifted, strict=True)]
    resampling = {"num_resamples": 50, "seed": 0}
    document, model = evaluate(
        predictions,
        [Control(name=SHUFFLED, predictions=tuple(others))],
        Source(
            program="eval.batch",
            run={
                "checkpoint": checkpoint,
                "checkpoint_hash": "0123abcd",
                "dataset": "studies",
                "dataset_hash": "4567cdef",
                "split": "test",
                "num_studies": 0,
                "max_new_tokens": 128,
                "num_beams": 1,
            },
            studies={"given": 12, "written": 12, "rejected": 0},
            rejected=rejected,
        ),
        resampling,
    )
    document["verdict"] |= {"outperformed_by": outperformed_by, "constant": "", "facts": []}
    document |= {"control_reports": {"constant sentence": EVIL}, "consistency": None, "grounding": None}
    return document | {"by_group": scores_by_group(model, groups or {}, **resampling)} | parts


ESTIMATE = {"value": 0.123456789, "low": None, "high": None, "num_undefined": 0}
"""A figure as in metrics.json."""
