"""BLEU-1 to 4 (Papineni et al. 2002): n-gram precision of 1 to 4 words.

Corpus level, cumulative, unsmoothed: the same values as pycocoevalcap 1.2's Bleu on the same words.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from eval.metrics.normalization import DEFAULT_NORMALIZATION, TextScore, corpus_score, paired_words

MAX_ORDER = 4


def ngram_counts(words: Sequence[str]) -> Counter[tuple[str, ...]]:
    """Count all n-grams of 1 to MAX_ORDER words."""
    counts: Counter[tuple[str, ...]] = Counter()
    for order in range(1, MAX_ORDER + 1):
        # Shifted copies of the list, zipped: the run that starts at each word.
        counts.update(zip(*(words[start:] for start in range(order)), strict=False))
    return counts


def bleu(
    predictions: Sequence[str], references: Sequence[str], normalization: str = DEFAULT_NORMALIZATION
) -> TextScore:
    """BLEU-1 to 4, each from 0 to 1.

    `statistics` [studies, 10]: matched n-grams (1 to 4), predicted n-grams (1 to 4), predicted and reference words.
    """
    pairs = paired_words(predictions, references, normalization)
    return corpus_score([_statistics(*pair) for pair in pairs], bleu_from_statistics)


def bleu_from_statistics(statistics: np.ndarray) -> np.ndarray:
    """BLEU-1 to 4 [..., 4] from sums [..., 10] of the statistics."""
    statistics = np.asarray(statistics, dtype=np.float64)
    matched, predicted = statistics[..., :MAX_ORDER], statistics[..., MAX_ORDER : 2 * MAX_ORDER]
    # The small constants come from pycocoevalcap; they avoid division by 0 for empty predictions.
    precisions = (matched + 1e-15) / (predicted + 1e-9)
    geometric_means = np.cumprod(precisions, axis=-1) ** (1 / np.arange(1, MAX_ORDER + 1))
    length_ratio = (statistics[..., -2:-1] + 1e-15) / (statistics[..., -1:] + 1e-9)
    return geometric_means * np.exp(np.minimum(0.0, 1 - 1 / length_ratio))


def _statistics(prediction: list[str], reference: list[str]) -> list[int]:
    matched = [0] * MAX_ORDER
    in_reference = ngram_counts(reference)
    for ngram, count in ngram_counts(prediction).items():
        if ngram in in_reference:
            matched[len(ngram) - 1] += min(count, in_reference[ngram])
    predicted = [max(0, len(prediction) - order) for order in range(MAX_ORDER)]
    return [*matched, *predicted, len(prediction), len(reference)]
