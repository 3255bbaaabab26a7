"""The files of one study as a visitor brings them, pictures or a zip of them: files in, pictures out.

What lies in a zip is unpacked in memory, one file at a time, and never written to a disk; its paths serve as names
only.
"""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path, PurePosixPath

from data.images import MAX_FILE_BYTES, ImageRefused, read_bytes
from page.picture import Picture, read_picture
from vlm.preprocess import Preprocessing

MAX_VIEWS = 6
"""Pictures of one study; more are no study of the chest but a folder of many."""
MAX_ENTRIES = 200
"""Entries of the zip of one study, side files and folders included."""
_SIDE_FILES = ("thumbs.db", "desktop.ini", "dicomdir", "lockfile", "version")
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


def is_zip(content: bytes) -> bool:
    return content[:4] in (b"PK\x03\x04", b"PK\x05\x06")


def _unpacked(content: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of each picture in a zip."""
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_ENTRIES:
                raise ImageRefused(
                    f"{name}: holds {len(entries)} files; the zip of one study has {MAX_ENTRIES} at most"
                )
            entries = sorted((entry for entry in entries if not is_side_file(entry)), key=lambda entry: entry.filename)
            if not entries:
                raise ImageRefused(f"{name}: holds no file")
            if len(entries) > MAX_VIEWS:
                raise ImageRefused(f"{name}: holds {len(entries)} files, which {_TOO_MANY}")
            for entry in entries:
                yield read_entry(archive, entry, name=name)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
        raise ImageRefused(f"{name}: is a damaged zip, or one of a kind that is not read ({error})") from error


def is_side_file(entry: zipfile.ZipInfo) -> bool:
    """A folder, or what systems and DICOM discs put beside pictures."""
    path = PurePosixPath(entry.filename)
    return (
        entry.is_dir() or path.name.startswith(".") or path.parts[0] == "__MACOSX" or path.name.lower() in _SIDE_FILES
    )


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, *, name: str) -> tuple[str, bytes]:
    """Name (without folders) and content of one file of a zip, of at most MAX_FILE_BYTES unpacked.

    Raises:
        ImageRefused: it is encrypted, too large, or a zip itself; names the zip and the file.
        BadZipFile: it is damaged.
    """
    inner = PurePosixPath(entry.filename).name
    where = f"{inner} in {name}"
    if entry.flag_bits & 1:
        raise ImageRefused(f"{where}: is encrypted; unpack it and bring the pictures themselves")
    if entry.file_size > MAX_FILE_BYTES:
        raise ImageRefused(f"{where}: has {entry.file_size} bytes; the limit is {MAX_FILE_BYTES}")
    with archive.open(entry) as file:
        # What the zip says of its sizes need not be so.
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ImageRefused(f"{where}: has more than {MAX_FILE_BYTES} bytes unpacked")
    if is_zip(content):
        raise ImageRefused(f"{where}: is a zip within a zip; unpack it first")
    return inner, content
