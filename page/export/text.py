"""A study's report as plain text, and as JSON.

The text has the same sections in the same order as the PDF. The JSON has no pixels; its keys, version 2:

schema, schema_version        "cxrscribe-report", 2; a later version may add keys, and the number increases when one
                              changes (1 to 2: called became predicted_positive, findings_not_learned became
                              untrained_findings)
status, notice                "preliminary"; "final" or "amended" if a reader checked the report and gave a name; what
                              the report is and is not
study, read_at                a name that only depends on the images; time with time zone (ISO 8601)
model                         name, hash (of weights and settings), program_version
edited, reader, checked_at    whether a reader changed the report, the reader's name ("" if unknown), and when the
                              reader checked it (null if nobody did)
indication, findings, impression      findings by organ system, if asked for, have a line for each heading
model_findings, model_impression      as the model wrote them; findings and impression are as the reader left them
reader_findings               findings that the reader set: "present", "absent", "possible" or "not mentioned"
images[]                      name, view_position, width, height, sha256 (of size and gray values)
prior                         null, or the prior study that the study is compared with: images[], report ("" if
                              unknown), interval_days (null if unknown)
finding_probabilities[]       for findings with training labels: finding, probability and threshold from 0 to 1,
                              predicted_positive, report_says ("present", "absent", "possible", "not mentioned"),
                              disagrees; severity if the finding is present: null, or name ("small", "moderate" or
                              "large") and probability (not calibrated)
changes[]                     since the prior study, for findings with training labels: finding, state ("none" if it is
                              absent in both, "new", "worse", "unchanged", "better" or "resolved"), probability (not
                              calibrated), fits_prediction (false: "worse" and predicted negative, for example),
                              report_says (list of states, empty if it states none); empty without a prior study
untrained_findings[]          the others of the 14, without training labels
num_calibration_studies       0: the probabilities are not calibrated and only rank findings
operating_point               what the thresholds were chosen for: "f1", or a target such as "sensitivity=0.9"
warnings[]                    reasons to distrust the study or the report
ood_not_checked               why nobody checked whether the images resemble those of the training; "" if it was checked
identity                      null; with identity and for DICOM images: the patient data of their headers
prior_identity                the same for the prior study
"""

import json
from dataclasses import asdict
from typing import Any

from data.corrections.correction import image_hash
from data.images.dicom.identifiers import iso_date
from page.study.findings import change_conflicts
from page.study.record import NOT_A_DEVICE, StudyRecord, without_identity
from page.study.upload import UploadedImage

SCHEMA, SCHEMA_VERSION = "cxrscribe-report", 2
CHANGE_NOTE = "Estimated by the model from the images of both studies; the probabilities are not calibrated."


def export_json(record: StudyRecord, *, include_identity: bool = False) -> str:
    """The document, indented.

    Raises:
        ValueError: with identity, the images belong to several patients.
    """
    record = record if include_identity else without_identity(record)
    source = record.source if include_identity else None
    prior = record.prior
    document = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "status": record.code,
        "notice": f"{record.status} {NOT_A_DEVICE}",
        "study": record.pseudonym,
        "read_at": record.read_at.isoformat(),
        "model": asdict(record.model),
        "edited": record.is_edited,
        "reader": record.edit.reader if record.edit else "",
        "checked_at": record.edit.checked_at.isoformat() if record.edit else None,
        "indication": record.indication,
        "findings": record.written_findings,
        "impression": record.impression,
        "model_findings": record.original[0],
        "model_impression": record.original[1],
        "reader_findings": record.reader_states,
        "images": [_image(view) for view in record.views],
        "prior": prior
        and {
            "images": [_image(view) for view in prior.images],
            "report": prior.report,
            "interval_days": prior.interval_days,
        },
        "finding_probabilities": [
            {
                "finding": row.finding,
                "probability": round(row.probability, 6),
                "threshold": round(row.threshold, 6),
                "predicted_positive": row.is_positive,
                "report_says": row.stated,
                "disagrees": row.disagrees,
                "severity": row.severity and {"name": row.severity[0], "probability": round(row.severity[1], 6)},
            }
            for row in record.finding_rows
        ],
        "changes": [
            {
                "finding": row.finding,
                "state": row.change[0],
                "probability": round(row.change[1], 6),
                "fits_prediction": row.change_fits,
                "report_says": list(row.stated_changes),
            }
            for row in record.finding_rows
            if row.change
        ],
        "untrained_findings": list(record.untrained_findings),
        "num_calibration_studies": record.num_calibration_studies,
        "operating_point": str(record.operating_point),
        "warnings": list(record.warnings),
        "ood_not_checked": record.ood_not_checked,
        "identity": None if source is None else asdict(source),
        "prior_identity": asdict(prior.identifiers) if include_identity and prior and prior.identifiers else None,
    }
    return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2) + "\n"


