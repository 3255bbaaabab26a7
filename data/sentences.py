"""The sentences of a report's text, whatever its line breaks: what splits it for editing and for reading."""

import re

_ABBREVIATIONS = r"(?<!\bDr\.)(?<!\bMr\.)(?<!\bMs\.)(?<!\bMrs\.)(?<!\bSt\.)(?<!\bvs\.)(?<!\bapprox\.)(?<!\bNo\.)"
_END = re.compile(
    rf"(?<=[.!?]){_ABBREVIATIONS}(?<!\b\d\.)(?<!\b\d\d\.)\s+"  # not behind the number of a list
    r"|(?<=[a-z)]\.)(?=[A-Z][a-z])"  # a blank forgotten
    r"|(?<=\S)\s+(?=\(?\d{1,2}[.)]\s+[A-Z])"  # before an item of a list
    r"|(?<=\d\.)\s+(?=\d{1,2}\.\s)"
    r"|\s*\n\s*\n\s*|\s*\n\s*(?=[-*•]\s)"
)


def split_sentences(text: str) -> list[str]:
    """The sentences in order, blanks made single; the number of a list's item stays with it."""
    return [" ".join(sentence.split()) for sentence in _END.split(text.strip()) if sentence.strip()]
