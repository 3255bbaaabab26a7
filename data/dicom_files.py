"""The files of a DICOM archive: a folder tree in, each file with its number out, links and what cannot be opened as
faults. Names and suffixes mean nothing; they are only sorted by.

The number is how a file is spoken of: paths of archives often hold names of patients.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER_LINK = "is a link to a folder, which is not followed; name that folder as --root of a run of its own"


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundFile:
    """`path` starts below the root; `fault` says why the file cannot be used."""

    number: int
    path: str
    fault: str = ""


def file_label(number: int) -> str:
    return f"file-{number:07d}"


def find_files(root: Path) -> Iterator[FoundFile]:
    """Every file below `root` in the order of paths. Hidden files and folders are left out."""
    root = root.resolve()
    for number, (path, fault) in enumerate(_walk(root), start=1):
        yield FoundFile(number=number, path=str(path.relative_to(root)), fault=fault)


def _walk(root: Path) -> Iterator[tuple[Path, str]]:
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as found:
                entries = sorted(
                    (entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name
                )
        except OSError as error:
            yield folder, f"is a folder that cannot be opened ({error.strerror})"
            continue
        folders = []
        for entry in entries:
            path = folder / entry.name
            if entry.is_symlink():
                yield path, _link_fault(path, root)
            elif entry.is_dir():
                folders.append(path)
            else:
                yield path, "" if entry.is_file() else "is no regular file"
        waiting += reversed(folders)


def _link_fault(path: Path, root: Path) -> str:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return "is a link that leads nowhere, or in a circle"
    if target.is_dir():
        return FOLDER_LINK
    if not target.is_relative_to(root):
        return "is a link that leaves the archive, which is not followed; copy the file into the archive"
    return "" if target.is_file() else "is no regular file"
