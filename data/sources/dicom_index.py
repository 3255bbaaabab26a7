"""Index of a DICOM archive: which files belong to which study, and which report belongs to it.

`find_files` walks the folder tree and numbers every file. Names and suffixes are only used for sorting. Messages use
the number, because paths in archives often contain patient names.

`ArchiveIndex` keeps headers and reports in a temporary SQLite database, so memory does not grow with the archive. The
database is a file without a name (in the folder TMPDIR), which the system deletes when the process ends in any way.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from data.images.dicom.header import FileHeader
from data.tables.reports import ReportRow

FOLDER_LINK = "is a link to a folder, which is not followed; give that folder separately"
_CACHE_KIB = 64 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveFile:
    """A file with its path below the root; `error` says why it cannot be used."""

    number: int
    path: str
    error: str = ""
    sop_instance_uid: str = ""

    @property
    def label(self) -> str:
        """Name of the file in messages."""
        return f"file-{self.number:07d}"


def find_files(root: Path) -> Iterator[ArchiveFile]:
    """Every file below `root` in the order of paths, without hidden files and folders."""
    root = root.resolve()
    for number, (path, error) in enumerate(_walk(root), start=1):
        yield ArchiveFile(number=number, path=str(path.relative_to(root)), error=error)


def _walk(root: Path) -> Iterator[tuple[Path, str]]:
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as found:
                visible = (entry for entry in found if not entry.name.startswith("."))
                entries = sorted(visible, key=lambda entry: entry.name)
        except OSError as error:
            yield folder, f"is a folder that cannot be opened ({error.strerror})"
            continue
        folders = []
        for entry in entries:
            path = folder / entry.name
            if entry.is_symlink():
                yield path, _link_error(path, root)
            elif entry.is_dir():
                folders.append(path)
            else:
                yield path, "" if entry.is_file() else "is no regular file"
        waiting += reversed(folders)


def _link_error(path: Path, root: Path) -> str:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return "is a broken or circular link"
    if target.is_dir():
        return FOLDER_LINK
    if not target.is_relative_to(root):
        return "is a link to a file outside the archive, which is not followed; copy the file into the archive"
    return "" if target.is_file() else "is no regular file"


_TABLES = """
CREATE TABLE files (
    number INTEGER PRIMARY KEY, path BLOB, error TEXT, study TEXT, sop TEXT, patient TEXT, accession TEXT,
    time TEXT);
CREATE TABLE reports (
    number INTEGER PRIMARY KEY, study TEXT, accession TEXT, patient TEXT, indication TEXT, findings TEXT,
    impression TEXT);
"""
_INDICES = """
CREATE INDEX files_by_study ON files (study, number);
CREATE INDEX files_by_accession ON files (accession);
CREATE TABLE studies AS
    SELECT study, iif(max(patient) = '', study, max(patient)) AS subject,
        coalesce(min(iif(length(time) = 14, time, NULL)), min(nullif(time, ''))) AS time
    FROM files WHERE study != '' GROUP BY study;
CREATE INDEX studies_by_study ON studies (study);
CREATE INDEX studies_by_subject ON studies (subject, time);
CREATE TABLE shared_accessions AS
    SELECT accession, count(DISTINCT iif(patient = '', subject, patient)) AS num_patients
    FROM files JOIN studies USING (study) WHERE accession != '' GROUP BY accession HAVING num_patients > 1;
CREATE INDEX shared_by_accession ON shared_accessions (accession);
CREATE INDEX reports_by_study ON reports (study) WHERE study != '';
CREATE INDEX reports_by_accession ON reports (accession) WHERE accession != '';
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveStudy:
    """The files with one StudyInstanceUID, and the ids in all their headers. More than one patient id is an error."""

    study_instance_uid: str
    patient_ids: tuple[str, ...]
    accession_numbers: tuple[str, ...]
    files: tuple[ArchiveFile, ...]

    @property
    def subject(self) -> str:
        """The patient id. A study without one counts as a patient of its own."""
        return max(self.patient_ids, default=self.study_instance_uid)


