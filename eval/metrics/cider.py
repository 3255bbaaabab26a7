"""CIDEr (Vedantam et al. 2015): TF-IDF weighted similarity of n-grams.

What the field calls "CIDEr" is pycocoevalcap's implementation, which is CIDEr-D: counts are clipped and a difference in
length is penalized. `cider` computes that; `plain_cider` computes the CIDEr of the paper without clipping and penalty.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from eval.metrics.bleu import MAX_ORDER, Ngrams, ngrams_by_order
from eval.metrics.normalization import DEFAULT_NORMALIZATION, TextScore, mean_score, paired_words

CIDER_NAME = "CIDEr (pycocoevalcap, = CIDEr-D)"
PLAIN_CIDER_NAME = "CIDEr (paper, unclipped)"
SIGMA = 6.0


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
    words, reference_words = zip(*paired_words(predictions, references, normalization), strict=True)
    num_studies = len(words)
    if len(set(map(tuple, reference_words))) < 2:
        undefined = TextScore(per_study=np.full(num_studies, np.nan), score=None)
        return undefined, undefined
    clipped, plain = np.zeros(num_studies), np.zeros(num_studies)
    for ngrams in ngrams_by_order([*words, *reference_words]):
        own, true = ngrams.split(num_studies)
        weights, true_weights = _weights(own, true, num_studies), _weights(true, true, num_studies)
        norms = _norms(own, weights, num_studies) * _norms(true, true_weights, num_studies)
        shared, shared_true = own.shared_with(true)
        studies, one, other = own.texts[shared], weights[shared], true_weights[shared_true]
        for totals, products in ((clipped, np.minimum(one, other) * other), (plain, one * other)):
            sums = np.bincount(studies, products, minlength=num_studies)
            totals += np.divide(sums, norms, out=np.zeros(num_studies), where=norms > 0)
    penalties = _length_penalties(_num_bigrams(words) - _num_bigrams(reference_words))
    return mean_score(10 * clipped * penalties / MAX_ORDER), mean_score(10 * plain / MAX_ORDER)


def _weights(ngrams: Ngrams, references: Ngrams, num_references: int) -> Float[np.ndarray, " entries"]:
    """TF-IDF of each entry, with document frequencies from the references; an n-gram that none of them has is weighted
    like one that one of them has."""
    known, frequencies = np.unique(references.grams, return_counts=True)
    frequency_of = np.zeros(len(ngrams.grams), dtype=np.int64)
    places = np.searchsorted(known, ngrams.grams)
    is_known = places < len(known)
    is_known[is_known] = known[places[is_known]] == ngrams.grams[is_known]
    frequency_of[is_known] = frequencies[places[is_known]]
    # Python's logarithm and exponential differ from numpy's in the last digit.
    idf = [math.log(num_references) - math.log(max(1, frequency)) for frequency in range(num_references + 1)]
    return ngrams.counts * np.array(idf)[frequency_of]


def _norms(ngrams: Ngrams, weights: np.ndarray, num_texts: int) -> Float[np.ndarray, " texts"]:
    return np.sqrt(np.bincount(ngrams.texts, weights * weights, minlength=num_texts))


def _num_bigrams(texts: Sequence[Sequence[str]]) -> np.ndarray:
    """The length of each text in COCO's code."""
    return np.array([max(0, len(words) - 1) for words in texts])


def _length_penalties(differences: np.ndarray) -> np.ndarray:
    different, places = np.unique(differences, return_inverse=True)
    penalties = [math.exp(-(difference**2) / (2 * SIGMA**2)) for difference in different.tolist()]
    return np.array(penalties)[places]


class CiderReferences:
    """References (as words) with their weights, to compare one of them with all."""

    def __init__(self, references: Sequence[Sequence[str]]):
        self._num_bigrams = _num_bigrams(references)
        orders, num_grams = [], 0
        for ngrams in ngrams_by_order(references):
            weights = _weights(ngrams, ngrams, len(references))
            norms = _norms(ngrams, weights, len(references))[ngrams.texts]
            different, grams = np.unique(ngrams.grams, return_inverse=True)
            is_weighted = weights > 0
            columns = (ngrams.texts, grams + num_grams, weights, norms)
            orders.append([column[is_weighted] for column in columns])
            num_grams += len(different)
        self._texts, self._grams, self._weights, self._norms = map(np.concatenate, zip(*orders, strict=True))
        self._by_text, self._by_gram = (np.argsort(column, kind="stable") for column in (self._texts, self._grams))
        self._text_ends = np.cumsum(np.bincount(self._texts, minlength=len(references)))
        self._num_having = np.bincount(self._grams, minlength=num_grams)
        self._gram_ends = np.cumsum(self._num_having)

    def score_against_all(self, number: int) -> Float[np.ndarray, " references"]:
        """CIDEr of the reference of this number as a prediction for each reference."""
        start = self._text_ends[number - 1] if number else 0
        own = self._by_text[start : self._text_ends[number]]
        # For each n-gram, the entries of all references that have it.
        num_having, ends = self._num_having[self._grams[own]], self._gram_ends[self._grams[own]]
        others = self._by_gram[np.arange(num_having.sum()) + np.repeat(ends - np.cumsum(num_having), num_having)]
        own = np.repeat(own, num_having)
        shares = np.minimum(self._weights[own], self._weights[others]) * self._weights[others]
        shares /= self._norms[own] * self._norms[others]
        totals = np.bincount(self._texts[others], shares, minlength=len(self._num_bigrams))
        return 10 * totals * _length_penalties(self._num_bigrams[number] - self._num_bigrams) / MAX_ORDER
