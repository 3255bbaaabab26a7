"""Why the labeler may not have understood a report: its rules, and those of the de-identification, are for English."""

from data.reports.labeler.labeler import label_sections
from data.reports.language import looks_english
from vlm.schema.findings import BLANK

NOT_ENGLISH = "may not be English"
NO_PHRASE = "match no phrase of the labeler"
ENGLISH_ONLY = "The labeler and the de-identification have rules for English only."


def reading_problems(*sections: str) -> tuple[str, ...]:
    """NOT_ENGLISH and NO_PHRASE, if they are true of a report; neither for one without text."""
    text = " ".join(sections)
    if not text.strip():
        return ()
    problems = {NOT_ENGLISH: not looks_english(text), NO_PHRASE: set(label_sections(*sections)) == {BLANK}}
    return tuple(problem for problem, is_true in problems.items() if is_true)
