"""The n-grams of a report: runs of 1 to 4 words and how often each occurs."""

from collections import Counter
from collections.abc import Sequence

MAX_ORDER = 4


def ngram_counts(words: Sequence[str]) -> Counter[tuple[str, ...]]:
    """Every run of 1 to MAX_ORDER words."""
    counts: Counter[tuple[str, ...]] = Counter()
    for order in range(1, MAX_ORDER + 1):
        # Shifted copies of the list, zipped: the run that starts at each word.
        counts.update(zip(*(words[start:] for start in range(order)), strict=False))
    return counts
