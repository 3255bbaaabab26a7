"""Tables and reports of MIMIC-CXR.

The tables (gzipped or not, any version) list the images with their views, splits and labels. They are kept in memory:
about 200 MB for all 377,110 images. The reports are text files, one per study, in folders or in the published archive.
"""

import re
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from data.images.read import UNKNOWN_VIEW
from data.study import later_split
from data.tables.labels import labels_from_columns
from data.tables.rows import Row, read_rows, require_columns
from vlm.schema.findings import BLANK, FINDINGS, UNLABELED_STUDY

MAX_REPORT_BYTES = 2**20
ARCHIVE, FOLDER = "mimic-cxr-reports.zip", "mimic-cxr-reports"
_TABLE = re.compile(r"(?:mimic-cxr-([\d.]+)-(split|metadata|chexpert|negbio)|cxr-(record)-list)\.csv(?:\.gz)?")
_SPLITS = {"train": "train", "validate": "validation", "validation": "validation", "test": "test"}
_DICOM_ID = re.compile(r"[0-9a-f-]{1,64}")


def study_path(subject: int, study: int) -> str:
    """The folder of a study below `files`: "p10/p10000032/s50414267"."""
    return f"p{str(subject)[:2]}/p{subject}/s{study}"


class MimicReports:
    """Reads reports on demand from `where`, the zip archive or a folder.

    If `where` is None, both are searched for in `root`, and reports may also be beside the images.

    Raises:
        ValueError: `where` does not exist, or the archive is damaged.
    """

    def __init__(self, root: Path, where: Path | None):
        if where is not None and not where.exists():
            raise ValueError(f"--reports {where} does not exist; name {ARCHIVE}, or the folder it was unpacked into")
        self._archive = None
        archive = where or root / ARCHIVE
        if archive.is_file():
            try:
                self._archive = zipfile.ZipFile(archive)
            except zipfile.BadZipFile as error:
                raise ValueError(f"{archive} is damaged or cut short ({error}); download it again") from error
        places = [where] if where else [root / FOLDER, root]
        self._folders = [folder for place in places for folder in (place / "files", place) if folder.is_dir()]

    def text(self, subject: int, study: int) -> str:
        """The report of a study, or "" if there is none.

        Raises:
            ValueError: the report is damaged, too large or not UTF-8.
        """
        name = study_path(subject, study) + ".txt"
        try:
            content = self._content(name)
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"report {name} cannot be read ({error}); download it again") from error
        if len(content) > MAX_REPORT_BYTES:
            raise ValueError(f"report {name} has more than {MAX_REPORT_BYTES} bytes; is it a report?")
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"report {name} is not UTF-8 text ({error.reason}); save it as UTF-8") from error

    def _content(self, name: str) -> bytes:
        for folder in self._folders:
            try:
                with (folder / name).open("rb") as file:
                    return file.read(MAX_REPORT_BYTES + 1)
            except FileNotFoundError:
                continue
        for member in (f"files/{name}", f"{FOLDER}/files/{name}", name) if self._archive else ():
            try:
                with self._archive.open(member) as file:
                    return file.read(MAX_REPORT_BYTES + 1)
            except KeyError:
                continue
        return b""


@dataclass(kw_only=True, slots=True)
class MimicIndex:
    """What the tables say about each image and study. Studies and patients are numbers."""

    images: list[tuple[int, int, str, str]] = field(default_factory=list)
    """(patient, study, DICOM id, view position), sorted."""
    has_views: bool = False
    times: dict[int, datetime] = field(default_factory=dict)
    """When each study was made, in the shifted time of its patient; only read for prior studies."""
    splits: dict[int, str] | None = None
    """The split of each study; None without a table of splits."""
    labels: dict[int, bytes] | None = None
    """CheXbert's codes for each study; None without a table of labels."""
    errors: dict[int, str] = field(default_factory=dict)
    """Studies whose split or labels cannot be used, with the reason."""
    damaged_rows: list[tuple[str, str]] = field(default_factory=list)
    """(row, error) for each row that names no image."""
    skipped_times: int = 0
    """Number of images whose date and time cannot be read."""
    skipped_rows: Counter[str] = field(default_factory=Counter)
    """Number of rows in each table that name no study, so that their split or labels cannot be used."""


