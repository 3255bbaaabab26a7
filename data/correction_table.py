"""The table of corrections: a SQLite file in a folder; rows out as `SavedCorrection`. Reading it writes nothing."""

import dataclasses
import errno
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from data.correction import Correction, SavedCorrection
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
        raise ValueError(f"{where} is damaged (it names no pictures)")
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
