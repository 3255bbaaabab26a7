"""Files of a tar archive (gzipped or not), read once from front to back: nothing is unpacked, no path is followed.

An archive that ends early gives what was readable, then raises `ArchiveCutShort`.
"""

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SUFFIXES = (".tgz", ".tar.gz", ".tar")


class ArchiveCutShort(ValueError):  # noqa: N818 (it names what happened to the archive)
    """The rest of the archive cannot be read; the message says from where on, and what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A file of an archive: its path there, and its content, or the `fault` for which there is none."""

    name: str
    content: bytes = b""
    fault: str = ""


def read_members(archive: Path, *, wanted: Callable[[str], bool], max_bytes: int) -> Iterator[Member]:
    """Every regular file whose path is `wanted`, in the archive's order; one of more than `max_bytes` has a fault.

    Raises:
        ArchiveCutShort: the archive ends early or is damaged. The file that is cut has come out with a fault.
        ValueError: it cannot be opened, or is no such archive.
    """
    num_read, current = 0, ""
    try:
        with archive.open("rb") as file:
            is_gzip = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            stream = _Gunzipped(file) if is_gzip else file
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                while (member := tar.next()) is not None:
                    tar.members.clear()  # else it keeps a record of every member
                    if not member.isfile() or not wanted(member.name):
                        continue
                    current = member.name
                    if member.size > max_bytes:
                        yield Member(name=current, fault=f"has {member.size} bytes; the limit is {max_bytes}")
                    else:
                        yield Member(name=current, content=_content(tar, member))
                    num_read, current = num_read + 1, ""
    except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
        if current:
            yield Member(name=current, fault=f"is cut off where {archive.name} ends early")
        raise ArchiveCutShort(
            f"{archive.name} ends early or is damaged after {num_read} files ({error}); download it again"
        ) from error
    except OSError as error:
        raise ValueError(f"{archive} cannot be read ({error.strerror or error})") from error


class _Gunzipped:
    """A gzip stream that gives the last bytes before an early end, and only then raises EOFError: tarfile's own takes
    it for the end, and `GzipFile.read` raises before those bytes are out."""

    def __init__(self, file: BinaryIO):
        self._file = gzip.GzipFile(fileobj=file)

    def read(self, size: int) -> bytes:
        return self._file.read1(size)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    content = tar.extractfile(member).read()
    if len(content) != member.size:
        raise tarfile.ReadError("unexpected end of data")
    return content