class ArchiveIndex:
    """Index of headers and reports. Call `add_file` and `add_report`, then `complete`, then the other methods."""

    def __init__(self):
        self._database = sqlite3.connect("")
        self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._database.executescript(_TABLES)

    def add_file(self, file: ArchiveFile, header: FileHeader) -> None:
        self._database.execute(
            "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                file.number,
                os.fsencode(file.path),  # a path may not be valid text
                header.error,
                header.study_instance_uid,
                header.sop_instance_uid,
                header.patient_id,
                header.accession_number,
                header.study_time,
            ),
        )

    def add_report(self, row: ReportRow) -> None:
        self._database.execute(
            "INSERT INTO reports VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                row.number,
                row.study_uid,
                row.accession_number,
                row.patient_id,
                row.indication,
                row.findings,
                row.impression,
            ),
        )

    def complete(self) -> None:
        self._database.commit()
        self._database.executescript(_INDICES)

    def num_studies(self) -> int:
        return self._count("SELECT count(DISTINCT study) FROM files WHERE study != ''")

    def num_files_without_study(self) -> int:
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

    def num_studies_of_shared_accessions(self) -> int:
        """Studies whose report cannot be known, because several patients have their accession number."""
        return self._count(
            "SELECT count(DISTINCT files.study) FROM files JOIN shared_accessions USING (accession)"
            " WHERE files.study != '' AND EXISTS (SELECT 1 FROM reports WHERE reports.accession = files.accession) AND"
            " NOT EXISTS (SELECT 1 FROM reports WHERE reports.study = files.study) AND"
            " NOT EXISTS (SELECT 1 FROM reports WHERE reports.accession = files.accession AND"
            " reports.patient = files.patient AND reports.patient != '')"
        )

    def other_forms(self) -> tuple[int, str, str]:
        """The number of studies without a report whose accession number is in the table without its leading zeros or
        with ".0", and the form of one number in the files and in the table, with # for each other character."""
        self._database.create_function("core", 1, _core, deterministic=True)
        self._database.executescript(
            "CREATE TEMP TABLE cores AS SELECT core(accession) AS core, accession FROM reports WHERE accession != '';"
            "CREATE INDEX cores_core ON cores (core);"
        )
        found = self._database.execute(
            "SELECT count(DISTINCT files.study), min(files.accession), min(cores.accession) FROM files JOIN cores"
            " ON cores.core = core(files.accession) WHERE files.study != '' AND files.accession != ''"
            " AND NOT EXISTS (SELECT 1 FROM reports WHERE reports.accession = files.accession)"
        )
        count, in_files, in_table = found.fetchone()
        self._database.execute("DROP TABLE cores")
        return count, _form(in_files or ""), _form(in_table or "")

    def num_studies_without_patient(self) -> int:
        return self._count(
            "SELECT count(*) FROM (SELECT 1 FROM files WHERE study != '' GROUP BY study HAVING max(patient) = '')"
        )

    def subjects(self) -> Iterator[str]:
        """Every different `ArchiveStudy.subject`."""
        yield from (subject for (subject,) in self._database.execute("SELECT DISTINCT subject FROM studies"))

    def studies(self, sort_key: Callable[[str], str]) -> Iterator[ArchiveStudy]:
        """Every study, sorted by `sort_key` of its UID; its files are in the order of `find_files`."""
        self._database.create_function("sort_key", 1, sort_key, deterministic=True)
        rows = self._database.execute(
            "SELECT study, number, path, error, sop, patient, accession FROM files WHERE study != ''"
            " ORDER BY sort_key(study), number"
        )
        for _, study_rows in groupby(rows, key=itemgetter(0)):
            yield _study(study_rows)

    def prior_of(self, study: ArchiveStudy) -> tuple[ArchiveStudy, int | None] | None:
        """The patient's last study before this one, and the days between them; None if there is none. A study without
        a date has no prior study and is none. If one of two studies has no time, only their dates are compared, so
        neither is prior on the same day. The days are None if a date does not exist (a 31st of June)."""
        found = self._all(
            "SELECT earlier.study, earlier.time, now.time FROM studies AS now JOIN studies AS earlier"
            " ON earlier.subject = now.subject AND iif(length(earlier.time) = length(now.time),"
            " earlier.time < now.time, substr(earlier.time, 1, 8) < substr(now.time, 1, 8)) WHERE now.study = ?"
            " ORDER BY earlier.time DESC, earlier.study LIMIT 1",
            [study.study_instance_uid],
        )
        if not found:
            return None
        [(uid, earlier, now)] = found
        query = "SELECT study, number, path, error, sop, patient, accession FROM files WHERE study = ? ORDER BY number"
        return _study(self._all(query, [uid])), _days(earlier, now)

    def files_without_study(self) -> Iterator[ArchiveFile]:
        rows = self._database.execute("SELECT number, path, error FROM files WHERE study = '' ORDER BY number")
        for number, path, error in rows:
            yield ArchiveFile(number=number, path=os.fsdecode(path), error=error)

    def reports_of(self, study: ArchiveStudy) -> list[tuple[str, str, str]]:
        """The different (indication, findings, impression) of a study: rows with its UID or, if there are none, rows
        with its accession numbers. Of these, rows with its patient id come first.

        Raises:
            ValueError: the row may belong to another patient: it names one, or several patients of the archive have
                the accession number.
        """
        columns = "indication, findings, impression"
        by_study = self._all(
            f"SELECT DISTINCT {columns} FROM reports WHERE study = ? AND study != ''", [study.study_instance_uid]
        )
        if by_study or not study.accession_numbers:
            return by_study
        marks = ", ".join("?" * len(study.accession_numbers))
        rows = self._all(
            f"SELECT DISTINCT {columns}, patient, coalesce(num_patients, 1) FROM reports LEFT JOIN shared_accessions"
            f" USING (accession) WHERE accession IN ({marks}) AND accession != ''",
            study.accession_numbers,
        )
        own = [row for row in rows if row[3] in study.patient_ids]
        of_no_patient = [row for row in rows if not (row[3] and study.patient_ids)]
        if rows and not own:
            _check_patient(max(num_patients for *_, num_patients in rows), names_another=not of_no_patient)
        return list(dict.fromkeys(row[:3] for row in own or of_no_patient))

    def _all(self, query: str, values: Iterable[str]) -> list[tuple]:
        return self._database.execute(query, tuple(values)).fetchall()

    def _count(self, query: str) -> int:
        return self._database.execute(query).fetchone()[0]


