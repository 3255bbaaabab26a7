"""The sentences of a report's text, whatever its line breaks and lists: for editing it and for reading it."""

import re

_ABBREVIATIONS = r"(?<!\bDr\.)(?<!\bMr\.)(?<!\bMs\.)(?<!\bMrs\.)(?<!\bSt\.)(?<!\bvs\.)(?<!\b[ap]\.m\.)(?<!approx\.)"
_LIST_NUMBER = r"(?<!\b\d\.)(?<!\b\d\d\.)"
_END = re.compile(
    rf"(?<=[.!?]){_ABBREVIATIONS}{_LIST_NUMBER}\s+"
    r"|(?<=[a-z]\d\.)\s+|(?<=[a-z]\d\d\.)\s+|(?<=[A-Z]\d\.)\s+|(?<=[A-Z]\d\d\.)\s+"  # "T8." is no number of a list
    r"|(?<=[a-z)]\.)(?=[A-Z][a-z]|\d{1,2}\. ?[A-Z])"  # a blank forgotten
    r"|(?<=[.!?])\s+(?=\d{1,2}[.)] ?[A-Z])"
    r"|(?<!\s)\s*\n(?:\s*\n\s*|\s*(?=[-*•]\s|\(?\d{1,2}[.)]\s))"  # tried from the first blank only
)
_ITEM = re.compile(r"\(?(\d{1,2})[.)] ?(?=[A-Z_])")
_INNER_ITEM = re.compile(rf"(?<=[^\s.;!?]) (?={_ITEM.pattern})")


def split_sentences(text: str) -> list[str]:
    """The sentences in order, blanks made single; the number of a list's item stays with it."""
    sentences, item = [], 0
    for piece in _END.split(text.strip()):
        piece = " ".join(piece.split())
        if number := _ITEM.match(piece):
            item = int(number.group(1))
        # Items that no full stop parts: "1. No effusion 2. No edema", but not "The heart measures 12. No edema".
        start = 0
        for match in _INNER_ITEM.finditer(piece):
            if int(match.group(1)) == item + 1:
                sentences.append(piece[start : match.start()])
                item, start = item + 1, match.end()
        sentences.append(piece[start:])
    return [sentence for sentence in sentences if sentence]
