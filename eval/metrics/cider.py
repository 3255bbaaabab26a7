"""CIDEr (Vedantam et al. 2015): TF-IDF weighted similarity of n-grams.

What the field calls "CIDEr" is pycocoevalcap's implementation, which is CIDEr-D: counts are clipped and a difference in
length is penalized. `cider` computes that; `plain_cider` computes the CIDEr of the paper without clipping and penalty.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from eval.metrics.bleu import MAX_ORDER, ngram_counts
from eval.metrics.normalization import DEFAULT_NORMALIZATION, TextScore, mean_score, paired_words

CIDER_NAME = "CIDEr (pycocoevalcap, = CIDEr-D)"
PLAIN_CIDER_NAME = "CIDEr (paper, unclipped)"
SIGMA = 6.0
_PREDICTIONS_KEPT = 8
"""A control predicts the same few reports for all studies."""


def cider(
    predictions: Sequence[str], references: Sequence[str], normalization: str = DEFAULT_NORMALIZATION
) -> TextScore:
    """CIDEr-D (0 to 10), with document frequencies from these references.

    It is undefined (None, NaN per study) unless two references differ: a word that all references have has no weight.
    """
    return both_ciders(predictions, references, normalization)[0]


def plain_cider(
    predictions: Sequence[str], references: Sequence[str], normalization: str = DEFAULT_NORMALIZATION
) -> TextScore:
    """`cider` without clipping and length penalty: ten times the mean cosine of TF-IDF vectors."""
    return both_ciders(predictions, references, normalization)[1]


def both_ciders(
    predictions: Sequence[str], references: Sequence[str], normalization: str = DEFAULT_NORMALIZATION
) -> tuple[TextScore, TextScore]:
    """`cider` and `plain_cider` in one pass."""
    pairs = paired_words(predictions, references, normalization)
    if len({tuple(reference) for _, reference in pairs}) < 2:
        undefined = TextScore(per_study=np.full(len(pairs), np.nan), score=None)
        return undefined, undefined
    corpus = CiderReferences([reference for _, reference in pairs])
    scores = np.array([corpus.scores(words, study) for study, (words, _) in enumerate(pairs)])
    return mean_score(scores[:, 0]), mean_score(scores[:, 1])


@dataclass(frozen=True, kw_only=True, slots=True)
class _WeightedReport:
    """TF-IDF of each n-gram, norms by order, and the number of bigrams (the length in COCO's code)."""

    weights: dict[tuple[str, ...], float]
    norms: tuple[float, ...]
    num_bigrams: int


class CiderReferences:
    """Document frequencies of references (as words), to score predictions against one or all of them."""

    def __init__(self, references: Sequence[Sequence[str]]):
        self._references = references
        frequencies = Counter(ngram for words in references for ngram in ngram_counts(words))
        log_num_references = math.log(len(references))
        self._idf = {ngram: log_num_references - math.log(frequency) for ngram, frequency in frequencies.items()}
        self._idf_of_unseen = log_num_references
        self._weight_of = lru_cache(maxsize=_PREDICTIONS_KEPT)(self._weight)

    def scores(self, prediction: Sequence[str], study: int) -> tuple[float, float]:
        """CIDEr and plain CIDEr of one prediction (as words) with the reference of `study`."""
        return _similarities(self._weight_of(tuple(prediction)), self._weight(self._references[study]))

    def score_against_all(self, prediction: Sequence[str]) -> np.ndarray:
        """CIDEr of one prediction with each reference, much faster than one by one."""
        weighted, totals = self._weight(prediction), np.zeros(len(self._references))
        index, num_bigrams = self._index
        known = [(ngram, weight) for ngram, weight in weighted.weights.items() if ngram in index and weight > 0]
        if known:
            entries = [index[ngram] for ngram, _ in known]
            studies, weights, norms = map(np.concatenate, zip(*entries, strict=True))
            sizes = [len(with_ngram) for with_ngram, _, _ in entries]
            own_weights = np.repeat([weight for _, weight in known], sizes)
            own_norms = np.repeat([weighted.norms[len(ngram) - 1] for ngram, _ in known], sizes)
            shares = np.minimum(own_weights, weights) * weights / (own_norms * norms)
            totals = np.bincount(studies, shares, minlength=len(totals))
        penalties = np.exp(-((len(prediction[1:]) - num_bigrams) ** 2) / (2 * SIGMA**2))
        return 10 * totals * penalties / MAX_ORDER

    @cached_property
    def _index(self) -> tuple[dict[tuple[str, ...], tuple[np.ndarray, np.ndarray, np.ndarray]], np.ndarray]:
        """An inverted index: for each n-gram its references, weights and norms; and the bigrams per reference."""
        found: dict[tuple[str, ...], list[tuple[int, float, float]]] = {}
        num_bigrams = np.zeros(len(self._references))
        for study, words in enumerate(self._references):
            weighted = self._weight(words)
            num_bigrams[study] = weighted.num_bigrams
            for ngram, weight in weighted.weights.items():
                if weight > 0:
                    found.setdefault(ngram, []).append((study, weight, weighted.norms[len(ngram) - 1]))
        index = {}
        for ngram, entries in found.items():
            studies, weights, norms = zip(*entries, strict=True)
            index[ngram] = np.array(studies), np.array(weights), np.array(norms)
        return index, num_bigrams

    def _weight(self, words: Sequence[str]) -> _WeightedReport:
        weights: dict[tuple[str, ...], float] = {}
        squares = [0.0] * MAX_ORDER
        for ngram, count in ngram_counts(words).items():
            weight = count * self._idf.get(ngram, self._idf_of_unseen)
            weights[ngram] = weight
            squares[len(ngram) - 1] += weight * weight
        return _WeightedReport(
            weights=weights, norms=tuple(map(math.sqrt, squares)), num_bigrams=max(0, len(words) - 1)
        )


def _similarities(prediction: _WeightedReport, reference: _WeightedReport) -> tuple[float, float]:
    clipped, plain = [0.0] * MAX_ORDER, [0.0] * MAX_ORDER
    for ngram, weight in prediction.weights.items():
        reference_weight = reference.weights.get(ngram)
        if reference_weight is not None:
            order = len(ngram) - 1
            clipped[order] += min(weight, reference_weight) * reference_weight
            plain[order] += weight * reference_weight
    norms = [one * other for one, other in zip(prediction.norms, reference.norms, strict=True)]
    total, plain_total = (
        sum(product / norm for product, norm in zip(products, norms, strict=True) if norm > 0)
        for products in (clipped, plain)
    )
    penalty = math.exp(-((prediction.num_bigrams - reference.num_bigrams) ** 2) / (2 * SIGMA**2))
    return 10 * total * penalty / MAX_ORDER, 10 * plain_total / MAX_ORDER
