"""The tab for many studies: a zip, a folder or several files in; a worklist that grows while it is read.

    WorklistTab(generator, options, folder=None)        # inside a gr.Blocks

`folder` is a folder on the server that users may read as a worklist; they cannot name another one. Only one worklist is
read at a time. Each step ends with an answer, so a user who stops or leaves frees the place.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from page.api import ONE_WORKLIST
from page.cards import layout
from page.cards.worklist import worklist_html
from page.export.formats import ExportedFile
from page.export.table import worklist_csv, worklist_jsonl
from page.study.row import BLOCKED, READ, REJECTED, StudyRow
from page.study.sources import MAX_FILES
from page.study.upload import MAX_VIEWS
from page.study.worklist import ReadOptions, read_worklist, sort_by_probability
from page.tabs.actions import DOWNLOAD_SCRIPT, PRIVATE, download
from page.uploads import kept_uploads, without_copies
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.schema.findings import FINDINGS

ANY_FINDING = "Any finding"
SHOW_EVERY_SECONDS = 2.0
WORKLIST_SECONDS = 3600
"""A worklist is forgotten this long after its last change."""
_FORMATS = {"csv": (worklist_csv, "text/csv"), "jsonl": (worklist_jsonl, "application/x-ndjson")}


class WorklistTab:
    """Layout and events."""

    def __init__(self, generator: ReportGenerator, options: GenerationOptions, folder: Path | None = None):
        self.generator, self.options, self.folder = generator, options, folder
        self.rows = gr.State((), time_to_live=WORKLIST_SECONDS)
        help_text = layout.render("worklist_help", max_files=MAX_FILES, max_views=MAX_VIEWS)
        gr.HTML(help_text, apply_default_css=False)
        with gr.Row():
            with gr.Column(min_width=270):
                upload = gr.File(label="A zip, or several X-rays", file_count="multiple", type="filepath", height=130)
                choose = gr.UploadButton("Choose a folder", file_count="directory", size="sm")
            with gr.Column(min_width=270):
                anyway = gr.Checkbox(False, label="Write reports for studies with image warnings, too")
                with gr.Row():
                    read = gr.Button("Read all studies", variant="primary")
                    stop = gr.Button("Stop")
                read_folder = gr.Button("Read the server's folder", visible=folder is not None)
                self.sort_by = gr.Dropdown([ANY_FINDING, *FINDINGS], value=ANY_FINDING, label="Sort by")
        for one in (upload, choose):
            without_copies(one)
        self.progress = gr.HTML(apply_default_css=False, elem_id="worklist-progress")
        self.table = gr.HTML(worklist_html(()), apply_default_css=False, elem_id="worklist")
        with gr.Row(elem_classes="formats"):
            buttons = {"csv": gr.Button("CSV", size="sm"), "jsonl": gr.Button("JSON lines", size="sm")}
        file, self.exported = gr.JSON(visible=False), gr.HTML(apply_default_css=False)

        shown = [self.rows, self.progress, self.table, self.exported]
        running = {"show_progress": "hidden", **PRIVATE, **ONE_WORKLIST}
        choose.upload(lambda files: files, choose, upload, **PRIVATE)
        started = [
            read.click(self.read, [upload, anyway, self.sort_by], shown, **running),
            read_folder.click(self.read_folder, [anyway, self.sort_by], shown, **running),
        ]
        stop.click(self.stopped, self.rows, self.progress, cancels=started, **PRIVATE)
        self.sort_by.change(self.sort, [self.rows, self.sort_by], self.table, show_progress="hidden", **PRIVATE)
        for name, button in buttons.items():
            exporting = button.click(
                partial(self.export, name), [self.rows, self.sort_by], [file, self.exported], **PRIVATE
            )
            exporting.then(None, file, None, js=DOWNLOAD_SCRIPT, **PRIVATE)

    def read(self, files: list[str] | None, write_anyway: bool, sort_by: str) -> Iterator[dict[Any, Any]]:
        """Read the uploaded files."""
        with kept_uploads([Path(file) for file in files or ()]) as sources:
            yield from self._read(sources, write_anyway, sort_by)

    def read_folder(self, write_anyway: bool, sort_by: str) -> Iterator[dict[Any, Any]]:
        """Read the folder that the server was started with."""
        yield from self._read([self.folder] if self.folder is not None else [], write_anyway, sort_by)

    def sort(self, rows: Sequence[StudyRow], sort_by: str) -> str:
        return worklist_html(sort_by_probability(rows, _finding(sort_by)), finding=_finding(sort_by))

    def stopped(self, rows: Sequence[StudyRow]) -> str:
        return layout.message(f"Stopped. {_counts(rows)}") if rows else ""

    def export(self, format: str, rows: Sequence[StudyRow], sort_by: str) -> tuple[dict[str, str] | None, str]:
        """The file for download.js, or the reason why there is none."""
        if not rows:
            return None, layout.message("There is no worklist yet: read one first.", is_error=True)
        write, media_type = _FORMATS[format]
        content = write(sort_by_probability(rows, _finding(sort_by)))
        name = f"worklist_{time.strftime('%Y%m%dT%H%M%S')}.{format}"
        return download(ExportedFile(name=name, content=content.encode(), media_type=media_type))

    def _read(self, sources: list[Path], write_anyway: bool, sort_by: str) -> Iterator[dict[Any, Any]]:
        """Show the progress after every study, and the growing table every few seconds."""
        rows: list[StudyRow] = []
        options = ReadOptions(generation=self.options, write_anyway=write_anyway, include_identity=True)
        start = shown_at = time.monotonic()
        try:
            for row, num_done, num_studies in read_worklist(self.generator, sources, options):
                if row is not None:
                    rows.append(row)
                now = time.monotonic()
                changes = {self.progress: _progress(num_done, num_studies, now - start)}
                if now - shown_at >= SHOW_EVERY_SECONDS or len(rows) == 1:
                    changes |= self._table(rows, sort_by)
                    shown_at = now
                yield changes
        except ValueError as error:
            yield {self.progress: layout.message(str(error), is_error=True), self.rows: tuple(rows)}
            return
        yield {self.progress: layout.message(_counts(rows)), **self._table(rows, sort_by)}

    def _table(self, rows: Sequence[StudyRow], sort_by: str) -> dict[Any, Any]:
        return {self.rows: tuple(rows), self.table: self.sort(rows, sort_by), self.exported: ""}


def _finding(sort_by: str) -> str:
    return "" if sort_by == ANY_FINDING else sort_by


def _counts(rows: Sequence[StudyRow]) -> str:
    counts = Counter(row.state for row in rows)
    words = {BLOCKED: "without a report because of image warnings", REJECTED: "could not be read"}
    others = [f"{counts[state]} {text}" for state, text in words.items() if counts[state]]
    return ", ".join([f"{counts[READ]} read", *others]) + "."


def _progress(num_done: int, num_studies: int, seconds: float) -> str:
    text = f"{num_done} of {num_studies} studies"
    if num_done:
        left = seconds / num_done * (num_studies - num_done)
        text += f", about {left:.0f} s left" if left < 90 else f", about {left / 60:.0f} min left"
    return layout.render("progress", label="Studies read", text=text, num_done=num_done, num_total=num_studies)
