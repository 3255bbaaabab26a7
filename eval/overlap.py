"""Overlap of predicted with reference text: BLEU-1 to 4, ROUGE-L and CIDEr, per report and in all.

Strings in, one reference a study; the values are those of pycocoevalcap 1.2 on the same words (its
"CIDEr" clips counts and penalises length, which the paper calls CIDEr-D). None of these figures shows
that an image was used: read them beside the controls.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.normalization import DEFAULT_NORMALIZATION, normalize_report

MAX_ORDER = 4
ROUGE_BETA = 1.2
ROUGE_NAME = "ROUGE-L (COCO, beta 1.2)"
CIDER_SIGMA = 6.0


@dataclass(frozen=True, kw_only=True, slots=True)
class BleuScore:
    """`statistics` [studies, 10]: matched n-grams (1 to 4), predicted n-grams (1 to 4), predicted and
    reference words; their sums make the corpus score. `scores` are BLEU-1 to 4."""

    statistics: np.ndarray
    per_study: np.ndarray
    scores: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanScore:
    """A score whose value for the corpus is the mean over studies."""

    per_study: np.ndarray
    score: float


def bleu(
    predictions: Sequence[str], references: Sequence[str], normalization: str = DEFAULT_NORMALIZATION
) -> BleuScore:
    """Corpus BLEU-1 to 4 (cumulative, no smoothing), as pycocoevalcap's Bleu."""
    pairs = _paired_words(predictions, references, normalization)
    statistics = np.array([_bleu_statistics(*pair) for pair in pairs], dtype=np.int64)
    return BleuScore(
        statistics=statistics,
        per_study=bleu_from_statistics(statistics),
        scores=tuple(float(score) for score in bleu_from_statistics(statistics.sum(axis=0))),
    )


def bleu_from_statistics(statistics: np.ndarray) -> np.ndarray:
    """BLEU-1 to 4 [..., 4] of sums [..., 10] of `BleuScore.statistics`."""
    statistics = np.asarray(statistics, dtype=np.float64)
    matched, predicted = statistics[..., :MAX_ORDER], statistics[..., MAX_ORDER : 2 * MAX_ORDER]
    # The small constants are pycocoevalcap's: they keep empty predictions at 0 without dividing by 0.
    precisions = (matched + 1e-15) / (predicted + 1e-9)
    geometric_means = np.cumprod(precisions, axis=-1) ** (1 / np.arange(1, MAX_ORDER + 1))
    length_ratio = (statistics[..., -2:-1] + 1e-15) / (statistics[..., -1:] + 1e-9)
    return geometric_means * np.exp(np.minimum(0.0, 1 - 1 / length_ratio))


def rouge_l(
    predictions: Sequence[str], references: Sequence[str], normalization: str = DEFAULT_NORMALIZATION
) -> MeanScore:
    """F-measure (beta 1.2, without stemming) of the longest common subsequence of words."""
    per_study = np.array([_rouge_l(*pair) for pair in _paired_words(predictions, references, normalization)])
    return MeanScore(per_study=per_study, score=float(per_study.mean()))


def cider(
    predictions: Sequence[str], references: Sequence[str], normalization: str = DEFAULT_NORMALIZATION
) -> MeanScore:
    """CIDEr (0 to 10) as pycocoevalcap's, with document frequencies from these references.

    0 for a single study, whose words are all equally rare.
    """
    pairs = _paired_words(predictions, references, normalization)
    corpus = CiderReferences([reference for _, reference in pairs])
    per_study = np.array([corpus.score(prediction, study) for study, (prediction, _) in enumerate(pairs)])
    return MeanScore(per_study=per_study, score=float(per_study.mean()))


