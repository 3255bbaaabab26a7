"""Whether a report looks like English at all: findings are read by English rules, which see nothing in other text."""

import re

_WORD = re.compile(r"[^\W\d_]+")
_ENGLISH = re.compile(
    r"\b(?:the|is|are|there|have|not|and|or|of|with|without|within|for|this|that|hearts?|lungs?|chest|clear|clearly|"
    r"enlarged|effusions?|abnormalities|limits|size|bones|disease|evidence|seen|left|right|unchanged|mild|small|large)\b"
)
"""Common in English reports, and hardly words of the languages nearest to it."""
MIN_WORDS = 4
MIN_SHARE = 0.1


def looks_english(report: str) -> bool:
    """False where less than a tenth of the words are common ones of English reports; a text of under four words gets
    the benefit of the doubt, if it is in Latin letters."""
    text = report.lower()
    num_words = sum(1 for _ in _WORD.finditer(text))
    if num_words < MIN_WORDS:
        return all(word.isascii() for word in _WORD.findall(text))
    return sum(1 for _ in _ENGLISH.finditer(text)) >= MIN_SHARE * num_words
