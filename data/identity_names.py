"""Personal names in report text: behind a title, label or signature, before a degree, by a common name, or one that
the caller knows from a DICOM header or a table."""

import re
import unicodedata
from collections.abc import Iterable

from data.identity_words import (
    COMMON_NAMES,
    DEEDS,
    DEGREES,
    LABELS,
    LOWER_TITLES,
    NOT_NAMES,
    ORDINARY_SURNAMES,
    PATIENT_LABELS,
    TITLES,
)

_UPPER = "A-ZÀ-ÖØ-ÞĀĂĄĆČĎĐĒĘĚĞİŁŃŇŐŘŚŞŠŤŪŮŰŹŻŽ"
_ANY_CASE = rf"(?!X{{4}}|(?i:{'|'.join(NOT_NAMES)})(?![\w-]))"
_GAP = r"(?: | ?\n ?)"
_PARTICLES = r"(?:(?i:van|von|der|den|de|del|della|di|da|dos|du|la|le|bin|ibn|al|el|ter|st\.?) ){0,2}"
_DEGREE = rf"(?:{'|'.join(DEGREES)})(?!\w)"
_INITIAL = rf"[{_UPPER}]\.(?= ?[{_UPPER}])"
_WORD = rf"(?!{_DEGREE})(?:{_INITIAL}|{_ANY_CASE}[{_UPPER}](?:[\w'’]|-(?=\w)){{0,40}})"
_LATER = rf"(?:{_GAP}{_PARTICLES}{_WORD}| [{_UPPER}](?![\w'’-])\.?)"
_NAME = rf"{_PARTICLES}{_WORD}{_LATER}{{0,3}}"
_INVERTED = rf"{_PARTICLES}{_WORD}(?: {_WORD})?, ?{_WORD}{_LATER}{{0,2}}"
_NAMES = rf"{_NAME}(?:(?: ?[,/&] ?|{_GAP}(?i:and|or){_GAP}){_NAME}){{0,4}}"
_LOWER_NAME = rf"{_ANY_CASE}[a-z][a-z'’-]{{1,40}}(?: [a-z]\.)?"
_NO_EPONYM = r"(?![ -](?i:fracture|sign|line|disease|syndrome|criteri|tube|catheter|drain|valve|procedure|node|rod))"
_COMMON_NAME = rf"(?i:{'|'.join(COMMON_NAMES)})(?:['’]s)?(?![\w-]){_NO_EPONYM}"
_END = r"(?= ?(?:[,;(\n]|$))"
_ORDINARY = frozenset(ORDINARY_SURNAMES) | frozenset(NOT_NAMES)
_MIN_PART = 3
"""Letters of a part of a known name that is looked for by itself."""


def _after(cues: tuple[str, ...], between: str, name: str) -> str:
    return rf"(?P<keep>(?<!\w)(?:{'|'.join(cues)}){between}){name}"


def _ignoring_case(cues: tuple[str, ...]) -> tuple[str, ...]:
    return (f"(?i:{'|'.join(cues)})",)


NAME_PATTERNS = (
    _after(TITLES, rf"{_GAP}?", _NAMES),
    _after(LOWER_TITLES, r" ", _LOWER_NAME),
    _after(_ignoring_case(LABELS), r" ?[:=] ?", rf"(?i:{_INVERTED}|{_NAME})"),
    _after(
        _ignoring_case(PATIENT_LABELS),
        r" ?[:=] ?",
        rf"(?:{_INVERTED}|{_WORD}(?: {_WORD}){{1,3}}|{_WORD}{_END})",
    ),
    _after(_ignoring_case(DEEDS), rf"(?: ?: ?|{_GAP})", rf"(?:{_INVERTED}(?={_END}|,? {_DEGREE})|{_NAMES})"),
    rf"(?P<keep>)(?<![\w-]){_NAME}(?=,? {_DEGREE})",
    rf"(?P<keep>)^{_WORD}(?: {_WORD}){{1,3}}(?=,? (?:is |was )?(?:an? )?\d{{1,3}}[ -]?(?:[MF]\b|[Yy]))",
    r"(?P<keep>)(?<![\w'’-])[^\W\d_][\w'’-]{0,40}\^[\w'’^ -]{0,60}\w",
    rf"(?P<keep>)(?<![\w-]){_WORD}, ?(?=[{_UPPER}]){_COMMON_NAME}(?: [{_UPPER}](?:\.|\b))?",
    rf"(?P<keep>)(?<![\w-])(?:{_WORD} ){{0,2}}(?=[{_UPPER}]){_COMMON_NAME}(?: {_PARTICLES}{_WORD}){{0,2}}",
)
"""What `keep` matches stays, the rest of the match is the name."""


def known_name_pattern(names: Iterable[str]) -> re.Pattern | None:
    """Finds the names given ("DOE^JANE", "Jane Doe", an id) in `folded` text, in any case and order and in parts.

    A part that is also a word of a report ("Long", "May"), or of one or two letters, counts only beside another part.
    """
    parts = {part for name in names for part in re.split(r"[\W_]+", folded(name)) if part}
    telling = {part for part in parts if len(part) >= _MIN_PART and part.lower() not in _ORDINARY}
    if not parts:
        return None
    part = "|".join(sorted(map(re.escape, parts), key=len, reverse=True))
    several = rf"(?:{part})(?:(?:[\s,^_'’-]+|(?<=\b\w)\. ?)(?:{part})\b){{1,8}}"
    alone = "".join(rf"|{re.escape(part)}" for part in sorted(telling, key=len, reverse=True))
    return re.compile(rf"(?P<keep>)(?<![^\W_])(?:{several}{alone})(?:['’]s)?(?![^\W_])", re.IGNORECASE)


def folded(text: str) -> str:
    """The text without accents, character for character as long: "Müller" and "Muller" are one name."""
    return "".join(unicodedata.normalize("NFD", character)[0] for character in text)
