"""The words that the labeler reads. The de-identification never takes one of them alone for a name."""

import re
from functools import lru_cache

from data.reports.labeler import finding_patterns as phrases
from data.reports.labeler.parser import marks_of

_TABLES = (phrases.MENTIONS, phrases.SUSPECT_MENTIONS, phrases.STRUCTURES)
_EPONYMS = frozenset(["hickman", "swan", "ganz", "dobbhoff", "dobb", "hoff", "impella", "ring", "lines", "ports"])
_WORDS = frozenset(
    word
    for table in _TABLES
    for patterns in table.values()
    for pattern in patterns
    for word in re.findall(r"(?<![a-z\\\\])[a-z]{5,}(?![a-z\\\\\\[(?])", pattern)
)


@lru_cache(maxsize=4096)
def is_report_word(word: str) -> bool:
    """Whether a word in lower case names a finding or a structure, or decides a state ("normal", "without")."""
    return word not in _EPONYMS and (word in _WORDS or bool(marks_of(word)))
