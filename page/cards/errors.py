"""The errors of the machine-written report as HTML, compared with the text of a reader."""

from eval.metrics.errors import report_errors
from page.cards.layout import render


def errors_card(report: str, corrected: str) -> str:
    """The errors in plain words, the most harmful first, with a filter by kind if there are several kinds.

    "" if one of the texts is empty, because then there is nothing to compare.
    """
    if not report.strip() or not corrected.strip():
        return ""
    found = report_errors(report, corrected)
    kinds = list(dict.fromkeys(error.kind for error in found.errors))
    return render("errors", errors=found.errors, score=found.score, kinds=kinds)
