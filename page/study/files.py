"""Zips that visitors bring: a file in, its entries out, each read when asked for.

What a zip says of itself is never believed: neither how many files it holds, nor how large they are. Nothing is
unpacked to a disk, and paths inside serve as names only.

A visitor's file as an image for the model: read, and treated as the images that the model learned from.

The files of one study as a visitor brings them, images or a zip of them: files in, images out.

What lies in a zip is unpacked in memory, one file at a time, and never written to a disk; its paths serve as names
only.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from PIL import Image

from data.images.dicom import read_dicom
from data.images.dicom_header import check_radiograph
from data.images.dicom_identifiers import DicomIdentifiers, dicom_identifiers
from data.images.pixels import MAX_FILE_BYTES, ImageRejected, is_dicom, read_bytes
from data.images.read import read_image
from vlm.schema.preprocessing import Preprocessing, preprocess

VIEW_CHOICES = {"auto": "", "PA": "PA", "AP": "AP", "lateral": "LATERAL"}
"""What a visitor can choose, and the view position it stands for; auto asks the DICOM header."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadedImage:
    """An image as the model gets it. `said_position` is what its file says; `warning` is empty unless the file says
    that it is no chest X-ray. `identifiers` are there for DICOM alone, and only for exports to go back to its study."""

    name: str
    image: Image.Image
    view_position: str = "UNKNOWN"
    said_position: str = "UNKNOWN"
    warning: str = ""
    identifiers: DicomIdentifiers | None = field(default=None, repr=False)

    def viewed_as(self, view: str) -> "Image":
        """The same image from the view position of that name.

        Raises:
            ValueError: `view` is none of VIEW_CHOICES.
        """
        if view not in VIEW_CHOICES:
            raise ValueError(f"view position {view!r} is not known; choose one of {', '.join(VIEW_CHOICES)}")
        return replace(self, view_position=VIEW_CHOICES[view] or self.said_position)


