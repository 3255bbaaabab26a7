"""The frame of the page as HTML: theme, style, scripts, header, model card, warnings and messages.

All HTML of the page comes from `templates/NAME.html.j2` through `render`, which escapes every text.
"""

import base64
import re
from pathlib import Path
from typing import Any

import gradio as gr
import jinja2
from markdown_it import MarkdownIt
from markupsafe import Markup

from page.study.record import NOT_A_DEVICE
from vlm.schema.number_format import format_percent, format_probability

_STATIC = Path(__file__).parents[1] / "static"
_SCRIPTS = ("viewer.js", "correction_form.js", "download.js", "accessible_names.js")
_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {
    "percent": format_percent,
    "probability": format_probability,
    "base64": lambda content: base64.b64encode(content).decode(),
}
_ENVIRONMENT.globals["notice"] = NOT_A_DEVICE
MAX_CHARACTERS = 100_000
"""Maximum length of a model card on the page; the rest is cut."""
_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def render(template: str, **content: Any) -> str:
    """HTML of the template with this name; every text in `content` is escaped."""
    return _ENVIRONMENT.get_template(f"{template}.html.j2").render(content).strip()


def theme() -> gr.themes.Base:
    """Gradio's plainest theme with system fonts and WCAG AA contrast."""
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
    """Style and scripts for the page's head. (Gradio's own css= drops container queries and rewrites the rest.)"""
    style = (_STATIC / "style.css").read_text(encoding="utf-8")
    scripts = "\n".join((_STATIC / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    return f"<style>{style}</style><script>{scripts}</script>"


def model_card(checkpoint: str | Path) -> Markup:
    """HTML of a checkpoint's model card.

    A checkpoint can come from anyone, so raw HTML in its card is escaped, and images are removed, because they would be
    fetched from outside.
    """
    path = Path(checkpoint) / "README.md"
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(MAX_CHARACTERS)
    except OSError:
        return Markup("<p>This checkpoint has no model card: its data, licenses and scores are unknown.</p>")
    html = _MARKDOWN.render(_FRONT_MATTER.sub("", text))
    # Wide tables and code scroll on their own, also by keyboard.
    html = html.replace("<table>", '<div class="wide" role="region" aria-label="Table" tabindex="0"><table>')
    html = html.replace("</table>", "</table></div>").replace("<pre>", '<pre tabindex="0">')
    # The page already has headings of levels 1 and 2.
    return Markup(re.sub(r"(</?h)([1-4])>", lambda match: f"{match[1]}{int(match[2]) + 2}>", html))


def message(text: str, *, is_error: bool = False) -> str:
    """The result of a user's action, such as saving or exporting."""
    return render("message", text=text, is_error=is_error) if text else ""
