"""Which files of a DICOM archive make up which study, and which report belongs to it.

The headers and reports lie in a temporary SQLite database: a file without a name (in the folder that TMPDIR names),
which the system deletes when the process ends, however it ends, because all of it is identity. So memory does not
grow with the archive.

The files of a DICOM archive: a folder tree in, each file with its number out, links and what cannot be opened as
faults. Names and suffixes mean nothing; they are only sorted by.

The number is how a file is spoken of: paths of archives often hold names of patients.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from data.images.dicom_header import FileHeader
from data.tables.reports import ReportRow

FOLDER_LINK = "is a link to a folder, which is not followed; name that folder as --root of a run of its own"


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundFile:
    """`path` starts below the root; `fault` says why the file cannot be used."""

    number: int
    path: str
    fault: str = ""


def file_label(number: int) -> str:
    return f"file-{number:07d}"


def find_files(root: Path) -> Iterator[FoundFile]:
    """Every file below `root` in the order of paths. Hidden files and folders are left out."""
    root = root.resolve()
    for number, (path, fault) in enumerate(_walk(root), start=1):
        yield FoundFile(number=number, path=str(path.relative_to(root)), fault=fault)


def _walk(root: Path) -> Iterator[tuple[Path, str]]:
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as found:
                entries = sorted(
                    (entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name
                )
        except OSError as error:
            yield folder, f"is a folder that cannot be opened ({error.strerror})"
            continue
        folders = []
        for entry in entries:
            path = folder / entry.name
            if entry.is_symlink():
                yield path, _link_fault(path, root)
            elif entry.is_dir():
                folders.append(path)
            else:
                yield path, "" if entry.is_file() else "is no regular file"
        waiting += reversed(folders)


def _link_fault(path: Path, root: Path) -> str:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return "is a link that leads nowhere, or in a circle"
    if target.is_dir():
        return FOLDER_LINK
    if not target.is_relative_to(root):
        return "is a link that leaves the archive, which is not followed; copy the file into the archive"
    return "" if target.is_file() else "is no regular file"


_TABLES = """
CREATE TABLE files (
    number INTEGER PRIMARY KEY, path BLOB, fault TEXT, study TEXT, sop TEXT, patient TEXT, accession TEXT);
CREATE TABLE reports (
    number INTEGER PRIMARY KEY, study TEXT, accession TEXT, indication TEXT, findings TEXT, impression TEXT);
