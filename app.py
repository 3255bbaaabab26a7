"""The web page: a chest X-ray in; out come its report as it is written, its findings, and where the model looked.

    python app.py --checkpoint runs/demo/training/best
    python app.py --checkpoint DIR --port 7860 --host 127.0.0.1 --examples FOLDER_OF_PICTURES

All of it runs in this one process, and nothing is fetched from outside. From another program:

    from gradio_client import Client, handle_file
    page = Client("http://127.0.0.1:7860")
    print(page.predict(handle_file("chest.dcm"), "auto", "cough and fever", api_name="/read")["report"])
"""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import torch
import tyro

from data.images import MAX_FILE_BYTES
from page import markup
from page.examples import folder_examples, made_up_examples
from page.picture import VIEW_CHOICES, Picture, read_picture
from vlm.findings import FINDINGS
from vlm.generator import GenerationOptions, ReportGenerator, StudyReport

DEMO_CHECKPOINT = Path("runs/demo/training/best")
UPLOAD_CHECK_SECONDS, UPLOAD_LIFETIME_SECONDS = 300, 1800
MAX_WAITING = 64
"""Studies in the queue; who comes later is told that it is full."""
SHOW_EVERY_SECONDS = 0.05
"""A browser that is sent every token of a fast model lags behind it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AppOptions:
    """The web page: reads chest X-rays with a trained model."""

    checkpoint: str = ""
    """Checkpoint folder (or hub id); empty: the one that `make demo` makes."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in, without asking who they are."""
    port: int = 7860
    """Port to listen on."""
    examples: Path | None = None
    """Folder of pictures (DICOM too) to offer beside the made-up examples."""
    max_new_tokens: int = 160
    """Longest report, in tokens."""
    num_threads: int = 2
    """Most processor cores that the model uses."""

    def __post_init__(self):
        if not 0 < self.port < 65536:
            raise ValueError(f"--port {self.port} is no port; give one from 1 to 65535")
        if self.num_threads < 1:
            raise ValueError(f"--num-threads is {self.num_threads}; give 1 or more")
        if self.examples is not None and not self.examples.is_dir():
            raise ValueError(f"--examples {self.examples} is not a folder; name one that holds pictures")
        if not self.checkpoint and not DEMO_CHECKPOINT.is_dir():
            raise ValueError(
                f"no --checkpoint is given and {DEMO_CHECKPOINT} does not exist; "
                "`make demo` makes it, or name a checkpoint folder"
            )


def main(argv: Sequence[str] | None = None) -> None:
    """Parses, loads the model, serves until it is stopped."""
    options = tyro.cli(AppOptions, args=argv, description=__doc__)
    torch.set_num_threads(min(options.num_threads, torch.get_num_threads()))
    generator = ReportGenerator.from_pretrained(options.checkpoint or DEMO_CHECKPOINT)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stopped by a service manager, it also cleans up
    with tempfile.TemporaryDirectory(prefix="cxrscribe-") as folder:
        # Else uploads would lie where all users of the machine can read them, and stay.
        os.environ["GRADIO_TEMP_DIR"] = folder
        page = build_app(generator, options, Path(folder))
        serve(page, options)
        print(f"cxrscribe is at {page.local_url} (Ctrl+C stops it). {markup.NOTICE}", flush=True)
        page.block_thread()


def serve(page: gr.Blocks, options: AppOptions) -> None:
    """Starts the page and returns; nothing about its visitors is kept or sent.

    Raises:
        ValueError: the address cannot be used.
    """
    try:
        page.queue(max_size=MAX_WAITING).launch(
            server_name=options.host,
            server_port=options.port,
            theme=markup.theme(),
            # Not css=, which drops container queries and rewrites the rest.
            head=f"<style>{markup.style()}</style>",
            max_file_size=MAX_FILE_BYTES,
            footer_links=["api", "settings"],
            run_history=False,
            enable_monitoring=False,
            share=False,
            ssr_mode=False,
            quiet=True,
            prevent_thread_lock=True,
        )
    except OSError as error:
        raise ValueError(f"--port {options.port} of --host {options.host} cannot be used: {error}") from error


