"""Stems of words: "effusions" and "effusion" become the same "effus".

Porter's algorithm with nltk's extensions, which rouge-score and nltk's METEOR use. nltk is loaded on first use.
"""

import re
from functools import cache, lru_cache

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
