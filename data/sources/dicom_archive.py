r"""Source `dicom` of `data.prepare`: a folder tree of DICOM files, with reports from a table.

    python -m data.prepare dicom --root ARCHIVE --out runs/studies
    python -m data.prepare dicom --root ARCHIVE --reports reports.csv --accession-column acc --report-column text \
        --pseudonym-map secret/map.jsonl --out runs/studies

Files are grouped into studies by their headers. Studies and patients get pseudonyms, and messages name files by number,
because paths often contain patient names. `--pseudonym-map` saves the identities behind the pseudonyms and numbers;
`--show-paths` puts paths into messages. Files that are not DICOM are skipped and counted.

These are rejected with a reason: a study with two patients or two different reports; a study whose report may be that
of another patient, because several patients have its accession number; a study without any readable chest radiograph;
a file that belongs to no study. Unusable images of other studies are left out and listed.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from data.images.dicom.header import FileHeader, read_file_header
from data.images.pixels import ImageRejected
from data.images.read import View, read_view
from data.pipeline.raw_study import FileStudy, ImageOptions, PlanContext, RawFileStudy, RawPrior, Rejection, SourcePlan
from data.pipeline.workers import map_in_order
from data.reports.pseudonyms import check_new_map, pseudonym, read_key, stored_key, write_pseudonym_map
from data.sources.dicom_index import ArchiveFile, ArchiveIndex, ArchiveStudy, find_files
from data.study import split_subjects
from data.tables.parse import MAX_VIEWS
from data.tables.reports import find_report_columns, read_reports

FILES_PER_BATCH = 64
"""Number of headers that a worker process reads at once."""
SHOWN_ERRORS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class RawDicomStudy(RawFileStudy):
    """A study in DICOM files. Readable images make the study; the others are listed as left out.

    `files` are the names that messages use, and `errors` say why a file cannot be used ("" if it can). Files with the
    same number in `copies` have the same SOPInstanceUID; the first readable one of them is used.
    """

    paths: tuple[Path, ...]
    errors: tuple[str, ...]
    copies: tuple[int, ...]

    @property
    def images(self) -> tuple[Path, ...]:
        return self.paths

    def study(self, options: ImageOptions) -> FileStudy:
        views: list[View] = []
        rejected: list[Rejection] = []
        first_read: dict[int, str] = {}
        for file, path, error, copy in zip(self.files, self.paths, self.errors, self.copies, strict=True):
            try:
                if error:
                    raise ImageRejected(f"{file}: {error}")
                if copy in first_read:
                    raise ImageRejected(f"{file}: is the same image as {first_read[copy]} (SOPInstanceUID)")
                if len(views) == MAX_VIEWS:
                    raise ImageRejected(f"{file}: is one of more than {MAX_VIEWS} images of the study")
                views.append(read_view(path, max_side=options.max_side, name=file))
                first_read[copy] = file
            except ImageRejected as reason:
                rejected.append(Rejection(study_id=self.study_id, split=self.split, reason=str(reason), files=(file,)))
        if not views:
            raise ValueError(_reasons(rejected))
        return self.with_views(tuple(views), rejected_images=tuple(rejected))


def _reasons(rejected: list[Rejection]) -> str:
    """Each different reason once, with its number of files."""
    if len(rejected) == 1:
        return rejected[0].reason
    reasons = Counter(rejection.reason.removeprefix(f"{rejection.files[0]}: ") for rejection in rejected)
    return "; ".join(f"{count} files: {reason}" for reason, count in reasons.items())


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportColumns:
    """Columns of --reports."""

    accession_column: str | None = None
    """AccessionNumber. Default: accession_number or accession."""
    study_uid_column: str | None = None
    """StudyInstanceUID. Default: study_instance_uid or study_uid."""
    patient_id_column: str | None = None
    """PatientID. It decides if several patients have one accession number. Default: patient_id or PatientID."""
    report_column: str | None = None
    """The whole report. Default: report or text."""
    indication_column: str | None = None
    """The indication. Default: indication."""
    findings_column: str | None = None
    """The findings. Default: findings."""
    impression_column: str | None = None
    """The impression. Default: impression."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomSource:
    """DICOM files in an archive or on a disc."""

    PRIVATE_OPTIONS: ClassVar[tuple[str, ...]] = ("root", "reports", "pseudonym_key", "pseudonym_map")

    root: Path
    """Folder with the files, in any subfolders and with any names."""
    reports: Path | None = None
    """Table (CSV, JSONL or Parquet) with one report per row. Without it, the studies have images only."""
    pseudonym_map: Path | None = None
    """File to write: the patient and files of each pseudonym, one study per line. Keep it apart from the data set."""
    pseudonym_key: Path | None = None
    """File with your own secret (head -c 32 /dev/urandom > FILE). The same key gives the same pseudonyms. By default,
    a random key is used and deleted, so the pseudonyms cannot be reversed."""
    with_priors: bool = False
    """Add to each study the patient's last study before it, by StudyDate and StudyTime. Dates are not stored."""
    show_paths: bool = False
    """Name files by path instead of number in rejected.jsonl and messages. Paths may contain patient names."""
    source_name: str = "dicom"
    """Name of the source, saved with each study."""
    license: str = ""
    """License of the studies, saved with each study."""
    columns: Annotated[ReportColumns, tyro.conf.OmitArgPrefixes] = field(default_factory=ReportColumns)

    def plan(self, context: PlanContext) -> SourcePlan:
        if not self.root.is_dir():
            raise ValueError(f"--root {self.root} is not a folder; name the one with the DICOM files")
        roles = ("accession", "study_uid", "patient_id", "report", "indication", "findings", "impression")
        requested = {role: getattr(self.columns, f"{role}_column") for role in roles}
        columns = find_report_columns(self.reports, requested) if self.reports else {}
        key = read_key(self.pseudonym_key) if self.pseudonym_key else stored_key(context.work)
        index = ArchiveIndex()
        notes = _index_files(self.root, index, num_workers=context.num_workers)
        if self.reports:
            notes += _index_reports(self.reports, columns, index)
        index.complete()
        num_studies = index.num_studies() + index.num_files_without_study()
        if not num_studies:
            raise ValueError(f"--root {self.root} holds no DICOM file")
        notes += _notes(self, index)
        split_of = split_subjects(index.subjects(), fractions=context.split_fractions, seed=context.seed)
        archive = _Archive(source=self, index=index, key=key, split_of=split_of)
        if self.pseudonym_map:
            check_new_map(self.pseudonym_map, context.work)
            write_pseudonym_map(self.pseudonym_map, archive.pseudonym_map())
        return SourcePlan(num_studies=num_studies, raw_studies=archive.raw_studies(), notes=tuple(notes))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Archive:
    """An archive after its headers and reports were read."""

    source: DicomSource
    index: ArchiveIndex
    key: bytes
    split_of: dict[str, str]

    def raw_studies(self) -> Iterator[RawDicomStudy | Rejection]:
        """Each study, then each file without a study."""
        for study in self.index.studies(self._study_id):
            yield self._with_prior(study, self._raw_study(study))
        for file in self.index.files_without_study():
            label = self._label(file)
            yield Rejection(study_id=file.label, reason=f"{label}: {file.error}", files=(label,))

    def pseudonym_map(self) -> Iterator[dict]:
        """The identity behind each pseudonym and file number."""
        for study in self.index.studies(self._study_id):
            yield {
                "study_id": self._study_id(study.study_instance_uid),
                "subject_id": self._subject_id(study),
                "study_instance_uid": study.study_instance_uid,
                "accession_numbers": study.accession_numbers,
                "patient_ids": study.patient_ids,
                "files": {file.label: _printable(file.path) for file in study.files},
            }
        for file in self.index.files_without_study():
            yield {"files": {file.label: _printable(file.path)}}

    def _with_prior(self, study: ArchiveStudy, raw_study: RawDicomStudy | Rejection) -> RawDicomStudy | Rejection:
        prior = self.index.prior_of(study) if self.source.with_priors else None
        if prior is None or isinstance(raw_study, Rejection):
            return raw_study
        earlier, interval_days = prior
        return replace(raw_study, prior=RawPrior(raw_study=self._raw_study(earlier), interval_days=interval_days))

    def _raw_study(self, study: ArchiveStudy) -> RawDicomStudy | Rejection:
        study_id, split = self._study_id(study.study_instance_uid), self.split_of[study.subject]
        labels = tuple(map(self._label, study.files))
        try:
            indication, findings, impression = self._report(study)
        except ValueError as error:
            return Rejection(study_id=study_id, split=split, reason=str(error), files=labels)
        root = self.source.root.resolve()
        first_number: dict[str, int] = {}
        return RawDicomStudy(
            study_id=study_id,
            subject_id=self._subject_id(study),
            split=split,
            image_root=root,
            files=labels,
            paths=tuple(root / file.path for file in study.files),
            errors=tuple(file.error for file in study.files),
            copies=tuple(
                first_number.setdefault(file.sop_instance_uid or file.label, file.number) for file in study.files
            ),
            indication=indication,
            findings=findings,
            impression=impression,
            source=self.source.source_name,
            license=self.source.license,
        )

    def _report(self, study: ArchiveStudy) -> tuple[str, str, str]:
        """Indication, findings and impression, blank without a report. Raises ValueError if study and report do not
        belong to one patient for certain."""
        if len(study.patient_ids) > 1:
            raise ValueError(f"its files name {len(study.patient_ids)} patients (PatientID)")
        reports = self.index.reports_of(study)
        if len(reports) > 1:
            raise ValueError(f"the table has {len(reports)} different reports of it")
        return reports[0] if reports else ("", "", "")

    def _label(self, file: ArchiveFile) -> str:
        return _printable(file.path) if self.source.show_paths else file.label

    def _study_id(self, study_instance_uid: str) -> str:
        return pseudonym(self.key, "study", study_instance_uid)

    def _subject_id(self, study: ArchiveStudy) -> str:
        return pseudonym(self.key, "patient", study.subject)


