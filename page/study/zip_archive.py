"""Read zip archives from users safely: open one, list its files, read them one at a time.

The sizes and file counts that a zip declares are not trusted. Nothing is extracted to disk, and paths inside the zip
are only used as names.
"""

import struct
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import BinaryIO

from data.images.pixels import MAX_FILE_BYTES, ImageRejected

MAX_ARCHIVE_BYTES = 2**30
MAX_UNPACKED_BYTES = 4 * 2**30
MAX_RATIO, RATIO_COUNTS_ABOVE = 50, 2**28
"""Unpacked bytes per byte of the zip; radiographs reach 5. Small zips of blank images may have more."""
_END, _END_64, _END_BYTES, _MAX_COMMENT = b"PK\x05\x06", b"PK\x06\x07", 22, 65535
_LOCATOR_64_BYTES, _LOCAL_HEADER_BYTES = 20, 30
_DIRECTORY_BYTES_PER_FILE = 1024
"""Average directory bytes per file that are accepted; more cannot be names only."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Other methods are rare, and LZMA can request 4 GB of memory."""
_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, OverflowError, RuntimeError)
_SIDE_FILES = ("thumbs.db", "desktop.ini", "dicomdir", "lockfile", "version")


def is_zip(content: bytes) -> bool:
    return content[:4] in (b"PK\x03\x04", _END)


def open_zip(file: BinaryIO, *, name: str, max_files: int, too_many: str) -> zipfile.ZipFile:
    """Open a zip after checking that its directory fits in memory.

    `name` (of the zip) and `too_many` ("more than …") are used in error messages.

    Raises:
        ImageRejected: it is damaged, too large, or has more than `max_files` entries (folders and side files count).
    """
    _check_directory(file, name=name, max_files=max_files, too_many=too_many)
    try:
        archive = zipfile.ZipFile(file)
    except _DAMAGED as error:
        raise ImageRejected(f"{name}: is a damaged or unsupported zip ({error})") from error
    try:
        if len(archive.infolist()) > max_files:
            raise ImageRejected(f"{name}: holds {too_many}")
        _check_entries(archive.infolist(), num_bytes=file.seek(0, 2), name=name)
    except ImageRejected:
        archive.close()
        raise
    return archive


def zip_entries(archive: zipfile.ZipFile, *, name: str) -> list[zipfile.ZipInfo]:
    """The files sorted by name, without side files of operating systems and DICOM discs.

    Raises:
        ImageRejected: no file is left.
    """
    files = (entry for entry in archive.infolist() if PurePosixPath(entry.filename).name and not entry.is_dir())
    entries = sorted((entry for entry in files if not is_side_file(entry.filename)), key=lambda entry: entry.filename)
    if not entries:
        raise ImageRejected(f"{name}: holds no file")
    return entries


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, *, name: str) -> bytes:
    """Content of one file, at most MAX_FILE_BYTES after decompression.

    Raises:
        ImageRejected: it is encrypted, damaged, too large, or itself a zip; names the zip and the file.
    """
    where = f"{PurePosixPath(entry.filename).name} in {name}"
    if entry.file_size > MAX_FILE_BYTES:
        raise ImageRejected(f"{where}: has {entry.file_size} bytes; the limit is {MAX_FILE_BYTES}")
    # The declared size may be false, so the bytes are counted again.
    content = read_entry_head(archive, entry, MAX_FILE_BYTES + 1, name=name)
    if len(content) > MAX_FILE_BYTES:
        raise ImageRejected(f"{where}: has more than {MAX_FILE_BYTES} bytes after decompression")
    if is_zip(content):
        raise ImageRejected(f"{where}: is a zip within a zip; unpack it first")
    return content


def read_entry_head(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, num_bytes: int, *, name: str) -> bytes:
    """The first bytes of one file.

    Raises:
        ImageRejected: it is encrypted or damaged; names the zip and the file.
    """
    where = f"{PurePosixPath(entry.filename).name} in {name}"
    if entry.flag_bits & 1:
        raise ImageRejected(f"{where}: is encrypted; unpack it and upload the images themselves")
    if entry.compress_type not in _METHODS:
        raise ImageRejected(
            f"{where}: uses an unsupported compression method; unpack it and upload the images themselves"
        )
    try:
        with archive.open(entry) as file:
            return file.read(num_bytes)
    except _DAMAGED as error:
        raise ImageRejected(f"{where}: is damaged inside its zip ({error}); fetch or export it again") from error


def is_side_file(name: str) -> bool:
    """Whether the path is one of the files that operating systems and DICOM discs add."""
    path = PurePosixPath(name)
    return path.name.startswith(".") or path.parts[:1] == ("__MACOSX",) or path.name.lower() in _SIDE_FILES


def _check_entries(entries: list[zipfile.ZipInfo], *, num_bytes: int, name: str) -> None:
    """Raises ImageRejected for a zip that unpacks to far more than its own size. zipfile unpacks no more of a file than
    its declared size, so the sum of these is a limit."""
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise ImageRejected(f"{name}: its files overlap inside the zip, so it is damaged; zip them again")
        end = entry.header_offset + _LOCAL_HEADER_BYTES + len(entry.orig_filename) + entry.compress_size
    unpacked = sum(entry.file_size for entry in entries)
    ratio_limit = max(RATIO_COUNTS_ABOVE, MAX_RATIO * num_bytes)
    if unpacked > min(MAX_UNPACKED_BYTES, ratio_limit):
        raise ImageRejected(
            f"{name}: has {num_bytes} bytes and unpacks to {unpacked}; the limit is "
            f"{min(MAX_UNPACKED_BYTES, ratio_limit)}; upload the images in several zips"
        )


def _check_directory(file: BinaryIO, *, name: str, max_files: int, too_many: str) -> None:
    """Check the declared directory size, because zipfile loads the whole directory into memory."""
    size = file.seek(0, 2)
    if size > MAX_ARCHIVE_BYTES:
        raise ImageRejected(f"{name}: has {size} bytes; the limit is {MAX_ARCHIVE_BYTES}")
    file.seek(max(0, size - _MAX_COMMENT - _END_BYTES - _LOCATOR_64_BYTES))
    tail = file.read()
    end = tail.rfind(_END)
    if end < 0 or end + _END_BYTES > len(tail):
        raise ImageRejected(f"{name}: is a damaged zip: its end is missing; fetch or export it again")
    num_files, directory_bytes = struct.unpack_from("<HL", tail, end + 10)
    # zipfile would use a second directory (for more than 65,535 files) instead of this one.
    has_second = _END_64 in tail[max(0, end - _LOCATOR_64_BYTES) : end]
    if num_files > max_files or directory_bytes > max_files * _DIRECTORY_BYTES_PER_FILE or has_second:
        raise ImageRejected(f"{name}: holds {too_many}")
    file.seek(0)
