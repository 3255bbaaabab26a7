"""The choices of the view position, one for each image of a study."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from page.study.upload import MAX_VIEWS, VIEW_CHOICES, UploadedImage

LEAVE_OUT = "leave out"


def view_radios() -> list[gr.Radio]:
    """MAX_VIEWS choices, hidden until there are images."""
    return [
        gr.Radio([*VIEW_CHOICES, LEAVE_OUT], value="auto", visible=False, elem_classes="view-choice", label="View")
        for _ in range(MAX_VIEWS)
    ]


def view_changes(
    radios: Sequence[gr.Radio], images: Sequence[UploadedImage], *, is_new: bool = False
) -> dict[Any, Any]:
    """Show one choice for each image, and hide the others. `is_new`: the choices for the images of before go."""
    hidden = [gr.update(visible=False, value="auto")] * (len(radios) - len(images))
    chosen = {"value": "auto"} if is_new else {}
    shown = [gr.update(visible=True, label=f"View of {image.name}", **chosen) for image in images]
    return dict(zip(radios, [*shown, *hidden], strict=True))


def with_views(images: Sequence[UploadedImage], views: Sequence[str]) -> list[UploadedImage]:
    """The images with the chosen view positions, without those to leave out; extra choices are ignored."""
    chosen = zip(images, views, strict=False)
    return [image.with_view(view) for image, view in chosen if view != LEAVE_OUT]
