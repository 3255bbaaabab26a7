"""The files of one study as a visitor brings them, pictures or a zip of them: files in, pictures out.

What lies in a zip is unpacked in memory, one file at a time, and never written to a disk; its paths serve as names
only.
"""

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path, PurePosixPath

from data.images.pixels import ImageRefused, read_bytes
from page.picture import Picture, read_picture
from page.zip_archive import entries_of, is_zip, open_zip, read_entry
from vlm.schema.preprocessing import Preprocessing

MAX_VIEWS = 6
"""Pictures of one study; more are no study of the chest but a folder of many."""
MAX_ENTRIES = 200
"""Entries of the zip of one study, side files and folders included."""
_TOO_MANY = f"are more pictures than the {MAX_VIEWS} that one study may have; bring one study at a time"


def read_study_files(files: Sequence[Path], preprocessing: Preprocessing | None = None) -> list[Picture]:
    """The pictures of a study in the order given, those of a zip in the order of their names.

    Raises:
        ImageRefused: a file cannot be used, or there are too many; names it and the reason.
        ValueError: no file is given.
    """
    if not files:
        raise ValueError("No picture yet: choose a file or click an example first.")
    pictures = []
    for path in files:
        content = read_bytes(path, name=path.name)
        parts = _unpacked(content, path.name) if is_zip(content) else [(path.name, content)]
        for name, part in parts:
            if len(pictures) == MAX_VIEWS:
                raise ImageRefused(f"{path.name}: with it there {_TOO_MANY}")
            pictures.append(read_picture(part, "auto", preprocessing, name=name))
    return pictures


def _unpacked(content: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of each picture in a zip."""
    too_many = f"more than the {MAX_ENTRIES} files that the zip of one study may have; bring the pictures alone"
    with open_zip(BytesIO(content), name=name, max_files=MAX_ENTRIES, too_many=too_many) as archive:
        entries = entries_of(archive, name=name)
        if len(entries) > MAX_VIEWS:
            raise ImageRefused(f"{name}: holds {len(entries)} files, which {_TOO_MANY}")
        for entry in entries:
            yield PurePosixPath(entry.filename).name, read_entry(archive, entry, name=name)
