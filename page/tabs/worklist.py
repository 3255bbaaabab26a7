"""The tab for many studies: a zip, a folder or several files in; a worklist that fills as it is read, and its files.

    WorklistTab(generator, model, options, folder=None)        # inside a gr.Blocks

`folder` is one on the server that its visitors may have read; they can name no other. Only one worklist is read at a
time, beside the model's other visitors; each step ends with an answer, so that who stops or leaves frees the place.
"""

import base64
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr

from page.cards import layout as markup
from page.cards.worklist import EMPTY, worklist_csv, worklist_html, worklist_jsonl
from page.study.files import MAX_VIEWS
from page.study.record import ModelIdentity
from page.study.worklist import MAX_FILES, READ, REJECTED, WorklistRow, most_likely_first, read_worklist
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.schema.findings import FINDINGS

ANY_FINDING = "Any finding"
SHOW_EVERY_SECONDS = 2.0
FORGOTTEN_SECONDS = 3600
RULES = (
    f'<p class="soft">Bring a zip, a folder, or several files, {MAX_FILES:,} at most. DICOM files of one study '
    "(StudyInstanceUID) are read together. In a zip, the other images of one sub-folder are a study if they are no "
    f"more than {MAX_VIEWS}; the folder that everything lies in does not count. All else is a study each. What cannot "
    "be read is a row with its reason. The list is sorted by the probability of the most probable finding "
    "(Support Devices not counted); file names are kept in it and in its files.</p>"
)
ALONE = {"concurrency_id": "worklist", "concurrency_limit": 1}


class WorklistTab:
    """Layout and events."""

    def __init__(
        self, generator: ReportGenerator, model: ModelIdentity, options: GenerationOptions, folder: Path | None = None
    ):
        self.generator, self.model, self.options, self.folder = generator, model, options, folder
        self.rows = gr.State((), time_to_live=FORGOTTEN_SECONDS)
        gr.HTML(RULES, apply_default_css=False)
        with gr.Row():
            with gr.Column(min_width=270):
                upload = gr.File(label="A zip, or several X-rays", file_count="multiple", type="filepath", height=130)
                choose = gr.UploadButton("Choose a folder", file_count="directory", size="sm")
            with gr.Column(min_width=270):
                anyway = gr.Checkbox(False, label="Write reports also where there are doubts")
                with gr.Row():
                    read = gr.Button("Read them all", variant="primary")
                    stop = gr.Button("Stop")
                read_folder = gr.Button("Read the server's folder", visible=folder is not None)
                self.sort_by = gr.Dropdown([ANY_FINDING, *FINDINGS], value=ANY_FINDING, label="Sort by")
        self.progress = gr.HTML(apply_default_css=False, elem_id="worklist-progress")
        self.table = gr.HTML(EMPTY, apply_default_css=False, elem_id="worklist")
        with gr.Row(elem_classes="formats"):
            exports = {"csv": gr.Button("CSV", size="sm"), "jsonl": gr.Button("JSON lines", size="sm")}
        file, self.taken = gr.JSON(visible=False), gr.HTML(apply_default_css=False)

        private = {"api_visibility": "private"}
        shown = [self.rows, self.progress, self.table, self.taken]
        running = {"show_progress": "hidden", **private, **ALONE}
        choose.upload(lambda files: files, choose, upload, **private)
        started = [
            read.click(self.read, [upload, anyway, self.sort_by], shown, **running),
            read_folder.click(self.read_folder, [anyway, self.sort_by], shown, **running),
        ]
        stop.click(self.stopped, self.rows, self.progress, cancels=started, **private)
        self.sort_by.change(self.sort, [self.rows, self.sort_by], self.table, show_progress="hidden", **private)
        for name, button in exports.items():
            made = button.click(
                lambda rows, sort_by, name=name: self.export(rows, sort_by, name),
                [self.rows, self.sort_by],
                [file, self.taken],
                **private,
            )
            made.then(None, file, None, js="(file) => takeAway(file)", **private)

    def read(self, files: list[str] | None, write_anyway: bool, sort_by: str) -> Iterator[dict[Any, Any]]:
        """Reads what was uploaded."""
        with _held([Path(file) for file in files or ()]) as sources:
            yield from self._read(sources, write_anyway, sort_by)

    def read_folder(self, write_anyway: bool, sort_by: str) -> Iterator[dict[Any, Any]]:
        """Reads the one folder that the server was started with."""
        yield from self._read([self.folder] if self.folder is not None else [], write_anyway, sort_by)

    def sort(self, rows: Sequence[WorklistRow], sort_by: str) -> str:
        return worklist_html(most_likely_first(rows, _finding(sort_by)), finding=_finding(sort_by))

    def stopped(self, rows: Sequence[WorklistRow]) -> str:
        return markup.saved(f"Stopped. {_counts(rows)}") if rows else ""

    def export(self, rows: Sequence[WorklistRow], sort_by: str, format: str) -> tuple[dict[str, str] | None, str]:
        """The file for take_away.js, or a word on why there is none."""
        if not rows:
            return None, markup.saved("There is no worklist yet: have one read first.", is_rejected=True)
        write, kind = {"csv": (worklist_csv, "text/csv"), "jsonl": (worklist_jsonl, "application/x-ndjson")}[format]
        content = write(most_likely_first(rows, _finding(sort_by)), model=f"{self.model.name} [{self.model.hash}]")
        name = f"worklist_{time.strftime('%Y%m%dT%H%M%S')}.{format}"
        encoded = base64.b64encode(content.encode()).decode()
        return {"name": name, "kind": kind, "content": encoded}, markup.saved(f"{name} is in your downloads.")

    def _read(self, sources: list[Path], write_anyway: bool, sort_by: str) -> Iterator[dict[Any, Any]]:
        """Says how far it is after every study; the table follows every few seconds, for it grows."""
        rows: list[WorklistRow] = []
        start = shown_at = time.monotonic()
        try:
            for step in read_worklist(self.generator, sources, options=self.options, write_anyway=write_anyway):
                if step.row is not None:
                    rows.append(step.row)
                now = time.monotonic()
                told = {self.progress: _progress(step.num_done, step.num_studies, now - start)}
                if now - shown_at >= SHOW_EVERY_SECONDS or len(rows) == 1:
                    told |= {self.rows: tuple(rows), self.table: self.sort(rows, sort_by), self.taken: ""}
                    shown_at = now
                yield told
        except ValueError as error:
            yield {self.progress: markup.saved(str(error), is_rejected=True), self.rows: tuple(rows)}
            return
        yield {
            self.rows: tuple(rows),
            self.progress: markup.saved(_counts(rows)),
            self.table: self.sort(rows, sort_by),
            self.taken: "",
        }


