"""The web page: upload a chest X-ray, get its report, its findings, and heatmaps of where the model looked.

    python app.py
    python app.py --checkpoint DIR --port 7860 --host 127.0.0.1 --examples FOLDER_OF_IMAGES

Everything runs in this process, and nothing is fetched from outside. `page.api` says how other programs use it.
"""

import os
import re
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import torch
import tyro
from starlette.middleware import Middleware

from data.cli import run_main
from data.corrections.store import CorrectionStore
from data.images.isolated import start_worker
from page.accounts import LOGIN_NOTE, Accounts
from page.api import Api
from page.cards import layout
from page.examples import folder_examples, real_examples, synthetic_examples
from page.guard import LOCAL_HOSTS, Guard, GuardedBlocks
from page.study.read import DEFAULT_GENERATION, check_num_candidates
from page.study.record import NOT_A_DEVICE, model_identity
from page.study.zip_archive import MAX_ARCHIVE_BYTES
from page.tabs.study import StudyTab
from page.tabs.worklist import WorklistTab
from vlm.checkpoint.store import SHIPPED, fetch_checkpoint, model_line
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.operating_point import OperatingPoint
from vlm.precision import PrecisionChoice

UPLOAD_CHECK_SECONDS, UPLOAD_LIFETIME_SECONDS = 60, 7200
"""The files of a study are removed soon after they are read (page.uploads). All other uploads are removed after this
time, because a long worklist reads its files one after another."""
MAX_WAITING = 64
"""Maximum number of studies in the queue; later ones get the message that it is full."""
MAX_SESSIONS = 64
"""Maximum number of sessions in memory; the one that was idle longest is removed first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AppOptions:
    """Start the web page, which reads chest X-rays with a trained model."""

    checkpoint: str = SHIPPED
    """Checkpoint folder or hub id; the default is included in the project."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines connect, without a password unless --auth is given."""
    port: int = 7860
    """Port to listen on."""
    allowed_hosts: tuple[str, ...] = ()
    """Names in the page's address, such as xray.example.org, if it is not opened by localhost or an IP address."""
    root_path: str = ""
    """Path of the page behind a proxy, such as /cxrscribe (see README)."""
    examples: Path | None = None
    """Folder of images (DICOM too) to show next to the built-in examples."""
    auth: Path | None = None
    """File of names and hashed passwords, written by `python -m page.accounts`. Without it, no password is needed."""
    corrections: Path | None = None
    """Folder for corrected reports. Without it, corrections cannot be saved."""
    worklist_folder: Path | None = None
    """Folder of studies on this machine that every user may read as a worklist."""
    max_new_tokens: int = DEFAULT_GENERATION.max_new_tokens
    """Maximum length of a report, in tokens."""
    precision: PrecisionChoice = "fp32"
    """int8 is faster on a CPU, but about half of the reports differ in some words, and text scores fall slightly
    (docs/RESULTS.md). auto measures at the start which one is faster."""
    num_candidates: int = DEFAULT_GENERATION.num_candidates
    """If the first report has an error, write this many reports and keep the one with the fewest errors. 1 takes less
    time, but names a wrong side more often. Users can change it for one study."""
    operating_point: str = "f1"
    """Thresholds of the findings: f1, or a target on validation studies such as sensitivity=0.9 or specificity=0.9;
    users can change it for one study."""
    num_threads: int = 2
    """Maximum number of processor cores for the model."""

    def __post_init__(self):
        if self.num_threads < 1:
            raise ValueError(f"--num-threads is {self.num_threads}; give 1 or more")
        check_num_candidates(self.num_candidates)
        OperatingPoint.parse(self.operating_point)
        if not 0 < self.port < 65536:
            raise ValueError(f"--port {self.port} is not a port; give a number from 1 to 65535")
        if self.root_path and not re.fullmatch(r"(/[\w.~-]+)+", self.root_path):
            raise ValueError(f"--root-path {self.root_path} is not a path such as /cxrscribe")
        for host in self.allowed_hosts:
            if not re.fullmatch(r"[\w.-]+", host):
                raise ValueError(
                    f"--allowed-hosts {host} is not a name such as xray.example.org (no port, no https://)"
                )
        for flag, folder in (("examples", self.examples), ("worklist-folder", self.worklist_folder)):
            if folder is not None and not folder.is_dir():
                raise ValueError(f"--{flag} {folder} is not a folder; name a folder of images")


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options, load the model, and serve the page until it is stopped."""
    options = tyro.cli(AppOptions, args=argv, description=__doc__)
    print(model_line(options.checkpoint), flush=True)
    torch.set_num_threads(min(options.num_threads, torch.get_num_threads()))
    for _ in range(2):  # a file that blocks one process does not delay the next user
        start_worker()
    generator = ReportGenerator.from_pretrained(options.checkpoint, precision=options.precision)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up when a service manager stops it, too
    with tempfile.TemporaryDirectory(prefix="cxrscribe-") as folder:
        # By default, uploads would be readable by all users of the machine and stay there.
        os.environ["GRADIO_TEMP_DIR"] = folder
        page = build_app(generator, options, Path(folder))
        serve(page, options)
        if options.auth is None and options.host not in LOCAL_HOSTS:
            print(f"Anyone who can reach {options.host} can use the page; set a password with --auth FILE.", flush=True)
        print(f"cxrscribe runs at {page.local_url} (Ctrl+C stops it). {NOT_A_DEVICE}", flush=True)
        page.block_thread()


def serve(page: gr.Blocks, options: AppOptions) -> None:
    """Start the page and return. No user data is stored or sent.

    Raises:
        ValueError: the address cannot be used.
    """
    is_local = options.host in LOCAL_HOSTS
    hosts = {*LOCAL_HOSTS, options.host, *options.allowed_hosts}
    guard = Middleware(Guard, allowed_hosts=hosts, allows_addresses=not is_local, head=layout.head())
    try:
        page.queue(max_size=MAX_WAITING).launch(
            server_name=options.host,
            root_path=options.root_path,
            app_kwargs={"middleware": [guard]},
            server_port=options.port,
            theme=layout.theme(),
            head=layout.head(),
            max_file_size=MAX_ARCHIVE_BYTES,
            footer_links=["api", "settings"],
            state_session_capacity=MAX_SESSIONS,
            auth=Accounts(options.auth).check if options.auth is not None else None,
            auth_message=f"<strong>{NOT_A_DEVICE}</strong>{LOGIN_NOTE}",
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
    """The page. Examples are written to `example_folder`, which must exist as long as the page."""
    examples = real_examples(example_folder) + synthetic_examples(example_folder)
    if options.examples is not None:
        examples += folder_examples(options.examples, example_folder)
    generation = GenerationOptions(max_new_tokens=options.max_new_tokens, num_candidates=options.num_candidates)
    point = OperatingPoint.parse(options.operating_point)
    at_point = generator.at(point)
    model_identity(generator)  # takes a moment, so before the first user
    store = CorrectionStore(options.corrections) if options.corrections is not None else None

    with GuardedBlocks(
        title="cxrscribe",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(UPLOAD_CHECK_SECONDS, UPLOAD_LIFETIME_SECONDS),
    ) as page:
        card = layout.model_card(fetch_checkpoint(generator.name))
        header = layout.render("header", checkpoint=generator.name, model_card=card)
        gr.HTML(header, apply_default_css=False)
        Api(generator=at_point, generation=generation, store=store).connect()
        with gr.Tab("One study"):
            StudyTab(generator, generation, examples, store, point)
        with gr.Tab("Worklist"):
            WorklistTab(at_point, generation, folder=options.worklist_folder)
        gr.HTML(layout.render("footer"), apply_default_css=False)
    return page


if __name__ == "__main__":
    run_main(main)
