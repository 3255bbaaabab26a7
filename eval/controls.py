"""Controls: what scores are reached without looking at the image. Printed beside every score.

- constant sentence: one report for all, chosen among the validation references as the one with the
  highest mean CIDEr against the validation references (never on test);
- most frequent report of the training split;
- shuffled images: the same model, each study shown another patient's images.
"""

import random
from collections import Counter
from collections.abc import Sequence

from eval.normalization import normalize_report
from eval.overlap import CiderReferences

MAX_CANDIDATES = 200
MAX_REFERENCES = 500


def constant_sentence(validation_references: Sequence[str], seed: int = 0) -> str | None:
    """The validation report closest to all of them by mean CIDEr; None where there is no report.

    Of large splits, 500 reports and 200 different candidates among them are drawn.
    """
    references = [reference for reference in validation_references if normalize_report(reference)]
    if not references:
        return None
    chooser = random.Random(seed)
    if len(references) > MAX_REFERENCES:
        references = chooser.sample(references, MAX_REFERENCES)
    words = [normalize_report(reference).split() for reference in references]
    # One candidate a wording; sorted, so that ties and the draw depend on nothing but the text.
    candidates = sorted({tuple(report): number for number, report in enumerate(words)}.items())
    if len(candidates) > MAX_CANDIDATES:
        candidates = chooser.sample(candidates, MAX_CANDIDATES)
    corpus = CiderReferences(words)
    _, best = max(candidates, key=lambda candidate: corpus.score_against_all(candidate[0]).mean())
    return references[best]


def most_frequent_report(training_references: Sequence[str]) -> str | None:
    """The most frequent wording, in its first spelling; of several the alphabetically first; None if no report."""
    wordings: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for reference in training_references:
        if wording := normalize_report(reference):
            wordings.setdefault(wording, reference)
            counts[wording] += 1
    if not counts:
        return None
    return wordings[min(counts, key=lambda wording: (-counts[wording], wording))]


def derangement(subject_ids: Sequence[str], seed: int = 0) -> list[int]:
    """For each study the index of the study whose images it gets: a permutation in which nobody's images
    stay with the same subject.

    Raises:
        ValueError: impossible, as one subject has more than half of the studies.
    """
    studies_of: dict[str, list[int]] = {}
    for study, subject in enumerate(subject_ids):
        studies_of.setdefault(subject, []).append(study)
    largest = max(studies_of, key=lambda subject: len(studies_of[subject]), default="")
    shift = len(studies_of.get(largest, ()))
    if 2 * shift > len(subject_ids):
        raise ValueError(
            f"images cannot be shuffled between patients: {shift} of {len(subject_ids)} studies "
            f"are of subject {largest!r}; evaluate studies of more patients"
        )
    groups = list(studies_of.values())
    random.Random(seed).shuffle(groups)
    order = [study for group in groups for study in group]
    # With a subject's studies side by side, a shift by the largest group leaves every group.
    donors = [0] * len(order)
    for position, study in enumerate(order):
        donors[study] = order[(position + shift) % len(order)]
    return donors
