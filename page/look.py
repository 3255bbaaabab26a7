"""The page's look and behaviour beyond Gradio's own: theme, style sheet and scripts, all of them inside the page."""

from pathlib import Path

import gradio as gr

_HERE = Path(__file__).parent
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
    style = (_HERE / "style.css").read_text(encoding="utf-8")
    scripts = "\n".join((_HERE / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    return f"<style>{style}</style><script>{scripts}</script>"
