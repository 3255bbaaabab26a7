"""The tab for one study: upload images, write the report, look at findings and heatmaps.

The answer of every event names the parts of the page that change; all other parts stay as they are.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import gradio as gr

from data.corrections.store import CorrectionStore
from page.cards import layout
from page.cards import report as report_card
from page.cards.findings import findings_card
from page.cards.images import heat_rules, image_cards
from page.examples import Example
from page.study.read import complete, read_study
from page.study.record import study_record
from page.study.upload import MAX_VIEWS
from page.tabs.actions import PRIVATE, ReportActions
from page.tabs.prior import PriorPanel
from page.tabs.session import Session, add_images, add_prior_images
from page.tabs.settings import SettingsPanel
from page.tabs.views import view_changes, view_radios, with_views
from page.uploads import remove_later, without_copies
from vlm.explain.occlusion import occlude, occlusion_shares
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.operating_point import BEST_F1, OperatingPoint

EXAMPLES_NOTE = (
    "Click an example to write its report. NIH marks real X-rays of NIH ChestX-ray14 (Wang et al., CVPR 2017) and "
    "their labels; reports miss some."
)
SHOW_EVERY_SECONDS = 0.05
"""A browser cannot keep up with every token of a fast model."""
SESSION_SECONDS = 7200
"""A session is forgotten this long after its last change."""
SET_OPACITY = "(percent) => { document.body.style.setProperty('--heat-opacity', percent / 100); }"
MODEL = {"concurrency_id": "model", "concurrency_limit": 1}
"""The model serves one user at a time, in order."""
SEVERAL = {"concurrency_limit": 2}
"""Files are decoded for several users at once, so that a hostile file delays nobody."""
Changes = dict[Any, Any]


class StudyTab:
    """Created inside a gr.Blocks; `store` is None if corrections cannot be saved."""

    def __init__(
        self,
        generator: ReportGenerator,
        options: GenerationOptions,
        examples: Sequence[Example],
        store: CorrectionStore | None,
        point: OperatingPoint = BEST_F1,
    ):
        self.generator, self.options, self.point = generator, options, point
        self.examples = examples
        self.session = gr.State(Session(), time_to_live=SESSION_SECONDS)
        with gr.Row(elem_id="study-tab"):
            with gr.Column(scale=2, min_width=270):
                self._lay_out_inputs()
            with gr.Column(scale=5, min_width=320):
                self._lay_out_images()
            with gr.Column(scale=4, min_width=320):
                self._lay_out_results(store)
        self._connect_events()

    def _lay_out_inputs(self) -> None:
        # No file_types: DICOM files often have no suffix, and the content decides anyway.
        upload = gr.File(label="X-rays of one study", file_count="multiple", type="filepath", height=160)
        self.upload = without_copies(upload)
        self.views = view_radios()
        self.indication = gr.Textbox("", label="Indication", placeholder="Reason for the X-ray", max_length=300)
        self.prior = PriorPanel(is_shown=self.generator.reads_priors)
        self.settings = SettingsPanel(self.generator, self.options, self.point)
        self.write = gr.Button("Write the report", variant="primary")
        self.clear = gr.Button("New study", variant="secondary")
        gr.HTML(layout.render("note", text=EXAMPLES_NOTE), apply_default_css=False)
        self.gallery = gr.Gallery(
            [(str(example.path), example.caption) for example in self.examples],
            label="Examples",
            show_label=False,
            columns=3,
            height="auto",
            object_fit="cover",
            allow_preview=False,
            interactive=False,
            buttons=[],
            elem_id="examples",
        )

    def _lay_out_images(self) -> None:
        self.images = gr.HTML(image_cards(()), apply_default_css=False, elem_id="images")
        self.heat = gr.HTML(apply_default_css=False, elem_id="heat")
        self.occlusion_heat = gr.HTML(apply_default_css=False)
        opacity = gr.Slider(0, 100, value=60, step=5, label="Heatmap opacity (%)", buttons=[])
        opacity.input(None, opacity, js=SET_OPACITY, **PRIVATE)
        with gr.Column(visible=False) as self.explain:
            self.method = gr.HTML(_method_choice(), apply_default_css=False)
            with gr.Row():
                self.occlude = gr.Button("Compute what predictions depend on", size="sm")
                self.stop = gr.Button("Stop", size="sm")
            self.progress = gr.HTML(apply_default_css=False)

    def _lay_out_results(self, store: CorrectionStore | None) -> None:
        self.warnings = gr.HTML(apply_default_css=False, elem_id="image-warnings")
        self.anyway = gr.Button("Write it anyway", visible=False)
        self.report = gr.HTML(layout.render("report", state="empty"), apply_default_css=False, elem_id="report")
        self.findings = gr.HTML(apply_default_css=False, elem_id="findings")
        self.actions = ReportActions(self.session, self.generator, store)

    def _connect_events(self) -> None:
        study = [self.session, self.indication, *self.settings.values, *self.views, *self.prior.values]
        shown = [self.session, self.upload, self.indication, *self.views, *self.prior.parts, self.images, self.heat]
        shown += [self.occlusion_heat, self.method]
        shown += [self.explain, self.progress, self.warnings, self.anyway, self.report, self.findings]
        shown += [self.settings.moved, *self.actions.parts]
        while_writing = {"show_progress": "minimal", "show_progress_on": self.report, **PRIVATE, **MODEL}

        uploading = {"show_progress": "minimal", "show_progress_on": self.images, **PRIVATE, **SEVERAL}
        self.upload.upload(self.add_files, [self.session, self.upload], shown, **uploading)
        self.prior.upload.upload(self.add_prior_files, [self.session, self.prior.upload], shown, **uploading)
        self.prior.remove.click(self.remove_prior, self.session, shown, show_progress="hidden", **PRIVATE)
        write_anyway = partial(self.write_report, write_anyway=True)
        example = self.gallery.select(self.choose_example, None, shown, show_progress="hidden", **PRIVATE)
        writing = [
            gr.on([self.write.click, self.indication.submit], self.write_report, study, shown, **while_writing),
            self.anyway.click(write_anyway, study, shown, **while_writing),
            example.then(self.write_report, study, shown, **while_writing),
        ]
        occluding = self.occlude.click(
            self.compute_occlusion,
            self.session,
            [self.occlusion_heat, self.method, self.progress],
            show_progress="minimal",
            show_progress_on=self.progress,
            **PRIVATE,
            **MODEL,
        )
        # Otherwise the report would appear beside the images of another study. An upload changes at its start, and when
        # its images are shown.
        changing = [self.upload.change, self.prior.upload.change, self.prior.remove.click, self.gallery.select]
        gr.on(changing, None, cancels=[*writing, occluding], **PRIVATE)
        settings = self.settings
        moving = {"show_progress": "hidden", **PRIVATE}
        settings.rate.input(lambda rate: gr.update(visible=rate != "f1"), settings.rate, settings.percent, **moving)
        gr.on(
            [settings.rate.input, settings.percent.input],
            self.move_thresholds,
            [self.session, *settings.values],
            [self.session, self.report, self.findings, settings.moved],
            trigger_mode="always_last",
            **moving,
        )
        self.stop.click(lambda: "", None, self.progress, cancels=[occluding], **PRIVATE)
        self.clear.click(
            lambda: self._unread(Session(), is_new=True),
            None,
            shown,
            cancels=[*writing, occluding],
            **PRIVATE,
        )

    def add_files(self, session: Session, files: list[str] | None) -> Changes:
        """Show the images of the files; the upload area is then free for more."""
        if not files:
            return {self.upload: None}
        is_new = session.reading is not None
        try:
            session = add_images(session, [Path(file) for file in files], self.generator)
        except ValueError as error:
            return self._unread(Session() if is_new else session, error, is_new=is_new)
        finally:
            remove_later(files)
        return self._unread(session, is_new=is_new)

    def add_prior_files(self, session: Session, files: list[str] | None) -> Changes:
        """Show the images of the prior study beside those of the study."""
        if not files:
            return {self.prior.upload: None}
        try:
            session = add_prior_images(session, [Path(file) for file in files], self.generator)
        except ValueError as error:
            return self._unread(replace(session, reading=None, edit=None, key=""), error)
        finally:
            remove_later(files)
        return self._unread(session)

    def remove_prior(self, session: Session) -> Changes:
        """The study without a prior study; it is then to be read again."""
        return {**self._unread(Session(images=session.images)), self.prior.report: ""}

    def choose_example(self, event: gr.SelectData) -> Changes:
        """Replace the study by an example."""
        example = self.examples[event.index]
        changes = self._unread(add_images(Session(), [example.path], self.generator), is_new=True)
        changes[self.views[0]]["value"] = example.view
        return {**changes, self.indication: example.indication}

    def write_report(
        self,
        session: Session,
        indication: str,
        num_candidates: int,
        rate: str,
        percent: float,
        *choices: str,
        write_anyway: bool = False,
    ) -> Iterator[Changes]:
        """First images, findings and heatmaps, which are known at once; then only the growing report. `choices` are the
        view positions, MAX_VIEWS of them, then the values of the prior panel."""
        shown_at = None
        try:
            if not session.images:
                raise ValueError("No image yet: choose a file or click an example first.")
            images = with_views(session.images, choices[:MAX_VIEWS])
            prior = self.prior.study(session, *choices[MAX_VIEWS:])
            generator, options = self.settings.chosen(num_candidates, rate, percent)
            generator = generator.encoding_once()  # for the report and the sentence maps
            key, settings = uuid4().hex[:12], {"options": options, "write_anyway": write_anyway}
            for reading in read_study(generator, images, indication=indication, prior=prior, **settings):
                now = replace(session, key=key, reading=reading, edit=None)
                if shown_at is None:
                    yield self._started(now)
                    shown_at = time.monotonic()
                elif reading.is_done:
                    yield self._finished(now, generator)
                elif time.monotonic() - shown_at >= SHOW_EVERY_SECONDS:
                    yield {self.report: report_card.growing_report(reading.report)}
                    shown_at = time.monotonic()
        except ValueError as error:
            yield self._unread(session, error)

    def move_thresholds(self, session: Session, num_candidates: int, rate: str, percent: float) -> Changes:
        """Show the predictions of a finished reading at other thresholds; its report stays as it is."""
        if not session.is_read:
            return {self.session: session}
        try:
            generator, _ = self.settings.chosen(num_candidates, rate, percent)
        except ValueError as error:
            return {self.settings.moved: layout.message(str(error), is_error=True)}
        calibration = generator.calibration
        session = replace(session, reading=complete(replace(session.reading, calibration=calibration)))
        text = f"The findings are shown with thresholds for {calibration.operating_point.description}."
        if calibration.decides_reports:
            text += " The report was written with the thresholds of before: press “Write the report” to write it again."
        return {
            self.session: session,
            self.report: self._report(session),
            self.findings: findings_card(session.reading, key=session.key),
            self.settings.moved: layout.message(text),
        }

    def compute_occlusion(self, session: Session) -> Iterator[Changes]:
        """Cover the images patch by patch, with a progress bar, then show what each prediction depends on."""
        if not session.is_read:
            yield {self.progress: layout.message("Write a report first.", is_error=True)}
            return
        uploads = session.reading.images
        for step in occlude(
            self.generator, [upload.image for upload in uploads], [upload.view_position for upload in uploads]
        ):
            text = f"{step.num_done} of {step.num_places} places covered"
            progress = {"label": "Occlusion", "text": text, "num_done": step.num_done, "num_total": step.num_places}
            yield {self.progress: layout.render("progress", **progress)}
        note = layout.message(
            "Brightest: covering this place lowers the probability of the finding most. Dark everywhere: no place "
            "lowers it by 2 percentage points."
        )
        yield {
            self.occlusion_heat: self._style("finding", occlusion_shares(step.drops), session, method="occlusion"),
            self.method: _method_choice(has_occlusion=True),
            self.progress: note,
        }

    def _unread(self, session: Session, error: ValueError | None = None, *, is_new: bool = False) -> Changes:
        """The page with the images of a session before they are read, or with the reason why they could not be.
        `is_new`: they belong to another study than the one that was read before, so the indication and the views
        of that patient go. An indication that was typed before the first images stays."""
        return {
            **self._no_results(),
            self.session: session,
            self.upload: None,
            **({self.indication: ""} if is_new else {}),
            **view_changes(self.views, session.images, is_new=is_new),
            **self.prior.changes(session, is_new=is_new),
            self.images: image_cards(session.images, session.prior),
            self.report: layout.render("report", state="rejected" if error else "empty", message=error),
        }

    def _no_results(self) -> Changes:
        return {
            **dict.fromkeys((self.heat, self.findings, self.warnings, self.occlusion_heat, self.progress), ""),
            self.settings.moved: "",
            self.anyway: gr.update(visible=False),
            self.explain: gr.update(visible=False),
            self.method: _method_choice(),
            **self.actions.hide(),
        }

    def _started(self, session: Session) -> Changes:
        reading = session.reading
        # Without a block, the report shows the others.
        shown = (*reading.image_warnings, *(reading.notes if reading.is_blocked else ()))
        warnings = {"warnings": shown, "is_blocked": reading.is_blocked}
        changes = {
            **self._no_results(),
            self.session: session,
            self.images: image_cards(reading.images, reading.prior.images if reading.prior else ()),
            self.warnings: layout.render("image_warnings", **warnings),
        }
        if reading.is_blocked:
            blocked = layout.render("report", state="blocked")
            return changes | {self.anyway: gr.update(visible=True), self.report: blocked}
        return changes | self._findings(session) | {self.report: report_card.growing_report(reading.report)}

    def _finished(self, session: Session, generator: ReportGenerator) -> Changes:
        reading = session.reading
        changes = self._findings(session)
        sentence_maps = generator.sentence_maps(
            reading.report.report,
            [sentence.text for sentence in reading.sentences[: report_card.MAX_MAPPED]],
            [image.image for image in reading.images],
            view_positions=[image.view_position for image in reading.images],
            indication=reading.indication,
            prior=reading.prior.for_model if reading.prior else None,
        )
        changes[self.heat] += self._style("sentence", sentence_maps, session)
        return {
            **changes,
            self.session: session,
            self.report: self._report(session),
            self.explain: gr.update(visible=True),
            **self.actions.show(session),
        }

    def _report(self, session: Session) -> str:
        reading = session.reading
        warnings = study_record(reading, self.generator).warnings[len(reading.image_warnings) :]
        return report_card.finished_report(reading, warnings, key=session.key)

    def _findings(self, session: Session) -> Changes:
        reading = session.reading
        return {
            self.heat: self._style("finding", reading.report.attention_maps, session, method="attention"),
            self.findings: findings_card(reading, key=session.key),
        }

    def _style(self, kind: str, maps, session: Session, *, method: str = "") -> str:
        sizes = [image.image.size for image in session.reading.images]
        rules = heat_rules(kind, maps, sizes, self.generator.config.image.size, method=method)
        return f"<style>{rules}</style>"


def _method_choice(*, has_occlusion: bool = False) -> str:
    return layout.render("heatmap_method", has_occlusion=has_occlusion)
