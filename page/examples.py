"""Images to click on: a few synthetic studies, so that the page works without data, and a folder of the user's.

What visitors send: one file or several, and how long it stays on the server's disk.
"""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradio.data_classes import ListFiles
from pydantic import model_validator

from data.images.pixels import ImageRejected
from data.synthetic.source import make_study
from page.study.files import VIEW_CHOICES, read_upload

SECONDS = 300.0
"""Uploads of the same content share one file, so who comes while others wait must still find theirs."""


class OneOrMoreFiles(ListFiles):
    """A lone file from a program is a list of one; Gradio itself would reject it without a word."""

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value


def remove_later(files: Sequence[str | Path], seconds: float = SECONDS) -> None:
    """Removes files that were read, unless somebody sends the same again in the meantime."""
    timer = threading.Timer(seconds, _remove, [[Path(file) for file in files], seconds])
    timer.daemon = True
    timer.start()


def _remove(files: Sequence[Path], seconds: float) -> None:
    for file in files:
        # Whoever sent it again has a timer of their own.
        if file.exists() and time.time() - file.stat().st_ctime >= seconds:
            file.unlink(missing_ok=True)


SYNTHETIC_SEED, NUM_SYNTHETIC = 20, 6
MAX_FOLDER_EXAMPLES = 24

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A PNG without any metadata, with what is filled in when it is clicked."""

    path: Path
    caption: str
    view: str = "auto"
    indication: str = ""


def synthetic_examples(folder: Path) -> list[Example]:
    """The same NUM_SYNTHETIC studies each time, their first views written to `folder`."""
    examples = []
    for index in range(NUM_SYNTHETIC):
        study = make_study(SYNTHETIC_SEED, index)
        path = folder / f"synthetic-{index + 1}.png"
        study.images[0].save(path)
        examples.append(
            Example(
                path=path,
                caption=f"synthetic {index + 1}",
                view=_choice_for(study.view_positions[0]),
                indication=study.indication,
            )
        )
    return examples


def folder_examples(source: Path, folder: Path) -> list[Example]:
    """The first MAX_FOLDER_EXAMPLES images of `source` that can be read, copied to `folder`; the others are logged.

    Copies, because every visitor is handed them, and a DICOM header is for nobody.
    """
    examples = []
    for path in sorted(source.iterdir()):
        if len(examples) == MAX_FOLDER_EXAMPLES:
            break
        if path.is_dir():
            continue
        try:
            image = read_upload(path)
        except ImageRejected as error:
            logger.warning("left out of the examples: %s", error)
            continue
        copy = folder / f"{path.name}.png"
        image.image.save(copy)
        examples.append(Example(path=copy, caption=path.stem, view=_choice_for(image.view_position)))
    return examples


def _choice_for(view_position: str) -> str:
    return next((view for view, position in VIEW_CHOICES.items() if position == view_position), "auto")
