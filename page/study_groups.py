"""The files of many studies, as a visitor brings them or a server's folder holds them, sorted into studies.

    with brought_files([Path("month.zip")]) as (files, refusals):
        studies = group_studies(files)

DICOM files of one StudyInstanceUID are a study, whatever they are called. In a zip or a folder, the other files of one
sub-folder are a study, if they are no more than a study may have; what is left is a study each. Nothing is unpacked to
a disk; only names, and the first bytes of each file, are held for all files at once.
"""

import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from data.images.dicom_identifiers import dicom_identifiers
from data.images.pixels import ImageRefused, read_bytes
from page.plain_text import plain_line
from page.study_files import MAX_VIEWS
from page.zip_archive import entries_of, head_of_entry, is_zip, open_zip, read_entry

MAX_FILES = 10_000
"""Of all that is brought at once, side files and folders included."""
_HEAD_BYTES = 64 * 2**10
"""A DICOM file names its study here, unless something unusual stands before it."""
_TOO_MANY = f"more than the {MAX_FILES:,} files that can be brought at once; bring a part of them at a time"


@dataclass(frozen=True, kw_only=True, slots=True)
class BroughtFile:
    """A file that can be read when its turn comes. `folder` lies below what all files of its zip have in common."""

    name: str
    folder: str
    study_uid: str
    read: Callable[[], bytes]
    """Raises ImageRefused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyFiles:
    """The files of one study, in the order of their names."""

    name: str
    study_uid: str
    files: tuple[BroughtFile, ...]


@contextmanager
def brought_files(sources: Sequence[Path]) -> Iterator[tuple[list[BroughtFile], list[ImageRefused]]]:
    """The files in these files, zips and folders, readable until the end of the context; and what cannot be used.

    Raises:
        ValueError: there are too many.
    """
    with ExitStack() as stack:
        files, refusals = [], []
        for source in sources:
            try:
                files += _from_folder(source) if source.is_dir() else _from_file(source, stack)
            except ImageRefused as refused:
                refusals.append(refused)
            if len(files) > MAX_FILES:
                raise ValueError(f"There are {_TOO_MANY}.")
        yield files, refusals


def group_studies(files: Sequence[BroughtFile]) -> list[StudyFiles]:
    """The studies in the order of their first files; every file is in one of them."""
    folders = defaultdict(list)
    for file in files:
        if not file.study_uid and file.folder:
            folders[file.folder].append(file)
    groups = defaultdict(list)
    for number, file in enumerate(files):
        shared = not file.study_uid and 1 < len(folders.get(file.folder, ())) <= MAX_VIEWS
        groups[(file.study_uid, file.folder) if shared else (file.study_uid or number, "")].append(file)
    return [
        StudyFiles(name=folder or members[0].name, study_uid=members[0].study_uid, files=tuple(members))
        for (_, folder), members in groups.items()
    ]


def _from_file(path: Path, stack: ExitStack) -> list[BroughtFile]:
    with _readable(path) as file:
        head = file.read(_HEAD_BYTES)
    if not is_zip(head):
        read = partial(read_bytes, path, name=path.name)
        return [BroughtFile(name=plain_line(path.name), folder="", study_uid=_study_uid(head), read=read)]
    return _from_zip(path, stack)


def _from_zip(path: Path, stack: ExitStack) -> list[BroughtFile]:
    # Held open, for uploads are removed after a while.
    file = stack.enter_context(_readable(path))
    archive = stack.enter_context(open_zip(file, name=path.name, max_files=MAX_FILES, too_many=_TOO_MANY))
    entries = entries_of(archive, name=path.name)
    folders = _below_common([PurePosixPath(entry.filename).parent for entry in entries])
    return [
        BroughtFile(
            name=plain_line(entry.filename),
            folder=folder,
            study_uid=_uid_in_zip(archive, entry, path.name),
            read=partial(read_entry, archive, entry, name=path.name),
        )
        for entry, folder in zip(entries, folders, strict=True)
    ]


def _from_folder(root: Path) -> list[BroughtFile]:
    """Links are not followed: they lead out of the folder."""
    paths = []
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
            paths.append(path)
        if len(paths) > MAX_FILES:
            raise ValueError(f"{root} holds {_TOO_MANY}.")
    paths.sort()
    names = [path.relative_to(root) for path in paths]
    folders = _below_common([PurePosixPath(name.parent) for name in names])
    return [
        BroughtFile(
            name=plain_line(name.as_posix()),
            folder=folder,
            study_uid=_uid_of_file(path),
            read=partial(read_bytes, path, name=name.as_posix()),
        )
        for path, name, folder in zip(paths, names, folders, strict=True)
    ]


def _readable(path: Path):
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise ImageRefused(f"{path.name}: is no longer there; bring it again") from error
    except OSError as error:
        raise ImageRefused(f"{path.name}: cannot be read ({error.strerror})") from error


def _uid_in_zip(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> str:
    """Empty also where the entry cannot be read: that is told when its turn comes."""
    try:
        return _study_uid(head_of_entry(archive, entry, _HEAD_BYTES, name=name))
    except ImageRefused:
        return ""


def _uid_of_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return _study_uid(file.read(_HEAD_BYTES))
    except OSError:
        return ""


def _study_uid(head: bytes) -> str:
    identifiers = dicom_identifiers(head)
    return identifiers.study_instance_uid if identifiers else ""


def _below_common(folders: Sequence[PurePosixPath]) -> list[str]:
    """Each folder without the parts that all of them begin with."""
    num_common = 0
    for parts in zip(*(folder.parts for folder in folders), strict=False):
        if len(set(parts)) > 1:
            break
        num_common += 1
    return [plain_line("/".join(folder.parts[num_common:])) for folder in folders]
