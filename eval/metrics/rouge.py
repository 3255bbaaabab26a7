"""ROUGE-L (Lin 2004): F-score of the longest common subsequence of words.

Two definitions are in use and differ by some hundredths; each is printed under its own name. The stemmer is Porter's
algorithm with nltk's extensions, as in rouge-score and nltk's METEOR; nltk is loaded on first use.
"""

import re
from collections.abc import Sequence
from functools import cache, lru_cache

from eval.metrics.normalization import DEFAULT_NORMALIZATION, TextScore, mean_score, paired_texts, paired_words

MAX_STEMS_KEPT = 100_000
_WORD = re.compile(r"[a-z0-9]+")


def stemmed_words(text: str) -> list[str]:
    """Tokens as in rouge-score: lower-case runs of a-z and 0-9; words of more than 3 letters are stemmed."""
    return [stem(word) if len(word) > 3 else word for word in _WORD.findall(text.lower())]


@lru_cache(maxsize=MAX_STEMS_KEPT)
def stem(word: str) -> str:
    """The stem of a lower-case word."""
    return _porter().stem(word)


@cache
def _porter():
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer()


ROUGE_NAME = "ROUGE-L (COCO, beta 1.2)"
STEMMED_ROUGE_NAME = "ROUGE-L (rouge-score, stemmed)"
BETA = 1.2


def rouge_l(
    predictions: Sequence[str], references: Sequence[str], normalization: str = DEFAULT_NORMALIZATION
) -> TextScore:
    """F-measure with beta 1.2, without stemming: as pycocoevalcap 1.2's Rouge."""
    pairs = paired_words(predictions, references, normalization)
    # As in pycocoevalcap, two empty reports score 1.
    return mean_score([_f_measure(*pair, BETA) if any(pair) else 1.0 for pair in pairs])


def stemmed_rouge_l(
    predictions: Sequence[str], references: Sequence[str], normalization: str = DEFAULT_NORMALIZATION
) -> TextScore:
    """F1 of stemmed words: as rouge-score 0.1.2's rougeL with use_stemmer=True."""
    pairs = paired_texts(predictions, references, normalization)
    return mean_score([_f_measure(stemmed_words(one), stemmed_words(other), 1.0) for one, other in pairs])


def _f_measure(prediction: list[str], reference: list[str], beta: float) -> float:
    common = _longest_common_subsequence(prediction, reference)
    if common == 0:
        return 0.0
    precision, recall = common / len(prediction), common / len(reference)
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision)


def _longest_common_subsequence(first: list[str], second: list[str]) -> int:
    """Length of the longest common subsequence, bit-parallel (Hyyrö 2004)."""
    positions: dict[str, int] = {}
    for index, word in enumerate(first):
        positions[word] = positions.get(word, 0) | 1 << index
    all_bits = (1 << len(first)) - 1
    row = all_bits
    for word in second:
        matches = row & positions.get(word, 0)
        row = ((row + matches) | (row - matches)) & all_bits
    return len(first) - row.bit_count()
