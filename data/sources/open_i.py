"""Source `open_i` of `data.prepare`: Open-i's Indiana University chest X-rays, from the files as downloaded.

    python -m data.prepare open_i --root DIR --out runs/open_i

`--root` holds any of these files, packed or unpacked:

- NLM's `NLMCXR_reports.tgz` and `NLMCXR_png.tgz` (or `NLMCXR_dcm.tgz`);
- Kaggle's `indiana_reports.csv`, `indiana_projections.csv` and images. NLM's XML files do not say which images are
  frontal and which are lateral; add `indiana_projections.csv` to NLM's files to get the views;
- R2Gen's images, with its `annotation.json` passed as `--annotation`.

A study is a patient ("CXR12"). A study is rejected, with the reason, if its report cannot be read, has neither findings
nor impression or names no image; if its images are missing; if it occurs twice with different texts; or if it is not in
the given annotation.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from data.images.read import UNKNOWN_VIEW
from data.pipeline.raw_study import PlanContext, RawFileStudy, Rejection, SourcePlan
from data.sources.open_i_archives import OpenIImages, files_below
from data.sources.open_i_reports import (
    PROJECTIONS_TABLE,
    REPORTS_TABLE,
    AnnotatedStudy,
    OpenIReport,
    read_annotation,
    read_kaggle_reports,
    read_projections,
    read_xml_reports,
    study_number,
    view_position,
)
from data.study import split_subjects

SOURCE, LICENSE = "open_i", "CC BY-NC-ND 4.0"


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenISource:
    """Open-i's Indiana University chest X-rays and reports, as downloaded."""

    root: Path
    """Folder with NLM's archives (packed or unpacked), Kaggle's files or R2Gen's images."""
    annotation: Path | None = None
    """R2Gen's annotation.json. Its split is used. By default, patients are split at random with --seed."""
    unlisted: Literal["reject", "train"] = "reject"
    """What to do with studies that are not in --annotation."""

    def plan(self, context: PlanContext) -> SourcePlan:
        if not self.root.is_dir():
            raise ValueError(f"--root {self.root} is not a folder; name the one with Open-i's files")
        contents = _read(self)
        wanted = {key for report in contents.reports for key in report.images}
        images = OpenIImages(self.root, contents.files, folder=context.work, wanted=wanted)
        reports = _reject_contradictions(contents.reports) + _studies_without_report(contents, images)
        reports.sort(key=lambda report: (len(report.study_id), report.study_id))
        split_of = {f"CXR{number}": entry.split for number, entry in contents.annotated.items()}
        if not split_of:
            usable = (report.study_id for report in reports if report.has_text and not report.error)
            split_of = split_subjects(usable, fractions=context.split_fractions, seed=context.seed)
        raw_studies = (self._raw_study(report, contents, images, split_of) for report in reports)
        return SourcePlan(num_studies=len(reports), raw_studies=raw_studies, notes=_notes(self, contents, reports))

    def _raw_study(
        self, report: OpenIReport, contents: "_Contents", images: OpenIImages, split_of: dict[str, str]
    ) -> RawFileStudy | Rejection:
        split = split_of.get(report.study_id, "train" if self.unlisted == "train" else "")
        try:
            if report.error:
                raise ValueError(report.error)
            if not report.has_text:
                raise ValueError(f"{report.origin} has neither findings nor impression")
            if not split:
                raise ValueError(f"is not in {self.annotation}; --unlisted train keeps it")
            entry = contents.annotated.get(study_number(report.study_id))
            r2gen_files = entry.files if entry else ()
            folder, files = images.find(report.images, r2gen_files=r2gen_files, origin=report.origin)
        except ValueError as error:
            return Rejection(study_id=report.study_id, reason=str(error), files=report.images, split=split)
        named = report.images if files != r2gen_files else ()  # names of R2Gen's files do not tell the view
        projections = [contents.projections.get(key, "") for key in named]
        positions = tuple(view_position(word, report.caption) or UNKNOWN_VIEW for word in projections)
        return RawFileStudy(
            study_id=report.study_id,
            subject_id=report.study_id,
            split=split,
            image_root=folder,
            files=files,
            view_positions=positions if any(projections) else (),
            indication=report.indication,
            findings=report.findings,
            impression=report.impression,
            mesh_terms=report.mesh_terms,
            source=SOURCE,
            license=LICENSE,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Contents:
    """What the root folder holds besides images."""

    files: list[Path]
    reports: list[OpenIReport]
    annotated: dict[int, AnnotatedStudy]
    projections: dict[str, str]
    archive_errors: list[str]
    """A message for each archive of reports that ends early."""


def _read(source: OpenISource) -> _Contents:
    files, archive_errors = list(files_below(source.root)), []
    tables = {path.name: path for path in files if path.name in (REPORTS_TABLE, PROJECTIONS_TABLE)}
    annotated = read_annotation(source.annotation) if source.annotation else {}
    projections = read_projections(tables[PROJECTIONS_TABLE]) if PROJECTIONS_TABLE in tables else {}
    reports = list(read_xml_reports(files, source.root, archive_errors))
    if not reports and REPORTS_TABLE in tables:
        if PROJECTIONS_TABLE not in tables:
            raise ValueError(f"{tables[REPORTS_TABLE]} needs {PROJECTIONS_TABLE}, which names the images, beside it")
        reports = list(read_kaggle_reports(tables[REPORTS_TABLE], projections))
    if not reports:  # R2Gen's own texts, as findings
        reports = [
            OpenIReport(study_id=f"CXR{number}", origin=source.annotation.name, findings=entry.report)
            for number, entry in annotated.items()
        ]
    if not reports:
        message = (
            f"--root {source.root} holds no reports of Open-i: neither NLMCXR_reports.tgz nor its XML files, nor "
            f"Kaggle's {REPORTS_TABLE}; unpack zip files, and pass R2Gen's annotation.json as --annotation"
        )
        raise ValueError("; ".join([message, *archive_errors]))
    return _Contents(
        files=files, reports=reports, annotated=annotated, projections=projections, archive_errors=archive_errors
    )


def _reject_contradictions(reports: list[OpenIReport]) -> list[OpenIReport]:
    """Set an error on every report of a study that occurs with different texts: it is unknown which text is correct."""
    texts, origins = defaultdict(set), defaultdict(list)
    for report in reports:
        if not report.error:
            texts[report.study_id].add((report.indication, report.findings, report.impression))
            origins[report.study_id].append(report.origin)
    errors = {
        study_id: f"occurs with different texts in {', '.join(origins[study_id])}; keep one"
        for study_id in texts
        if len(texts[study_id]) > 1
    }
    return [replace(report, error=report.error or errors.get(report.study_id, "")) for report in reports]


def _studies_without_report(contents: _Contents, images: OpenIImages) -> list[OpenIReport]:
    """An error for each study that has images or an annotation but no report."""
    with_report = {report.study_id for report in contents.reports}
    named = {f"CXR{number}": "is in the annotation" for number in contents.annotated}
    keys = sorted({*images.loose, *contents.projections})
    named |= {f"CXR{key.partition('_')[0]}": "has images" for key in keys}
    errors = {
        study_id: "; ".join([f"{known}, but no report of it was found", *contents.archive_errors])
        for study_id, known in named.items()
        if study_id not in with_report
    }
    return [OpenIReport(study_id=study_id, origin="", error=error) for study_id, error in errors.items()]


def _notes(source: OpenISource, contents: _Contents, reports: list[OpenIReport]) -> tuple[str, ...]:
    notes = [f"{len(contents.reports)} reports in {source.root}."]
    notes += [f"{error}. Studies after that point are not counted." for error in contents.archive_errors]
    if not contents.projections:
        notes.append(f"no {PROJECTIONS_TABLE} in the folder: it is unknown which images are frontal or lateral.")
    if contents.annotated:
        listed = {f"CXR{number}" for number in contents.annotated}
        unlisted = sum(report.study_id not in listed for report in reports)
        notes.append(f"split of {source.annotation}; {unlisted} studies are not in it (--unlisted {source.unlisted}).")
    return tuple(notes)
