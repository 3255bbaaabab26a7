"""Clean report text for a data set: remove identities, placeholders, measurements, list numbers and prior studies.

Every change is counted by kind. Apart from blanks, line breaks (`plain_text.join_lines`) and text that only says that
there is none ("N/A"), only what the options ask for is changed."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from data.reports.deidentify import PLACEHOLDER, check_length, remove_identity
from data.reports.plain_text import is_placeholder, join_lines
from data.reports.sentences import speaks_of_prior, split_sentences


@dataclass(frozen=True, kw_only=True, slots=True)
class TextOptions:
    """How the text of every report is changed, for all sources."""

    deidentify: bool = True
    """Replace names, dates, times, telephone and record numbers, addresses and ages over 89 with ___."""
    placeholders: Literal["keep", "unify", "drop"] = "keep"
    """What to do with the placeholders of the source (XXXX, ___, [**…**]); unify replaces all of them with ___."""
    measurements: Literal["keep", "replace"] = "keep"
    """Replace the numbers of measurements with ___ ("___ cm nodule"): an image without a scale does not show them."""
    list_numbers: Literal["keep", "drop"] = "keep"
    """Drop the numbers and dashes before list items."""
    drop_prior_sentences: bool = False
    """Drop sentences of findings and impression that refer to a prior study ("unchanged since …"). A model that sees
    one study learns from them to invent comparisons. Labels are read before they are dropped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedText:
    """The cleaned sections; `counts` holds the number of changes by kind."""

    indication: str
    findings: str
    impression: str
    counts: dict[str, int]


def prepare_text(
    *, indication: str, findings: str, impression: str, options: TextOptions, names: Iterable[str] = ()
) -> PreparedText:
    """Clean the sections of a report. `names` are known names to remove (see `data.reports.deidentify`).

    Raises:
        ValueError: a section has more than `data.reports.deidentify.MAX_CHARACTERS` characters.
    """
    names = tuple(names)
    counts = Counter()
    sections = {"indication": indication, "findings": findings, "impression": impression}
    for section, text in sections.items():
        check_length(text)
        for change in _changes(options, names, describes=section != "indication"):
            text, number = change(text)
            counts.update(number)
        sections[section] = text
    return PreparedText(**sections, counts={kind: number for kind, number in counts.items() if number})


_Change = Callable[[str], tuple[str, dict[str, int]]]


def _changes(options: TextOptions, names: tuple[str, ...], *, describes: bool) -> list[_Change]:
    """The changes in order: identities are removed first, while their context is still there."""
    changes = [without_placeholder]
    if options.deidentify:
        changes.append(lambda text: remove_identity(text, names))
    changes.append(lambda text: (join_lines(text), {}))
    if options.placeholders != "keep":
        by = PLACEHOLDER if options.placeholders == "unify" else ""
        changes.append(lambda text: _substitute("placeholders", _PLACEHOLDERS, by, text))
    if options.measurements == "replace":
        changes.append(lambda text: _substitute("measurements", _MEASUREMENT, PLACEHOLDER, text))
    if options.list_numbers == "drop":
        changes.append(drop_list_numbers)
    if options.drop_prior_sentences and describes:
        changes.append(drop_prior_sentences)
    return changes


_PLACEHOLDERS = re.compile(r"\[\*\*[^\]]{0,80}\*\*\]|(?<![^\W_])(?:X{4,}|_{3,})(?![^\W_])")
_NUMBER = r"\d+(?:\.\d+)?"
_MEASUREMENT = re.compile(
    rf"(?<![\w.]){_NUMBER}(?:\s?(?:-|–|x|X|×|by|to)\s?{_NUMBER}){{0,2}}(?=[\s-]?(?:mm|cm|millimet\w+|centimet\w+)(?!\w))"
)
_LIST_NUMBER = re.compile(r"(?:\(?\d{1,2}[.)]|[-*•]) ?(?=[A-Z_])")


def without_placeholder(text: str) -> tuple[str, dict[str, int]]:
    """ "" for a text that only says that there is none ("N/A"), and whether it was one."""
    is_empty = bool(text.strip()) and is_placeholder(text)
    return ("", {"placeholders for no text": 1}) if is_empty else (text, {})


def _substitute(kind: str, pattern: re.Pattern, by: str, text: str) -> tuple[str, dict[str, int]]:
    text, number = pattern.subn(by, text)
    return " ".join(text.split()), {kind: number}


def drop_list_numbers(text: str) -> tuple[str, dict[str, int]]:
    """Turn "1. No effusion 2. No edema" into "No effusion. No edema"; also returns the count of numbers."""
    number = 0
    sentences = []
    for sentence in split_sentences(text):
        if match := _LIST_NUMBER.match(sentence):
            number += 1
            if sentences and sentences[-1][-1] not in ".;:!?":
                sentences[-1] += "."
            sentence = sentence[match.end() :]
        sentences.append(sentence)
    return (" ".join(sentences), {"list numbers": number}) if number else (text, {})


def drop_prior_sentences(text: str) -> tuple[str, dict[str, int]]:
    """The text without the sentences that refer to a prior study, and their number."""
    sentences = split_sentences(text)
    kept = [sentence for sentence in sentences if not speaks_of_prior(sentence)]
    number = len(sentences) - len(kept)
    return (" ".join(kept), {"sentences of a prior study": number}) if number else (text, {})