def build_app(generator: ReportGenerator, options: AppOptions, example_folder: Path) -> gr.Blocks:
    """The page. Examples are written to `example_folder`, which must live as long as the page does."""
    reader = Reader(generator, options)
    examples = made_up_examples(example_folder)
    if options.examples is not None:
        examples += folder_examples(options.examples, example_folder)

    def choose(event: gr.SelectData) -> tuple[str, str, str]:
        example = examples[event.index]
        return str(example.path), example.view, example.indication

    with gr.Blocks(
        title="cxrscribe",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(UPLOAD_CHECK_SECONDS, UPLOAD_LIFETIME_SECONDS),
    ) as page:
        gr.HTML(markup.header(generator.name), apply_default_css=False)
        with gr.Row(elem_id="room"):
            with gr.Column(scale=2, min_width=270):
                # No file_types: DICOM files often have no ending, and the content decides anyway.
                upload = gr.File(label="Chest X-ray (DICOM too)", type="filepath", height=130)
                view = gr.Radio(list(VIEW_CHOICES), value="auto", label="View position", elem_id="view")
                indication = gr.Textbox("", label="Indication", placeholder="Why was it taken?", max_length=300)
                button = gr.Button("Write the report", variant="primary")
                gr.HTML(markup.EXAMPLES_HEADING, apply_default_css=False)
                gallery = gr.Gallery(
                    [(str(example.path), example.caption) for example in examples],
                    show_label=False,
                    columns=3,
                    height="auto",
                    object_fit="cover",
                    allow_preview=False,
                    interactive=False,
                    buttons=[],
                    elem_id="examples",
                )
            with gr.Column(scale=4, min_width=320):
                picture = gr.HTML(markup.EMPTY_PICTURE, apply_default_css=False, elem_id="picture")
                opacity = gr.Slider(0, 100, value=60, step=5, label="Heatmap opacity (%)", buttons=[])
            with gr.Column(scale=4, min_width=320):
                report = gr.HTML(markup.EMPTY_REPORT, apply_default_css=False, elem_id="report")
                findings = gr.HTML(apply_default_css=False, elem_id="findings")
        gr.HTML(markup.FOOTER, apply_default_css=False)

        inputs, outputs = [upload, view, indication], [picture, findings, report]
        shown = {"show_progress": "minimal", "show_progress_on": report, "api_visibility": "private"}
        one_at_a_time = {"concurrency_id": "model", "concurrency_limit": 1}
        gr.on([upload.upload, upload.clear], reader.show_picture, [upload, view], outputs, **shown)
        gr.on([button.click, indication.submit], reader.write_report, inputs, outputs, **shown, **one_at_a_time)
        gallery.select(choose, None, inputs, show_progress="hidden", api_visibility="private").then(
            reader.write_report, inputs, outputs, **shown, **one_at_a_time
        )
        opacity.input(None, opacity, js=markup.SET_OPACITY, api_visibility="private")
        # gr.api would take the path of any file on this machine; a File component takes uploads only.
        gr.Button(visible=False).click(reader.read, inputs, gr.JSON(visible=False), api_name="read", **one_at_a_time)
    return page


class Reader:
    """Answers the page's events with one model."""

    def __init__(self, generator: ReportGenerator, options: AppOptions):
        self.generator = generator
        self.writing = GenerationOptions(max_new_tokens=options.max_new_tokens)

    def show_picture(self, path: str | None, view: str) -> tuple[str, str, str]:
        """The picture alone, as soon as it is chosen."""
        if not path:
            return markup.EMPTY_PICTURE, "", markup.EMPTY_REPORT
        try:
            picture = read_picture(Path(path), view, self.generator.config.preprocessing)
        except ValueError as error:
            return markup.EMPTY_PICTURE, "", markup.refusal(str(error))
        return markup.picture(picture, []), "", markup.EMPTY_REPORT

    def write_report(self, path: str | None, view: str, indication: str) -> Iterator[tuple[Any, Any, Any]]:
        """Picture with heatmaps and findings once, for they are known first; then the growing report alone."""
        shown_at = None
        try:
            for picture, report in self._stream(path, view, indication):
                if shown_at is None:
                    square = self.generator.config.image.size
                    layers = markup.heat_layers(report.attention_maps, picture.image.size, square)
                    findings = markup.findings(report.finding_probabilities, self.generator.calibration)
                    yield markup.picture(picture, layers), findings, markup.report(report, is_done=False)
                elif time.monotonic() - shown_at < SHOW_EVERY_SECONDS:
                    continue
                else:
                    yield gr.skip(), gr.skip(), markup.report(report, is_done=False)
                shown_at = time.monotonic()
        except ValueError as error:
            yield markup.EMPTY_PICTURE, "", markup.refusal(str(error))
            return
        yield gr.skip(), gr.skip(), markup.report(report, is_done=True)

    def read(self, path: str | None, view: str = "auto", indication: str = "") -> dict[str, Any]:
        """Reads one picture (PNG, JPEG, WebP, TIFF or DICOM); `view` is auto, PA, AP or lateral."""
        try:
            *_, (picture, report) = self._stream(path, view, indication)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error
        calibration = self.generator.calibration
        rows = zip(FINDINGS, report.finding_probabilities, calibration.thresholds, strict=True)
        return {
            "report": report.report,
            "findings": report.findings,
            "impression": report.impression,
            "is_truncated": report.is_truncated,
            "view_position": picture.view_position,
            "warning": picture.warning,
            "is_calibrated": calibration.is_calibrated,
            "finding_scores": [
                {
                    "finding": name,
                    "probability": probability,
                    "threshold": threshold,
                    "called": probability >= threshold,
                }
                for name, probability, threshold in rows
            ],
            "checkpoint": self.generator.name,
            "notice": markup.NOTICE,
        }

    def _stream(self, path: str | None, view: str, indication: str) -> Iterator[tuple[Picture, StudyReport]]:
        if not path:
            raise ValueError("No picture yet: choose a file or click an example first.")
        picture = read_picture(Path(path), view, self.generator.config.preprocessing)
        views, positions = [picture.image], [picture.view_position]
        for report in self.generator.stream(
            views, view_positions=positions, indication=indication, options=self.writing
        ):
            yield picture, report


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"error: {error}")
