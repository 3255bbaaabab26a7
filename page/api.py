"""The endpoints of the page for programs: read a study, export it, correct it, read a worklist.

    from gradio_client import Client, handle_file
    page = Client("http://127.0.0.1:7860")
    print(page.predict([handle_file("front.dcm"), handle_file("side.dcm")], api_name="/read")["report"])

Each call is complete: it uploads the images, and the server keeps nothing of it (but a saved correction), so no call
can see what another one sent. The login, the limits of uploads and the removal of uploads are those of the page. The
folder of `--worklist-folder` and saved corrections cannot be read by programs.
"""

import base64
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

import gradio as gr

from data.corrections.store import CorrectionStore
from data.reports.structure import structured_report
from page.cards.correction import edit_of_texts
from page.corrections import save_correction
from page.export.formats import FORMATS, export
from page.export.text import export_json
from page.study.edit import Edit
from page.study.prior import prior_study, read_prior_files
from page.study.read import StudyReading, check_reads_priors, choose_views, read_study
from page.study.record import study_record
from page.study.upload import read_study_files
from page.study.worklist import ReadOptions, read_worklist
from page.uploads import OneOrMoreFiles, kept_uploads, remove_later, without_copies
from vlm.generator import GenerationOptions, ReportGenerator

SEVERAL = {"concurrency_id": "api", "concurrency_limit": 2}
"""Files are decoded for several users at once, so that a hostile file delays nobody."""
ONE_WORKLIST = {"concurrency_id": "worklist", "concurrency_limit": 1}
"""One worklist is read at a time, also by the page."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Api:
    """The functions of the endpoints; `connect` adds them to the page. `store` is None if corrections are not saved."""

    generator: ReportGenerator
    generation: GenerationOptions
    store: CorrectionStore | None
    model_lock: Lock = field(default_factory=Lock)
    """Several requests may decode their files at once; one uses the model."""

    def connect(self) -> None:
        """Add the endpoints; call it inside gr.Blocks, before other events, because a private event with the same name
        would take the name."""
        files, views, indication, write_anyway = study = [
            _uploads("files"),
            gr.Textbox("auto", visible=False, label="views"),
            gr.Textbox("", visible=False, label="indication"),
            gr.Checkbox(False, visible=False, label="write_anyway"),
        ]
        prior = [
            _uploads("prior_files"),
            gr.Textbox("", visible=False, label="prior_report"),
            gr.Textbox("auto", visible=False, label="prior_views"),
        ]
        texts = [gr.Textbox("", visible=False, label=label) for label in ("findings", "impression", "reader")]
        states = gr.JSON({}, visible=False, label="states")
        form = [gr.Textbox("fhir", visible=False, label="format")]
        form += [gr.Checkbox(False, visible=False, label=label) for label in ("include_identity", "structured")]
        _endpoint(self.read, [*study, *prior], "read", **SEVERAL)
        _endpoint(self.export, [files, *form, views, indication, write_anyway, *prior], "export", **SEVERAL)
        corrected = [files, *texts, states, *form, views, indication, *prior]
        _endpoint(self.correct, corrected, "correct", **SEVERAL)
        _endpoint(self.worklist, [files, write_anyway], "worklist", **ONE_WORKLIST)

    def read(
        self,
        files: list[str] | None,
        views: str,
        indication: str,
        write_anyway: bool,
        prior_files: list[str] | None = None,
        prior_report: str = "",
        prior_views: str = "auto",
    ) -> dict[str, Any]:
        """Read one study: images (PNG, JPEG, WebP, TIFF, DICOM) or a zip of them. `views` is auto, PA, AP or lateral
        for all images, or one per image, separated by commas. A study that the model may not be able to read gets no
        report (`is_blocked`) but the reasons in `image_warnings`, unless `write_anyway` is set.
        `structured_report` is the report with its findings by organ system. `prior_files` are the images of one earlier
        study of the patient, and `prior_report` is its text; then `changes` says what changed. A checkpoint that was
        trained without prior studies rejects them."""
        prior = _Prior(files=prior_files or (), report=prior_report, views=prior_views)
        with _messages(files, prior_files):
            reading = self._read(files, views, indication, write_anyway, prior)
            answer = {"report": "", "is_blocked": reading.is_blocked, "image_warnings": list(reading.image_warnings)}
            answer |= {"ood_not_checked": reading.ood_not_checked}
            if reading.is_blocked:
                return answer
            record = study_record(reading, self.generator)
            report = reading.report.report
            answer |= {"report": report, "structured_report": structured_report(report)}
            return answer | json.loads(export_json(record))

    def export(
        self,
        files: list[str] | None,
        format: str,
        include_identity: bool,
        structured: bool,
        views: str,
        indication: str,
        write_anyway: bool,
        prior_files: list[str] | None = None,
        prior_report: str = "",
        prior_views: str = "auto",
    ) -> dict[str, Any]:
        """Read one study, as /read does, and return the file that the page offers for download: `format` is text, json,
        pdf, fhir or sr. The answer has `name`, `media_type` and `content` (base64). `include_identity` keeps file names
        and the patient data of the DICOM header; `structured` writes the findings by organ system. The report is
        preliminary, because nobody checked it. A study that the model may not be able to read is an error with the
        reasons, unless `write_anyway` is set."""
        prior = _Prior(files=prior_files or (), report=prior_report, views=prior_views)
        with _messages(files, prior_files):
            _check_format(format)
            reading = self._read(files, views, indication, write_anyway, prior)
            return self._answer(_written(reading), None, format, include_identity, structured)

    def correct(
        self,
        files: list[str] | None,
        findings: str,
        impression: str,
        reader: str,
        states: dict[str, str] | None,
        format: str,
        include_identity: bool,
        structured: bool,
        views: str,
        indication: str,
        prior_files: list[str] | None = None,
        prior_report: str = "",
        prior_views: str = "auto",
    ) -> dict[str, Any]:
        """Save the report of one study as a reader corrected it, and return the corrected report as a file, as /export
        does. `findings` and `impression` are the whole texts as the reader leaves them; `states` sets findings, such as
        {"Pneumonia": "absent"} (present, absent, possible, not mentioned). With the name of the `reader` the report
        counts as checked. `saved` is false if the page was started without --corrections; `message` says what was
        removed before saving. `image_warnings` say why the model may not be able to read the images."""
        prior = _Prior(files=prior_files or (), report=prior_report, views=prior_views)
        with _messages(files, prior_files):
            _check_format(format)
            edit = edit_of_texts(findings, impression, states or {}, reader=reader)
            reading = _written(self._read(files, views, indication, True, prior))
            saved, message = save_correction(self.store, reading, edit, generator=self.generator)
            answer = self._answer(reading, edit, format, include_identity, structured)
            return {"saved": saved is not None, "message": message, **answer}

    def worklist(self, files: list[str] | None, write_anyway: bool) -> Iterator[dict[str, Any]]:
        """Read many studies: images, or zips of them, grouped into studies as the page's worklist does. While it runs,
        the answers count the studies (`num_done`, `num_studies`); the last one has `rows`, one for each study in the
        order of the files, with the columns of the page's table. A study that cannot be read is a row with the state
        "rejected" and the reason."""
        rows = []
        options = ReadOptions(generation=self.generation, write_anyway=write_anyway)
        with _messages(files), kept_uploads([Path(file) for file in files or ()]) as sources:
            for row, num_done, num_studies in read_worklist(self.generator, sources, options):
                rows += [row.values()] if row is not None else []
                answer = {"num_done": num_done, "num_studies": num_studies}
                yield answer
            yield answer | {"rows": rows}

    def _read(
        self, files: Sequence[str] | None, views: str, indication: str, write_anyway: bool, prior: "_Prior"
    ) -> StudyReading:
        preprocessing = self.generator.config.preprocessing
        if prior.files:
            check_reads_priors(self.generator)
        images = choose_views(read_study_files(_paths(files), preprocessing), _separated(views))
        prior_images = read_prior_files(_paths(prior.files), preprocessing) if prior.files else []
        compared = prior_study(
            choose_views(prior_images, _separated(prior.views)) if prior_images else (), report=prior.report
        )
        settings = {"indication": indication, "options": self.generation, "write_anyway": write_anyway}
        settings["prior"] = compared
        with self.model_lock:
            *_, reading = read_study(self.generator, images, **settings)
        return reading

    def _answer(
        self, reading: StudyReading, edit: Edit | None, format: str, include_identity: bool, structured: bool
    ) -> dict[str, Any]:
        record = replace(study_record(reading, self.generator, edit), by_system=structured)
        file = export(record, format, include_identity=include_identity)
        content = base64.b64encode(file.content).decode()
        return {**asdict(file), "content": content, "image_warnings": list(reading.image_warnings)}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Prior:
    """What a program sends of the prior study."""

    files: Sequence[str]
    report: str
    views: str


def _paths(files: Sequence[str] | None) -> list[Path]:
    return [Path(file) for file in files or ()]


def _separated(views: str) -> list[str]:
    return [view.strip() for view in views.split(",") if view.strip()]


def _uploads(label: str) -> gr.File:
    """gr.api would accept the path of any file on this machine; a File component only accepts uploads."""
    files = without_copies(gr.File(file_count="multiple", type="filepath", visible=False, label=label))
    files.data_model = OneOrMoreFiles
    return files


def _endpoint(function: Any, inputs: Sequence[Any], name: str, **settings: Any) -> None:
    gr.Button(visible=False).click(function, list(inputs), gr.JSON(visible=False), api_name=name, **settings)


@contextmanager
def _messages(*uploads: Sequence[str] | None) -> Iterator[None]:
    """Errors as messages for the caller; the uploads are removed some time later."""
    try:
        yield
    except ValueError as error:
        raise gr.Error(str(error), print_exception=False) from error
    finally:
        remove_later([file for files in uploads for file in files or ()])


def _check_format(format: str) -> None:
    """Before the model runs."""
    if format not in FORMATS:
        raise ValueError(f"there is no export format {format!r}; choose one of {', '.join(FORMATS)}")


def _written(reading: StudyReading) -> StudyReading:
    if reading.is_blocked:
        warnings = " ".join(reading.image_warnings)
        raise ValueError(f"No report was written; write_anyway=True writes it despite the warnings: {warnings}")
    return reading
