"""What a user can do with a finished report: correct it, see similar training studies, download it."""

import base64
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import gradio as gr

from data.corrections.store import CorrectionStore
from eval.retrieval.similar_cases import load_similar_cases
from page.cards import correction, layout
from page.cards.errors import errors_card
from page.corrections import save_correction
from page.export.formats import FORMATS, IDENTITY_NOTE, ExportedFile, export
from page.study.edit import Edit
from page.study.read import StudyReading
from page.study.record import study_record
from page.tabs.session import Session
from vlm.checkpoint.store import fetch_checkpoint
from vlm.generator import ReportGenerator
from vlm.schema.report_format import compose_report

NUM_CASES = 3
PRIVATE = {"api_visibility": "private"}
"""Events of the page are not offered to programs; `page.api` is."""
DOWNLOAD_SCRIPT = "(file) => downloadFile(file)"


def download(file: ExportedFile) -> tuple[dict[str, str], str]:
    """A file for download.js inside the answer itself, so it never has a URL on the server; and a message."""
    content = base64.b64encode(file.content).decode()
    return {**asdict(file), "content": content}, layout.message(f"{file.name} is in your downloads.")


class SimilarPanel:
    """Similar training studies; empty if the checkpoint has no index (`python -m eval.retrieval.index_cases`)."""

    def __init__(self, session: gr.State, generator: ReportGenerator):
        self.generator = generator
        self.cases = load_similar_cases(fetch_checkpoint(generator.name))
        self.parts: list[Any] = []
        if self.cases is None:
            return
        with gr.Accordion("Similar cases", open=False):
            show = gr.Button("Show similar cases from training", size="sm")
            shown = gr.HTML(apply_default_css=False, elem_id="similar")
        self.parts = [shown]
        show.click(self.show, session, shown, show_progress="minimal", **PRIVATE)

    def show(self, session: Session) -> str:
        """The most similar cases as HTML, or the reason why there are none."""
        if not session.is_read:
            return layout.message("Write a report first.", is_error=True)
        images = session.reading.images
        [features] = self.generator.features(
            [[image.image for image in images]],
            view_positions=[[image.view_position for image in images]],
        )
        try:
            return layout.render("similar", cases=self.cases.find(features, number=NUM_CASES))
        except ValueError as error:
            return layout.message(str(error), is_error=True)


class ReportActions:
    """Hidden until a report is finished; without a store, corrections are only in the downloads."""

    def __init__(self, session: gr.State, generator: ReportGenerator, store: CorrectionStore | None):
        self.generator, self.store = generator, store
        with gr.Column(visible=False) as self.panel:
            with gr.Accordion("Correct this report", open=False):
                self.form = gr.HTML(correction.EMPTY, apply_default_css=False)
                if store is None:
                    gr.HTML(layout.render("corrections_off"), apply_default_css=False)
                reader = gr.Textbox("", label="Your name (signs the report as checked by you)", max_length=100)
                save = gr.Button("Save the correction" if store is not None else "Use the correction")
                sent = gr.Textbox(visible=False)
                self.saved = gr.HTML(apply_default_css=False)
            self.similar = SimilarPanel(session, generator)
            with gr.Accordion("Download", open=False):
                by_system = gr.Checkbox(False, label="Write the findings by organ system")
                identity = gr.Checkbox(False, label="Include file names and the patient data of the DICOM header")
                gr.HTML(layout.render("note", text=IDENTITY_NOTE), apply_default_css=False)
                with gr.Row(elem_classes="formats"):
                    buttons = {name: gr.Button(label, size="sm") for name, (label, *_) in FORMATS.items()}
                file = gr.JSON(visible=False)
                self.exported = gr.HTML(apply_default_css=False)
        self.parts = [self.panel, self.form, self.saved, self.exported, *self.similar.parts]
        read_form = "(session, sent, reader) => [session, readCorrectionForm(), reader]"
        save.click(self.correct, [session, sent, reader], [session, self.saved], js=read_form, **PRIVATE)
        for name, button in buttons.items():
            chosen = [session, identity, by_system]
            exporting = button.click(partial(self.export, name), chosen, [file, self.exported], **PRIVATE)
            exporting.then(None, file, None, js=DOWNLOAD_SCRIPT, **PRIVATE)

    def show(self, session: Session) -> dict[Any, Any]:
        """Changes to the page when a report is finished."""
        form = correction.correction_form(session.reading, key=session.key)
        return {self.panel: gr.update(visible=True), self.form: form}

    def hide(self) -> dict[Any, Any]:
        cleared = dict.fromkeys([self.saved, self.exported, *self.similar.parts], "")
        return {self.panel: gr.update(visible=False), self.form: correction.EMPTY, **cleared}

    def correct(self, session: Session, sent: str, reader: str) -> tuple[Session, str]:
        """Keep the content of the form for the downloads, and save it; also returns a message as HTML, and below it the
        errors of the machine-written report."""
        try:
            edit = correction.read_form(sent, key=session.key, reader=reader)
            if edit == session.edit:
                return session, layout.message("This correction is already saved.") + _errors(session.reading, edit)
            saved, warning = save_correction(self.store, session.reading, edit, generator=self.generator)
        except ValueError as error:
            return session, layout.message(str(error), is_error=True)
        edit = replace(edit, is_amendment=session.edit is not None and bool(session.edit.reader))
        parts = [
            "The correction is saved." if saved else "The correction is not kept on this machine.",
            f"The downloads contain it{f', checked by {edit.reader}' if edit.reader else '; it is not signed'}.",
            warning,
        ]
        message = layout.message(" ".join(filter(None, parts)))
        return replace(session, edit=edit), message + _errors(session.reading, edit)

    def export(
        self, format: str, session: Session, include_identity: bool, by_system: bool = False
    ) -> tuple[dict[str, str] | None, str]:
        """The file for download.js, or the reason why there is none."""
        try:
            record = study_record(session.reading, self.generator, session.edit)
            file = export(replace(record, by_system=by_system), format, include_identity=include_identity)
        except ValueError as error:
            return None, layout.message(str(error), is_error=True)
        return download(file)


def _errors(reading: StudyReading, edit: Edit) -> str:
    corrected = compose_report(findings=edit.findings, impression=edit.impression)
    return errors_card(reading.report.report, corrected)
