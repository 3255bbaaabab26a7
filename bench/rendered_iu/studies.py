"""The Indiana reports with phantoms instead of their images: `reports.jsonl` in, one data set on disk out.

Each study keeps its text, codes and projections. Its images are drawn from the codes alone (`bench.rendered_iu.codes`);
its labels come from the text. The splits are R2Gen's: `val` becomes test, and `train` is divided by patient into train
and validation. Reports without a split are left out.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from bench.rendered_iu.codes import scene_findings
from data.images.read import UNKNOWN_VIEW
from data.pipeline.raw_study import ImageOptions, PlanContext, SourcePlan
from data.pipeline.writer import DatasetWriter
from data.prepare import Preparation, fill, print_summary
from data.reports.clean import TextOptions
from data.sources.open_i_reports import study_number, view_position
from data.study import MAX_SIDE, PREPARATION_FILE, Study, split_subjects
from data.synthetic.phantom.draw import draw_study
from data.synthetic.scene import Scene

MAX_BYTES = 64 * 2**20
TRAIN_FRACTIONS = (0.9, 0.1, 0.0)
"""Fractions of R2Gen's train split for train, validation and test; R2Gen's val split is the test split."""
_KEYS = {"id": str, "indication": str, "findings": str, "impression": str, "mesh": list, "images": list}


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexedStudy:
    """A report with its codes and the projections of its images."""

    study_id: str
    split: str
    """R2Gen's split: "train", "val", or ""."""
    indication: str
    findings: str
    impression: str
    codes: tuple[str, ...]
    view_positions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RawPhantomStudy:
    """A study before its phantom is drawn."""

    study_id: str
    subject_id: str
    split: str
    given: IndexedStudy
    size: int
    files: tuple[str, ...] = ()
    images: tuple[()] = ()

    def study(self, options: ImageOptions) -> Study:
        given = self.given
        scene = Scene(findings=scene_findings(given.codes), view_positions=given.view_positions)
        images, boxes = draw_study(scene, np.random.default_rng(study_number(given.study_id)), self.size)
        return Study(
            study_id=self.study_id,
            subject_id=self.subject_id,
            images=images,
            view_positions=given.view_positions,
            indication=given.indication,
            findings=given.findings,
            impression=given.impression,
            label_source="report",
            boxes=boxes,
            mesh_terms=given.codes,
            source="Indiana reports, phantoms for images",
            license="CC BY-NC-ND 4.0",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PhantomSource:
    """The Indiana reports that have a split, with phantoms."""

    reports: Path
    """The Indiana reports, one JSON object per line."""
    size: int = 224
    """Side of the phantoms in pixels."""

    def __post_init__(self):
        if not 64 <= self.size <= MAX_SIDE:
            raise ValueError(f"--size is {self.size}; it must be between 64 and {MAX_SIDE}")

    def plan(self, context: PlanContext) -> SourcePlan:
        studies = [study for study in read_studies(self.reports) if study.split]
        learned = [study.study_id for study in studies if study.split == "train"]
        split_of = split_subjects(learned, fractions=context.split_fractions, seed=context.seed)
        raw_studies = (
            RawPhantomStudy(
                study_id=study.study_id,
                subject_id=study.study_id,
                split=split_of.get(study.study_id, "test"),
                given=study,
                size=self.size,
            )
            for study in studies
        )
        return SourcePlan(num_studies=len(studies), raw_studies=raw_studies)


def read_studies(path: Path) -> list[IndexedStudy]:
    """Read all studies, also those without a split.

    Raises:
        ValueError: the file is missing, too large or invalid; names the line.
    """
    if not path.is_file():
        raise ValueError(f"--reports {path}: no such file; the Indiana reports are not part of the project")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"--reports {path} has {path.stat().st_size} bytes; the limit is {MAX_BYTES}")
    studies = list(_studies(path))
    if not {"train", "val"} <= {study.split for study in studies}:
        raise ValueError(f'--reports {path} has no studies of the split "train" or "val"; give the complete file')
    return studies


def prepare(source: PhantomSource, out: Path, *, text_options: TextOptions, seed: int, console: Console) -> None:
    """Prepare the data set in `out`, unless it is complete; resume an interrupted preparation.

    Raises:
        ValueError: as in `data.prepare`, or `out` has a data set with other settings.
    """
    options = Preparation(
        source=source, out=out, seed=seed, split_fractions=TRAIN_FRACTIONS, text_options=text_options, num_workers=1
    )
    deciding = _deciding(options)
    if (out / PREPARATION_FILE).is_file():
        saved = json.loads((out / PREPARATION_FILE).read_text(encoding="utf-8"))["options"]
        differing = [name for name in deciding if saved.get(name) != deciding[name]]
        if differing:
            raise ValueError(f"{out} was prepared with another {', '.join(differing)}; give another --work")
        console.print(f"{out} exists already", highlight=False)
        return
    with DatasetWriter(out, options=deciding) as writer:
        plan = source.plan(PlanContext(seed=seed, split_fractions=TRAIN_FRACTIONS, work=writer.work))
        fill(writer, plan, options, console)
        writer.finish()
    print_summary(writer, console)


def _deciding(options: Preparation) -> dict[str, Any]:
    """The settings that decide the data set, as JSON values; for the reports, a hash."""
    with options.source.reports.open("rb") as file:
        contents = hashlib.file_digest(file, "sha256").hexdigest()
    values = json.loads(json.dumps(asdict(options), default=str))
    for name in ("out", "overwrite", "num_workers", "source"):
        del values[name]
    return {"source_name": "rendered_iu", "size": options.source.size, "reports_sha256": contents} | values


def _studies(path: Path) -> Iterator[IndexedStudy]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield _study(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                reason = f"lacks {error}" if isinstance(error, KeyError) else error
                raise ValueError(f"--reports {path}, line {number}: {reason}") from error


def _study(report: dict[str, Any]) -> IndexedStudy:
    for key, kind in _KEYS.items():
        if not isinstance(report[key], kind):
            raise ValueError(f"{key} is {report[key]!r}, not a {kind.__name__}")
    study_number(report["id"])
    projections = [(image["projection"] or UNKNOWN_VIEW).upper() for image in report["images"]]
    positions = tuple(view_position(projection, report.get("exam") or "") for projection in projections)
    return IndexedStudy(
        study_id=report["id"],
        split=report.get("split") or "",
        indication=report["indication"],
        findings=report["findings"],
        impression=report["impression"],
        codes=tuple(map(str, report["mesh"])),
        view_positions=positions or ("FRONTAL",),
    )