def read_upload(
    source: Path | bytes, view: str = "auto", preprocessing: Preprocessing | None = None, *, name: str = ""
) -> UploadedImage:
    """The image of a file or of its bytes; messages call it `name`, by default the file's name without its folder.

    Raises:
        ImageRejected: it cannot be read or is no radiograph; names the file and the reason.
        ValueError: `view` is none of VIEW_CHOICES.
    """
    name = name or ("the image" if isinstance(source, bytes) else source.name)
    content, said, warning = source if isinstance(source, bytes) else read_bytes(source, name=name), "UNKNOWN", ""
    if is_dicom(content):
        dicom = read_dicom(content, name=name)
        image, said = dicom.image, dicom.view_position
        try:
            check_radiograph(dicom.modality, dicom.body_part, name=name)
        except ImageRejected as error:
            warning = f"{error}."
    else:
        image = read_image(content, name=name)
    upload = UploadedImage(
        name=name,
        image=preprocess(image, preprocessing or Preprocessing()),
        said_position=said,
        warning=warning,
        identifiers=dicom_identifiers(content),
    )
    return upload.viewed_as(view)


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
        ImageRejected: it is damaged, too large, or holds more than `max_files`, side files and folders included.
    """
    _check_directory(file, name=name, max_files=max_files, too_many=too_many)
    try:
        archive = zipfile.ZipFile(file)
    except _DAMAGED as error:
        raise ImageRejected(f"{name}: is a damaged zip, or one of a kind that is not read ({error})") from error
    if len(archive.infolist()) > max_files:
        archive.close()
        raise ImageRejected(f"{name}: holds {too_many}")
    return archive


def entries_of(archive: zipfile.ZipFile, *, name: str) -> list[zipfile.ZipInfo]:
    """The files by name, without those that systems and DICOM discs put beside images.

    Raises:
        ImageRejected: there are none.
    """
    entries = sorted((entry for entry in archive.infolist() if not _is_side_file(entry)), key=lambda e: e.filename)
    if not entries:
        raise ImageRejected(f"{name}: holds no file")
    return entries


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, *, name: str) -> bytes:
    """Content of one file of a zip, of at most MAX_FILE_BYTES unpacked.

    Raises:
        ImageRejected: it is encrypted, damaged, too large, or a zip itself; names the zip and the file.
    """
    where = f"{PurePosixPath(entry.filename).name} in {name}"
    if entry.file_size > MAX_FILE_BYTES:
        raise ImageRejected(f"{where}: has {entry.file_size} bytes; the limit is {MAX_FILE_BYTES}")
    # What the zip says of its sizes need not be so.
    content = head_of_entry(archive, entry, MAX_FILE_BYTES + 1, name=name)
    if len(content) > MAX_FILE_BYTES:
        raise ImageRejected(f"{where}: has more than {MAX_FILE_BYTES} bytes unpacked")
    if is_zip(content):
        raise ImageRejected(f"{where}: is a zip within a zip; unpack it first")
    return content


def head_of_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, num_bytes: int, *, name: str) -> bytes:
    """The first bytes of one file of a zip.

    Raises:
        ImageRejected: it is encrypted or damaged; names the zip and the file.
    """
    where = f"{PurePosixPath(entry.filename).name} in {name}"
    if entry.flag_bits & 1:
        raise ImageRejected(f"{where}: is encrypted; unpack it and bring the images themselves")
    if entry.compress_type not in _METHODS:
        raise ImageRejected(f"{where}: is packed by an unusual method; unpack it and bring the images themselves")
    try:
        with archive.open(entry) as file:
            return file.read(num_bytes)
    except _DAMAGED as error:
        raise ImageRejected(f"{where}: is damaged within its zip ({error}); fetch or export it again") from error


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
        raise ImageRejected(f"{name}: has {size} bytes; the limit is {MAX_ARCHIVE_BYTES}")
    file.seek(max(0, size - _MAX_COMMENT - _END_BYTES - _LOCATOR_64_BYTES))
    tail = file.read()
    end = tail.rfind(_END)
    if end < 0 or end + _END_BYTES > len(tail):
        raise ImageRejected(f"{name}: is a damaged zip: its end is missing; fetch or export it again")
    num_files, directory_bytes = struct.unpack_from("<HL", tail, end + 10)
    # A second directory, for more than 65,535 files, would be believed instead.
    has_second = _END_64 in tail[max(0, end - _LOCATOR_64_BYTES) : end]
    if num_files > max_files or directory_bytes > max_files * _DIRECTORY_BYTES_OF_A_FILE or has_second:
        raise ImageRejected(f"{name}: holds {too_many}")
    file.seek(0)


MAX_VIEWS = 6
"""Images of one study; more are no study of the chest but a folder of many."""
MAX_ENTRIES = 200
"""Entries of the zip of one study, side files and folders included."""
_TOO_MANY = f"are more images than the {MAX_VIEWS} that one study may have; bring one study at a time"


def read_study_files(files: Sequence[Path], preprocessing: Preprocessing | None = None) -> list[UploadedImage]:
    """The images of a study in the order given, those of a zip in the order of their names.

    Raises:
        ImageRejected: a file cannot be used, or there are too many; names it and the reason.
        ValueError: no file is given.
    """
    if not files:
        raise ValueError("No image yet: choose a file or click an example first.")
    images = []
    for path in files:
        content = read_bytes(path, name=path.name)
        parts = _unpacked(content, path.name) if is_zip(content) else [(path.name, content)]
        for name, part in parts:
            if len(images) == MAX_VIEWS:
                raise ImageRejected(f"{path.name}: with it there {_TOO_MANY}")
            images.append(read_upload(part, "auto", preprocessing, name=name))
    return images


def _unpacked(content: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of each image in a zip."""
    too_many = f"more than the {MAX_ENTRIES} files that the zip of one study may have; bring the images alone"
    with open_zip(BytesIO(content), name=name, max_files=MAX_ENTRIES, too_many=too_many) as archive:
        entries = entries_of(archive, name=name)
        if len(entries) > MAX_VIEWS:
            raise ImageRejected(f"{name}: holds {len(entries)} files, which {_TOO_MANY}")
        for entry in entries:
            yield PurePosixPath(entry.filename).name, read_entry(archive, entry, name=name)
