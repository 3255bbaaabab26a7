"""Zips that visitors bring: a file in, its entries out, each read when asked for.

What a zip says of itself is never believed: neither how many files it holds, nor how large they are. Nothing is
unpacked to a disk, and paths inside serve as names only.
"""

import struct
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import BinaryIO

from data.images.pixels import MAX_FILE_BYTES, ImageRefused

MAX_ARCHIVE_BYTES = 2**30
_END, _END_64, _END_BYTES, _MAX_COMMENT = b"PK\x05\x06", b"PK\x06\x07", 22, 65535
_LOCATOR_64_BYTES = 20
_DIRECTORY_BYTES_OF_A_FILE = 1024
"""Names of this length on average are still believed."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Others are rare, and LZMA may ask for 4 GB."""
_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, OverflowError, RuntimeError)
_SIDE_FILES = ("thumbs.db", "desktop.ini", "dicomdir", "lockfile", "version")


def is_zip(content: bytes) -> bool:
    return content[:4] in (b"PK\x03\x04", _END)


def open_zip(file: BinaryIO, *, name: str, max_files: int, too_many: str) -> zipfile.ZipFile:
    """The zip, once its directory is known to be small enough to be held in memory. `name` and `too_many` ("more than
    …") are what messages say of it.

    Raises:
        ImageRefused: it is damaged, too large, or holds more than `max_files`, side files and folders included.
    """
    _check_directory(file, name=name, max_files=max_files, too_many=too_many)
    try:
        archive = zipfile.ZipFile(file)
    except _DAMAGED as error:
        raise ImageRefused(f"{name}: is a damaged zip, or one of a kind that is not read ({error})") from error
    if len(archive.infolist()) > max_files:
        archive.close()
        raise ImageRefused(f"{name}: holds {too_many}")
    return archive


def entries_of(archive: zipfile.ZipFile, *, name: str) -> list[zipfile.ZipInfo]:
    """The files by name, without those that systems and DICOM discs put beside pictures.

    Raises:
        ImageRefused: there are none.
    """
    entries = sorted((entry for entry in archive.infolist() if not _is_side_file(entry)), key=lambda e: e.filename)
    if not entries:
        raise ImageRefused(f"{name}: holds no file")
    return entries


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, *, name: str) -> bytes:
    """Content of one file of a zip, of at most MAX_FILE_BYTES unpacked.

    Raises:
        ImageRefused: it is encrypted, damaged, too large, or a zip itself; names the zip and the file.
    """
    where = f"{PurePosixPath(entry.filename).name} in {name}"
    if entry.file_size > MAX_FILE_BYTES:
        raise ImageRefused(f"{where}: has {entry.file_size} bytes; the limit is {MAX_FILE_BYTES}")
    # What the zip says of its sizes need not be so.
    content = head_of_entry(archive, entry, MAX_FILE_BYTES + 1, name=name)
    if len(content) > MAX_FILE_BYTES:
        raise ImageRefused(f"{where}: has more than {MAX_FILE_BYTES} bytes unpacked")
    if is_zip(content):
        raise ImageRefused(f"{where}: is a zip within a zip; unpack it first")
    return content


def head_of_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, num_bytes: int, *, name: str) -> bytes:
    """The first bytes of one file of a zip.

    Raises:
        ImageRefused: it is encrypted or damaged; names the zip and the file.
    """
    where = f"{PurePosixPath(entry.filename).name} in {name}"
    if entry.flag_bits & 1:
        raise ImageRefused(f"{where}: is encrypted; unpack it and bring the pictures themselves")
    if entry.compress_type not in _METHODS:
        raise ImageRefused(f"{where}: is packed by an unusual method; unpack it and bring the pictures themselves")
    try:
        with archive.open(entry) as file:
            return file.read(num_bytes)
    except _DAMAGED as error:
        raise ImageRefused(f"{where}: is damaged within its zip ({error}); fetch or export it again") from error


def _is_side_file(entry: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(entry.filename)
    return (
        not path.name
        or entry.is_dir()
        or path.name.startswith(".")
        or path.parts[0] == "__MACOSX"
        or path.name.lower() in _SIDE_FILES
    )


def _check_directory(file: BinaryIO, *, name: str, max_files: int, too_many: str) -> None:
    """Before Python's zipfile holds the whole directory of a zip in memory: it must be of a size that can be true."""
    size = file.seek(0, 2)
    if size > MAX_ARCHIVE_BYTES:
        raise ImageRefused(f"{name}: has {size} bytes; the limit is {MAX_ARCHIVE_BYTES}")
    file.seek(max(0, size - _MAX_COMMENT - _END_BYTES - _LOCATOR_64_BYTES))
    tail = file.read()
    end = tail.rfind(_END)
    if end < 0 or end + _END_BYTES > len(tail):
        raise ImageRefused(f"{name}: is a damaged zip: its end is missing; fetch or export it again")
    num_files, directory_bytes = struct.unpack_from("<HL", tail, end + 10)
    # A second directory, for more than 65,535 files, would be believed instead.
    has_second = _END_64 in tail[max(0, end - _LOCATOR_64_BYTES) : end]
    if num_files > max_files or directory_bytes > max_files * _DIRECTORY_BYTES_OF_A_FILE or has_second:
        raise ImageRefused(f"{name}: holds {too_many}")
    file.seek(0)
