"""Store of corrections: a folder that the web page writes to and `data.prepare corrections` reads.

    corrections.sqlite     one row per correction, oldest first; rows are never changed or deleted
    pseudonym.key          the secret key for the pseudonyms of patients
    images/<hash>.png      the images as the model saw them, 8-bit gray without metadata; the hash is of the pixels
    lock                   held by the process that creates the store or writes images

Several processes and threads may save and read at the same time. Images are on disk before the row that names them,
and each row is one transaction, so a kill loses at most the correction that is being saved. File names are not stored;
of DICOM headers only the view position is. Only the owner can read the folder. It must be on a local disk, because
SQLite's write-ahead log does not work on network drives.
"""

import dataclasses
import errno
import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock, Timeout
from PIL import Image

from data.corrections.correction import Correction, SavedCorrection, image_hash, study_hash
from data.images.encode import encode_png
from data.reports.pseudonyms import pseudonym, stored_key
from data.study import MAX_SIDE
from vlm.schema.atomic import PARTIAL, atomic_file, write_atomically
from vlm.schema.strict_json import from_dict

STORE_FILE = "corrections.sqlite"
IMAGE_FOLDER = "images"
SCHEMA_VERSION = 2
"""Raise it with every change to the fields of Correction, because they are the columns."""
BUSY_SECONDS = 30.0
"""How long to wait for other processes."""
MAX_CELL_BYTES = 4 * 2**20
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

TEXTS = tuple(field.name for field in dataclasses.fields(Correction) if field.type is str)
LISTS = tuple(field.name for field in dataclasses.fields(Correction) if field.name not in TEXTS)
IMAGE_LISTS = ("images", "prior_images")
COLUMNS = ("number", "saved_at", "program_version", "study", *IMAGE_LISTS, *TEXTS, *LISTS)
ADDED_IN_2 = {"prior_images": "[]", "prior_view_positions": "[]", "prior_report": "", "prior_interval_days": "null"}
"""Columns that stores of schema 1 lack, with the value for no prior study."""
SCHEMA = f"""
CREATE TABLE corrections (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    {", ".join(f"{name} TEXT NOT NULL" for name in COLUMNS[1:])}
) STRICT;
PRAGMA user_version = {SCHEMA_VERSION};
"""
_ADDED = (f"{name} TEXT NOT NULL DEFAULT '{value}'" for name, value in ADDED_IN_2.items())
UPGRADE_FROM_1 = f"""
{"".join(f"ALTER TABLE corrections ADD COLUMN {column};" for column in _ADDED)}
PRAGMA user_version = 2;
"""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CorrectionKey:
    """The study and the reader of a correction."""

    number: int
    study: str
    reader: str


@contextmanager
def open_table(folder: Path) -> Iterator[sqlite3.Connection]:
    """Open the table in a folder, read-only.

    Raises:
        ValueError: the folder has no corrections, or its file is damaged or belongs to another program.
    """
    path = folder / STORE_FILE
    if not path.is_file():
        raise ValueError(f"{folder} has no corrections (no {STORE_FILE} in it); name the --corrections of the web page")
    address = f"{path.resolve().as_uri()}?mode=ro"
    with _plain_errors(folder), closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as table:
        table.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_CELL_BYTES)
        table.execute("PRAGMA trusted_schema = OFF")
        table.row_factory = sqlite3.Row
        _check_schema(table, folder)
        yield table


def list_corrections(table: sqlite3.Connection) -> list[CorrectionKey]:
    """All corrections, oldest first."""
    rows = table.execute("SELECT number, study, reader FROM corrections ORDER BY number").fetchall()
    return [CorrectionKey(**row) for row in rows]


def read_correction(table: sqlite3.Connection, number: int) -> SavedCorrection:
    """The correction with this number, which must exist.

    Raises:
        ValueError: its row is damaged.
    """
    [row] = table.execute("SELECT * FROM corrections WHERE number = ?", [number]).fetchall()
    cells = ADDED_IN_2 | dict(row)
    where = f"correction {number}"
    try:
        lists = {name: json.loads(cells[name]) for name in (*IMAGE_LISTS, *LISTS)}
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{where} is damaged ({error})") from error
    images, prior_images = (lists.pop(name) for name in IMAGE_LISTS)
    if not images or not all(isinstance(some, list) and all(map(_is_hash, some)) for some in (images, prior_images)):
        raise ValueError(f"{where} is damaged (it names no images)")
    correction = from_dict({name: cells[name] for name in TEXTS} | lists, Correction, where=where)
    if len(prior_images) != len(correction.prior_view_positions):
        raise ValueError(f"{where} is damaged (it has another number of prior images than of their view positions)")
    described = {name: cells[name] for name in ("number", "saved_at", "program_version")}
    return SavedCorrection(**described, images=tuple(images), prior_images=tuple(prior_images), correction=correction)


