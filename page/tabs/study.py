"""The reading room: where one study is brought, read and doubted. Layout and events.

Every event's answer names the parts of the page that change; what it does not name stays as it is.
"""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from data.corrections.store import CorrectionStore
from page.cards import layout as markup
from page.cards import report as report_card
from page.cards.findings import findings_card
from page.cards.images import SET_OPACITY, figures, heat_rules
from page.examples import Example, remove_later
from page.study.files import MAX_VIEWS
from page.study.record import ModelIdentity
from page.tabs.actions import Outcome
from page.tabs.session import VIEWS_OF_VISITORS, Visit, read_visit, record_of, sentence_maps, take_in
from vlm.explain.occlusion import occlude, occlusion_shares
from vlm.generator import GenerationOptions, ReportGenerator

SHOW_EVERY_SECONDS = 0.05
"""A browser that is sent every token of a fast model lags behind it."""
VISIT_SECONDS = 7200
"""A visitor's study is forgotten so long after it last changed."""
METHODS = (
    '<fieldset class="methods"><legend>Heatmap of a finding shows</legend>'
    '<label><input type="radio" name="method" id="method-attention" checked> where the model looked</label>'
    '<label><input type="radio" name="method" id="method-occlusion"{state}> what it depends on{note}</label></fieldset>'
)
NO_OCCLUSION = METHODS.format(state=" disabled", note=" (compute it first)")
WITH_OCCLUSION = METHODS.format(state=" checked", note="").replace('attention" checked', 'attention"')
MODEL = {"concurrency_id": "model", "concurrency_limit": 1}
"""The model answers one visitor at a time, in order."""
Changes = dict[Any, Any]


