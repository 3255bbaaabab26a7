"""Source `mimic_cxr` of `data.prepare`: MIMIC-CXR-JPG and MIMIC-CXR (DICOM), in the published layout.

    python -m data.prepare mimic_cxr --root physionet.org/files/mimic-cxr-jpg/2.1.0 --out runs/mimic_cxr

`--root` holds `files/p10/p10000032/s50414267/<dicom_id>.jpg` (or `.dcm`) and the tables `mimic-cxr-<version>-split`,
`-metadata`, `-chexpert` and `-negbio` (`.csv` or `.csv.gz`). Reports are in `mimic-cxr-reports.zip`, in its unpacked
folder, or beside the study folders. MIMIC-CXR itself has only the table `cxr-record-list.csv.gz`; pass the folder with
the other tables as `--tables`. If only a part of the images was downloaded, the other studies are rejected.

Access to the texts is restricted, and so is access to everything made from them.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data.pipeline.priors import link_priors
from data.pipeline.raw_study import PlanContext, RawFileStudy, Rejection, SourcePlan
from data.reports.plain_text import join_lines
from data.reports.sections import split_sections
from data.sources.mimic_cxr_tables import MimicIndex, MimicReports, find_tables, read_tables, study_path
from data.study import later_split, left_out, split_subjects
from vlm.schema.findings import UNLABELED_STUDY

SOURCE, LICENSE = "mimic_cxr", "PhysioNet Credentialed Health Data License 1.5.0"


@dataclass(frozen=True, kw_only=True, slots=True)
class MimicSource:
    """MIMIC-CXR-JPG or MIMIC-CXR (DICOM), as downloaded from PhysioNet."""

    root: Path
    """Folder with `files/` and, by default, the tables and the reports."""
    tables: Path | None = None
    """Folder with the split, metadata and label tables. Default: --root."""
    reports: Path | None = None
    """mimic-cxr-reports.zip, or its unpacked folder. Default: searched for in --root."""
    labels: Literal["chexpert", "negbio", "report"] | None = None
    """Where labels come from; "report" runs this project's labeler on the reports. Default: the CheXpert table, or the
    reports if there is no such table."""
    with_priors: bool = False
    """Add to each study the patient's last study before it. Needs the metadata table."""

    def plan(self, context: PlanContext) -> SourcePlan:
        folder = self.tables or self.root
        for option, path in (("--root", self.root), ("--tables", folder)):
            if not path.is_dir():
                raise ValueError(f"{option} {path} is not a folder; name the one with MIMIC-CXR's files")
        tables = find_tables(folder)
        labels = self.labels or ("chexpert" if "chexpert" in tables else "report")
        if labels != "report" and labels not in tables:
            raise ValueError(f"--labels {labels} needs mimic-cxr-<version>-{labels}.csv(.gz) in {folder}")
        if self.with_priors and "metadata" not in tables:
            raise ValueError(f"--with-priors needs mimic-cxr-<version>-metadata.csv(.gz) in {folder}, for the dates")
        try:
            kind = None if labels == "report" else labels
            index = read_tables(tables, labels=kind, with_times=self.with_priors)
        except LookupError as error:
            raise ValueError(
                f"{folder} has none of mimic-cxr-<version>-metadata.csv(.gz), -split.csv(.gz) and "
                "cxr-record-list.csv(.gz), which list the images; pass their folder as --tables"
            ) from error
        split_of = _split_subjects(index, context)
        reports = MimicReports(self.root, self.reports)
        num_studies = sum(1 for _ in _studies(index)) + len(index.damaged_rows)
        raw_studies = _raw_studies(self.root, index, split_of, reports)
        return SourcePlan(num_studies=num_studies, raw_studies=raw_studies, notes=_notes(tables, index, labels))


def _studies(index: MimicIndex) -> Iterator[tuple[int, int, list[tuple[str, str]]]]:
    """Yield (patient, study, [(DICOM id, view), …]) for each study, in order."""
    for (subject, study), images in itertools.groupby(index.images, key=lambda image: image[:2]):
        yield subject, study, [(dicom_id, view) for _, _, dicom_id, view in images]


