r"""A folder tree of DICOM files as a source for `data.prepare`: studies by their headers, reports from a table.

    python -m data.prepare dicom --root ARCHIVE --out runs/studies
    python -m data.prepare dicom --root ARCHIVE --reports reports.csv --accession-column acc --report-column text \
        --pseudonym-map secret/links.jsonl --out runs/studies

Studies and patients get pseudonyms, and files are spoken of by number, because paths often hold names;
`--pseudonym-map`
and `--show-paths` tell what is what. Files that are not DICOM are left out and counted.

Rejected, each with its reason: a study of two patients, or with two different reports; a study none of whose images
is a chest radiograph that can be read; a file that belongs to no study. Images that cannot be used are left out of
studies that have others, and listed.

A study of DICOM files, still to be read: its good images make the study, the others are listed as left out.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import ClassVar

from data.images.dicom_header import FileHeader, read_file_header
from data.images.pixels import ImageRejected
from data.images.read import View, read_view
from data.pipeline.raw_study import FileStudy, ImageOptions, PlanContext, Rejection, SourcePlan
from data.pipeline.workers import map_in_order
from data.reports.pseudonyms import passing_key, pseudonym, read_key
from data.sources.dicom_index import ArchiveIndex, ArchiveStudy, FoundFile, StudyFile, file_label, find_files
from data.study import split_subjects
from data.tables.parse import MAX_VIEWS
from data.tables.reports import find_columns, read_reports


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomFile:
    """`label` is what the file is called wherever somebody may read it; `fault` says why it cannot be used."""

    path: Path
    label: str
    fault: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class RawDicomStudy:
    """A study whose images lie in several DICOM files; ids are pseudonyms."""

    study_id: str
    subject_id: str
    split: str
    dicom_files: tuple[DicomFile, ...]
    indication: str = ""
    findings: str = ""
    impression: str = ""
    source: str = ""
    license: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(file.label for file in self.dicom_files)

    def study(self, options: ImageOptions) -> FileStudy:
        views: list[View] = []
        rejected: list[Rejection] = []
        for file in self.dicom_files:
            try:
                if file.fault:
                    raise ImageRejected(f"{file.label}: {file.fault}")
                if len(views) == MAX_VIEWS:
                    raise ImageRejected(f"{file.label}: is one of more than {MAX_VIEWS} images of the study")
                views.append(read_view(file.path, max_side=options.max_side, name=file.label))
            except ImageRejected as error:
                rejected.append(
                    Rejection(study_id=self.study_id, split=self.split, reason=str(error), files=(file.label,))
                )
        if not views:
            raise ValueError(_reasons(rejected))
        return FileStudy(
            study_id=self.study_id,
            subject_id=self.subject_id,
            images=tuple(view.image for view in views),
            view_positions=tuple(view.view_position for view in views),
            indication=self.indication,
            findings=self.findings,
            impression=self.impression,
            source=self.source,
            license=self.license,
            views=tuple(views),
            rejected_images=tuple(rejected),
        )


def _reasons(rejected: list[Rejection]) -> str:
    """Each different reason once, with how many files it holds for."""
    reasons = Counter(rejection.reason.removeprefix(f"{rejection.files[0]}: ") for rejection in rejected)
    if len(rejected) == 1:
        return rejected[0].reason
    return "; ".join(f"{count} files: {reason}" for reason, count in reasons.items())


FILES_AT_ONCE = 64
"""Of which a worker reads the headers in one go."""
SHOWN_FAULTS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomSource:
    """DICOM files as an archive or a disc holds them."""

    PRIVATE_OPTIONS: ClassVar[tuple[str, ...]] = ("root", "reports", "pseudonym_key", "pseudonym_map")

    root: Path
    """Folder with the files, in any folders and under any names."""
    reports: Path | None = None
    """Table (CSV, JSONL or Parquet) with a report a row. Without it the studies have images alone."""
    accession_column: str | None = None
    """Column of --reports with AccessionNumber. By default accession_number or accession."""
    study_uid_column: str | None = None
    """Column of --reports with StudyInstanceUID. By default study_instance_uid or study_uid."""
    report_column: str | None = None
    """Column with the whole report. By default report or text."""
    indication_column: str | None = None
    findings_column: str | None = None
    impression_column: str | None = None
    pseudonym_key: Path | None = None
    """File with a secret of your own (head -c 32 /dev/urandom > FILE): the same key gives the same pseudonyms. Without
    it they are made by a key that is thrown away, and nobody can undo them."""
    pseudonym_map: Path | None = None
    """File to write, a line a study, which pseudonym stands for which patient and files. Keep it apart from the data
    set; it is not written unless asked for."""
    show_paths: bool = False
    """Name files by path instead of number in rejected.jsonl and messages, although paths may hold names."""
    source_name: str = "dicom"
    license: str = ""

    def plan(self, context: PlanContext) -> SourcePlan:
        if not self.root.is_dir():
            raise ValueError(f"--root {self.root} is no folder; name the one with the DICOM files")
        columns = find_columns(self.reports, _asked(self)) if self.reports else {}
        key = read_key(self.pseudonym_key) if self.pseudonym_key else passing_key(context.work)
        index, notes = ArchiveIndex(), []
        notes += _index_files(self.root, index, num_workers=context.num_workers)
        if self.reports:
            notes += _index_reports(self.reports, columns, index)
        index.complete()
        num_studies = index.num_studies() + index.num_lone_files()
        if not num_studies:
            raise ValueError(f"--root {self.root} holds no DICOM file")
        notes += _notes(self, index)
        split_of = split_subjects(index.subjects(), fractions=context.split_fractions, seed=context.seed)
        archive = _Archive(source=self, index=index, key=key, split_of=split_of)
        if self.pseudonym_map:
            _check_new(self.pseudonym_map, context.work)
            archive.write_links(self.pseudonym_map)
        return SourcePlan(num_studies=num_studies, raw_studies=archive.raw_studies(), notes=tuple(notes))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Archive:
    """What is known of an archive once its headers and the reports are read."""

    source: DicomSource
    index: ArchiveIndex
    key: bytes
    split_of: dict[str, str]

    def raw_studies(self) -> Iterator[RawDicomStudy | Rejection]:
        """Each study, then each file that belongs to none."""
        for study in self.index.studies(self._study_id):
            yield self._raw_study(study)
        for file in self.index.lone_files():
            label = self._label(file)
            yield Rejection(study_id=file_label(file.number), reason=f"{label}: {file.fault}", files=(label,))

    def write_links(self, path: Path) -> None:
        """Which pseudonym and which number stand for whom and for what; readable to its owner alone."""
        unfinished = path.with_name(path.name + ".tmp")
        try:
            with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                for entry in self._links():
                    file.write(json.dumps(entry).encode() + b"\n")
            unfinished.replace(path)
        except OSError as error:
            raise ValueError(f"--pseudonym-map {path} cannot be written ({error.strerror})") from error

    def _links(self) -> Iterator[dict]:
        for study in self.index.studies(self._study_id):
            yield {
                "study_id": self._study_id(study.study_instance_uid),
                "subject_id": self._subject_id(study),
                "study_instance_uid": study.study_instance_uid,
                "accession_numbers": study.accession_numbers,
                "patient_ids": study.patient_ids,
                "files": {file_label(file.number): _shown(file.path) for file in study.files},
            }
        for file in self.index.lone_files():
            yield {"files": {file_label(file.number): _shown(file.path)}}

    def _raw_study(self, study: ArchiveStudy) -> RawDicomStudy | Rejection:
        study_id, split = self._study_id(study.study_instance_uid), self.split_of[study.subject]
        reports = self.index.reports_of(study)
        fault = ""
        if len(study.patient_ids) > 1:
            fault = f"its files name {len(study.patient_ids)} patients (PatientID)"
        elif len(reports) > 1:
            fault = f"the table has {len(reports)} different reports of it"
        if fault:
            return Rejection(study_id=study_id, split=split, reason=fault, files=tuple(map(self._label, study.files)))
        indication, findings, impression = reports[0] if reports else ("", "", "")
        return RawDicomStudy(
            study_id=study_id,
            subject_id=self._subject_id(study),
            split=split,
            dicom_files=tuple(self._files(study)),
            indication=indication,
            findings=findings,
            impression=impression,
            source=self.source.source_name,
            license=self.source.license,
        )

    def _files(self, study: ArchiveStudy) -> Iterator[DicomFile]:
        seen: dict[str, str] = {}
        root = self.source.root.resolve()
        for file in study.files:
            label, fault = self._label(file), file.fault
            if file.sop_instance_uid and not fault:
                first = seen.setdefault(file.sop_instance_uid, label)
                if first != label:
                    fault = f"is the image of {first} once more (SOPInstanceUID)"
            yield DicomFile(path=root / file.path, label=label, fault=fault)

    def _label(self, file: StudyFile) -> str:
        return _shown(file.path) if self.source.show_paths else file_label(file.number)

    def _study_id(self, study_instance_uid: str) -> str:
        return pseudonym(self.key, "study", study_instance_uid)

    def _subject_id(self, study: ArchiveStudy) -> str:
        return pseudonym(self.key, "patient", study.subject)


def _check_new(pseudonym_map: Path, work: Path) -> None:
    """Raises ValueError for the links of another data set, which may be all that is left to tell who is who in it."""
    ours = work / "links"
    if pseudonym_map.exists() and not ours.exists():
        raise ValueError(
            f"--pseudonym-map {pseudonym_map} exists; it may belong to another data set, so name another file"
        )
    ours.touch()


def _index_files(root: Path, index: ArchiveIndex, *, num_workers: int) -> list[str]:
    """The headers of all files into the index; returns what to tell of those left out."""
    num_others = num_directories = 0
    read = partial(_read_headers, root=root.resolve())
    found_files = iter(find_files(root))
    batches = iter(lambda: tuple(islice(found_files, FILES_AT_ONCE)), ())
    for batch, headers in map_in_order(read, batches, num_workers=num_workers, if_lost=_lost_headers):
        for found, header in zip(batch, headers, strict=True):
            if header is None:
                num_others += 1
            elif header.is_directory:
                num_directories += 1
            else:
                index.add_file(found, header)
    notes = []
    if num_others:
        notes.append(f"{num_others} files are not DICOM and were left out.")
    if num_directories:
        notes.append(f"{num_directories} lists of files (DICOMDIR) were left out.")
    return notes


def _read_headers(batch: tuple[FoundFile, ...], *, root: Path) -> list[FileHeader | None]:
    return [FileHeader(fault=found.fault) if found.fault else read_file_header(root / found.path) for found in batch]


def _lost_headers(batch: tuple[FoundFile, ...]) -> list[FileHeader | None]:
    return [FileHeader(fault="its header cannot be read: a process that tried died")] * len(batch)


def _index_reports(table: Path, columns: dict[str, str], index: ArchiveIndex) -> list[str]:
    faults = []
    num_faults = 0
    for row in read_reports(table, columns):
        if row.fault:
            num_faults += 1
            faults += [row.fault][: SHOWN_FAULTS - len(faults)]
        else:
            index.add_report(row)
    return [f"{num_faults} rows of the reports cannot be used: {'; '.join(faults)}."] if num_faults else []


def _notes(source: DicomSource, index: ArchiveIndex) -> list[str]:
    notes = [
        f"{index.num_studies()} studies in the archive; {index.num_lone_files()} files belong to none of them and "
        "are rejected."
    ]
    if source.reports:
        notes.append(f"{index.num_studies_without_report()} studies have no report in the table.")
        notes.append(f"{index.num_reports_without_study()} rows of the table name no study of the archive.")
    if without := index.num_studies_without_patient():
        notes.append(f"{without} studies name no patient; each counts as a patient of its own.")
    return notes


def _asked(source: DicomSource) -> dict[str, str | None]:
    roles = ("accession", "study_uid", "report", "indication", "findings", "impression")
    return {role: getattr(source, f"{role}_column") for role in roles}


def _shown(path: str) -> str:
    return path.encode(errors="backslashreplace").decode()
