"""Corrections in a folder: readers save them through the web page, `data.prepare corrections` reads them.

    corrections.sqlite     a row a correction, oldest first; nothing is ever changed or deleted
    pseudonym.key          what makes a patient's id into the pseudonym that is kept
    images/<hash>.png      the pictures as the model was shown them, 8-bit gray without metadata; hash: of the pixels

Any number of people and programs may save and read at once. A picture is on the disk before the row that names it, and
a row is one transaction, so a kill loses at most the correction that was being saved. Of file names nothing is kept,
and of DICOM headers the view position. The folder is readable to its owner alone; it must lie on a local disk, for
SQLite's write-ahead log is not made for network drives.
"""

import dataclasses
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock
from PIL import Image

from data.correction import Correction, SavedCorrection, picture_hash, study_hash
from data.correction_table import (
    BUSY_SECONDS,
    LISTS,
    SCHEMA,
    STORE_FILE,
    TEXTS,
    check_schema,
    failures_of,
    list_corrections,
    open_table,
    read_correction,
    schema_version,
)
from data.picture_file import encode_png
from data.pseudonym import passing_key, pseudonym
from data.study import MAX_SIDE

IMAGE_FOLDER = "images"
LEFTOVER_SECONDS = 3600.0
"""A half-written picture of this age is of a program that was killed."""


def image_file(name: str) -> str:
    """Where the picture of that hash lies below the folder."""
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

    def save(self, correction: Correction, pictures: Sequence[Image.Image]) -> SavedCorrection:
        """When this returns, the correction is on the disk, whatever happens next.

        Raises:
            ValueError: it says nothing, its pictures are not such, or the folder has no room or cannot be written to;
                then nothing was saved.
        """
        if correction.says_nothing:
            raise ValueError("the report is empty and no finding is set; write or set what you see, then save again")
        _check_pictures(correction, pictures)
        images = tuple(map(picture_hash, pictures))
        saved_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        values = {"saved_at": saved_at, "program_version": version("cxrscribe"), "study": study_hash(images)}
        values |= {"images": json.dumps(images)} | {name: getattr(correction, name) for name in TEXTS}
        cells = dataclasses.asdict(correction)
        values |= {name: json.dumps(cells[name]) for name in LISTS}
        with failures_of(self.folder):
            for image, name in zip(pictures, images, strict=True):
                _write_whole(self.folder / image_file(name), encode_png(image))
            with closing(self._connect()) as connection, connection:
                places = ", ".join(f":{name}" for name in values)
                statement = f"INSERT INTO corrections ({', '.join(values)}) VALUES ({places})"
                number = connection.execute(statement, values).lastrowid
        return SavedCorrection(
            number=number,
            saved_at=saved_at,
            program_version=values["program_version"],
            images=images,
            correction=correction,
        )

    def subject_id(self, patient_id: str) -> str:
        """The pseudonym of a patient, the same for all corrections of this folder; "" for none."""
        return pseudonym(self._key, "patient", patient_id) if patient_id else ""

    def history(self, pictures: Sequence[Image.Image]) -> list[SavedCorrection]:
        """All corrections of the study with these pictures, oldest first."""
        study = study_hash(map(picture_hash, pictures))
        with open_table(self.folder) as table:
            return [read_correction(table, entry.number) for entry in list_corrections(table) if entry.study == study]

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.folder / STORE_FILE, timeout=BUSY_SECONDS)
        connection.execute("PRAGMA synchronous = FULL")
        return connection


def _check_pictures(correction: Correction, pictures: Sequence[Image.Image]) -> None:
    if not pictures or len(pictures) != len(correction.view_positions):
        raise ValueError(f"{len(pictures)} pictures but {len(correction.view_positions)} view positions")
    for picture in pictures:
        if picture.mode != "L" or max(picture.size) > MAX_SIDE:
            raise ValueError(
                f"a picture of mode {picture.mode} and {picture.width} x {picture.height} pixels; corrections keep "
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
