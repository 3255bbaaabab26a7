"""Corrections in a folder: readers save them through the web page, `data.prepare corrections` reads them.

    corrections.sqlite     a row a correction, oldest first; nothing is ever changed or deleted
    pseudonym.key          what makes a patient's id into the pseudonym that is kept
    images/<hash>.png      the images as the model was shown them, 8-bit gray without metadata; hash: of the pixels

Any number of people and programs may save and read at once. An image is on the disk before the row that names it, and
a row is one transaction, so a kill loses at most the correction that was being saved. Of file names nothing is kept,
and of DICOM headers the view position. The folder is readable to its owner alone; it must lie on a local disk, for
SQLite's write-ahead log is not made for network drives.

The table of corrections: a SQLite file in a folder; rows out as `SavedCorrection`. Reading it writes nothing.
"""

import dataclasses
import errno
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock
from PIL import Image

from data.corrections.correction import Correction, SavedCorrection, image_hash, study_hash
from data.images.encode import encode_png
from data.reports.pseudonyms import passing_key, pseudonym
from data.study import MAX_SIDE
from vlm.schema.strict_json import from_dict

STORE_FILE = "corrections.sqlite"
SCHEMA_VERSION = 1
"""Rises with every change to the fields of Correction, which are the columns."""
BUSY_SECONDS = 30.0
"""How long one waits for others to end theirs."""
MAX_CELL_BYTES = 4 * 2**20
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

TEXTS = tuple(field.name for field in dataclasses.fields(Correction) if field.type is str)
LISTS = tuple(field.name for field in dataclasses.fields(Correction) if field.name not in TEXTS)
COLUMNS = ("number", "saved_at", "program_version", "study", "images", *TEXTS, *LISTS)
SCHEMA = f"""
CREATE TABLE corrections (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    {", ".join(f"{name} TEXT NOT NULL" for name in COLUMNS[1:])}
) STRICT;
PRAGMA user_version = {SCHEMA_VERSION};
"""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """Which study a correction is of, and by whom."""

    number: int
    study: str
    reader: str


@contextmanager
def open_table(folder: Path) -> Iterator[sqlite3.Connection]:
    """The table in a folder, to read from only.

    Raises:
        ValueError: the folder has no corrections, or its file is damaged or of another program; says which.
    """
    path = folder / STORE_FILE
    if not path.is_file():
        raise ValueError(
            f"{folder} holds no corrections (no {STORE_FILE} in it); name the folder given to the web page"
        )
    address = f"{path.resolve().as_uri()}?mode=ro"
    with failures_of(folder), closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as table:
        table.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_CELL_BYTES)
        table.execute("PRAGMA trusted_schema = OFF")
        table.row_factory = sqlite3.Row
        check_schema(table, folder)
        yield table


def list_corrections(table: sqlite3.Connection) -> list[Entry]:
    """All that was saved, oldest first."""
    rows = table.execute("SELECT number, study, reader FROM corrections ORDER BY number").fetchall()
    return [Entry(**row) for row in rows]


def read_correction(table: sqlite3.Connection, number: int) -> SavedCorrection:
    """The correction of that number, which must be there.

    Raises:
        ValueError: its row is damaged.
    """
    [row] = table.execute(f"SELECT {', '.join(COLUMNS)} FROM corrections WHERE number = ?", [number]).fetchall()
    where = f"correction {number}"
    values = dict(row)
    try:
        lists = {name: json.loads(values[name]) for name in ("images", *LISTS)}
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{where} is damaged ({error})") from error
    images = lists.pop("images")
    if not isinstance(images, list) or not images or not all(map(_is_hash, images)):
        raise ValueError(f"{where} is damaged (it names no images)")
    correction = from_dict({name: values[name] for name in TEXTS} | lists, Correction, where=where)
    described = {name: values[name] for name in ("number", "saved_at", "program_version")}
    return SavedCorrection(**described, images=tuple(images), correction=correction)


def check_schema(connection: sqlite3.Connection, folder: Path) -> None:
    found = schema_version(connection)
    if found != SCHEMA_VERSION:
        raise ValueError(
            f"{folder / STORE_FILE} has schema {found}, and this program knows {SCHEMA_VERSION}: it is of another "
            "version or program; name another folder"
        )


def schema_version(connection: sqlite3.Connection) -> int:
    """0 for a file that is still empty; -1 where somebody else's tables are in it."""
    [found] = connection.execute("PRAGMA user_version").fetchone()
    [num_tables] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return -1 if num_tables and not found else found


def _is_hash(name: object) -> bool:
    return isinstance(name, str) and len(name) == 64 and set(name) <= set("0123456789abcdef")