def _image(view: UploadedImage) -> dict[str, Any]:
    return {
        "name": view.name,
        "view_position": view.view_position,
        "width": view.image.width,
        "height": view.image.height,
        "sha256": image_hash(view.image),
    }


def export_text(record: StudyRecord, *, include_identity: bool = False) -> str:
    """The report with its findings and warnings; each paragraph is one line.

    Raises:
        ValueError: with identity, the images belong to several patients.
    """
    record = record if include_identity else without_identity(record)
    lines = [record.title.upper(), record.status, NOT_A_DEVICE, ""]
    lines += [f"{label + ':':<13}{value}" for label, value in facts(record)]
    for heading, text in sections(record):
        lines += ["", heading.upper(), text]
    if record.warnings:
        lines += ["", "WARNINGS", *(f"- {warning}" for warning in record.warnings)]
    lines += ["", "FINDINGS BY PROBABILITY", record.calibration_note]
    lines.append(f"{'Finding':<28}{'Probability':>11}{'Threshold':>11}{'Prediction':>12}  Report says")
    for row in record.by_probability:
        lines.append(f"{row.finding:<28}{row.percent:>11}{row.threshold:>11.0%}{row.prediction:>12}  {row.statement}")
    return "\n".join(lines) + "\n"


def facts(record: StudyRecord) -> list[tuple[str, str]]:
    """Label and value of the facts about the study; with the patient if the record has identity."""
    rows = [("Study", record.pseudonym)]
    if record.has_identity and (source := record.source):
        rows += [
            ("Patient", _name(source.patient_name)),
            ("Patient ID", source.patient_id),
            ("Born", iso_date(source.patient_birth_date)),
            ("Sex", source.patient_sex),
            ("Accession", source.accession_number),
            ("Taken on", iso_date(source.study_date)),
            ("Study UID", source.study_instance_uid),
        ]
    rows += [(f"Image {number}", _described(record, view)) for number, view in enumerate(record.views, start=1)]
    if prior := record.prior:
        rows.append(("Compared", f"with a prior study, {prior.interval_text or 'time unknown'}"))
        uid = prior.study_uid if record.has_identity else ""
        rows += [("Prior UID", uid)]
        rows += [(f"Prior {number}", _described(record, view)) for number, view in enumerate(prior.images, start=1)]
    model = record.model
    rows += [
        ("Read at", f"{record.read_at:%Y-%m-%d %H:%M %Z}"),
        ("Model", f"{model.name} [{model.hash}], cxrscribe {model.program_version}"),
        ("Checked by", record.checked_by),
    ]
    return [(label, value) for label, value in rows if value]


def _described(record: StudyRecord, view: UploadedImage) -> str:
    name = f" ({view.name})" if record.has_identity else ""
    return f"{view.view_text}, {view.image.width} x {view.image.height} pixels{name}"


def sections(record: StudyRecord) -> list[tuple[str, str]]:
    """Heading and text of each section; an empty report says so."""
    findings, impression = record.written_findings, record.impression
    parts = (("Indication", record.indication), ("Findings", findings), ("Impression", impression))
    kept = [(heading, text) for heading, text in parts if text]
    if not findings and not impression:
        kept.append(("Findings", "Nothing was written."))
    if changes := change_lines(record):
        kept.append(("Change since the prior study", "\n".join(changes)))
    states = "\n".join(f"{finding}: {state}" for finding, state in record.reader_states.items())
    return [*kept, ("Findings set by the reader", states)] if states else kept


def change_lines(record: StudyRecord) -> list[str]:
    """A line for each finding that is or was there, such as "Pleural Effusion: worse (87%)", after a line that says
    what these are; empty if the findings were not compared."""
    if not any(row.change for row in record.finding_rows):
        return []
    if not record.changes:
        return [f"{CHANGE_NOTE} None of the findings is or was there."]
    lines = [", but ".join([f"{row.finding}: {row.change_text}", *change_conflicts(row)]) for row in record.changes]
    return [CHANGE_NOTE, *lines]


def _name(dicom_name: str) -> str:
    """Family name first, as in the header; other spellings (after "=") follow in brackets."""
    spellings = [[part.strip() for part in spelling.split("^")] for spelling in dicom_name.split("=")]
    first, *others = [", ".join(filter(None, parts)) for parts in spellings]
    return " ".join(filter(None, [first, *(f"({other})" for other in others if other)]))
