"""Plain text for records, exports and tables.

It has no control characters, which end a DICOM value or an XML document, and no direction marks, which change how a
text reads. Each export escapes markup itself.
"""

import unicodedata

_REMOVED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_JOINERS = "\u200c\u200d"
"""Category Cf, but some scripts need them."""


def plain_text(text: str) -> str:
    """Lines of plain text without blanks at either end; runs of blanks become one."""
    return "\n".join(plain_line(line) for line in text.splitlines()).strip("\n")


def plain_line(text: str) -> str:
    """One line of plain text."""
    kept = (
        " " if character.isspace() else character
        for character in text
        if character.isspace() or character in _JOINERS or unicodedata.category(character) not in _REMOVED
    )
    return " ".join("".join(kept).split())
