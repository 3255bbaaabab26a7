"""Takes the identity of persons out of report text: text in, the text with `___` in its place and counts by kind out.

Names, dates, times, telephone and record numbers, e-mail, web and postal addresses, hospitals and ages over 89 (after
HIPAA's Safe Harbor list). It goes by patterns, so it is no proof; `data.audit` counts what a second look finds. The
placeholder is MIMIC-CXR's: it is no word, so metrics and labeler pass over it.
"""

import re
from collections import Counter
from collections.abc import Iterable

from data.identity_dates import AGES, DATES, TIMES
from data.identity_names import NAME_PATTERNS, folded, known_name_pattern
from data.identity_numbers import ADDRESSES, EMAILS, HOSPITALS, PHONES, RECORDS, URLS

PLACEHOLDER = "___"
_BLANKS = re.compile(r"[^\S\n]+")
MAX_CHARACTERS = 50_000
"""Of one section of a report; the longest of the Indiana set has 2,000."""

_PATTERNS = tuple(
    (kind, re.compile(pattern, re.MULTILINE | flags))
    for kind, patterns, flags in (
        ("e-mail", EMAILS, 0),
        ("web address", URLS, 0),
        ("address", ADDRESSES, 0),
        ("phone", PHONES, 0),
        ("date", DATES, re.IGNORECASE),
        ("record number", RECORDS, 0),
        ("time", TIMES, re.IGNORECASE),
        ("age over 89", AGES, re.IGNORECASE),
        ("hospital", HOSPITALS, 0),
        ("name", NAME_PATTERNS, 0),
    )
    for pattern in patterns
)


def remove_identity(text: str, names: Iterable[str] = ()) -> tuple[str, dict[str, int]]:
    """The text without what may tell who it is about, and how much of each kind was there.

    Runs of blanks become one, line breaks stay.
    `names` are known ones, of the patient or of a physician, and ids: in any case, order and form ("DOE^JANE^A").

    Raises:
        ValueError: the text is longer than MAX_CHARACTERS.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(
            f"a report has {len(text)} characters; at most {MAX_CHARACTERS} are read, so cut it into studies"
        )
    text = _BLANKS.sub(" ", text)
    counts = Counter()
    known = known_name_pattern(names)
    if known:
        spans = [match.span() for match in known.finditer(folded(text))]
        counts["name"] += len(spans)
        for start, end in reversed(spans):
            text = text[:start] + PLACEHOLDER + text[end:]
    for kind, pattern in _PATTERNS:
        text, number = pattern.subn(_replace, text)
        counts[kind] += number
    return text, {kind: number for kind, number in counts.items() if number}


def check_length(text: str) -> None:
    """Raises ValueError for a text of more than MAX_CHARACTERS."""
    if len(text) > MAX_CHARACTERS:
        raise ValueError(
            f"a text of {len(text)} characters; at most {MAX_CHARACTERS} are read, so give one report each"
        )


def _replace(match: re.Match) -> str:
    kept = match.groupdict().get("keep") or ""
    return f"{kept}{PLACEHOLDER}"
