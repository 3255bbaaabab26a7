"""What a visitor does with a finished report: correct it, see similar cases, take it away. Layout and events.

A file that is taken away travels inside the answer (take_away.js), so it never lies at an address on the server.
"""

import base64
from functools import partial
from typing import Any

import gradio as gr

from data.corrections.store import CorrectionStore
from page import markup
from page.correction_form import EMPTY, NOT_KEPT, correction_form, read_form
from page.corrections import save_correction
from page.similar_panel import SimilarPanel
from page.study_record import ModelIdentity
from page.take_away import FORMATS, IDENTITY_NOTE, take_away
from page.visit import Visit, record_of
from vlm.generator import ReportGenerator


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
            return markup.saved(str(error), is_refused=True)
        return markup.saved(f"The correction is saved. {done.warning}")

    def export(self, format: str, visit: Visit, include_identity: bool) -> tuple[dict[str, str] | None, str]:
        """The file for take_away.js, or a word on why there is none."""
        try:
            file = take_away(record_of(visit, self.generator, self.model), format, include_identity=include_identity)
        except ValueError as error:
            return None, markup.saved(str(error), is_refused=True)
        content = base64.b64encode(file.content).decode()
        told = markup.saved(f"{file.name} is in your downloads.")
        return {"name": file.name, "kind": file.media_type, "content": content}, told
