"""Images of Open-i: loose files under any of their published names, or members of tar archives, unpacked on demand.

One image has several names: `CXR1_1_IM-0001-3001.png` (NLM's PNG archive), `1_IM-0001-3001.dcm` (NLM's DICOM archive),
`1_IM-0001-3001.dcm.png` (Kaggle). `image_key` returns the same key for all of them.

A tar archive (gzipped or not) is read once, from start to end, and the paths in it are never used as paths on disk.
"""

import gzip
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from data.images.pixels import MAX_FILE_BYTES
from vlm.schema.atomic import write_atomically

SUFFIXES = (".tgz", ".tar.gz", ".tar")
_NAME = re.compile(r"(?:CXR)?(\d{1,6})(?:_\d+)?_(IM-\d[\d-]*?)((?:\.dcm)?(?:\.(?:png|jpe?g))?)", re.IGNORECASE)


class TruncatedArchiveError(ValueError):
    """An archive ends early or is damaged. The message says after how many files, and how to fix it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A file in an archive: its path there, and its content or the `error` that made it unreadable."""

    name: str
    content: bytes = b""
    error: str = ""


def read_members(archive: Path, *, wanted: Callable[[str], bool], max_bytes: int) -> Iterator[Member]:
    """Yield each regular file that is `wanted`, by its path; a file larger than `max_bytes` gets an error.

    Raises:
        TruncatedArchiveError: the archive ends early or is damaged. All readable files were yielded before.
        ValueError: the archive cannot be opened.
    """
    num_read, current = 0, ""
    try:
        with archive.open("rb") as file:
            is_gzip = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            with tarfile.open(fileobj=_GzipStream(file) if is_gzip else file, mode="r|") as tar:
                while (member := tar.next()) is not None:
                    tar.members.clear()  # otherwise tarfile keeps a record of every member
                    if not member.isfile() or not wanted(member.name):
                        continue
                    current = member.name
                    if member.size > max_bytes:
                        yield Member(name=current, error=f"has {member.size} bytes; the limit is {max_bytes}")
                    else:
                        yield Member(name=current, content=_content(tar, member))
                    num_read, current = num_read + 1, ""
    except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
        if current:
            yield Member(name=current, error=f"is cut off where {archive.name} ends early")
        raise TruncatedArchiveError(
            f"{archive.name} ends early or is damaged after {num_read} files ({error}); download it again"
        ) from error
    except OSError as error:
        raise ValueError(f"{archive} cannot be read ({error.strerror or error})") from error


class _GzipStream:
    """A gzip stream that returns all bytes before an early end and then raises EOFError.

    tarfile's own stream takes an early end for the end, and `GzipFile.read` raises before it returns the last bytes.
    """

    def __init__(self, file: BinaryIO):
        self._file = gzip.GzipFile(fileobj=file)

    def read(self, size: int) -> bytes:
        return self._file.read1(size)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    content = tar.extractfile(member).read()
    if len(content) != member.size:
        raise tarfile.ReadError("unexpected end of data")
    return content


def image_key(name: str) -> str:
    """The key of an image, such as "1_IM-0001-3001", from its file name or path; "" for any other name."""
    match = _NAME.fullmatch(name.rpartition("/")[2])
    return f"{int(match[1])}_{match[2].upper()}" if match else ""


def files_below(root: Path) -> Iterator[Path]:
    """Every file in a folder and its subfolders, in a fixed order, without hidden files and linked folders."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder) / name for name in sorted(names) if not name.startswith("."))


class OpenIImages:
    """Finds images among the loose `files` and in the archives in `root`.

    Archives are unpacked into `folder`, one member after another, until the requested image is there. Only images with
    keys in `wanted` are unpacked, under names made from the keys. Files in `folder` from an earlier run are used again.
    """

    def __init__(self, root: Path, files: list[Path], *, folder: Path, wanted: set[str]):
        self._root, self._folder, self._wanted = root, folder, wanted
        self.loose = {key: path for path in reversed(files) if (key := image_key(path.name))}
        self._unpacked = {key: path for path in files_below(folder) if (key := image_key(path.name))}
        self._members = self._read_archives()
        self._archive_errors: list[str] = []
        self._image_errors: dict[str, str] = {}

    def find(self, keys: tuple[str, ...], *, r2gen_files: tuple[str, ...], origin: str) -> tuple[Path, tuple[str, ...]]:
        """A folder and file paths below it: the images with these `keys`, or else R2Gen's files.

        Raises:
            ValueError: images are missing. The message names them, and `origin`, the file that lists them.
        """
        paths = [self.loose.get(key) or self._unpack(key) for key in keys]
        if keys and all(paths):
            folder = Path(os.path.commonpath([path.parent for path in paths]))
            return folder, tuple(str(path.relative_to(folder)) for path in paths)
        for folder in (self._root / "images", self._root):
            if r2gen_files and all((folder / file).is_file() for file in r2gen_files):
                return folder, r2gen_files
        if not keys:
            missing = f", and {r2gen_files[0]} does not exist" if r2gen_files else ""
            raise ValueError(f"{origin} names no image{missing}")
        missing = ", ".join(key for key, path in zip(keys, paths, strict=True) if path is None)
        errors = [self._image_errors[key] for key in keys if key in self._image_errors] + self._archive_errors
        raise ValueError("; ".join([f"image {missing} of {origin} is not in {self._root}", *errors]))

    def _unpack(self, key: str) -> Path | None:
        """The unpacked file of an image; None if it is in no archive. Raises ValueError if it cannot be written."""
        while key not in self._unpacked:
            member = next(self._members, None)
            if member is None:
                return None
            member_key = image_key(member.name)
            if member.error:
                self._image_errors[member_key] = f"{member.name} {member.error}"
                continue
            suffix = _NAME.fullmatch(member.name.rpartition("/")[2])[3].lower()
            path = self._folder / (member_key + suffix)
            try:
                write_atomically(path, member.content)
            except OSError as error:
                raise ValueError(
                    f"{member.name} cannot be unpacked into {self._folder} ({error.strerror}); free some disk space, "
                    "or unpack the archive yourself and pass that folder as --root"
                ) from error
            self._unpacked[member_key] = path
        return self._unpacked[key]

    def _read_archives(self) -> Iterator[Member]:
        for archive in _image_archives(self._root):
            try:
                yield from read_members(archive, wanted=self._is_missing, max_bytes=MAX_FILE_BYTES)
            except TruncatedArchiveError as error:
                self._archive_errors.append(str(error))

    def _is_missing(self, name: str) -> bool:
        key = image_key(name)
        return key in self._wanted and key not in self._unpacked


def _image_archives(root: Path) -> list[Path]:
    """The image archives in a folder; the DICOM archive is last because it is 60 times larger than the PNG one."""
    archives = [path for path in root.iterdir() if path.name.lower().endswith(SUFFIXES) and path.is_file()]
    images = [path for path in archives if "report" not in path.name.lower()]
    return sorted(images, key=lambda path: ("dcm" in path.name.lower(), path.name))
