"""The slot of the study tab for a prior study: its images, their view positions, and its report."""

from typing import Any

import gradio as gr

from page.cards import layout
from page.study.prior import MAX_REPORT_CHARACTERS, PriorStudy, prior_study
from page.tabs.session import Session
from page.tabs.views import view_changes, view_radios, with_views
from page.uploads import without_copies

NOTE = (
    "One earlier study of the same patient: the report then says what changed. The model compares the images, and "
    "reads the beginning of the prior report."
)


class PriorPanel:
    """Created inside a gr.Blocks; hidden if the checkpoint was trained without prior studies."""

    def __init__(self, *, is_shown: bool):
        with gr.Accordion("Prior study (optional)", open=False, visible=is_shown, elem_id="prior"):
            gr.HTML(layout.render("note", text=NOTE), apply_default_css=False)
            upload = gr.File(label="X-rays of the prior study", file_count="multiple", type="filepath", height=150)
            self.upload = without_copies(upload)
            self.views = view_radios()
            self.report = gr.Textbox(
                "",
                label="Report of the prior study",
                placeholder="Its text, if you have it",
                lines=3,
                max_lines=8,
                max_length=MAX_REPORT_CHARACTERS,
            )
            self.remove = gr.Button("Remove the prior study", size="sm")
        self.values = [self.report, *self.views]
        """The inputs of an event, in the order of the arguments of `study`."""
        self.parts = [self.upload, *self.values]

    def changes(self, session: Session, *, is_new: bool) -> dict[Any, Any]:
        """The panel for the prior images of the session; for a new study, the text of the last one is removed."""
        text = {self.report: ""} if is_new else {}
        return {self.upload: None, **text, **view_changes(self.views, session.prior)}

    def study(self, session: Session, report: str = "", *views: str) -> PriorStudy | None:
        """The prior study as the user chose it; None without one.

        Raises:
            ValueError: there is a report without an image.
        """
        return prior_study(with_views(session.prior, views or ["auto"] * len(session.prior)), report=report)
