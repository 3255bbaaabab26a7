"""Atomic writes: after a kill or on a full disk, a file or folder has its old content or its new content."""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PARTIAL = ".partial"
"""Suffix of unfinished files and folders; those that a killed process left can be deleted."""


def partial_path(path: Path) -> Path:
    """The path of an unfinished file or folder."""
    return path.with_name(path.name + PARTIAL)


def write_atomically(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Write a file atomically, text as UTF-8. `durable`: return only when it is on disk and not only in a cache."""
    with atomic_file(path) as partial, partial.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    if durable:
        folder = os.open(path.parent, os.O_RDONLY)  # the new name is on disk only with its folder
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_json(path: Path, value: Any, *, indent: int | None = 2) -> None:
    """Write a JSON file atomically; create its folder if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(value, indent=indent) + "\n")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to. It is renamed to `path` at the end, and deleted after an exception.

    A device or pipe, such as /dev/stdout, is written directly.
    """
    is_stream = path.is_char_device() or path.is_fifo()
    partial = path if is_stream else partial_path(path)
    try:
        yield partial
        if not is_stream:
            partial.replace(path)
    except BaseException as error:
        if not is_stream:
            with contextlib.suppress(OSError):  # the folder may be read-only
                partial.unlink(missing_ok=True)
        _name_the_path(error, path)
        raise


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to write to. It replaces `folder` at the end, and is deleted after an exception."""
    # A user may have a backup called `folder`.old, so the replaced folder has another name.
    partial, old = partial_path(folder), partial_path(folder.with_name(folder.name + ".old"))
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        _name_the_path(error, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _name_the_path(error: BaseException, path: Path) -> None:
    """Say which path could not be written: a write to a full disk does not, and safetensors has an error of its own."""
    if isinstance(error, OSError):
        error.filename = error.filename or str(path)
    elif found := re.search(r"\(os error (\d+)\)$", str(error)):
        number = int(found[1])
        raise OSError(number, os.strerror(number), str(path)) from error
