"""Training studies similar to the one that was read, where the checkpoint holds some: layout, event, and their HTML."""

import base64
from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

from eval.retrieval.similar_cases import SimilarCase, SimilarCases, load_similar_cases
from page import markup
from page.visit import Visit
from vlm.checkpoint.store import fetch_checkpoint
from vlm.generator import ReportGenerator

NUM_CASES = 3


class SimilarPanel:
    """Built inside a gr.Blocks; lays out nothing where the checkpoint has no index (`python -m
    eval.retrieval.index_cases`)."""

    def __init__(self, visit: gr.State, generator: ReportGenerator):
        self.generator = generator
        self.cases: SimilarCases | None = load_similar_cases(fetch_checkpoint(generator.name))
        self.parts: list[Any] = []
        if self.cases is None:
            return
        with gr.Accordion("Similar cases", open=False):
            show = gr.Button("Show similar cases from training", size="sm")
            self.shown = gr.HTML(apply_default_css=False, elem_id="similar")
        self.parts = [self.shown]
        show.click(self.show, visit, self.shown, show_progress="minimal", api_visibility="private")

    def hide(self) -> dict[Any, Any]:
        """What changes on the page when another study is read."""
        return dict.fromkeys(self.parts, "")

    def show(self, visit: Visit) -> str:
        """The nearest cases as HTML, or a word on why there are none."""
        if not visit.is_read:
            return markup.saved("Have a report written first.", is_refused=True)
        pictures = visit.reading.pictures
        [features] = self.generator.features(
            [[picture.image for picture in pictures]],
            view_positions=[[picture.view_position for picture in pictures]],
        )
        try:
            return similar_html(self.cases.find(features, number=NUM_CASES))
        except ValueError as error:
            return markup.saved(str(error), is_refused=True)


def similar_html(cases: Sequence[SimilarCase]) -> str:
    """Picture, similarity and report of each."""
    shown = "".join(
        f'<li><img alt="Chest X-ray of training study {escape(case.study_id)}" '
        f'src="data:image/webp;base64,{base64.b64encode(case.picture).decode()}"><div>'
        f'<p class="soft">{escape(case.study_id)}, similarity {case.similarity:.2f}</p>'
        f"<p>{escape(case.report) or 'It has no report.'}</p></div></li>"
        for case in cases
    )
    return (
        '<p class="soft">Of the studies that the model was trained on, those that look most alike to it. A similarity '
        "of 1 would be the same picture. These reports are not about this patient.</p>"
        f'<ol class="similar">{shown}</ol>'
    )
