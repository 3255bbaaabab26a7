"""A study's report as JSON, version 1: a `StudyRecord` in, one document out, without pixels.

schema, schema_version        "cxrscribe-report", 1; a later version may add keys, and counts up when one changes
status, notice                always "preliminary"; what it is and is not
study, read_at                a name that follows from the pictures; time with zone (ISO 8601)
model                         name, hash (of weights and settings), program_version
edited, reader                whether somebody edited the report, and who ("" where not said)
indication, findings, impression
pictures[]                    name, view_position, width, height, sha256 (of size and gray values)
finding_probabilities[]       those that the model knows: finding, probability and threshold 0..1, called,
                              report_says ("present", "absent", "possible", "not mentioned"), disagrees
findings_not_learned[]        the others of the 14: the model's data said nothing of them
num_calibration_studies       0: the probabilities are not calibrated, and tell an order only
warnings[]                    why to doubt the study or the report
identity                      null; where it was asked for and the pictures are DICOM: what their headers say
"""

import json
from dataclasses import asdict

from data.corrections.correction import picture_hash
from page.study_record import NOT_A_DEVICE, STATE_WORDS, StudyRecord, without_identity

SCHEMA, SCHEMA_VERSION = "cxrscribe-report", 1


def export_json(record: StudyRecord, *, include_identity: bool = False) -> str:
    """The document, indented.

    Raises:
        ValueError: with identity, the pictures are of several patients.
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
        "pictures": [
            {
                "name": view.name,
                "view_position": view.view_position,
                "width": view.image.width,
                "height": view.image.height,
                "sha256": picture_hash(view.image),
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
