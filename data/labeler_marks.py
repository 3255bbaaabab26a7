"""A sentence as a row of marks: the findings, structures, negations, hedges, breaks … in it, from left to right.

All tables of `data.labeler_phrases` and `data.labeler_cues` become one regular expression. Where two match at the same
place, the earlier table of `_TABLES` wins.
"""

import re
from dataclasses import dataclass
from typing import Literal

from data import labeler_cues as cues
from data import labeler_phrases as phrases
from data.labeler_spelling import mend_spelling

Kind = Literal[
    "nothing", "reversal", "later hedge", "despite", "later negation", "later ignored", "ignored", "past event",
    "mention", "suspect", "structure", "normal", "abnormal", "borderline", "negation", "inference", "hedge",
    "alternative", "relative", "break", "copula", "assertion", "degree", "and", "comma",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mark:
    """`findings`: those that a mention states, a structure tells of, or a state is limited to; () for all or none."""

    kind: Kind
    findings: tuple[str, ...]
    words: str
    is_last: bool
    """No word follows in the sentence."""


_PUNCTUATION = (
    ("later hedge", r"(?<=\w)\?"),
    ("hedge", r"(?<!\w)\?"),
    ("break", r";"),
    ("copula", r"(?::| [-–—]+)(?! (?:none|no|absent|negative)(?:[.,;]|$))(?= )"),
    ("later negation", r"(?::| [-–—]+) (?:none|no|absent|negative)(?=[.,;]|$)"),
    ("comma", r","),
)
_TABLES: tuple[tuple[Kind, tuple[str, ...], tuple[str, ...]], ...] = (
    ("nothing", (), phrases.NAMES_NOTHING),
    ("reversal", (), cues.REVERSALS),
    ("nothing", (), cues.NOT_NEGATIONS),
    ("later hedge", (), cues.LATER_HEDGES),
    ("despite", (), cues.UNCERTAIN_DESPITE_NEGATION),
    ("later negation", (), cues.LATER_NEGATIONS),
    ("later ignored", (), cues.LATER_IGNORED),
    ("ignored", (), cues.IGNORED_CONTEXTS),
    ("past event", (), cues.PAST_EVENTS),
    *(("mention", findings, patterns) for findings, patterns in phrases.MENTIONS.items()),
    ("mention", (), phrases.NEIGHBOURS),
    *(("suspect", findings, patterns) for findings, patterns in phrases.SUSPECT_MENTIONS.items()),
    *(("structure", findings, patterns) for findings, patterns in phrases.STRUCTURES.items()),
    ("borderline", (), phrases.BORDERLINE_STATES),
    *(("normal", findings, patterns) for findings, patterns in phrases.NORMAL_STATES.items()),
    *(("abnormal", findings, patterns) for findings, patterns in phrases.ABNORMAL_STATES.items()),
    ("negation", (), cues.NEGATIONS),
    ("inference", (), cues.INFERENCES),
    ("hedge", (), cues.HEDGES),
    ("alternative", (), cues.ALTERNATIVES),
    ("relative", (), cues.RELATIVES),
    ("break", (), cues.BREAKS),
    ("copula", (), cues.COPULAS),
    ("assertion", (), cues.ASSERTIONS),
    ("degree", (), cues.DEGREES),
    ("and", (), cues.CONJUNCTIONS),
)
_GROUPS = [
    *((kind, (), rf"(?P<g{number}>{pattern})") for number, (kind, pattern) in enumerate(_PUNCTUATION)),
    *(
        (kind, findings, rf"(?P<g{number}>{'|'.join(patterns)})")
        for number, (kind, findings, patterns) in enumerate(_TABLES, start=len(_PUNCTUATION))
    ),
]
_MEANINGS = {f"g{number}": (kind, findings) for number, (kind, findings, _) in enumerate(_GROUPS)}
_IN_PUNCTUATION = "|".join(pattern for _, _, pattern in _GROUPS[: len(_PUNCTUATION)])
_IN_WORDS = "|".join(pattern for _, _, pattern in _GROUPS[len(_PUNCTUATION) :])
_MARKS = re.compile(rf"{_IN_PUNCTUATION}|(?<![\w-])(?:{_IN_WORDS})(?!\w)")
_WORD = re.compile(r"\w")


def marks_of(sentence: str) -> list[Mark]:
    """The marks of a sentence with single spaces, whatever its case and spelling."""
    # MIMIC-CXR's way to write a word that was taken out is read as the Indiana reports', which the tables know.
    sentence = mend_spelling(sentence.lower().replace("___", "xxxx"))
    matches = list(_MARKS.finditer(sentence))
    nothing_behind = bool(matches) and not _WORD.search(sentence, matches[-1].end())
    return [
        Mark(*_MEANINGS[match.lastgroup], match.group(), nothing_behind and match is matches[-1]) for match in matches
    ]
