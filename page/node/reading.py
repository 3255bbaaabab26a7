"""Read one study of the spool: which images are used, the report, and the files to send.

Nobody is there to decide, so the node is stricter than the page: an image with a warning (not a chest, raw data, out
of distribution, damaged) is not used, and the report says so. A study without a usable frontal image is rejected.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from data.images.pixels import ImageRejected, read_bytes
from page.node.results import build_results
from page.node.states import Result, StableStudy
from page.study.image_warnings import check_images
from page.study.plain_text import plain_line
from page.study.read import DEFAULT_GENERATION, read_study
from page.study.record import StudyRecord, model_identity, study_record
from page.study.upload import MAX_VIEWS, UploadedImage, read_upload
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.schema.findings import is_lateral
from vlm.schema.number_format import format_count


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyOutcome:
    """How a reading ended, as `NodeStore.finish` takes it."""

    results: tuple[Result, ...] = ()
    report_key: str = ""
    reason: str = ""
    image_reasons: dict[str, str] = field(default_factory=dict)


def read_stable_study(
    generator: ReportGenerator,
    study: StableStudy,
    *,
    kinds: Sequence[str],
    options: GenerationOptions = DEFAULT_GENERATION,
) -> StudyOutcome:
    """Read the study and make the files to send. What is wrong with the study is in the outcome, not raised."""
    generator = generator.encoding_once()  # for the checks and the report
    images, image_reasons = _usable_images(generator, study)
    problem = _study_problem(images, image_reasons)
    if problem:
        return StudyOutcome(reason=problem, image_reasons=image_reasons)
    key = _report_key(generator, study, images)
    if key == study.report_key:  # only images that are not used came since the last report
        return StudyOutcome(image_reasons=image_reasons)
    try:
        *_, reading = read_study(generator, images, options=options)
        if reading.is_blocked:
            reason = plain_line(" ".join(reading.image_warnings))
            return StudyOutcome(reason=reason, image_reasons=image_reasons)
        record = _with_notes(study_record(reading, generator), study, image_reasons)
        results = build_results(record, study, kinds=kinds, report_key=key)
    except ValueError as error:
        return StudyOutcome(reason=plain_line(str(error)), image_reasons=image_reasons)
    return StudyOutcome(results=tuple(results), report_key=key, image_reasons=image_reasons)


def _usable_images(generator: ReportGenerator, study: StableStudy) -> tuple[list[UploadedImage], dict[str, str]]:
    """The images without a problem, frontal ones first, and the problems of the others by SOP instance UID.

    The images are numbered in messages: file names and UIDs could identify the patient.
    """
    images, reasons = [], {}
    for sop_uid, path in study.images.items():
        name = "image"
        try:
            image = read_upload(read_bytes(path, name=name), name, generator.config.preprocessing)
            [checks] = check_images([[image]], generator)
            warnings = checks.warnings
        except ImageRejected as rejected:
            warnings = (str(rejected),)
        if warnings:
            reasons[sop_uid] = plain_line(" ".join(warnings)).removeprefix(f"{name}: ").removesuffix(".")
        else:
            images.append(image)
    images.sort(key=_is_lateral)  # stable: by SOP instance UID otherwise
    return [_numbered(image, number) for number, image in enumerate(images, start=1)], reasons


def _numbered(image: UploadedImage, number: int) -> UploadedImage:
    name = f"image {number}"
    return replace(image, name=name, notes=tuple(name + note.removeprefix(image.name) for note in image.notes))


def _is_lateral(image: UploadedImage) -> bool:
    return is_lateral(image.view_position)


def _study_problem(images: Sequence[UploadedImage], reasons: dict[str, str]) -> str:
    """Why no report can be written; "" if one can."""
    if not images:
        return "no image can be used: " + "; ".join(dict.fromkeys(reasons.values()))
    if all(map(_is_lateral, images)):
        others = "".join(f"; not used: {reason}" for reason in dict.fromkeys(reasons.values()))
        return f"has only lateral views, and the report needs a frontal one{others}"
    if len(images) > MAX_VIEWS:
        return f"has {len(images)} images, more than the {MAX_VIEWS} that one study may have"
    return ""


def _report_key(generator: ReportGenerator, study: StableStudy, images: Sequence[UploadedImage]) -> str:
    """What a report is made of: study, model, and the files that are used. The same key gives the same UIDs."""
    used = {image.identifiers.sop_instance_uid for image in images if image.identifiers}
    digests = sorted(path.stem for sop_uid, path in study.images.items() if sop_uid in used)
    text = " ".join([study.uid, model_identity(generator).hash, *digests])
    return hashlib.sha256(text.encode()).hexdigest()


def _with_notes(record: StudyRecord, study: StableStudy, image_reasons: dict[str, str]) -> StudyRecord:
    """The record with what a reader should know about how the node made it."""
    notes = []
    if study.version:
        notes.append(
            f"This is version {study.version + 1} of the report: other images of the study came after version "
            f"{study.version}, which this one replaces."
        )
    if image_reasons:
        reasons = "; ".join(dict.fromkeys(image_reasons.values()))
        notes.append(f"Not used for this report: {format_count(len(image_reasons), 'image', 'images')} ({reasons}).")
    if study.num_removed:
        notes.append(
            f"Not used for this report: {format_count(study.num_removed, 'image', 'images')} of an earlier version, "
            "which the node has deleted. Send the whole study again for a report on all images."
        )
    return replace(record, warnings=(*notes, *record.warnings))