def find_tables(folder: Path) -> dict[str, Path]:
    """The newest "split", "metadata", "chexpert", "negbio" and "record" tables in a folder, by kind."""
    found = {}
    for path in sorted(folder.iterdir()):
        if match := _TABLE.fullmatch(path.name):
            version = tuple(int(part) for part in (match[1] or "0").split(".") if part)
            found.setdefault(match[2] or match[3], []).append((version, path))
    return {kind: max(versions)[1] for kind, versions in found.items()}


def read_tables(tables: dict[str, Path], *, labels: str | None, with_times: bool = False) -> MimicIndex:
    """Read the tables into an index; `labels` is the kind of table with the labels.

    Raises:
        LookupError: no table lists the images.
        ValueError: a table is damaged or lacks a column.
    """
    listing = next((tables[kind] for kind in ("metadata", "split", "record") if kind in tables), None)
    if listing is None:
        raise LookupError("no table lists the images")
    index = MimicIndex(has_views="metadata" in tables)
    _read_images(listing, index)
    if with_times:
        index.times = _read_times(listing, index)
    if "split" in tables:
        index.splits = _read_splits(tables["split"], index)
    if labels:
        index.labels = _read_labels(tables[labels], index)
    return index


def _read_images(table: Path, index: MimicIndex) -> None:
    needed = ["dicom_id", "subject_id", "study_id"] + ["ViewPosition"] * index.has_views
    require_columns(table, needed)
    found = set()
    for row in read_rows(table):
        try:
            if row.error:
                raise ValueError(row.error)
            dicom_id, subject, study, *view = (row.values[name].strip() for name in needed)
            if not _DICOM_ID.fullmatch(dicom_id):
                raise ValueError(f"row {row.number}: dicom_id is {dicom_id!r}, which is not a DICOM id")
            position = sys.intern(view[0].upper() or UNKNOWN_VIEW) if view else UNKNOWN_VIEW
            found.add((_number(subject, "subject_id", row), _number(study, "study_id", row), dicom_id, position))
        except ValueError as error:
            index.damaged_rows.append((f"{table.name} row {row.number}", f"{table.name}: {error}"))
    index.images = sorted(found)


def _read_times(table: Path, index: MimicIndex) -> dict[int, datetime]:
    """The time of the first image of each study; a row without a valid date and time has none."""
    times = {}
    for row, study in _study_rows(table, ["study_id", "StudyDate", "StudyTime"], index):
        # The table holds numbers: the date 21800506, the time 81556.875 for a quarter past eight.
        day, clock = (row.values[name].strip().partition(".")[0] for name in ("StudyDate", "StudyTime"))
        try:
            time = datetime.strptime(f"{day} {clock.zfill(6)}", "%Y%m%d %H%M%S")
        except ValueError:
            index.skipped_times += 1
            continue
        times[study] = min(time, times.get(study, time))
    return times


def _read_splits(table: Path, index: MimicIndex) -> dict[int, str]:
    """The split of each study. The table has a row per image; a study in several splits counts for the later one."""
    splits = {}
    for row, study in _study_rows(table, ["study_id", "split"], index):
        name = row.values["split"].strip()
        if name in _SPLITS:
            splits[study] = later_split(_SPLITS[name], splits.get(study, ""))
        else:
            index.errors[study] = f"split {name!r} in {table.name} is none of {', '.join(_SPLITS)}"
    return splits


def _read_labels(table: Path, index: MimicIndex) -> dict[int, bytes]:
    """The labels of each study. A blank cell means that the report does not mention the finding."""
    labels = {}
    for row, study in _study_rows(table, ["study_id", *FINDINGS], index):
        try:
            codes = labels_from_columns(row.values)
        except ValueError as error:
            index.errors[study] = f"{table.name} row {row.number}: {error}"
            continue
        codes = bytes([BLANK] * len(FINDINGS) if codes == UNLABELED_STUDY else codes)
        if labels.setdefault(study, codes) != codes:
            index.errors[study] = f"{table.name} has it twice, with different labels"
    return labels


def _study_rows(table: Path, needed: list[str], index: MimicIndex) -> Iterator[tuple[Row, int]]:
    """Yield each row with its study number; rows without one are counted and skipped."""
    require_columns(table, needed)
    for row in read_rows(table):
        try:
            study = _number(row.values["study_id"].strip(), "study_id", row) if not row.error else None
        except ValueError:
            study = None
        if study is None:
            index.skipped_rows[table.name] += 1
        else:
            yield row, study


def _number(text: str, name: str, row: Row) -> int:
    if not text.isdecimal() or len(text) > 12:
        raise ValueError(f"row {row.number}: {name} is {text!r}, not a number")
    return int(text)
