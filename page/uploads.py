"""Uploaded files: one or many, without needless copies, and removed some time after they are read."""

import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr
from gradio.data_classes import ListFiles
from pydantic import model_validator

REMOVE_SECONDS = 300.0
"""Uploads with the same content share one file, so it must stay for other users who are still waiting."""


class OneOrMoreFiles(ListFiles):
    """Also accepts a single file from a program; Gradio itself rejects it without a message."""

    @model_validator(mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value


def without_copies(upload: gr.File | gr.UploadButton) -> gr.File | gr.UploadButton:
    """Gradio would write an empty temporary file for each uploaded one, and never delete it."""
    upload._process_single_file = lambda file: file.path
    return upload


@contextmanager
def kept_uploads(uploads: Sequence[Path]) -> Iterator[list[Path]]:
    """Keep the uploads until they are read: the originals are removed a few minutes after their upload."""
    with TemporaryDirectory(prefix="cxrscribe-worklist-") as folder:
        kept = [Path(folder) / str(number) / path.name for number, path in enumerate(uploads)]
        for path, copy in zip(uploads, kept, strict=True):
            copy.parent.mkdir()
            with suppress(FileNotFoundError):  # reported when its turn comes
                try:
                    copy.hardlink_to(path)
                except OSError:
                    shutil.copyfile(path, copy)
        yield kept


def remove_later(files: Sequence[str | Path], seconds: float = REMOVE_SECONDS) -> None:
    """Remove files after a delay, unless someone uploads the same content again in the meantime."""
    timer = threading.Timer(seconds, _remove, [[Path(file) for file in files], seconds])
    timer.daemon = True
    timer.start()


def _remove(files: Sequence[Path], seconds: float) -> None:
    for file in files:
        # A newer upload of the same content has its own timer.
        if file.exists() and time.time() - file.stat().st_ctime >= seconds:
            file.unlink(missing_ok=True)
