"""What visitors send: one file or several, and how long it stays on the server's disk."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gradio.data_classes import ListFiles
from pydantic import model_validator

SECONDS = 300.0
"""Uploads of the same content share one file, so who comes while others wait must still find theirs."""


class OneOrMoreFiles(ListFiles):
    """A lone file from a program is a list of one; Gradio itself would refuse it without a word."""

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
