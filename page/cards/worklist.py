"""A worklist as an HTML table."""

from collections.abc import Sequence

from page.cards.layout import render
from page.study.row import StudyRow

MAX_SHOWN = 200
"""Maximum number of rows on the page; the files have all."""


def worklist_html(rows: Sequence[StudyRow], *, finding: str = "") -> str:
    """The first MAX_SHOWN rows; `finding` is the one they are sorted by, "" for any."""
    return render("worklist", rows=rows[:MAX_SHOWN], num_more=len(rows) - MAX_SHOWN, finding=finding)
