"""The model card of a checkpoint as HTML: what data it saw, its licences, its scores and limits.

A checkpoint may come from anywhere, so its card is shown without any HTML of its own and without pictures, which would
be fetched from elsewhere.
"""

import re
from pathlib import Path

from markdown_it import MarkdownIt

MAX_CHARACTERS = 100_000
_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def model_card(checkpoint: str | Path) -> str:
    """The card of a checkpoint folder; a word on its absence where it has none."""
    path = Path(checkpoint) / "README.md"
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(MAX_CHARACTERS)
    except OSError:
        return "<p>This checkpoint has no model card: nothing is known of its data, its licences and its scores.</p>"
    # The page has a first and a second heading of its own.
    html = _MARKDOWN.render(_FRONT_MATTER.sub("", text))
    # What is wider than the page is scrolled by itself, by keys, too.
    html = html.replace("<table>", '<div class="wide" role="region" aria-label="Table" tabindex="0"><table>')
    html = html.replace("</table>", "</table></div>").replace("<pre>", '<pre tabindex="0">')
    return re.sub(r"(</?h)([1-4])>", lambda match: f"{match[1]}{int(match[2]) + 2}>", html)
