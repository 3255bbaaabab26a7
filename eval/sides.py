"""Does a report put a finding on the right side? What findings' F1 does not ask, from anybody's predictions.

    python -m eval.sides runs/mine/evaluation/predictions.jsonl --shuffled predictions_shuffled_images.jsonl

Asked are the findings that the reference report puts on one side, left or right, wherever it states them, and that the
written report states as well. Answers: the same side, the other one, both, none. A report that guesses is as often
right as wrong. Intervals over patients.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console

from data.labeler import label_report
from data.program import run_main
from eval.bootstrap import NUM_RESAMPLES, Estimate, interval, point_values, resample
from eval.predictions import Prediction, read_lines
from eval.sentences import stated_sentences
from eval.verdict import with_interval
from vlm.findings import NUM_FINDINGS

ANSWERS = ("same side", "other side", "both sides", "no side")
_SIDES = {
    "left": re.compile(r"\bleft(?:ward)?\b|\blingula", re.IGNORECASE),
    "right": re.compile(r"\bright(?:ward)?\b", re.IGNORECASE),
}
_BOTH = re.compile(r"\bbilateral(?:ly)?\b|\bboth\b|\bbibasilar\b|\bbibasal\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class SidesConfig:
    """Ask on which side reports put what they find."""

    predictions: Annotated[Path, tyro.conf.Positional]
    """predictions.jsonl of eval/batch.py, with the references in it."""
    shuffled: Path | None = None
    """The same of the control with other patients' images."""
    num_resamples: int = NUM_RESAMPLES
    """Resamples of the intervals."""
    output: Path | None = None
    """JSON file for the figures."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parses, compares, tells."""
    config = tyro.cli(SidesConfig, args=argv, description=__doc__)
    console, documents = Console(), {}
    for name, path in {"model": config.predictions, "shuffled images": config.shuffled}.items():
        if path is None:
            continue
        documents[name] = document = sides(read_lines(path, Prediction), num_resamples=config.num_resamples)
        told = ", ".join(f"{answer} {with_interval(Estimate(**document[answer]))}" for answer in ANSWERS)
        console.print(f"{name}: {document['num_asked']} findings asked: {told}", highlight=False, soft_wrap=True)
    if config.output is not None:
        config.output.write_text(json.dumps(documents, indent=2) + "\n", encoding="utf-8")


def stated_sides(report: str) -> list[frozenset[str]]:
    """For each of the 14 findings the sides that the sentences which state it name."""
    sides = [set() for _ in range(NUM_FINDINGS)]
    for sentence in stated_sentences(report, label_report):
        is_both = _BOTH.search(sentence.text) is not None
        named = {side for side, pattern in _SIDES.items() if is_both or pattern.search(sentence.text)}
        for finding in sentence.findings:
            sides[finding] |= named
    return [frozenset(named) for named in sides]


def sides(predictions: Sequence[Prediction], *, num_resamples: int = NUM_RESAMPLES) -> dict[str, Any]:
    """Share of each answer among the findings asked, with intervals over patients.

    Raises:
        ValueError: no reference puts a finding on one side that the written report states as well.
    """
    counts = np.array([_answers(prediction) for prediction in predictions]).reshape(-1, len(ANSWERS))
    if not counts.sum():
        raise ValueError(
            "no reference report puts a finding on one side that the written report states, too: there is nothing to "
            "ask; are the references in the file?"
        )
    patients = [prediction.subject_id or prediction.study_id for prediction in predictions]

    def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
        sums = weights @ counts
        with np.errstate(invalid="ignore"):
            shares = sums / sums.sum(axis=1, keepdims=True)
        return {answer: shares[:, number] for number, answer in enumerate(ANSWERS)}

    values = point_values(statistic, len(counts))
    samples = resample(statistic, patients, num_resamples)
    figures = {answer: asdict(interval(values[answer], samples[answer])) for answer in ANSWERS}
    return {"num_asked": int(counts.sum()), "num_patients": len(set(patients)), **figures}


def _answers(prediction: Prediction) -> list[int]:
    """How often each of ANSWERS is given."""
    counts = [0] * len(ANSWERS)
    sentences = stated_sentences(prediction.report, label_report)
    written = {finding for sentence in sentences for finding in sentence.findings}
    own, true = stated_sides(prediction.report), stated_sides(prediction.reference)
    for finding in written:
        named = own[finding]
        if len(true[finding]) == 1:
            counts[3 if not named else 2 if len(named) == 2 else 0 if named == true[finding] else 1] += 1
    return counts


if __name__ == "__main__":
    run_main(main)