def _study(rows: Iterable[tuple]) -> ArchiveStudy:
    """The study of these rows (study, number, path, error, sop, patient, accession)."""
    files, patients, accessions, study = [], {}, {}, ""
    for study, number, path, error, sop, patient, accession in rows:  # noqa: B007 (the same in all rows)
        files.append(ArchiveFile(number=number, path=os.fsdecode(path), error=error, sop_instance_uid=sop))
        patients[patient] = accessions[accession] = None
    return ArchiveStudy(
        study_instance_uid=study,
        patient_ids=tuple(filter(None, patients)),
        accession_numbers=tuple(filter(None, accessions)),
        files=tuple(files),
    )


def _check_patient(num_patients: int, *, names_another: bool) -> None:
    """Raises ValueError if rows with the accession number of a study may belong to another patient. The message quotes
    no number: it would identify the patient."""
    if num_patients > 1:
        raise ValueError(
            f"its accession number is used by {num_patients} patients; match the reports by StudyInstanceUID "
            "(--study-uid-column), or name the column of patient ids (--patient-id-column)"
        )
    if names_another:
        raise ValueError(
            "the row with its accession number names another patient; correct the column of patient ids "
            "(--patient-id-column), or remove it if its ids are not those of the files (PatientID)"
        )


def _days(earlier: str, now: str) -> int | None:
    try:
        return (date.fromisoformat(now[:8]) - date.fromisoformat(earlier[:8])).days
    except ValueError:
        return None


def _core(accession: str) -> str:
    """An accession number without what spreadsheets remove or add."""
    return accession.strip().removesuffix(".0").lstrip("0").upper()


def _form(accession: str) -> str:
    """The form of an accession number, which must not be shown itself: zeros at the start, ".0" at the end, and #."""
    end = ".0" if accession.endswith(".0") else ""
    text = accession.removesuffix(end)
    core = text.lstrip("0")
    return f"{'0' * (len(text) - len(core))}{'#' * len(core)}{end}"