@contextmanager
def failures_of(folder: Path) -> Iterator[None]:
    """What disk and database say, in the user's words."""
    no_room = f"there is no room left in {folder}, so the correction was not saved; make room and save again"
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise ValueError(no_room) from error
        if code == sqlite3.SQLITE_IOERR:
            raise ValueError(
                f"the disk of {folder} is full or fails ({error}), so nothing was saved; mend it"
            ) from error
        if code == sqlite3.SQLITE_BUSY:
            raise ValueError(f"{folder} was busy for {BUSY_SECONDS:.0f} s; nothing was saved, try again") from error
        raise ValueError(f"{folder / STORE_FILE} cannot be used ({error}); name another folder or mend it") from error
    except OSError as error:
        if error.errno in NO_ROOM:
            raise ValueError(no_room) from error
        raise ValueError(
            f"{folder} cannot be used for corrections ({error.strerror or error}); name a folder on a local disk that "
            "you may write to"
        ) from error


IMAGE_FOLDER = "images"
LEFTOVER_SECONDS = 3600.0
"""A half-written image of this age is of a program that was killed."""


def image_file(name: str) -> str:
    """Where the image of that hash lies below the folder."""
    return f"{IMAGE_FOLDER}/{name}.png"


class CorrectionStore:
    """The corrections in a folder, which is made where it is not there; safe to share among threads.

    Raises:
        ValueError: the folder cannot be used; says why.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        with failures_of(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.folder / IMAGE_FOLDER).mkdir(mode=0o700, exist_ok=True)
            # SQLite does not wait for others while it turns the write-ahead log on.
            with FileLock(self.folder / "lock", timeout=BUSY_SECONDS), closing(self._connect()) as connection:
                if not schema_version(connection):
                    connection.execute("PRAGMA journal_mode = WAL")
                    connection.executescript(f"BEGIN;{SCHEMA}COMMIT;")
                check_schema(connection, self.folder)
                self._key = passing_key(self.folder)
            for path in (self.folder / IMAGE_FOLDER).glob("*.partial"):
                if time.time() - path.stat().st_mtime > LEFTOVER_SECONDS:
                    path.unlink(missing_ok=True)

    def save(self, correction: Correction, images: Sequence[Image.Image]) -> SavedCorrection:
        """When this returns, the correction is on the disk, whatever happens next.

        Raises:
            ValueError: it says nothing, its images are not such, or the folder has no room or cannot be written to;
                then nothing was saved.
        """
        if correction.says_nothing:
            raise ValueError("the report is empty and no finding is set; write or set what you see, then save again")
        _check_images(correction, images)
        hashes = tuple(map(image_hash, images))
        saved_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        values = {"saved_at": saved_at, "program_version": version("cxrscribe"), "study": study_hash(hashes)}
        values |= {"images": json.dumps(hashes)} | {name: getattr(correction, name) for name in TEXTS}
        cells = dataclasses.asdict(correction)
        values |= {name: json.dumps(cells[name]) for name in LISTS}
        with failures_of(self.folder):
            for image, name in zip(images, hashes, strict=True):
                _write_whole(self.folder / image_file(name), encode_png(image))
            with closing(self._connect()) as connection, connection:
                places = ", ".join(f":{name}" for name in values)
                statement = f"INSERT INTO corrections ({', '.join(values)}) VALUES ({places})"
                number = connection.execute(statement, values).lastrowid
        return SavedCorrection(
            number=number,
            saved_at=saved_at,
            program_version=values["program_version"],
            images=hashes,
            correction=correction,
        )

    def subject_id(self, patient_id: str) -> str:
        """The pseudonym of a patient, the same for all corrections of this folder; "" for none."""
        return pseudonym(self._key, "patient", patient_id) if patient_id else ""

    def history(self, images: Sequence[Image.Image]) -> list[SavedCorrection]:
        """All corrections of the study with these images, oldest first."""
        study = study_hash(map(image_hash, images))
        with open_table(self.folder) as table:
            return [read_correction(table, entry.number) for entry in list_corrections(table) if entry.study == study]

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.folder / STORE_FILE, timeout=BUSY_SECONDS)
        connection.execute("PRAGMA synchronous = FULL")
        return connection


def _check_images(correction: Correction, images: Sequence[Image.Image]) -> None:
    if not images or len(images) != len(correction.view_positions):
        raise ValueError(f"{len(images)} images but {len(correction.view_positions)} view positions")
    for image in images:
        if image.mode != "L" or max(image.size) > MAX_SIDE:
            raise ValueError(
                f"an image of mode {image.mode} and {image.width} x {image.height} pixels; corrections keep "
                f"8-bit gray (L) of at most {MAX_SIDE} a side"
            )


def _write_whole(path: Path, content: bytes) -> None:
    """Puts a file in its place, on the disk, unless it is there already."""
    if path.is_file() and path.read_bytes() == content:
        return
    descriptor, partial = tempfile.mkstemp(dir=path.parent, suffix=".partial")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