def _split_subjects(index: MimicIndex, context: PlanContext) -> dict[int, str]:
    """The split of each patient: the official one or, without a table of splits, a random one."""
    if index.splits is None:
        subjects = (str(subject) for subject, _, _ in _studies(index))
        names = split_subjects(subjects, fractions=context.split_fractions, seed=context.seed)
        return {int(name): split for name, split in names.items()}
    split_of = {}
    for subject, study, _ in _studies(index):
        split_of[subject] = later_split(index.splits.get(study, ""), split_of.get(subject, ""))
    return split_of


def _raw_studies(
    root: Path, index: MimicIndex, split_of: dict[int, str], reports: MimicReports
) -> Iterator[RawFileStudy | Rejection]:
    folder = root / "files" if (root / "files").is_dir() else root
    for row, error in index.damaged_rows:
        yield Rejection(study_id=row, reason=error)
    times = {str(study): time for study, time in index.times.items()}
    for subject, studies in itertools.groupby(_studies(index), key=lambda study: study[0]):
        split = split_of[subject]
        raw_studies = (_raw_study(folder, index, split, reports, subject, *study[1:]) for study in studies)
        yield from link_priors(raw_studies, times) if times else raw_studies


def _raw_study(
    folder: Path,
    index: MimicIndex,
    subject_split: str,
    reports: MimicReports,
    subject: int,
    study: int,
    images: list[tuple[str, str]],
) -> RawFileStudy | Rejection:
    """A study of a patient who is in the split `subject_split`."""
    split = subject_split if index.splits is None else index.splits.get(study, "")
    path, files = study_path(subject, study), ()
    try:
        if study in index.errors:
            raise ValueError(index.errors[study])
        if not split:
            raise ValueError("is not in the table of splits")
        if reason := left_out(str(subject), split, subject_split):
            raise ValueError(reason)
        files = _files(folder, path, [dicom_id for dicom_id, _ in images])
        sections = split_sections(reports.text(subject, study))
        labels = None if index.labels is None else tuple(index.labels.get(study, ())) or UNLABELED_STUDY
        if not sections.findings and not sections.impression and labels in (None, UNLABELED_STUDY):
            raise ValueError("has neither a report nor labels")
    except ValueError as error:
        files = files or tuple(f"{path}/{dicom_id}" for dicom_id, _ in images)
        return Rejection(study_id=str(study), reason=str(error), files=files, split=split)
    return RawFileStudy(
        study_id=str(study),
        subject_id=str(subject),
        split=split,
        image_root=folder,
        files=files,
        view_positions=tuple(view for _, view in images) if index.has_views else (),
        indication=join_lines(sections.indication),
        findings=join_lines(sections.findings),
        impression=join_lines(sections.impression),
        labels=labels,
        source=SOURCE,
        license=LICENSE,
    )


def _files(folder: Path, path: str, dicom_ids: list[str]) -> tuple[str, ...]:
    """The JPEG (or else DICOM) files of a study, as paths below `folder`. Raises ValueError that names missing ones."""
    files, missing = [], []
    for dicom_id in dicom_ids:
        names = (f"{path}/{dicom_id}.jpg", f"{path}/{dicom_id}.dcm")
        found = next((name for name in names if (folder / name).is_file()), None)
        (files if found else missing).append(found or names[0])
    if missing:
        raise ValueError(f"{len(missing)} of its {len(dicom_ids)} images are not in {folder}: {', '.join(missing)}")
    return tuple(files)


def _notes(tables: dict[str, Path], index: MimicIndex, labels: str) -> tuple[str, ...]:
    notes = [f"tables used: {', '.join(path.name for path in tables.values())}.", f"labels: {labels}."]
    notes += [f"{count} rows of {name} were skipped: they name no study." for name, count in index.skipped_rows.items()]
    listed = {*(index.splits or ()), *(index.labels or ())}
    if without_images := listed - {study for _, study, _, _ in index.images}:
        notes.append(f"{len(without_images)} studies in the tables have no image; they are not counted.")
    if index.skipped_times:
        notes.append(f"{index.skipped_times} images have no valid date and time; they do not count for prior studies.")
    if index.splits is None:
        notes.append("no table of the official split: patients are split at random.")
    if not index.has_views:
        notes.append("no metadata table: view positions are read from DICOM headers, if there are any.")
    return tuple(notes)
