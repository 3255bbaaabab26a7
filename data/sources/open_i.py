"""Open-i's Indiana University chest X-rays as a source for `data.prepare`, from the files as they are downloaded.

    python -m data.prepare open_i --root DIR --out runs/open_i

`--root` holds any of these; nothing needs to be unpacked:

- the library's `NLMCXR_reports.tgz` and `NLMCXR_png.tgz` (or `NLMCXR_dcm.tgz`), packed or unpacked anywhere below;
- Kaggle's `indiana_reports.csv`, `indiana_projections.csv` and images. The second, laid beside the library's files,
  also tells which of their images are frontal and which lateral: the XML does not;
- R2Gen's images, with its `annotation.json` named by `--annotation`.

A study is a patient ("CXR12"). Rejected, each with its reason: a report that cannot be read, has neither findings nor
impression, or names no image; a study given twice with different texts; one whose images are absent; one that is
not in the annotation whose split is followed.
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
    Annotated,
    OpenIReport,
    annotated_reports,
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
    """Open-i's Indiana University chest X-rays with their reports, as downloaded."""

    root: Path
    """Folder with the archives, packed or unpacked, or with Kaggle's files."""
    annotation: Path | None = None
    """R2Gen's annotation.json, whose split is then followed. Without it, a seeded split by patient."""
    unlisted: Literal["reject", "train"] = "reject"
    """What becomes of studies that --annotation does not name."""

    def plan(self, context: PlanContext) -> SourcePlan:
        if not self.root.is_dir():
            raise ValueError(f"--root {self.root} is no folder; name the one with Open-i's files")
        contents = _read(self)
        images = OpenIImages(self.root, contents.files, folder=context.work, wanted=contents.image_keys)
        reports = _reject_contradictions(contents.reports) + _unreported(contents, images)
        reports.sort(key=lambda report: (len(report.study_id), report.study_id))
        split_of = {f"CXR{number}": entry.split for number, entry in contents.annotated.items()}
        if not split_of:
            usable = (report.study_id for report in reports if report.has_text and not report.fault)
            split_of = split_subjects(usable, fractions=context.split_fractions, seed=context.seed)
        raw_studies = (self._raw_study(report, contents, images, split_of) for report in reports)
        return SourcePlan(num_studies=len(reports), raw_studies=raw_studies, notes=_notes(self, contents, reports))

    def _raw_study(
        self, report: OpenIReport, contents: "_Contents", images: OpenIImages, split_of: dict[str, str]
    ) -> RawFileStudy | Rejection:
        split = split_of.get(report.study_id, "train" if self.unlisted == "train" else "")
        try:
            if report.fault:
                raise ValueError(report.fault)
            if not report.has_text:
                raise ValueError(f"{report.origin} has neither findings nor impression")
            if not split:
                raise ValueError(f"is not in {self.annotation}, whose split is followed; --unlisted train keeps it")
            entry = contents.annotated.get(study_number(report.study_id))
            others = entry.files if entry else ()
            folder, files = images.find(report.images, others=others, origin=report.origin)
        except ValueError as error:
            return Rejection(study_id=report.study_id, reason=str(error), files=report.images, split=split)
        named = report.images if files != others else ()  # R2Gen's files do not tell which view they are
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
    """What a root holds besides images."""

    files: list[Path]
    reports: list[OpenIReport]
    annotated: dict[int, Annotated]
    projections: dict[str, str]
    faults: list[str]
    """Archives of reports that end early."""

    @property
    def image_keys(self) -> set[str]:
        return {key for report in self.reports for key in report.images}


def _read(source: OpenISource) -> _Contents:
    files, faults = list(files_below(source.root)), []
    tables = {path.name: path for path in files if path.name in (REPORTS_TABLE, PROJECTIONS_TABLE)}
    annotated = read_annotation(source.annotation) if source.annotation else {}
    projections = read_projections(tables[PROJECTIONS_TABLE]) if PROJECTIONS_TABLE in tables else {}
    reports = list(read_xml_reports(files, source.root, faults))
    if not reports and REPORTS_TABLE in tables:
        if PROJECTIONS_TABLE not in tables:
            raise ValueError(f"{tables[REPORTS_TABLE]} needs {PROJECTIONS_TABLE}, which names the images, beside it")
        reports = list(read_kaggle_reports(tables[REPORTS_TABLE], projections))
    if not reports and annotated:
        reports = annotated_reports(annotated, origin=source.annotation.name)
    if not reports:
        raise ValueError(
            f"--root {source.root} holds no reports of Open-i: neither NLMCXR_reports.tgz nor its XML files, nor "
            f"Kaggle's {REPORTS_TABLE}; unzip what is zipped, and for R2Gen's form name its annotation.json by "
            "--annotation" + "".join(f"; {fault}" for fault in faults)
        )
    return _Contents(files=files, reports=reports, annotated=annotated, projections=projections, faults=faults)


def _reject_contradictions(reports: list[OpenIReport]) -> list[OpenIReport]:
    """A study that is given with different texts gets a fault each time: which is the right one nobody knows."""
    texts, origins = defaultdict(set), defaultdict(list)
    for report in reports:
        if not report.fault:
            texts[report.study_id].add((report.indication, report.findings, report.impression))
            origins[report.study_id].append(report.origin)
    return [
        replace(report, fault=f"is given with different texts in {', '.join(origins[report.study_id])}; keep one")
        if len(texts[report.study_id]) > 1 and not report.fault
        else report
        for report in reports
    ]


def _unreported(contents: _Contents, images: OpenIImages) -> list[OpenIReport]:
    """Studies that something else than a report tells of."""
    known = {report.study_id for report in contents.reports}
    why = "".join(f"; {fault}" for fault in contents.faults)
    named = {f"CXR{key.partition('_')[0]}": "has images" for key in sorted({*images.loose, *contents.projections})}
    named = {f"CXR{number}": "is in the annotation" for number in contents.annotated} | named
    return [
        OpenIReport(study_id=study_id, origin="", fault=f"{words}, but no report of it was found{why}")
        for study_id, words in named.items()
        if study_id not in known
    ]


def _notes(source: OpenISource, contents: _Contents, reports: list[OpenIReport]) -> tuple[str, ...]:
    notes = [f"{len(contents.reports)} reports in {source.root}."]
    notes += [f"{fault}. Studies whose names were not reached are not counted." for fault in contents.faults]
    if not contents.projections:
        notes.append(f"no {PROJECTIONS_TABLE} in the folder: which images are frontal and which lateral is not known.")
    if contents.annotated:
        listed = {f"CXR{number}" for number in contents.annotated}
        unlisted = sum(report.study_id not in listed for report in reports)
        notes.append(f"split of {source.annotation}; {unlisted} studies are not in it (--unlisted {source.unlisted}).")
    return tuple(notes)
