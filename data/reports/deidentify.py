"""Remove personal identities from report text: text in, text with `___` in their place and counts by kind out.

Removes names, dates, times, telephone and record numbers, e-mail, web and postal addresses, hospitals and ages over 89
(after the Safe Harbor list of HIPAA). A personal name is recognized after a title, label or signature, before a degree,
by a common first or last name, or because the caller knows it from a DICOM header or a table. The method uses patterns,
so it gives no guarantee; `data.audit` counts what a second pass finds. The placeholder is the one of MIMIC-CXR: it is
not a word, so metrics and labeler ignore it."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from data.reports import deidentify_patterns as patterns
from data.reports.labeler.vocabulary import is_report_word

_UPPER = "A-ZÀ-ÖØ-ÞĀĂĄĆČĎĐĒĘĚĞİŁŃŇŐŘŚŞŠŤŪŮŰŹŻŽ"
_ANY_CASE = rf"(?!X{{4}}|(?i:{'|'.join(patterns.NOT_NAMES)})(?![\w-]))"
_GAP = r"(?: | ?\n ?)"
_PARTICLES = r"(?:(?i:van|von|der|den|de|del|della|di|da|dos|du|la|le|bin|ibn|al|el|ter|st\.?) ){0,2}"
_DEGREE = rf"(?:{'|'.join(patterns.DEGREES)})(?!\w)"
_INITIAL = rf"[{_UPPER}]\.(?= ?[{_UPPER}])"
_WORD = rf"(?!{_DEGREE})(?:{_INITIAL}|{_ANY_CASE}[{_UPPER}](?:[\w'’]|-(?=\w)){{0,40}})"
_LATER = rf"(?:{_GAP}{_PARTICLES}{_WORD}| [{_UPPER}](?![\w'’-])\.?)"
_NAME = rf"{_PARTICLES}{_WORD}{_LATER}{{0,3}}"
_INVERTED = rf"{_PARTICLES}{_WORD}(?: {_WORD})?, ?{_WORD}{_LATER}{{0,2}}"
_NAMES = rf"{_NAME}(?:(?: ?[,/&] ?|{_GAP}(?i:and|or){_GAP}){_NAME}){{0,4}}"
_LOWER_NAME = rf"{_ANY_CASE}[a-z][a-z'’-]{{1,40}}(?: [a-z]\.)?"
_NO_EPONYM = r"(?![ -](?i:fracture|sign|line|disease|syndrome|criteri|tube|catheter|drain|valve|procedure|node|rod))"
_COMMON_NAMES = frozenset(patterns.COMMON_NAMES)
_COMMON_NAME = rf"(?i:{'|'.join(patterns.COMMON_NAMES)})(?:['’]s)?(?![\w-]){_NO_EPONYM}"
_END = r"(?= ?(?:[,;(\n]|$))"
_ORDINARY = frozenset(patterns.ORDINARY_SURNAMES) | frozenset(patterns.NOT_NAMES)
_MIN_PART = 3
"""A shorter part of a known name is not removed alone."""


_TODAY = r"(?i:today|yesterday|patient|week|month|year|mother|father|child|women|men|right|left|day|hospital|one)"
_VIEW_NAME = r"(?:PA|AP|LAT\w*|LEFT|RIGHT|CHEST|TWO|ONE|PORTABLE|FRONTAL|UPRIGHT|SUPINE|ERECT|VIEWS?)\b"
_GIVEN = r"HOPE|GRACE|FAITH|JOY|APRIL|JUNE|ROSE|WILL|MARK"


def _after(cues: tuple[str, ...], between: str, name: str) -> str:
    return rf"(?P<keep>(?<!\w)(?:{'|'.join(cues)}){between}){name}"


def _ignoring_case(cues: tuple[str, ...]) -> tuple[str, ...]:
    return (f"(?i:{'|'.join(cues)})",)


NAME_BEFORE_DEGREE = rf"(?P<keep>)(?<![\w-]){_NAME}(?=,? {_DEGREE})"
AROUND_COMMON_NAME = (
    rf"(?P<keep>)(?<![\w-]){_WORD}, ?(?=[{_UPPER}]){_COMMON_NAME}(?: [{_UPPER}](?:\.|\b))?",
    rf"(?P<keep>)(?<![\w-])(?:{_WORD} ){{0,2}}(?=[{_UPPER}]){_COMMON_NAME}(?: {_PARTICLES}{_WORD}){{0,2}}",
)
NAME_PATTERNS = (
    _after(patterns.TITLES, rf"{_GAP}?", _NAMES),
    _after(patterns.LOWER_TITLES, r" ", _LOWER_NAME),
    _after(_ignoring_case(patterns.LABELS), r" ?[:=] ?", rf"(?i:{_INVERTED}|{_NAME})"),
    _after(
        _ignoring_case(patterns.PATIENT_LABELS),
        r" ?[:=] ?",
        rf"(?:{_INVERTED}|{_WORD}(?: {_WORD}){{1,3}}|{_WORD}{_END})",
    ),
    _after(_ignoring_case(patterns.DEEDS), rf"(?: ?: ?|{_GAP})", rf"(?:{_INVERTED}(?={_END}|,? {_DEGREE})|{_NAMES})"),
    NAME_BEFORE_DEGREE,
    _after(patterns.ROLES, r" ", rf"(?![{_UPPER}]{{2}}){_NAME}(?!\w)"),
    rf"(?P<keep>)(?:^|(?<=[.;:!?] )){_WORD}(?: {_WORD}){{1,3}}(?=,? (?:is |was )?(?:an? )?\d{{1,3}}[ -]?(?:[MF]\b|"
    rf"[Yy]))",
    rf"(?P<keep>)(?<![\w.])(?:[{_UPPER}]\. ?){{1,3}}{_WORD}(?= (?:(?:has|have|personally) )*"
    r"(?:reviewed|interpreted|read|dictated|agrees?|agreed|concurs?|performed|attests?|signed)\b)",
    rf"(?P<keep>)(?<![\w'’-])(?!{_TODAY})(?=[^\W\d_][\w-]{{1,40}}(?:['’]s|s['’]) ){_WORD}(?= (?:prior|previous|last|"
    rf"old|earlier) "
    r"(?:chest |outside )?(?:films?|radiographs?|x-?rays?|stud|exam|images?|ct|scan))",
    rf"(?P<keep>)(?<![\w,])(?!{_VIEW_NAME})[{_UPPER}][{_UPPER}'-]{{1,40}},(?!{_VIEW_NAME})[{_UPPER}]{{2,40}}(?:,? "
    rf"[{_UPPER}]\b\.?)?"
    r"(?= (?:Chest|CHEST|Portable|PORTABLE|CXR|XR|PA|AP|DOB|MRN|Age|\d)\b)",
    rf"(?P<keep>\b(?i:(?:(?:patient|pt)(?:'s)? )?name) )(?=[{_UPPER}]){_WORD} {_WORD}(?: {_WORD})?",
    r"(?P<keep>\b(?i:(?:patient|pt)(?:'s)? name) )"
    r"(?:(?!(?:and|or|of|is|are|was|on|not|with|to|in|has|the)\b)[a-z'-]{1,40}\b ?){2}(?=\W|$)",
    # "Patient Jane Roe with cough", "Pt Roe presents": mixed case only, as "PATIENT ROTATION IS" is common.
    rf"(?P<keep>\b(?:[Pp]atient|[Pp]t\.?) )(?:{_WORD} (?=[{_UPPER}][^\W\d_{_UPPER}]){_WORD}"
    r"(?= (?:with|is|was|has|had|who|presents|presented|complains|fell|came)\b|,? \d|, (?:an?|who)\b)|"
    rf"{_WORD}(?= (?:has|had|who|presents|presented|complains|fell|came)\b))",
    rf"(?P<keep>\b(?:cc|CC): ?)(?:{_INITIAL} ?{_WORD}|{_WORD} {_WORD})",
    rf"(?P<keep>\b(?:PATIENT|Patient|PT|Pt) )[{_UPPER}]{{2,40}}, ?(?:{_GIVEN})(?!\w)",
    r"(?P<keep>)(?<![\w'’-])[^\W\d_][\w'’-]{0,40}\^[\w'’^ -]{0,60}\w",
    *AROUND_COMMON_NAME,
)
"""The group `keep` stays; the rest of the match is the name."""


def known_name_pattern(names: Iterable[str]) -> re.Pattern | None:
    """A pattern that finds names ("DOE^JANE", "Jane Doe", an id) in `folded` text, in any case and order and in parts.

    A part that is also an ordinary word ("Long", "May") or a word of findings ("Effusion"), or has one or two letters,
    counts only next to another part.
    """
    parts = {part for name in names for part in re.split(r"[\W_]+", folded(name)) if part}
    distinctive = {part for part in parts if len(part) >= _MIN_PART and not _is_ordinary(part)}
    if not parts:
        return None
    part = "|".join(sorted(map(re.escape, parts), key=len, reverse=True))
    several = rf"(?:{part})(?:(?:[\s,^_'’-]+|(?<=\b\w)\. ?)(?:{part})\b){{1,8}}"
    alone = "".join(rf"|{re.escape(part)}" for part in sorted(distinctive, key=len, reverse=True))
    return re.compile(rf"(?P<keep>)(?<![^\W_])(?:{several}{alone})(?:['’]s)?(?![^\W_])", re.IGNORECASE)


def has_report_word(name: str) -> bool:
    """Whether a part of a name is a word that names or decides findings: "EFFUSION^CASE01"."""
    return any(is_report_word(part) for part in re.split(r"[\W_\d]+", folded(name).lower()) if len(part) >= _MIN_PART)


def _is_ordinary(part: str) -> bool:
    return part.lower() in _ORDINARY or is_report_word(part.lower())


def folded(text: str) -> str:
    """The text without accents and of equal length, so that "Müller" and "Muller" are the same name."""
    return "".join(unicodedata.normalize("NFD", character)[0] for character in text)


PLACEHOLDER = "___"
_BLANKS = re.compile(r"[^\S\n]+")
MAX_CHARACTERS = 50_000
"""Limit for one section of a report; the longest of the Indiana set has 2,000."""

_WITH_DIGIT = frozenset({"address", "phone", "date", "record number", "time", "age over 89"})
_NEEDED = {
    "a digit": re.compile(r"\d"),
    "a degree": re.compile(_DEGREE),
}


def _need(kind: str, pattern: str) -> str:
    """What a text must have for this pattern to match; "" for nothing that is cheap to look for."""
    if kind in _WITH_DIGIT and pattern not in patterns.WITHOUT_DIGIT:
        return "a digit"
    if pattern in AROUND_COMMON_NAME:
        return "a common name"
    return "a degree" if pattern == NAME_BEFORE_DEGREE else ""


PATTERNS = tuple(
    (kind, _need(kind, pattern), re.compile(pattern, re.MULTILINE | flags))
    for kind, table, flags in (
        ("e-mail", patterns.EMAILS, 0),
        ("web address", patterns.URLS, 0),
        ("address", patterns.ADDRESSES, 0),
        ("phone", patterns.PHONES, 0),
        ("date", patterns.DATES, re.IGNORECASE),
        ("record number", patterns.RECORDS, 0),
        ("time", patterns.TIMES, re.IGNORECASE),
        ("age over 89", patterns.AGES, re.IGNORECASE),
        ("hospital", patterns.HOSPITALS, 0),
        ("name", NAME_PATTERNS, 0),
    )
    for pattern in table
)
"""Kind of identity, what a text must have for the pattern to match, and the pattern."""
_TOKEN = re.compile(r"[\w-]+")


def missing_needs(text: str) -> frozenset[str]:
    """The needs of PATTERNS that the text does not meet. Those patterns need not be tried: most reports have no digit
    and no name, and trying all patterns takes longer than all else that is done with a report."""
    missing = {need for need, pattern in _NEEDED.items() if not pattern.search(text)}
    if _COMMON_NAMES.isdisjoint(_TOKEN.findall(text.casefold())):
        missing.add("a common name")
    return frozenset(missing)


def remove_identity(text: str, names: Iterable[str] = ()) -> tuple[str, dict[str, int]]:
    """The text without identities, and the number of removed ones by kind.

    Runs of blanks become one blank, line breaks stay. `names` are known names of the patient or of physicians, and
    ids, in any case, order and form ("DOE^JANE^A").

    Raises:
        ValueError: the text is longer than MAX_CHARACTERS.
    """
    check_length(text)
    text = _BLANKS.sub(" ", text)
    counts = Counter()
    known = known_name_pattern(names)
    if known:
        spans = [match.span() for match in known.finditer(folded(text))]
        counts["name"] += len(spans)
        for start, end in reversed(spans):
            text = text[:start] + PLACEHOLDER + text[end:]
    missing = missing_needs(text)
    for kind, need, pattern in PATTERNS:
        if need not in missing:
            text, number = pattern.subn(_replace, text)
            counts[kind] += number
    return text, {kind: number for kind, number in counts.items() if number}


def check_length(text: str) -> None:
    """Raise ValueError for a text of more than MAX_CHARACTERS."""
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"a text has {len(text)} characters; at most {MAX_CHARACTERS} are read: pass one report each")


def _replace(match: re.Match) -> str:
    kept = match.groupdict().get("keep") or ""
    return f"{kept}{PLACEHOLDER}"
