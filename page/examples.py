"""Images to click on (synthetic studies and a folder of the user's), and when uploaded files are removed."""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import ListFiles
from pydantic import model_validator

from data.images.pixels import ImageRejected, read_bytes
from data.synthetic.source import make_study
from page.study.upload import VIEW_CHOICES, read_upload

REMOVE_SECONDS = 300.0
"""Uploads with the same content share one file, so it must stay for other users who are still waiting."""
SYNTHETIC_SEED, NUM_SYNTHETIC = 20, 6
MAX_FOLDER_EXAMPLES = 24

logger = logging.getLogger(__name__)


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A PNG without metadata, and the inputs that are filled in when it is clicked."""

    path: Path
    caption: str
    view: str = "auto"
    indication: str = ""


def synthetic_examples(folder: Path) -> list[Example]:
    """NUM_SYNTHETIC fixed studies; their first views are written to `folder`."""
    examples = []
    for index in range(NUM_SYNTHETIC):
        study = make_study(SYNTHETIC_SEED, index)
        path = folder / f"synthetic-{index + 1}.png"
        study.images[0].save(path)
        inputs = {"view": _view_choice(study.view_positions[0]), "indication": study.indication}
        examples.append(Example(path=path, caption=f"synthetic {index + 1}", **inputs))
    return examples


def folder_examples(source: Path, folder: Path) -> list[Example]:
    """The first MAX_FOLDER_EXAMPLES readable images of `source`, copied to `folder`; the others are logged.

    They are copied as PNG, because every user gets them, and DICOM headers must stay private.
    """
    examples = []
    for path in sorted(path for path in source.iterdir() if not path.is_dir()):
        if len(examples) == MAX_FOLDER_EXAMPLES:
            break
        try:
            upload = read_upload(read_bytes(path, name=path.name), path.name)
        except ImageRejected as error:
            logger.warning("left out of the examples: %s", error)
            continue
        copy = folder / f"{path.name}.png"
        upload.image.save(copy)
        examples.append(Example(path=copy, caption=path.stem, view=_view_choice(upload.view_position)))
    return examples


def _view_choice(view_position: str) -> str:
    return next((view for view, position in VIEW_CHOICES.items() if position == view_position), "auto")
