"""A study's report as plain text: a `StudyRecord` in, lines out, the same sections in the same order as the PDF.

A study's report as JSON, version 1: a `StudyRecord` in, one document out, without pixels.

schema, schema_version        "cxrscribe-report", 1; a later version may add keys, and counts up when one changes
status, notice                always "preliminary"; what it is and is not
study, read_at                a name that follows from the images; time with zone (ISO 8601)
model                         name, hash (of weights and settings), program_version
edited, reader                whether somebody edited the report, and who ("" where not said)
indication, findings, impression
images[]                    name, view_position, width, height, sha256 (of size and gray values)
finding_probabilities[]       those that the model knows: finding, probability and threshold 0..1, called,
                              report_says ("present", "absent", "possible", "not mentioned"), disagrees
findings_not_learned[]        the others of the 14: the model's data said nothing of them
num_calibration_studies       0: the probabilities are not calibrated, and tell an order only
warnings[]                    why to doubt the study or the report
identity                      null; where it was asked for and the images are DICOM: what their headers say
"""

import json
from dataclasses import asdict

from data.corrections.correction import image_hash
from data.images.dicom_identifiers import iso_date
from page.study.record import NOT_A_DEVICE, STATE_WORDS, RecordedFinding, StudyRecord, without_identity

SCHEMA, SCHEMA_VERSION = "cxrscribe-report", 1


def export_json(record: StudyRecord, *, include_identity: bool = False) -> str:
    """The document, indented.

    Raises:
        ValueError: with identity, the images are of several patients.
    """
    record = record if include_identity else without_identity(record)
    source = record.source if include_identity else None
    document = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "status": "preliminary",
        "notice": f"{record.status} {NOT_A_DEVICE}",
        "study": record.pseudonym,
        "read_at": record.read_at.isoformat(),
        "model": asdict(record.model),
        "edited": record.is_edited,
        "reader": record.reader,
        "indication": record.indication,
        "findings": record.findings,
        "impression": record.impression,
        "images": [
            {
                "name": view.name,
                "view_position": view.view_position,
                "width": view.image.width,
                "height": view.image.height,
                "sha256": image_hash(view.image),
            }
            for view in record.views
        ],
        "finding_probabilities": [
            {
                "finding": row.finding,
                "probability": round(row.probability, 6),
                "threshold": round(row.threshold, 6),
                "called": row.is_called,
                "report_says": STATE_WORDS[row.stated],
                "disagrees": row.disagrees,
            }
            for row in record.finding_rows
        ],
        "findings_not_learned": list(record.not_learned),
        "num_calibration_studies": record.num_calibration_studies,
        "warnings": list(record.warnings),
        "identity": None if source is None else asdict(source),
    }
    return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2) + "\n"


TITLE = "Chest X-ray report: preliminary draft"


def export_text(record: StudyRecord, *, include_identity: bool = False) -> str:
    """The report with its findings and warnings, each paragraph on one line.

    Raises:
        ValueError: with identity, the images are of several patients.
    """
    record = record if include_identity else without_identity(record)
    lines = [TITLE.upper(), record.status, NOT_A_DEVICE, ""]
    lines += [f"{label + ':':<13}{value}" for label, value in facts(record)]
    for heading, text in sections(record):
        lines += ["", heading.upper(), text]
    if record.warnings:
        lines += ["", "WARNINGS", *(f"- {warning}" for warning in record.warnings)]
    lines += ["", "FINDINGS BY PROBABILITY", record.calibration_note]
    lines.append(f"{'Finding':<28}{'Probability':>11}{'Threshold':>11}{'Called':>8}  Report says")
    for row in by_probability(record):
        called = "yes" if row.is_called else "no"
        lines.append(f"{row.finding:<28}{row.percent:>11}{row.threshold:>11.0%}{called:>8}  {row.agreement}")
    return "\n".join(lines) + "\n"


def facts(record: StudyRecord) -> list[tuple[str, str]]:
    """Label and value of what stands at the head of a report; who it is about only where the record has identity."""
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
    for number, view in enumerate(record.views, start=1):
        name = f" ({view.name})" if record.has_identity else ""
        kind = "view position unknown" if view.kind == "unknown" else view.kind
        rows.append((f"Image {number}", f"{kind}, {view.image.width} x {view.image.height} pixels{name}"))
    model = record.model
    rows += [
        ("Read at", f"{record.read_at:%Y-%m-%d %H:%M %Z}"),
        ("Model", f"{model.name} [{model.hash}], cxrscribe {model.program_version}"),
        ("Edited by", record.reader if record.is_edited else ""),
    ]
    return [(label, value) for label, value in rows if value]


def sections(record: StudyRecord) -> list[tuple[str, str]]:
    """Heading and text of each section; an empty report says so."""
    parts = (("Indication", record.indication), ("Findings", record.findings), ("Impression", record.impression))
    kept = [(heading, text) for heading, text in parts if text]
    return kept if record.findings or record.impression else [*kept, ("Findings", "Nothing was written.")]


def by_probability(record: StudyRecord) -> list[RecordedFinding]:
    """Those called present first, the more probable before the less."""
    return sorted(record.finding_rows, key=lambda row: (not row.is_called, -row.probability))


def _name(dicom_name: str) -> str:
    """Family name first, as a header has it; other writings of it (after "=") follow in brackets."""
    writings = [[part.strip() for part in writing.split("^")] for writing in dicom_name.split("=")]
    first, *others = [", ".join(filter(None, parts)) for parts in writings]
    return " ".join(filter(None, [first, *(f"({other})" for other in others if other)]))
