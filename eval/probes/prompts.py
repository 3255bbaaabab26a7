"""Which of two statements a report makes, and after which words reports come to make either: text only, no model.

A statement is found by its words, whatever their case: "viral pneumonia" in "Viral pneumonia is seen." Whether the
report denies or doubts it is not looked at, so statements must be worded such that they exclude each other.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class LeadIn:
    """The text of a report up to its first statement, and whether the statement begins with a capital there."""

    text: str
    is_capitalized: bool

    def followed_by(self, statement: str) -> str:
        return self.text + (statement[:1].upper() + statement[1:] if self.is_capitalized else statement)


def check_statements(statements: Sequence[str]) -> None:
    """Raises ValueError unless there are two, neither of which begins with the other: then writing the one would be
    writing the other."""
    one, other = (" ".join(statement.lower().split()) for statement in statements)
    if not one or not other:
        raise ValueError("--statements has an empty one; give two, in the words of the reports")
    if f"{one} ".startswith(f"{other} ") or f"{other} ".startswith(f"{one} "):
        raise ValueError(
            f"--statements {statements[0]!r} {statements[1]!r}: the one begins with the other; give two that part at "
            "their first words, as in 'bacterial pneumonia' 'viral pneumonia'"
        )


def which_stated(report: str, statements: Sequence[str]) -> int | None:
    """The number of the one statement that the report makes, 0 or 1; None where it makes both or neither."""
    made = {match.lastgroup for match in _pattern(statements).finditer(report)}
    return int(made.pop().removeprefix("statement")) if len(made) == 1 else None


def lead_ins(reports: Sequence[str], statements: Sequence[str]) -> Counter[LeadIn]:
    """How many of the reports come to either statement after each lead-in; those that make neither are not counted."""
    pattern, counts = _pattern(statements), Counter()
    for report in reports:
        if match := pattern.search(report):
            counts[LeadIn(text=report[: match.start()], is_capitalized=match[0][0].isupper())] += 1
    return counts


def _pattern(statements: Sequence[str]) -> re.Pattern[str]:
    """Where both match, the longer one does: "no pneumonia" is not "pneumonia"."""
    order = sorted(range(len(statements)), key=lambda number: -len(statements[number]))
    words = {number: r"\s+".join(map(re.escape, statements[number].split())) for number in order}
    alternatives = "|".join(f"(?P<statement{number}>{words[number]})" for number in order)
    return re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)", re.IGNORECASE)