@contextmanager
def _held(uploads: Sequence[Path]) -> Iterator[list[Path]]:
    """The same files for as long as they are read: uploads are removed some minutes after they came."""
    with TemporaryDirectory(prefix="cxrscribe-worklist-") as folder:
        places = [Path(folder) / str(number) / path.name for number, path in enumerate(uploads)]
        for path, place in zip(uploads, places, strict=True):
            place.parent.mkdir()
            with suppress(FileNotFoundError):  # then it is told when its turn comes
                try:
                    place.hardlink_to(path)
                except OSError:
                    shutil.copyfile(path, place)
        yield places


def _finding(sort_by: str) -> str:
    return "" if sort_by == ANY_FINDING else sort_by


def _counts(rows: Sequence[WorklistRow]) -> str:
    num_read = sum(row.state == READ for row in rows)
    num_rejected = sum(row.state == REJECTED for row in rows)
    told = [f"{num_read} read"]
    if num_doubted := len(rows) - num_read - num_rejected:
        told.append(f"{num_doubted} without a report because of doubts")
    if num_rejected:
        told.append(f"{num_rejected} could not be read")
    return ", ".join(told) + "."


def _progress(num_done: int, num_studies: int, seconds: float) -> str:
    left = ""
    if num_done:
        left = f", about {_duration(seconds / num_done * (num_studies - num_done))} left"
    return (
        f'<p class="soft" role="status"><progress aria-label="Studies read" value="{num_done}" '
        f'max="{max(1, num_studies)}"></progress> {num_done} of {num_studies} studies{left}</p>'
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