class CiderReferences:
    """References weighed once, to score any prediction against any of them."""

    def __init__(self, references: Sequence[Sequence[str]]):
        counts = [_ngram_counts(words) for words in references]
        frequencies = Counter(ngram for count in counts for ngram in count)
        log_num_references = math.log(len(references))
        self._rarity = {ngram: log_num_references - math.log(frequency) for ngram, frequency in frequencies.items()}
        self._rarity_of_unseen = log_num_references
        self._references = [self._weigh(count) for count in counts]

    def score(self, prediction: Sequence[str], study: int) -> float:
        """CIDEr of one prediction (as words) against the reference of `study`."""
        return self._similarity(self._weigh(_ngram_counts(prediction)), self._references[study])

    def score_against_all(self, prediction: Sequence[str]) -> np.ndarray:
        """CIDEr of one prediction against each reference."""
        weighed = self._weigh(_ngram_counts(prediction))
        return np.array([self._similarity(weighed, reference) for reference in self._references])

    def _weigh(self, counts: Counter) -> tuple[list[dict], list[float], int]:
        """Term frequency times rarity, by n-gram order; their norms; the number of bigrams (COCO's length)."""
        weights, norms, num_bigrams = [{} for _ in range(MAX_ORDER)], [0.0] * MAX_ORDER, 0
        for ngram, count in counts.items():
            order = len(ngram) - 1
            weight = count * self._rarity.get(ngram, self._rarity_of_unseen)
            weights[order][ngram] = weight
            norms[order] += weight * weight
            if order == 1:
                num_bigrams += count
        return weights, [math.sqrt(norm) for norm in norms], num_bigrams

    def _similarity(self, prediction, reference) -> float:
        total = 0.0
        for order in range(MAX_ORDER):
            norms = prediction[1][order] * reference[1][order]
            if norms == 0:
                continue
            weights = reference[0][order]
            product = sum(
                min(weight, weights[ngram]) * weights[ngram]
                for ngram, weight in prediction[0][order].items()
                if ngram in weights
            )
            total += product / norms
        length_penalty = math.exp(-((prediction[2] - reference[2]) ** 2) / (2 * CIDER_SIGMA**2))
        return 10 * length_penalty * total / MAX_ORDER


def _paired_words(
    predictions: Sequence[str], references: Sequence[str], normalization: str
) -> list[tuple[list[str], list[str]]]:
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions but {len(references)} references: give one of each a study")
    if not predictions:
        raise ValueError("0 predictions to score: give at least one study with a reference report")
    return [
        (normalize_report(prediction, normalization).split(), normalize_report(reference, normalization).split())
        for prediction, reference in zip(predictions, references, strict=True)
    ]


def _ngram_counts(words: Sequence[str]) -> Counter:
    return Counter(
        tuple(words[start : start + order])
        for order in range(1, MAX_ORDER + 1)
        for start in range(len(words) - order + 1)
    )


def _bleu_statistics(prediction: list[str], reference: list[str]) -> list[int]:
    matched = [0] * MAX_ORDER
    for ngram, count in (_ngram_counts(prediction) & _ngram_counts(reference)).items():
        matched[len(ngram) - 1] += count
    predicted = [max(0, len(prediction) - order) for order in range(MAX_ORDER)]
    return [*matched, *predicted, len(prediction), len(reference)]


def _rouge_l(prediction: list[str], reference: list[str]) -> float:
    if not prediction or not reference:
        return float(prediction == reference)
    common = _longest_common_subsequence(prediction, reference)
    if common == 0:
        return 0.0
    precision, recall = common / len(prediction), common / len(reference)
    return (1 + ROUGE_BETA**2) * precision * recall / (recall + ROUGE_BETA**2 * precision)


def _longest_common_subsequence(first: list[str], second: list[str]) -> int:
    """Its length, one row of the table at a time in the bits of an integer (Hyyrö 2004)."""
    positions: dict[str, int] = {}
    for index, word in enumerate(first):
        positions[word] = positions.get(word, 0) | 1 << index
    all_bits = (1 << len(first)) - 1
    row = all_bits
    for word in second:
        matches = row & positions.get(word, 0)
        row = ((row + matches) | (row - matches)) & all_bits
    return len(first) - row.bit_count()
