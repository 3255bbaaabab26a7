"""Text from files, visitors and the model as plain text: any string in, one out that no format can stumble over.

Control characters end a DICOM value or an XML document, and marks of writing direction make a text read as another
one than it is; both are left out. Markup is left as it is: each format escapes it in its own way.
"""

import unicodedata

_LEFT_OUT = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_JOINERS = "\u200c\u200d"
"""Of category Cf, but some scripts cannot be written without."""


def plain_text(text: str) -> str:
    """Lines of plain text; runs of blanks become one, and there is no blank at either end of a line."""
    lines = (plain_line(line) for line in text.splitlines())
    return "\n".join(lines).strip("\n")


def plain_line(text: str) -> str:
    """One line of plain text."""
    kept = (
        " " if character.isspace() else character
        for character in text
        if character.isspace() or character in _JOINERS or unicodedata.category(character) not in _LEFT_OUT
    )
    return " ".join("".join(kept).split())
