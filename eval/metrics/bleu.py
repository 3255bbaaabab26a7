"""BLEU-1 to 4 (Papineni et al. 2002): n-gram precision of 1 to 4 words; and the n-grams of many texts as arrays.

Corpus level, cumulative, unsmoothed: the same values as pycocoevalcap 1.2's Bleu on the same words.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from eval.metrics.normalization import DEFAULT_NORMALIZATION, TextScore, corpus_score, paired_words

MAX_ORDER = 4


def ngram_counts(words: Sequence[str]) -> Counter[tuple[str, ...]]:
    """Count all n-grams of 1 to MAX_ORDER words."""
    counts: Counter[tuple[str, ...]] = Counter()
    for order in range(1, MAX_ORDER + 1):
        # Shifted copies of the list, zipped: the run that starts at each word.
        counts.update(zip(*(words[start:] for start in range(order)), strict=False))
    return counts


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ngrams:
    """The n-grams of one order in many texts. Each different n-gram of a text is an entry; entries are in the order of
    the texts, and within a text in the order in which its n-grams first occur.

    `texts`, `grams`, `counts` [entries]: number of the text, number of the n-gram, and how often the text has it. Equal
    n-grams have the same number in all texts. `num_grams`: the largest number of an n-gram, plus 1.
    """

    texts: Int[np.ndarray, " entries"]
    grams: Int[np.ndarray, " entries"]
    counts: Int[np.ndarray, " entries"]
    num_grams: int

    def split(self, text: int) -> tuple["Ngrams", "Ngrams"]:
        """The texts before number `text`, and the others, numbered from 0 again."""
        at = int(np.searchsorted(self.texts, text))
        parts = ((slice(at), 0), (slice(at, None), text))
        return tuple(
            Ngrams(
                texts=self.texts[part] - first,
                grams=self.grams[part],
                counts=self.counts[part],
                num_grams=self.num_grams,
            )
            for part, first in parts
        )

    def shared_with(self, others: "Ngrams") -> tuple[np.ndarray, np.ndarray]:
        """The entries that the text of the same number in `others` has too, in order, and these entries of `others`."""
        keys, other_keys = (one.texts * self.num_grams + one.grams for one in (self, others))
        order = np.argsort(other_keys)
        places = np.searchsorted(other_keys, keys, sorter=order)
        known = np.flatnonzero(places < len(order))
        found = order[places[known]]
        is_equal = other_keys[found] == keys[known]
        return known[is_equal], found[is_equal]


def ngrams_by_order(texts: Sequence[Sequence[str]], max_order: int = MAX_ORDER) -> Iterator[Ngrams]:
    """The n-grams of texts (as words), for each order from 1 on."""
    numbers: dict[str, int] = {}
    words = np.array([numbers.setdefault(word, len(numbers)) for text in texts for word in text], dtype=np.int64)
    lengths = np.array(list(map(len, texts)), dtype=np.int64)
    text_of, end_of = (np.repeat(values, lengths) for values in (np.arange(len(texts)), np.cumsum(lengths)))
    starts, grams, num_grams = np.arange(len(words)), words, len(numbers)
    for order in range(1, max_order + 1):
        if order > 1:
            goes_on = starts + order <= end_of[starts]
            starts, grams = starts[goes_on], grams[goes_on] * len(numbers) + words[starts[goes_on] + order - 1]
            num_grams *= len(numbers)
        if num_grams * len(numbers) * max(1, len(texts)) >= 2**63:  # the keys below, or the next n-grams, are too large
            different, grams = np.unique(grams, return_inverse=True)
            num_grams = len(different)
        keys = text_of[starts] * num_grams + grams
        by_key = np.argsort(keys)
        begins = np.flatnonzero(np.diff(keys[by_key], prepend=-1))
        first = np.minimum.reduceat(by_key, begins) if len(begins) else begins
        counts = np.diff(begins, append=len(keys))
        in_order = np.argsort(first)
        first = first[in_order]
        yield Ngrams(
            texts=text_of[starts[first]], grams=grams[first], counts=counts[in_order], num_grams=max(1, num_grams)
        )


def bleu(
    predictions: Sequence[str], references: Sequence[str], normalization: str = DEFAULT_NORMALIZATION
) -> TextScore:
    """BLEU-1 to 4, each from 0 to 1.

    `statistics` [studies, 10]: matched n-grams (1 to 4), predicted n-grams (1 to 4), predicted and reference words.
    """
    words, reference_words = zip(*paired_words(predictions, references, normalization), strict=True)
    lengths, reference_lengths = (np.array(list(map(len, texts))) for texts in (words, reference_words))
    matched = matched_ngrams(words, reference_words)
    predicted = [np.maximum(0, lengths - order) for order in range(MAX_ORDER)]
    return corpus_score(np.column_stack([matched, *predicted, lengths, reference_lengths]), bleu_from_statistics)


def matched_ngrams(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]], max_order: int = MAX_ORDER
) -> Int[np.ndarray, "studies orders"]:
    """Number of n-grams of each prediction (as words) that its reference has too, by order."""
    matched = []
    for ngrams in ngrams_by_order([*predictions, *references], max_order):
        own, true = ngrams.split(len(predictions))
        shared, shared_true = own.shared_with(true)
        counts = np.minimum(own.counts[shared], true.counts[shared_true])
        matched.append(np.bincount(own.texts[shared], counts, minlength=len(predictions)))
    return np.column_stack(matched).astype(np.int64)


def bleu_from_statistics(statistics: np.ndarray) -> np.ndarray:
    """BLEU-1 to 4 [..., 4] from sums [..., 10] of the statistics."""
    statistics = np.asarray(statistics, dtype=np.float64)
    matched, predicted = statistics[..., :MAX_ORDER], statistics[..., MAX_ORDER : 2 * MAX_ORDER]
    # The small constants come from pycocoevalcap; they avoid division by 0 for empty predictions.
    precisions = (matched + 1e-15) / (predicted + 1e-9)
    geometric_means = np.cumprod(precisions, axis=-1) ** (1 / np.arange(1, MAX_ORDER + 1))
    length_ratio = (statistics[..., -2:-1] + 1e-15) / (statistics[..., -1:] + 1e-9)
    return geometric_means * np.exp(np.minimum(0.0, 1 - 1 / length_ratio))
