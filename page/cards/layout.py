"""What frames the page, as HTML: header, notices, rejections, doubts. Every text from elsewhere is escaped.

The page's look and behaviour beyond Gradio's own: theme, style sheet and scripts, all of them inside the page.

The model card of a checkpoint as HTML: what data it saw, its licences, its scores and limits.

A checkpoint may come from anywhere, so its card is shown without any HTML of its own and without images, which would
be fetched from elsewhere.
"""

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

import gradio as gr
from markdown_it import MarkdownIt

_STATIC = Path(__file__).parents[1] / "static"
_SCRIPTS = ("viewer.js", "correction_form.js", "take_away.js", "accessible_names.js")


def theme() -> gr.themes.Base:
    """Gradio's plainest look in the system's own fonts, with a button whose text stands out enough."""
    return gr.themes.Base(
        primary_hue="cyan",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        button_primary_background_fill="#0b7285",
        button_primary_background_fill_dark="#0b7285",
        button_primary_background_fill_hover="#095c6b",
        button_primary_background_fill_hover_dark="#095c6b",
        button_primary_text_color="white",
        slider_color="#0b7285",
        slider_color_dark="#4cc3d9",
        body_text_color_subdued="#566573",
        body_text_color_subdued_dark="#9dabb8",
        input_placeholder_color="#62707d",
        input_placeholder_color_dark="#9dabb8",
    )


def head() -> str:
    """Style and scripts for the page's head; Gradio's own css= drops container queries and rewrites the rest."""
    style = (_STATIC / "style.css").read_text(encoding="utf-8")
    scripts = "\n".join((_STATIC / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    return f"<style>{style}</style><script>{scripts}</script>"


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


NOTICE = "Not a medical device. For research and teaching; no diagnosis or treatment may rest on it."
EXAMPLES_HEADING = '<p class="soft">Examples: click one to have its report written.</p>'
FOOTER = f'<footer class="notice" role="note">{NOTICE}</footer>'


def header(checkpoint: str, model_card: str = "") -> str:
    """`model_card` is HTML; see page.cards.layout."""
    card = f'<details class="model-card"><summary>Model card</summary>{model_card}</details>' if model_card else ""
    return (
        '<header class="top"><h1>cxrscribe</h1>'
        "<p>Reads a chest X-ray, says which findings it sees and how sure it is, and writes the report.</p>"
        f'<p class="soft">Model: {escape(checkpoint)}</p>{card}</header>'
        f'<div class="notice" role="note"><strong>{NOTICE}</strong></div>'
    )


def rejection(message: str) -> str:
    """What went wrong, where the report would be; the page goes on."""
    return (
        '<section class="card"><h2>Report</h2><div class="rejection" role="alert"><strong>No report.</strong> '
        f"{escape(message)}</div></section>"
    )


def doubts(reasons: Sequence[str], *, is_withheld: bool) -> str:
    """Why this may be no study for the model; "" without a reason."""
    if not reasons:
        return ""
    listed = "".join(f"<li>{escape(reason)}</li>" for reason in reasons)
    consequence = (
        "So no report was written. You can have it all the same; it may then mean nothing."
        if is_withheld
        else "You asked for the report all the same: it and the findings may mean nothing."
    )
    return (
        '<section class="warning doubts" role="alert"><h2>⚠ This may be no image for this model</h2>'
        f"<ul>{listed}</ul><p>{consequence}</p></section>"
    )


def saved(message: str, *, is_rejected: bool = False) -> str:
    """The answer to a visitor's wish to save or to take away."""
    if not message:
        return ""
    kind, role = ("rejection", "alert") if is_rejected else ("done", "status")
    return f'<div class="{kind}" role="{role}">{escape(message)}</div>'