"""
_INDICES = """
CREATE INDEX files_by_study ON files (study, number);
CREATE INDEX files_by_accession ON files (accession);
CREATE INDEX reports_by_study ON reports (study) WHERE study != '';
CREATE INDEX reports_by_accession ON reports (accession) WHERE accession != '';
"""
_CACHE_KIB = 64 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyFile:
    """`path` is below the root."""

    number: int
    path: str
    fault: str
    sop_instance_uid: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveStudy:
    """The files with one StudyInstanceUID. Ids of all its files; more than one patient is a fault of the archive."""

    study_instance_uid: str
    patient_ids: tuple[str, ...]
    accession_numbers: tuple[str, ...]
    files: tuple[StudyFile, ...]

    @property
    def subject(self) -> str:
        """The patient; a study that names none counts as a patient of its own."""
        return max(self.patient_ids, default=self.study_instance_uid)


class ArchiveIndex:
    """Filled by `add_file` and `add_report`, then closed by `complete` and asked."""

    def __init__(self):
        self._database = sqlite3.connect("")
        self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._database.executescript(_TABLES)

    def add_file(self, found: FoundFile, header: FileHeader) -> None:
        self._database.execute(
            "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                found.number,
                os.fsencode(found.path),  # which need not be text
                header.fault,
                header.study_instance_uid,
                header.sop_instance_uid,
                header.patient_id,
                header.accession_number,
            ),
        )

    def add_report(self, row: ReportRow) -> None:
        self._database.execute(
            "INSERT INTO reports VALUES (?, ?, ?, ?, ?, ?)",
            (row.number, row.study_uid, row.accession_number, row.indication, row.findings, row.impression),
        )

    def complete(self) -> None:
        self._database.commit()
        self._database.executescript(_INDICES)

    def num_studies(self) -> int:
        return self._count("SELECT count(DISTINCT study) FROM files WHERE study != ''")

    def num_lone_files(self) -> int:
        """Files that belong to no study."""
        return self._count("SELECT count(*) FROM files WHERE study = ''")

    def num_reports_without_study(self) -> int:
        return self._count(
            "SELECT count(*) FROM reports WHERE"
            " NOT EXISTS (SELECT 1 FROM files WHERE files.study != '' AND files.study = reports.study) AND"
            " NOT EXISTS (SELECT 1 FROM files WHERE files.accession != '' AND files.accession = reports.accession)"
        )

    def num_studies_without_report(self) -> int:
        return self.num_studies() - self._count(
            "SELECT count(DISTINCT files.study) FROM files WHERE files.study != '' AND ("
            " EXISTS (SELECT 1 FROM reports WHERE reports.study != '' AND reports.study = files.study) OR"
            " EXISTS (SELECT 1 FROM reports WHERE reports.accession != '' AND reports.accession = files.accession))"
        )

    def num_studies_without_patient(self) -> int:
        return self._count(
            "SELECT count(*) FROM (SELECT 1 FROM files WHERE study != '' GROUP BY study HAVING max(patient) = '')"
        )

    def subjects(self) -> Iterator[str]:
        """What stands for each patient, as in `ArchiveStudy.subject`."""
        patients = "SELECT max(patient) AS patient, study FROM files WHERE study != '' GROUP BY study"
        for (subject,) in self._database.execute(
            f"SELECT DISTINCT iif(patient = '', study, patient) FROM ({patients})"
        ):
            yield subject

    def studies(self, position: Callable[[str], str]) -> Iterator[ArchiveStudy]:
        """In the order of `position`, which is given the UID; the files of each in the order of the tree."""
        self._database.create_function("position", 1, position, deterministic=True)
        rows = self._database.execute(
            "SELECT study, number, path, fault, sop, patient, accession FROM files WHERE study != ''"
            " ORDER BY position(study), number"
        )
        for study, of_study in groupby(rows, key=itemgetter(0)):
            files, patients, accessions = [], {}, {}
            for _, number, path, fault, sop, patient, accession in of_study:
                files.append(StudyFile(number=number, path=os.fsdecode(path), fault=fault, sop_instance_uid=sop))
                patients[patient] = accessions[accession] = None
            yield ArchiveStudy(
                study_instance_uid=study,
                patient_ids=tuple(filter(None, patients)),
                accession_numbers=tuple(filter(None, accessions)),
                files=tuple(files),
            )

    def lone_files(self) -> Iterator[StudyFile]:
        rows = self._database.execute("SELECT number, path, fault FROM files WHERE study = '' ORDER BY number")
        for number, path, fault in rows:
            yield StudyFile(number=number, path=os.fsdecode(path), fault=fault, sop_instance_uid="")

    def reports_of(self, study: ArchiveStudy) -> list[tuple[str, str, str]]:
        """The different (indication, findings, impression) that rows give for a study; those of its UID, or, where
        there are none, of its accession numbers."""
        columns = "SELECT DISTINCT indication, findings, impression FROM reports WHERE"
        by_study = self._all(f"{columns} study = ? AND study != ''", [study.study_instance_uid])
        if by_study or not study.accession_numbers:
            return by_study
        marks = ", ".join("?" * len(study.accession_numbers))
        return self._all(f"{columns} accession IN ({marks}) AND accession != ''", study.accession_numbers)

    def _all(self, query: str, values: Iterable[str]) -> list[tuple]:
        return self._database.execute(query, tuple(values)).fetchall()

    def _count(self, query: str) -> int:
        return self._database.execute(query).fetchone()[0]
