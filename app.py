"""The web page: a chest X-ray in; out come its report as it is written, its findings, and where the model looked.

    python app.py
    python app.py --checkpoint DIR --port 7860 --host 127.0.0.1 --examples FOLDER_OF_IMAGES

All of it runs in this one process, and nothing is fetched from outside. From another program:

    from gradio_client import Client, handle_file
    page = Client("http://127.0.0.1:7860")
    print(page.predict([handle_file("front.dcm"), handle_file("side.dcm")], api_name="/read")["report"])
"""

import os
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import torch
import tyro

from data.cli import run_main
from data.corrections.store import CorrectionStore
from page.accounts import Accounts
from page.cards import layout as look
from page.cards import layout as markup
from page.cards.layout import model_card
from page.examples import OneOrMoreFiles, folder_examples, remove_later, synthetic_examples
from page.study.files import MAX_ARCHIVE_BYTES
from page.study.record import model_identity
from page.tabs.session import answer
from page.tabs.study import MODEL, Room
from page.tabs.worklist import WorklistTab
from vlm.checkpoint.store import SHIPPED, fetch_checkpoint, model_line
from vlm.generator import GenerationOptions, ReportGenerator

UPLOAD_CHECK_SECONDS, UPLOAD_LIFETIME_SECONDS = 60, 7200
"""A study's files are removed soon after they were read (page.examples); whatever else came, after this, for a long
worklist reads its files one by one."""
MAX_WAITING = 64
"""Studies in the queue; who comes later is told that it is full."""
MAX_VISITORS = 64
"""Whose study is remembered; of more, the one that was away longest is forgotten."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AppOptions:
    """The web page: reads chest X-rays with a trained model."""

    checkpoint: str = SHIPPED
    """Checkpoint folder (or hub id); by default the one that ships with the project."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in, and without --auth everybody on them."""
    port: int = 7860
    """Port to listen on."""
    examples: Path | None = None
    """Folder of images (DICOM too) to offer beside the synthetic examples."""
    auth: Path | None = None
    """File of people and hashed passwords, made by `python -m page.accounts`; none: nobody is asked who they are."""
    corrections: Path | None = None
    """Folder in which corrections of reports are kept; none: they cannot be saved."""
    worklist_folder: Path | None = None
    """Folder of studies on this machine that every visitor may have read as a worklist."""
    max_new_tokens: int = 160
    """Longest report, in tokens."""
    num_threads: int = 2
    """Most processor cores that the model uses."""

    def __post_init__(self):
        if not 0 < self.port < 65536:
            raise ValueError(f"--port {self.port} is no port; give one from 1 to 65535")
        if self.num_threads < 1:
            raise ValueError(f"--num-threads is {self.num_threads}; give 1 or more")
        for flag, folder in (("examples", self.examples), ("worklist-folder", self.worklist_folder)):
            if folder is not None and not folder.is_dir():
                raise ValueError(f"--{flag} {folder} is not a folder; name one that holds images")


def main(argv: Sequence[str] | None = None) -> None:
    """Parses, loads the model, serves until it is stopped."""
    options = tyro.cli(AppOptions, args=argv, description=__doc__)
    print(model_line(options.checkpoint), flush=True)
    torch.set_num_threads(min(options.num_threads, torch.get_num_threads()))
    generator = ReportGenerator.from_pretrained(options.checkpoint)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stopped by a service manager, it also cleans up
    with tempfile.TemporaryDirectory(prefix="cxrscribe-") as folder:
        # Else uploads would lie where all users of the machine can read them, and stay.
        os.environ["GRADIO_TEMP_DIR"] = folder
        page = build_app(generator, options, Path(folder))
        serve(page, options)
        if options.auth is None and options.host not in ("127.0.0.1", "localhost", "::1"):
            print(f"Whoever reaches {options.host} can use it; --auth FILE asks for a password.", flush=True)
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
            theme=look.theme(),
            head=look.head(),
            max_file_size=MAX_ARCHIVE_BYTES,
            footer_links=["api", "settings"],
            state_session_capacity=MAX_VISITORS,
            auth=Accounts(options.auth).admit if options.auth is not None else None,
            auth_message=f"<strong>{markup.NOTICE}</strong>",
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
    examples = synthetic_examples(example_folder)
    if options.examples is not None:
        examples += folder_examples(options.examples, example_folder)
    writing = GenerationOptions(max_new_tokens=options.max_new_tokens)
    model = model_identity(generator)
    store = CorrectionStore(options.corrections) if options.corrections is not None else None

    def read(files: list[str] | None, views: str, indication: str, write_anyway: bool) -> dict[str, Any]:
        """Reads one study: images (PNG, JPEG, WebP, TIFF, DICOM) or a zip of them. `views` names auto, PA, AP or
        lateral for all images, or, parted by commas, for each. A study that the model may not be able to read gets
        no report but its reasons in `doubts`, unless `write_anyway`."""
        try:
            return answer(files, views, indication, write_anyway, generator, model, writing)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error
        finally:
            remove_later(files or [])

    with gr.Blocks(
        title="cxrscribe",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(UPLOAD_CHECK_SECONDS, UPLOAD_LIFETIME_SECONDS),
    ) as page:
        gr.HTML(markup.header(generator.name, model_card(fetch_checkpoint(generator.name))), apply_default_css=False)
        # gr.api would take the path of any file on this machine; a File component takes uploads only. It comes first,
        # for a private event of the same name would take the name from it.
        files = gr.File(file_count="multiple", type="filepath", visible=False, label="files")
        files.data_model = OneOrMoreFiles
        inputs = [
            files,
            gr.Textbox("auto", visible=False, label="views"),
            gr.Textbox("", visible=False, label="indication"),
            gr.Checkbox(False, visible=False, label="write_anyway"),
        ]
        gr.Button(visible=False).click(read, inputs, gr.JSON(visible=False), api_name="read", **MODEL)
        with gr.Tab("One study"):
            Room(generator, model, writing, examples, store)
        with gr.Tab("Many at once"):
            WorklistTab(generator, model, writing, folder=options.worklist_folder)
        gr.HTML(markup.FOOTER, apply_default_css=False)
    return page


if __name__ == "__main__":
    run_main(main)
