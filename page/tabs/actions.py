"""What a visitor does with a finished report: correct it, see similar cases, take it away. Layout and events.

A file that is taken away travels inside the answer (take_away.js), so it never lies at an address on the server.

Training studies similar to the one that was read, where the checkpoint holds some: layout, event, and their HTML.
"""

import base64
from collections.abc import Sequence
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from data.corrections.store import CorrectionStore
from eval.retrieval.similar_cases import SimilarCase, SimilarCases, load_similar_cases
from page.cards import layout as markup
from page.cards.correction import EMPTY, NOT_KEPT, correction_form, read_form
from page.corrections import save_correction
from page.export.formats import FORMATS, IDENTITY_NOTE, take_away
from page.study.record import ModelIdentity
from page.tabs.session import Visit, record_of
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
            return markup.saved("Have a report written first.", is_rejected=True)
        images = visit.reading.images
        [features] = self.generator.features(
            [[image.image for image in images]],
            view_positions=[[image.view_position for image in images]],
        )
        try:
            return similar_html(self.cases.find(features, number=NUM_CASES))
        except ValueError as error:
            return markup.saved(str(error), is_rejected=True)


def similar_html(cases: Sequence[SimilarCase]) -> str:
    """Image, similarity and report of each."""
    shown = "".join(
        f'<li><img alt="Chest X-ray of training study {escape(case.study_id)}" '
        f'src="data:image/webp;base64,{base64.b64encode(case.image).decode()}"><div>'
        f'<p class="soft">{escape(case.study_id)}, similarity {case.similarity:.2f}</p>'
        f"<p>{escape(case.report) or 'It has no report.'}</p></div></li>"
        for case in cases
    )
    return (
        '<p class="soft">Of the studies that the model was trained on, those that look most alike to it. A similarity '
        "of 1 would be the same image. These reports are not about this patient.</p>"
        f'<ol class="similar">{shown}</ol>'
    )


class Outcome:
    """Hidden until a report is finished; `store` is None where corrections are not kept."""

    def __init__(
        self, visit: gr.State, generator: ReportGenerator, model: ModelIdentity, store: CorrectionStore | None
    ):
        self.generator, self.model, self.store = generator, model, store
        with gr.Column(visible=False) as self.panel:
            with gr.Accordion("Correct this report", open=False):
                self.form = gr.HTML(EMPTY, apply_default_css=False)
                if store is None:
                    gr.HTML(NOT_KEPT, apply_default_css=False)
                reader = gr.Textbox("", label="Your name (optional, kept with it)", max_length=100)
                save = gr.Button("Save the correction", interactive=store is not None)
                sent = gr.Textbox(visible=False)
                self.saved = gr.HTML(apply_default_css=False)
            self.similar = SimilarPanel(visit, generator)
            with gr.Accordion("Take it away", open=False):
                identity = gr.Checkbox(False, label="With file names and, from a DICOM header, who the patient is")
                gr.HTML(f'<p class="soft">{IDENTITY_NOTE}</p>', apply_default_css=False)
                with gr.Row(elem_classes="formats"):
                    exports = {name: gr.Button(format.label, size="sm") for name, format in FORMATS.items()}
                file = gr.JSON(visible=False)
                self.taken = gr.HTML(apply_default_css=False)
        self.parts = [self.panel, self.form, self.saved, self.taken, *self.similar.parts]
        save.click(
            self.correct,
            [visit, sent, reader],
            self.saved,
            js="(visit, sent, reader) => [visit, correctionOnPage(), reader]",
            api_visibility="private",
        )
        for name, button in exports.items():
            made = button.click(
                partial(self.export, name), [visit, identity], [file, self.taken], api_visibility="private"
            )
            made.then(None, file, None, js="(file) => takeAway(file)", api_visibility="private")

    def show(self, visit: Visit) -> dict[Any, Any]:
        """What changes on the page when a report is finished."""
        return {self.panel: gr.update(visible=True), self.form: correction_form(visit.reading, key=visit.key)}

    def hide(self) -> dict[Any, Any]:
        hidden = {self.panel: gr.update(visible=False), self.form: EMPTY, self.saved: "", self.taken: ""}
        return {**hidden, **self.similar.hide()}

    def correct(self, visit: Visit, sent: str, reader: str) -> str:
        """Keeps what the form holds; the answer as HTML."""
        try:
            if self.store is None:
                raise ValueError("Corrections are not kept: start the page with --corrections FOLDER.")
            edit = read_form(sent, key=visit.key, reader=reader)
            done = save_correction(self.store, visit.reading, edit, generator=self.generator, model=self.model)
        except ValueError as error:
            return markup.saved(str(error), is_rejected=True)
        return markup.saved(f"The correction is saved. {done.warning}")

    def export(self, format: str, visit: Visit, include_identity: bool) -> tuple[dict[str, str] | None, str]:
        """The file for take_away.js, or a word on why there is none."""
        try:
            file = take_away(record_of(visit, self.generator, self.model), format, include_identity=include_identity)
        except ValueError as error:
            return None, markup.saved(str(error), is_rejected=True)
        content = base64.b64encode(file.content).decode()
        told = markup.saved(f"{file.name} is in your downloads.")
        return {"name": file.name, "kind": file.media_type, "content": content}, told
