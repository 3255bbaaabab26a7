"""Uploaded files: one or many, without needless copies, and removed some time after they are read."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
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
