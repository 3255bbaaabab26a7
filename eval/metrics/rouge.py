"""ROUGE-L (Lin 2004): the longest run of words, gaps allowed, that prediction and reference share.

Two definitions are in use and differ by some hundredths; each is printed under its name.

Stems of words: "effusions" and "effusion" become the same "effus".

Porter's algorithm with nltk's extensions, which rouge-score and nltk's METEOR use. nltk is loaded on first use.
"""

import re
from collections.abc import Sequence
from functools import cache, lru_cache

from eval.metrics.normalization import DEFAULT_NORMALIZATION, MeanScore, mean_score, paired_texts, paired_words

MAX_STEMS_KEPT = 100_000
_WORD = re.compile(r"[a-z0-9]+")


def stemmed_words(text: str) -> list[str]:
    """rouge-score's tokens: lower-cased runs of a-z and 0-9, those of more than 3 letters stemmed."""
    return [stem(word) if len(word) > 3 else word for word in _WORD.findall(text.lower())]


@lru_cache(maxsize=MAX_STEMS_KEPT)
def stem(word: str) -> str:
    """A lower-case word's stem."""
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
) -> MeanScore:
    """F-measure that favours recall (beta 1.2), words as they are: pycocoevalcap 1.2's Rouge."""
    pairs = paired_words(predictions, references, normalization)
    # Two empty reports are equal: pycocoevalcap gives them 1.
    return mean_score([_f_measure(*pair, BETA) if any(pair) else 1.0 for pair in pairs])


def stemmed_rouge_l(
    predictions: Sequence[str], references: Sequence[str], normalization: str = DEFAULT_NORMALIZATION
) -> MeanScore:
    """Plain F1 over stems of runs of a-z and 0-9: rouge-score 0.1.2's rougeL with use_stemmer=True."""
    pairs = paired_texts(predictions, references, normalization)
    return mean_score([_f_measure(stemmed_words(one), stemmed_words(other), 1.0) for one, other in pairs])


def _f_measure(prediction: list[str], reference: list[str], beta: float) -> float:
    common = _longest_common_subsequence(prediction, reference)
    if common == 0:
        return 0.0
    precision, recall = common / len(prediction), common / len(reference)
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision)


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
