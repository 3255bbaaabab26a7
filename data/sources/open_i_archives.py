"""The images of Open-i wherever a user has them: files below the folder, under any of their published names, or
still in the archive, from which they are unpacked as they are needed.

One image has several names: `CXR1_1_IM-0001-3001.png` (the library's archive), `1_IM-0001-3001.dcm` (its DICOM one),
`1_IM-0001-3001.dcm.png` (Kaggle's). `image_key` is what they share.

Files of a tar archive (gzipped or not), read once from front to back: nothing is unpacked, no path is followed.

An archive that ends early gives what was readable, then raises `ArchiveCutShort`.
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


_NAME = re.compile(r"(?:CXR)?(\d{1,6})(?:_\d+)?_(IM-\d[\d-]*?)((?:\.dcm)?(?:\.(?:png|jpe?g))?)", re.IGNORECASE)


def image_key(name: str) -> str:
    """ "1_IM-0001-3001" of any name of that image, whatever folder it is in; "" for what is no such name."""
    match = _NAME.fullmatch(name.rpartition("/")[2])
    return f"{int(match[1])}_{match[2].upper()}" if match else ""


def files_below(root: Path) -> Iterator[Path]:
    """Every file in the folder and those below it, in a fixed order; hidden ones and links to folders are left out."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder) / name for name in sorted(names) if not name.startswith("."))


class OpenIImages:
    """Every place where images may be: loose below `root`, R2Gen's folders, and archives in `root`, which are unpacked
    into `folder` as images `wanted` are asked for."""

    def __init__(self, root: Path, files: list[Path], *, folder: Path, wanted: set[str]):
        self._root = root
        self.loose = {key: path for path in reversed(files) if (key := image_key(path.name))}
        self._packed = PackedImages(_image_archives(root), folder, wanted)

    def find(self, keys: tuple[str, ...], *, others: tuple[str, ...], origin: str) -> tuple[Path, tuple[str, ...]]:
        """A folder and paths in it: the images `keys`, or else R2Gen's files `others`. `origin` named them.

        Raises:
            ValueError: they are not all there; says which are absent.
        """
        paths = [self.loose.get(key) or self._packed.find(key) for key in keys]
        if keys and all(paths):
            folder = Path(os.path.commonpath([path.parent for path in paths]))
            return folder, tuple(str(path.relative_to(folder)) for path in paths)
        for folder in (self._root / "images", self._root):
            if others and all((folder / file).is_file() for file in others):
                return folder, others
        if not keys:
            raise ValueError(f"{origin} names no image" + (f", and {others[0]} does not exist" if others else ""))
        absent = ", ".join(key for key, path in zip(keys, paths, strict=True) if path is None)
        because = "".join(f"; {fault}" for fault in self._packed.why_absent(keys))
        raise ValueError(f"image {absent} of {origin} is not in {self._root}{because}")


class PackedImages:
    """Images in archives, unpacked one after another until the one that is asked for is there.

    `folder` may hold what an earlier run unpacked. `wanted` are the keys that will be asked for; no others are kept.
    Files are named by their keys, so a path in an archive leads nowhere.
    """

    def __init__(self, archives: list[Path], folder: Path, wanted: set[str]):
        self._folder, self._wanted = folder, wanted
        self._found = {key: path for path in files_below(folder) if (key := image_key(path.name))}
        self._members = self._read(archives)
        self._faults, self._faults_of = [], {}

    def find(self, key: str) -> Path | None:
        """The file of an image; None where no archive has it.

        Raises:
            ValueError: it cannot be written.
        """
        while key not in self._found:
            member = next(self._members, None)
            if member is None:
                return None
            self._keep(member)
        return self._found[key]

    def why_absent(self, keys: tuple[str, ...]) -> list[str]:
        """What is wrong with these images, and with the archives as far as they have been read."""
        return [self._faults_of[key] for key in keys if key in self._faults_of] + self._faults

    def _read(self, archives: list[Path]) -> Iterator[Member]:
        for archive in archives:
            try:
                yield from read_members(archive, wanted=self._is_missing, max_bytes=MAX_FILE_BYTES)
            except ArchiveCutShort as error:
                self._faults.append(str(error))

    def _is_missing(self, name: str) -> bool:
        key = image_key(name)
        return key in self._wanted and key not in self._found

    def _keep(self, member: Member) -> None:
        key = image_key(member.name)
        if member.fault:
            self._faults_of[key] = f"{member.name} {member.fault}"
            return
        path = self._folder / (key + _NAME.fullmatch(member.name.rpartition("/")[2])[3].lower())
        part = self._folder / ".part"
        try:
            part.write_bytes(member.content)
            part.replace(path)  # a file under its own name is whole, also after a kill
        except OSError as error:
            raise ValueError(
                f"{member.name} cannot be unpacked into {self._folder} ({error.strerror}); make room there, or unpack "
                "the archive elsewhere yourself and name that folder by --root"
            ) from error
        self._found[key] = path


def _image_archives(root: Path) -> list[Path]:
    """The tar archives of images; DICOM's, which is 60 times as large, last."""
    archives = [path for path in root.iterdir() if path.name.lower().endswith(SUFFIXES) and path.is_file()]
    images = [path for path in archives if "report" not in path.name.lower()]
    return sorted(images, key=lambda path: ("dcm" in path.name.lower(), path.name))
