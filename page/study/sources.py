"""Files of many studies: from files, zips and folders to the files of each study, which are read later.

    with open_sources([Path("month.zip")]) as (files, rejections):
        studies = group_studies(files)

DICOM files with the same StudyInstanceUID are one study. In a zip or folder, the other files of one subfolder are one
study, if there are at most MAX_VIEWS of them; every other file is a study. In a zip, the common parent folder of all
files does not count as a subfolder. Nothing is extracted to disk. Only names are held in memory.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice, takewhile
from pathlib import Path, PurePosixPath

from pydicom import Dataset

from data.images.dicom.values import id_texts, read_tags
from data.images.pixels import ImageRejected, is_dicom, read_bytes
from data.sources.dicom_index import ArchiveFile, find_files
from page.study.plain_text import plain_line
from page.study.upload import MAX_VIEWS
from page.study.zip_archive import is_side_file, is_zip, open_zip, read_entry, read_entry_head, zip_entries

MAX_FILES = 10_000
"""Maximum number of files in one worklist; side files and folders count."""
_HEAD_BYTES = 64 * 2**10
"""Almost every DICOM file has its StudyInstanceUID in these first bytes."""
_TOO_MANY = f"more than the {MAX_FILES:,} files of one worklist; split them into several worklists"
_ReadBytes = Callable[[], bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """A file that is read later. `folder` is the subfolder that it is in, "" if it is in none."""

    name: str
    folder: str
    study_uid: str
    read: _ReadBytes
    """Raises ImageRejected."""
    path: Path | None = None
    """Where it is on disk; None in a zip, and if it cannot be opened."""
    version: str = ""
    """Another one if the file was replaced: its size and time of change, in a zip its size and checksum; "" if
    unknown."""


@contextmanager
def open_sources(
    sources: Sequence[Path], *, is_limited: bool = True, skipped: Collection[Path] = ()
) -> Iterator[tuple[list[SourceFile], list[ImageRejected]]]:
    """All files in these files, zips and folders, readable until the context ends; and the sources that failed.

    `is_limited`: to MAX_FILES; a zip always is. `skipped`: files and folders in these folders that are no source.

    Raises:
        ValueError: there are too many files.
    """
    with ExitStack() as stack:
        files, rejections = [], []
        for source in sources:
            try:
                found = _from_folder(source, is_limited, skipped) if source.is_dir() else _from_file(source, stack)
                files += found
            except ImageRejected as rejected:
                rejections.append(rejected)
            if is_limited and len(files) > MAX_FILES:
                raise ValueError(f"There are {_TOO_MANY}.")
        yield files, rejections


def group_studies(files: Sequence[SourceFile]) -> list[tuple[str, list[SourceFile]]]:
    """Name and files of each study, in the order of their first files; every file belongs to exactly one.

    No two studies have the same name.
    """
    folders = defaultdict(list)
    for file in files:
        if not file.study_uid and file.folder:
            folders[file.folder].append(file)
    groups = defaultdict(list)
    for number, file in enumerate(files):
        shared = not file.study_uid and 1 < len(folders.get(file.folder, ())) <= MAX_VIEWS
        groups[(file.study_uid, file.folder) if shared else (file.study_uid or number, "")].append(file)
    named: Counter[str] = Counter()
    studies = []
    for (_, folder), members in groups.items():
        name = folder or members[0].name
        named[name] += 1
        studies.append((name if named[name] == 1 else f"{name} ({named[name]})", members))
    return studies


def _from_file(path: Path, stack: ExitStack) -> list[SourceFile]:
    try:
        file = stack.enter_context(path.open("rb"))
    except FileNotFoundError as error:
        raise ImageRejected(f"{path.name}: no longer exists; upload it again") from error
    except OSError as error:
        raise ImageRejected(f"{path.name}: cannot be read ({error.strerror})") from error
    head = file.read(_HEAD_BYTES)
    if not is_zip(head):
        file.close()
        read = partial(read_bytes, path, name=path.name)
        return [SourceFile(name=plain_line(path.name), folder="", study_uid=_study_uid(lambda: head), read=read)]
    # The zip stays open, because uploads are removed after a while.
    archive = stack.enter_context(open_zip(file, name=path.name, max_files=MAX_FILES, too_many=_TOO_MANY))
    return _from_zip(
        [
            (
                entry.filename,
                partial(read_entry_head, archive, entry, _HEAD_BYTES, name=path.name),
                partial(read_entry, archive, entry, name=path.name),
                f"{entry.file_size} {entry.CRC:08x}",
            )
            for entry in zip_entries(archive, name=path.name)
        ]
    )


def _from_folder(root: Path, is_limited: bool, skipped: Collection[Path]) -> list[SourceFile]:
    """All files of a folder; a file that cannot be opened gives its reason when it is read."""
    found = list(islice(find_files(root), MAX_FILES + 1 if is_limited else None))
    if is_limited and len(found) > MAX_FILES:
        raise ValueError(f"{root} holds {_TOO_MANY}.")
    outside = {path.resolve() for path in skipped}
    files = []
    for file in found:
        path = root.resolve() / file.path
        if not is_side_file(file.path) and not outside.intersection((path, *path.parents)):
            files.append(_from_folder_file(path, file))
    return files


def _from_folder_file(path: Path, file: ArchiveFile) -> SourceFile:
    name = plain_line(PurePosixPath(file.path).as_posix())
    if file.error:
        return SourceFile(name=name, folder="", study_uid="", read=partial(_reject, f"{name}: {file.error}"))
    folder = PurePosixPath(name).parent.as_posix()
    return SourceFile(
        name=name,
        folder="" if folder == "." else folder,
        study_uid=_study_uid(partial(_file_head, path)),
        read=partial(read_bytes, path, name=name),
        path=path,
        version=_version(path),
    )


def _version(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_size} {found.st_mtime_ns}"


def _reject(reason: str) -> bytes:
    raise ImageRejected(reason)


def _from_zip(files: Sequence[tuple[str, _ReadBytes, _ReadBytes, str]]) -> list[SourceFile]:
    """From the path of each file in its zip, the functions that read its first bytes and all bytes, and its version."""
    folders = [PurePosixPath(name).parent for name, *_ in files]
    parts = zip(*(folder.parts for folder in folders), strict=False)
    num_common = sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, parts))
    return [
        SourceFile(
            name=plain_line(name),
            folder=plain_line("/".join(folder.parts[num_common:])),
            study_uid=_study_uid(read_head),
            read=read,
            version=version,
        )
        for (name, read_head, read, version), folder in zip(files, folders, strict=True)
    ]


def _file_head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _study_uid(read_head: _ReadBytes) -> str:
    """As the header has it: invalid UIDs, such as those with leading zeros, tell studies apart, too. Empty without one,
    and if the file cannot be read: that error is reported when the study is read."""
    try:
        head = read_head()
        header = read_tags(head, ("StudyInstanceUID",)) if is_dicom(head) else Dataset()
        return plain_line(" ".join(id_texts(header, "StudyInstanceUID")))
    except Exception:  # pydicom raises many types, and may quote values
        return ""
