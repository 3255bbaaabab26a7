"""Does a report put a finding on the right side? What the F1 of findings does not ask.

Asked are the findings that the reference report puts on one side, left or right, wherever it states them, and that the
written report states as well. A report that guesses is as often on the opposite side as on the true one.
"""

import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from jaxtyping import Float

from eval.sentences import StatedSentence, stated_sentences
from vlm.schema.findings import NUM_FINDINGS

SIDE_SCORES = ("side_agreement", "side_reversal")
"""Shares of the findings asked: put on the true side alone; on the opposite side alone. The rest is put on both sides
or on none."""
_SIDES = {
    "left": re.compile(r"\bleft(?:ward)?\b|\blingula", re.IGNORECASE),
    "right": re.compile(r"\bright(?:ward)?\b", re.IGNORECASE),
}
_BOTH = re.compile(r"\bbilateral(?:ly)?\b|\bboth\b|\bbibasilar\b|\bbibasal\b", re.IGNORECASE)


def stated_sides(report: str, label_report: Callable[[str], Sequence[int]]) -> list[frozenset[str] | None]:
    """For each of the 14 findings the sides that the sentences which state it name; None where none states it."""
    return _sides_of(stated_sentences(report, label_report))


def crossed_findings(report: str, label_report: Callable[[str], Sequence[int]]) -> tuple[int, ...]:
    """Indices of the findings that stand on one side in the findings and on the other in the impression."""
    sentences = stated_sentences(report, label_report)
    above, below = (
        _sides_of([sentence for sentence in sentences if sentence.section == section])
        for section in ("Findings", "Impression")
    )
    return tuple(
        finding
        for finding, (one, other) in enumerate(zip(above, below, strict=True))
        if one and other and len(one) == len(other) == 1 and one != other
    )


def _sides_of(sentences: Iterable[StatedSentence]) -> list[frozenset[str] | None]:
    sides: list[set[str] | None] = [None] * NUM_FINDINGS
    for sentence in sentences:
        is_both = _BOTH.search(sentence.text) is not None
        named = {side for side, pattern in _SIDES.items() if is_both or pattern.search(sentence.text)}
        for finding in sentence.findings:
            sides[finding] = (sides[finding] or set()) | named
    return [None if named is None else frozenset(named) for named in sides]


def side_counts(
    reports: Sequence[str], references: Sequence[str], label_report: Callable[[str], Sequence[int]]
) -> Float[np.ndarray, "studies 3"]:
    """How many findings of each study are asked, put on the true side, put on the opposite one."""
    counts = np.zeros((len(reports), 3))
    for study, (report, reference) in enumerate(zip(reports, references, strict=True)):
        true = stated_sides(reference, label_report)
        if not any(sides is not None and len(sides) == 1 for sides in true):
            continue
        for written, sides in zip(stated_sides(report, label_report), true, strict=True):
            if written is not None and sides is not None and len(sides) == 1:
                counts[study] += (1, written == sides, len(written) == 1 and written != sides)
    return counts


def side_scores(counts: Float[np.ndarray, "*resamples 3"]) -> dict[str, np.ndarray]:
    """The shares, of summed counts; NaN where nothing is asked."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return {score: counts[..., 1 + number] / counts[..., 0] for number, score in enumerate(SIDE_SCORES)}
