"""chrF (Popović 2015): F-score of character n-grams of order 1 to 6, which tolerates different word endings.

Spaces are ignored and recall has double weight (beta 2). The values equal sacrebleu 2's CHRF, divided by 100.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from eval.metrics.normalization import DEFAULT_NORMALIZATION, TextScore, corpus_score, paired_texts

CHRF_NAME = "chrF (sacrebleu, 0 to 1)"
NUM_ORDERS = 6
BETA = 2.0


def chrf(
    predictions: Sequence[str], references: Sequence[str], normalization: str = DEFAULT_NORMALIZATION
) -> TextScore:
    """Corpus chrF; `statistics` [studies, 18]: predicted, reference and matched n-grams of 1 to 6 characters."""
    pairs = paired_texts(predictions, references, normalization)
    return corpus_score([_statistics(*pair) for pair in pairs], chrf_from_statistics)


def chrf_from_statistics(statistics: np.ndarray) -> np.ndarray:
    """chrF [...] from sums [..., 18] of the statistics, averaged over the orders that occur in both texts."""
    statistics = np.asarray(statistics, dtype=np.float64)
    predicted, reference, matched = np.split(statistics, 3, axis=-1)
    is_counted = (predicted > 0) & (reference > 0)
    num_orders = np.maximum(1, is_counted.sum(axis=-1))
    precision = np.divide(matched, predicted, out=np.zeros_like(matched), where=is_counted).sum(axis=-1) / num_orders
    recall = np.divide(matched, reference, out=np.zeros_like(matched), where=is_counted).sum(axis=-1) / num_orders
    denominator = BETA**2 * precision + recall
    score = (1 + BETA**2) * precision * recall
    return np.divide(score, denominator, out=np.zeros_like(score), where=denominator > 0)


def _statistics(prediction: str, reference: str) -> list[int]:
    prediction, reference = "".join(prediction.split()), "".join(reference.split())
    orders = range(1, NUM_ORDERS + 1)
    num_reference = [max(0, len(reference) - order + 1) for order in orders]
    num_predicted = [max(0, len(prediction) - order + 1) for order in orders]
    # As in sacrebleu: predicted n-grams are ignored for orders that are longer than the reference.
    num_predicted = [num if in_reference else 0 for num, in_reference in zip(num_predicted, num_reference, strict=True)]
    matched = [_num_matched(prediction, reference, order) for order in orders]
    return [*num_predicted, *num_reference, *matched]


def _num_matched(prediction: str, reference: str, order: int) -> int:
    in_reference = Counter([reference[start : start + order] for start in range(len(reference) - order + 1)])
    predicted = Counter([prediction[start : start + order] for start in range(len(prediction) - order + 1)])
    return sum(min(count, in_reference[ngram]) for ngram, count in predicted.items() if ngram in in_reference)