def _index_files(root: Path, index: ArchiveIndex, *, num_workers: int) -> list[str]:
    """Add the headers of all files to the index; returns notes about skipped files."""
    num_others = num_directories = 0
    read = partial(_read_headers, root=root.resolve())
    files = iter(find_files(root))
    batches = iter(lambda: tuple(islice(files, FILES_PER_BATCH)), ())
    for batch, headers in map_in_order(read, batches, num_workers=num_workers, if_lost=_lost_headers):
        for file, header in zip(batch, headers, strict=True):
            if header is None:
                num_others += 1
            elif header.is_directory:
                num_directories += 1
            else:
                index.add_file(file, header)
    notes = []
    if num_others:
        notes.append(f"{num_others} files are not DICOM and were left out.")
    if num_directories:
        notes.append(f"{num_directories} lists of files (DICOMDIR) were left out.")
    return notes


def _read_headers(batch: tuple[ArchiveFile, ...], *, root: Path) -> list[FileHeader | None]:
    return [FileHeader(error=file.error) if file.error else read_file_header(root / file.path) for file in batch]


def _lost_headers(batch: tuple[ArchiveFile, ...]) -> list[FileHeader | None]:
    return [FileHeader(error="its header cannot be read: the worker process crashed")] * len(batch)


def _index_reports(table: Path, columns: dict[str, str], index: ArchiveIndex) -> list[str]:
    """Add the reports to the index; returns a note about unusable rows."""
    errors = []
    for row in read_reports(table, columns):
        if row.error:
            errors.append(row.error)
        else:
            index.add_report(row)
    if not errors:
        return []
    return [f"{len(errors)} rows of the reports cannot be used: {'; '.join(errors[:SHOWN_ERRORS])}."]


def _notes(source: DicomSource, index: ArchiveIndex) -> list[str]:
    notes = [
        f"{index.num_studies()} studies in the archive; {index.num_files_without_study()} files belong to no study and "
        "are rejected."
    ]
    if source.reports:
        notes.append(f"{index.num_studies_without_report()} studies have no report in the table.")
        count, in_files, in_table = index.other_forms()
        if count:
            notes.append(
                f"{count} of these would have one if accession numbers were written alike: with # for each digit, the "
                f"files have the form {in_files}, and the table {in_table}. Save the column as text, with its zeros."
            )
        if ambiguous := index.num_studies_of_shared_accessions():
            notes.append(
                f"{ambiguous} studies have an accession number that several patients have, and the table does not "
                "say whose report it is; they are rejected."
            )
        notes.append(f"{index.num_reports_without_study()} rows of the table name no study of the archive.")
    if without := index.num_studies_without_patient():
        notes.append(f"{without} studies have no patient id; each counts as a patient of its own.")
    return notes


def _printable(path: str) -> str:
    return path.encode(errors="backslashreplace").decode()