def _is_hash(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch("[0-9a-f]{64}", name) is not None


def image_file(name: str) -> str:
    """Path below the folder of the image with this hash."""
    return f"{IMAGE_FOLDER}/{name}.png"


def _check_schema(connection: sqlite3.Connection, folder: Path) -> None:
    found = _schema_version(connection)
    if found not in range(1, SCHEMA_VERSION + 1):
        raise ValueError(
            f"{folder / STORE_FILE} has schema {found}, and this program knows up to {SCHEMA_VERSION}: another version "
            "or program wrote it; name another folder"
        )


def _create_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(f"BEGIN;{SCHEMA}COMMIT;")


def _schema_version(connection: sqlite3.Connection) -> int:
    """0 for an empty file, -1 for a file with the tables of another program."""
    [found] = connection.execute("PRAGMA user_version").fetchone()
    [num_tables] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return -1 if num_tables and not found else found


@contextmanager
def _plain_errors(folder: Path) -> Iterator[None]:
    """Turn errors of the disk and the database into ValueErrors for the user."""
    disk_full = f"{folder} has no space left, so the correction was not saved; free some space and save again"
    busy = f"{folder} was busy for {BUSY_SECONDS:.0f} s; nothing was saved, try again"
    try:
        yield
    except sqlite3.Error as error:
        message = {
            sqlite3.SQLITE_FULL: disk_full,
            sqlite3.SQLITE_IOERR: f"the disk of {folder} is full or fails ({error}), so nothing was saved; fix it",
            sqlite3.SQLITE_BUSY: busy,
        }.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        raise ValueError(
            message or f"{folder / STORE_FILE} cannot be used ({error}); name another folder or fix it"
        ) from error
    except Timeout as error:
        raise ValueError(busy) from error
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise ValueError(disk_full) from error
        raise ValueError(
            f"{folder} cannot be used for corrections ({error.strerror or error}); name a folder on a local disk where "
            "you may write"
        ) from error


class CorrectionStore:
    """The corrections in a folder, which is created if it is missing. Safe to share among threads.

    Raises:
        ValueError: the folder cannot be used; the message says why.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        with _plain_errors(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.folder / IMAGE_FOLDER).mkdir(mode=0o700, exist_ok=True)
            # SQLite does not wait for other processes while it turns the write-ahead log on.
            with self._lock():
                if not (self.folder / STORE_FILE).exists():  # complete at once, for processes that only read
                    for left in self.folder.glob(f"{STORE_FILE}{PARTIAL}*"):
                        left.unlink()
                    with atomic_file(self.folder / STORE_FILE) as partial:
                        _create_table(partial)
                elif (self.folder / STORE_FILE).stat().st_size == 0:  # its creation was killed
                    _create_table(self.folder / STORE_FILE)
                with closing(self._connect()) as connection:
                    _check_schema(connection, self.folder)
                    if _schema_version(connection) == 1:
                        connection.executescript(f"BEGIN;{UPGRADE_FROM_1}COMMIT;")
                self._key = stored_key(self.folder)
                for path in (self.folder / IMAGE_FOLDER).glob(f"*{PARTIAL}"):  # left by a killed process
                    path.unlink()

    def save(
        self, correction: Correction, images: Sequence[Image.Image], prior_images: Sequence[Image.Image] = ()
    ) -> SavedCorrection:
        """Save a correction with the images of the study and of its prior study; it is on disk when this returns.

        Raises:
            ValueError: the correction is empty, the images do not fit, or the folder is full or not writable;
                then nothing was saved.
        """
        if correction.is_empty:
            raise ValueError("the report is empty and no finding is set; write a report or set a finding")
        if not images:
            raise ValueError("there is no image; a correction needs those of its study")
        _check_images(images, correction.view_positions)
        _check_images(prior_images, correction.prior_view_positions, "prior ")
        hashes, prior_hashes = (tuple(map(image_hash, some)) for some in (images, prior_images))
        saved_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        described = {"saved_at": saved_at, "program_version": version("cxrscribe")}
        cells = dataclasses.asdict(correction)
        cells |= {name: json.dumps(cells[name]) for name in LISTS}
        names = {"images": json.dumps(hashes), "prior_images": json.dumps(prior_hashes)}
        values = described | {"study": study_hash(hashes)} | names | cells
        with _plain_errors(self.folder):
            with self._lock():
                for image, name in zip((*images, *prior_images), (*hashes, *prior_hashes), strict=True):
                    path, content = self.folder / image_file(name), encode_png(image)
                    if not path.is_file() or path.read_bytes() != content:
                        write_atomically(path, content, durable=True)
            with closing(self._connect()) as connection, connection:
                places = ", ".join(f":{name}" for name in values)
                statement = f"INSERT INTO corrections ({', '.join(values)}) VALUES ({places})"
                number = connection.execute(statement, values).lastrowid
        return SavedCorrection(
            number=number, **described, images=hashes, prior_images=prior_hashes, correction=correction
        )

    def subject_id(self, patient_id: str) -> str:
        """The pseudonym of a patient, the same for all corrections in this folder; "" for no patient."""
        return pseudonym(self._key, "patient", patient_id) if patient_id else ""

    def _lock(self) -> FileLock:
        return FileLock(self.folder / "lock", timeout=BUSY_SECONDS)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.folder / STORE_FILE, timeout=BUSY_SECONDS)
        connection.execute("PRAGMA synchronous = FULL")
        return connection


def _check_images(images: Sequence[Image.Image], view_positions: Sequence[str], of: str = "") -> None:
    if len(images) != len(view_positions):
        raise ValueError(f"{len(images)} {of}images but {len(view_positions)} {of}view positions")
    for image in images:
        if image.mode != "L" or max(image.size) > MAX_SIDE:
            raise ValueError(
                f"an image has mode {image.mode} and {image.width} x {image.height} pixels; corrections need 8-bit "
                f"gray (mode L) of at most {MAX_SIDE} pixels per side"
            )