class Room:
    """The tab for one study. Built inside a gr.Blocks; `store` is None where corrections are not kept."""

    def __init__(
        self,
        generator: ReportGenerator,
        model: ModelIdentity,
        options: GenerationOptions,
        examples: Sequence[Example],
        store: CorrectionStore | None,
    ):
        self.generator, self.model, self.options = generator, model, options
        self.examples = examples
        self.visit = gr.State(Visit(), time_to_live=VISIT_SECONDS)
        with gr.Row(elem_id="room"):
            with gr.Column(scale=2, min_width=270):
                self._lay_out_inputs()
            with gr.Column(scale=5, min_width=320):
                self._lay_out_images()
            with gr.Column(scale=4, min_width=320):
                self._lay_out_results(store)
        self._wire()

    def _lay_out_inputs(self) -> None:
        # No file_types: DICOM files often have no ending, and the content decides anyway.
        self.upload = gr.File(label="X-rays of one study", file_count="multiple", type="filepath", height=160)
        self.views = [
            gr.Radio(list(VIEWS_OF_VISITORS), value="auto", visible=False, elem_classes="view-choice", label="View")
            for _ in range(MAX_VIEWS)
        ]
        self.indication = gr.Textbox("", label="Indication", placeholder="Why was it taken?", max_length=300)
        self.write = gr.Button("Write the report", variant="primary")
        self.clear = gr.Button("New study", variant="secondary")
        gr.HTML(markup.EXAMPLES_HEADING, apply_default_css=False)
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
        self.images = gr.HTML(figures(()), apply_default_css=False, elem_id="images")
        self.heat = gr.HTML(apply_default_css=False, elem_id="heat")
        self.occlusion_heat = gr.HTML(apply_default_css=False)
        opacity = gr.Slider(0, 100, value=60, step=5, label="Heatmap opacity (%)", buttons=[])
        opacity.input(None, opacity, js=SET_OPACITY, api_visibility="private")
        with gr.Column(visible=False) as self.explain:
            self.method = gr.HTML(NO_OCCLUSION, apply_default_css=False)
            with gr.Row():
                self.occlude = gr.Button("Compute what it depends on", size="sm")
                self.stop = gr.Button("Stop", size="sm")
            self.progress = gr.HTML(apply_default_css=False)

    def _lay_out_results(self, store: CorrectionStore | None) -> None:
        self.doubts = gr.HTML(apply_default_css=False, elem_id="doubts")
        self.anyway = gr.Button("Write it anyway", visible=False)
        self.report = gr.HTML(report_card.EMPTY, apply_default_css=False, elem_id="report")
        self.findings = gr.HTML(apply_default_css=False, elem_id="findings")
        self.outcome = Outcome(self.visit, self.generator, self.model, store)

    def _wire(self) -> None:
        study = [self.visit, self.indication, *self.views]
        shown = [self.visit, self.upload, *self.views, self.images, self.heat, self.occlusion_heat, self.method]
        shown += [self.explain, self.progress, self.doubts, self.anyway, self.report, self.findings]
        shown += self.outcome.parts
        private = {"api_visibility": "private"}
        while_writing = {"show_progress": "minimal", "show_progress_on": self.report, **private}

        self.upload.upload(
            self.bring,
            [self.visit, self.upload],
            shown,
            show_progress="minimal",
            show_progress_on=self.images,
            **private,
        )
        writing = [
            gr.on(
                [self.write.click, self.indication.submit], self.write_report, study, shown, **while_writing, **MODEL
            ),
            self.anyway.click(partial(self.write_report, write_anyway=True), study, shown, **while_writing, **MODEL),
        ]
        chosen = self.gallery.select(self.choose, None, [*shown, self.indication], show_progress="hidden", **private)
        writing.append(chosen.then(self.write_report, study, shown, **while_writing, **MODEL))
        occluding = self.occlude.click(
            self.compute_occlusion,
            self.visit,
            [self.occlusion_heat, self.method, self.progress],
            show_progress="minimal",
            show_progress_on=self.progress,
            **private,
            **MODEL,
        )
        self.stop.click(lambda: "", None, self.progress, cancels=[occluding], **private)
        self.clear.click(
            lambda: {**self._blank(Visit()), self.indication: ""},
            None,
            [*shown, self.indication],
            cancels=[*writing, occluding],
            **private,
        )

    def bring(self, visit: Visit, files: list[str] | None) -> Changes:
        """Takes the files in and shows their images; the drop zone is then free for more."""
        if not files:
            return {self.upload: None}
        try:
            visit = take_in(visit, [Path(file) for file in files], self.generator)
        except ValueError as error:
            return {
                **self._blank(visit if visit.reading is None else Visit()),
                self.report: markup.rejection(str(error)),
            }
        finally:
            remove_later(files)
        return self._blank(visit)

    def choose(self, event: gr.SelectData) -> Changes:
        """An example in place of the study that was there."""
        example = self.examples[event.index]
        changes = self._blank(take_in(Visit(), [example.path], self.generator))
        changes[self.views[0]] = gr.update(
            value=example.view, visible=True, label=f"View of {changes[self.visit].images[0].name}"
        )
        return {**changes, self.indication: example.indication}

    def write_report(self, visit: Visit, indication: str, *views: str, write_anyway: bool = False) -> Iterator[Changes]:
        """Images, findings and heat once, for they are known first; then the growing report alone."""
        shown_at = None
        try:
            for now in read_visit(
                visit,
                self.generator,
                views=views,
                indication=indication,
                options=self.options,
                write_anyway=write_anyway,
            ):
                if now.reading.is_withheld:
                    yield self._withhold(now)
                    return
                if now.reading.is_done:
                    yield self._finish(now)
                elif shown_at is None:
                    yield self._start(now)
                    shown_at = time.monotonic()
                elif time.monotonic() - shown_at >= SHOW_EVERY_SECONDS:
                    yield {self.report: report_card.growing_report(now.reading.report)}
                    shown_at = time.monotonic()
        except ValueError as error:
            yield {**self._blank(visit), self.report: markup.rejection(str(error))}

    def compute_occlusion(self, visit: Visit) -> Iterator[Changes]:
        """Covers the images bit by bit, telling how far it is, and then shows what the findings depend on."""
        if not visit.is_read:
            yield {self.progress: markup.saved("Have a report written first.", is_rejected=True)}
            return
        uploads = visit.reading.images
        images = [upload.image for upload in uploads]
        for step in occlude(self.generator, images, [upload.view_position for upload in uploads]):
            told = f"{step.num_done} of {step.num_places} places covered"
            yield {
                self.progress: f'<p class="soft" role="status"><progress aria-label="Occlusion" '
                f'value="{step.num_done}" max="{step.num_places}"></progress> {told}</p>'
            }
        rules = self._rules("finding", occlusion_shares(step.drops), visit, method="occlusion")
        note = markup.saved(
            "Brightest: covering it takes most from the finding's probability. Dark throughout: nothing takes 2 points."
        )
        yield {self.occlusion_heat: f"<style>{rules}</style>", self.method: WITH_OCCLUSION, self.progress: note}

    def _blank(self, visit: Visit) -> Changes:
        """The page with the images of a visit before anything is read in them."""
        return {
            self.visit: visit,
            self.upload: None,
            **{radio: _view_choice(visit, number) for number, radio in enumerate(self.views)},
            self.images: figures(visit.images),
            **dict.fromkeys((self.heat, self.findings, self.doubts), ""),
            **self._nothing_after(),
            self.report: report_card.EMPTY,
        }

    def _nothing_after(self) -> Changes:
        return {
            self.anyway: gr.update(visible=False),
            self.explain: gr.update(visible=False),
            self.occlusion_heat: "",
            self.progress: "",
            self.method: NO_OCCLUSION,
            **self.outcome.hide(),
        }

    def _withhold(self, visit: Visit) -> Changes:
        return {
            **self._nothing_after(),
            self.visit: visit,
            self.images: figures(visit.reading.images),
            self.heat: "",
            self.findings: "",
            self.doubts: markup.doubts(visit.reading.doubts, is_withheld=True),
            self.anyway: gr.update(visible=True),
            self.report: report_card.WITHHELD,
        }

    def _start(self, visit: Visit) -> Changes:
        reading = visit.reading
        rules = self._rules("finding", reading.report.attention_maps, visit, method="attention")
        return {
            **self._nothing_after(),
            self.visit: visit,
            self.images: figures(reading.images),
            self.heat: f"<style>{rules}</style>",
            self.doubts: markup.doubts(reading.doubts, is_withheld=False),
            self.findings: findings_card(reading, self.generator.calibration, key=visit.key),
            self.report: report_card.growing_report(reading.report),
        }

    def _finish(self, visit: Visit) -> Changes:
        reading = visit.reading
        rules = self._rules("finding", reading.report.attention_maps, visit, method="attention")
        rules += "\n" + self._rules("sentence", sentence_maps(visit, self.generator), visit)
        warnings = record_of(visit, self.generator, self.model).warnings[len(reading.doubts) :]
        return {
            self.visit: visit,
            self.heat: f"<style>{rules}</style>",
            self.report: report_card.finished_report(reading, warnings, key=visit.key),
            self.findings: findings_card(reading, self.generator.calibration, key=visit.key),
            self.explain: gr.update(visible=True),
            **self.outcome.show(visit),
        }

    def _rules(self, kind: str, maps, visit: Visit, *, method: str = "") -> str:
        sizes = [image.image.size for image in visit.reading.images]
        return heat_rules(kind, maps, sizes, self.generator.config.image.size, method=method)


def _view_choice(visit: Visit, number: int) -> dict[str, Any]:
    if number >= len(visit.images):
        return gr.update(visible=False, value="auto")
    return gr.update(visible=True, label=f"View of {visit.images[number].name}")
