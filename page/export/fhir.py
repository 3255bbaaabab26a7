"""A study's report as one self-contained FHIR R5 DiagnosticReport in JSON.

- `status` is preliminary; final or amended once a reader checked the report and gave a name, who is then the
  `resultsInterpreter` and the performer of the observations.
- `category` is radiology, `code` the LOINC code for a chest X-ray with this number of views.
- `conclusion` is the impression (or the findings), `presentedForm` the whole report as text and as PDF.
- Contained: the model as a Device; one Observation per finding, with the prediction (or what the reader says) as its
  value, and probability, threshold, the report's statement and the change since the prior study as components; for
  DICOM images the ImagingStudy with their UIDs.
- A prior study of DICOM images is a contained ImagingStudy, too, and the `supportingInfo` of the report.
- The patient is only contained with identity. UIDs are always contained; they do not name a person, but someone with
  access to the archive can use them to find the patient.

Findings have a code in this project's own list, and a SNOMED CT code if a radiologist would use both names for the same
thing. CheXpert's own categories (Lung Opacity, Lung Lesion, Pleural Other, …) have no SNOMED CT code.
"""

import base64
import re
from collections import defaultdict
from collections.abc import Sequence
from html import escape
from typing import Any

from fhir.resources.diagnosticreport import DiagnosticReport

from data.images.dicom.identifiers import DicomIdentifiers, iso_date
from page.export.pdf import export_pdf
from page.export.text import export_text, sections
from page.study.findings import STATE_WORDS, RecordedFinding
from page.study.record import NOT_A_DEVICE, StudyRecord, without_identity
from page.study.upload import UploadedImage
from vlm.schema.findings import FINDING_INDEX, NEGATIVE, POSITIVE, UNCERTAIN

OWN_SYSTEM = "urn:cxrscribe:report"
OWN_SCHEME = "99CXRSCRIBE"
"""The same list in DICOM, where names of private lists start with 99."""

SNOMED = {
    "Cardiomegaly": ("8186001", "Cardiomegaly"),
    "Edema": ("19242006", "Pulmonary edema"),
    "Consolidation": ("95436008", "Lung consolidation"),
    "Pneumonia": ("233604007", "Pneumonia"),
    "Atelectasis": ("46621007", "Atelectasis"),
    "Pneumothorax": ("36118008", "Pneumothorax"),
    "Pleural Effusion": ("60046008", "Pleural effusion"),
    "Fracture": ("125605004", "Fracture of bone"),
}
_LOINC_BY_NUM_VIEWS = {1: ("36554-4", "XR Chest Single view"), 2: ("36643-5", "XR Chest 2 Views")}
_LOINC_ANY_VIEWS = ("30745-4", "XR Chest Views")
STUDY_SYSTEM = "urn:cxrscribe:study"
_LOINC, _SNOMED_SYSTEM, _UCUM = "http://loinc.org", "http://snomed.info/sct", "http://unitsofmeasure.org"
_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_HL7 = "http://terminology.hl7.org/CodeSystem"
_GENDERS = {"M": "male", "F": "female", "O": "other"}
_MARKDOWN = re.compile(r"([\\`*_\[\]<>&#|~])")


def own_code(finding: str) -> str:
    """F01 to F14 in CheXpert's order."""
    return f"F{FINDING_INDEX[finding] + 1:02d}"


def export_fhir(record: StudyRecord, *, include_identity: bool = False) -> str:
    """The resource as JSON, validated against the FHIR definitions.

    Raises:
        ValueError: the images belong to several studies or patients.
    """
    # Before the patient IDs are removed: this rejects images of several patients.
    source = record.source
    record = record if include_identity else without_identity(record)
    shown = source if include_identity else None
    text = export_text(record, include_identity=include_identity)
    pdf = export_pdf(record, include_identity=include_identity)
    imaging_study = _imaging_study(record.views, shown, "study")
    prior_study = _prior_study(record, shown)
    prior_reference = {
        "type": _concept(OWN_SYSTEM, "prior-study", "Prior study for comparison"),
        "reference": {"reference": "#prior"},
    }
    observations = [_observation(record, row, shown) for row in record.by_probability] + _untrained(record, shown)
    code, display = _LOINC_BY_NUM_VIEWS.get(len(record.views), _LOINC_ANY_VIEWS)
    document = {
        "resourceType": "DiagnosticReport",
        "language": "en",
        "text": {"status": "generated", "div": _narrative(record)},
        "contained": [
            {
                "resourceType": "Device",
                "id": "model",
                "displayName": "cxrscribe, a program that writes draft reports",
                "manufacturer": "cxrscribe",
                "modelNumber": record.model.name,
                "serialNumber": record.model.hash,
                "version": [{"value": record.model.program_version}],
            },
            *filter(None, (_patient(shown), imaging_study, prior_study)),
            *observations,
        ],
        "identifier": [{"system": STUDY_SYSTEM, "value": record.file_stem}],
        "status": record.code,
        "category": [_concept(f"{_HL7}/v2-0074", "RAD", "Radiology")],
        "code": _concept(_LOINC, code, display),
        "subject": _subject(shown),
        "issued": record.issued_at.isoformat(),
        "result": [{"reference": f"#{observation['id']}"} for observation in observations],
        "note": [
            {"text": _markdown(note)}
            for note in (f"{record.status} {NOT_A_DEVICE}", record.calibration_note, *record.warnings)
        ],
        "presentedForm": [
            _attachment(record, "text/plain; charset=utf-8", text.encode()),
            _attachment(record, "application/pdf", pdf),
        ],
        "study": [{"reference": "#study"}] if imaging_study else None,
        "supportingInfo": [prior_reference] if prior_study else None,
        "effectiveDateTime": iso_date(shown.study_date) or None if shown else None,
        "resultsInterpreter": _performer(record),
        "conclusion": _markdown(record.impression or record.written_findings) or None,
    }
    return DiagnosticReport.model_validate(document).model_dump_json(indent=2) + "\n"


def _patient(source: DicomIdentifiers | None) -> dict[str, Any] | None:
    if source is None:
        return None
    # The alphabetic spelling comes first, others after "="; a name may have only these.
    spellings = ([part.strip() for part in spelling.split("^")[:3]] for spelling in source.patient_name.split("="))
    family, *given = next((spelling for spelling in spellings if any(spelling)), [""])
    given = [part for part in given if part]
    return {
        "resourceType": "Patient",
        "id": "patient",
        "identifier": [{"value": source.patient_id}] if source.patient_id else None,
        "name": [{"family": family or None, "given": given or None}] if family or given else None,
        "birthDate": iso_date(source.patient_birth_date) or None,
        "gender": _GENDERS.get(source.patient_sex),
    }


def _subject(source: DicomIdentifiers | None) -> dict[str, str]:
    return {"reference": "#patient"} if source else {"display": "Patient not identified"}


def _imaging_study(views: Sequence[UploadedImage], source: DicomIdentifiers | None, id: str) -> dict[str, Any] | None:
    """The images of a study that an archive can find by their UIDs; None without one."""
    by_series = defaultdict(dict)
    for view in views:
        if view.identifiers and view.identifiers.refers_to_an_image:
            by_series[view.identifiers.series_instance_uid][view.identifiers.sop_instance_uid] = view.identifiers
    if not by_series:
        return None
    series = [
        {
            "uid": uid,
            "modality": _concept(_DCM, next(iter(instances.values())).modality or "OT"),
            "instance": [
                {
                    "uid": instance.sop_instance_uid,
                    "sopClass": {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{instance.sop_class_uid}"},
                }
                for instance in instances.values()
            ],
        }
        for uid, instances in by_series.items()
    ]
    first = next(iter(next(iter(by_series.values())).values()))
    identifiers = [_study_identifier(first.study_instance_uid)]
    if first.accession_number:
        identifiers.append({"type": _concept(f"{_HL7}/v2-0203", "ACSN"), "value": first.accession_number})
    return {
        "resourceType": "ImagingStudy",
        "id": id,
        "identifier": identifiers,
        "status": "available",
        "subject": _subject(source),
        "series": series,
    }


def _prior_study(record: StudyRecord, source: DicomIdentifiers | None) -> dict[str, Any] | None:
    """The prior study if it has a StudyInstanceUID; without its images if they lack the other UIDs."""
    if record.prior is None or not record.prior.study_uid:
        return None
    only_study = {
        "resourceType": "ImagingStudy",
        "id": "prior",
        "identifier": [_study_identifier(record.prior.study_uid)],
        "status": "available",
        "subject": _subject(source),
    }
    return _imaging_study(record.prior.images, source, "prior") or only_study


def _study_identifier(uid: str) -> dict[str, str]:
    return {"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}


def _observation(record: StudyRecord, row: RecordedFinding, source: DicomIdentifiers | None) -> dict[str, Any]:
    """The prediction is the value, unless a reader left the report: then what the reader says is."""
    prediction = _concept(OWN_SYSTEM, row.prediction, f"Predicted {row.prediction}")
    interpretation = {POSITIVE: "POS", NEGATIVE: "NEG", UNCERTAIN: "IND"}.get(row.checked_label)
    if record.edit is None:
        interpretation = "POS" if row.is_positive else "NEG"
    notes = [
        *([] if record.num_calibration_studies else [record.calibration_note]),
        *(["The written report disagrees with the probability."] if row.disagrees else []),
    ]
    return {
        **_finding(record, row.finding, source),
        "device": {"reference": "#model"},
        "valueCodeableConcept": prediction if record.edit is None else _state(STATE_WORDS[row.checked_label]),
        "interpretation": [_concept(f"{_HL7}/v3-ObservationInterpretation", interpretation)]
        if interpretation
        else None,
        "component": [
            _number("probability", "Probability", row.probability),
            _number("threshold", "Predicted positive from this probability on", row.threshold),
            {
                "code": _concept(OWN_SYSTEM, "report-says", "What the written report says"),
                "valueCodeableConcept": _state(row.stated),
            },
            *_change(row),
            *(
                [
                    {
                        "code": _concept(OWN_SYSTEM, "prediction", "Prediction of the model"),
                        "valueCodeableConcept": prediction,
                    }
                ]
                if record.edit
                else []
            ),
        ],
        "note": [{"text": _markdown(note)} for note in notes] or None,
    }


def _change(row: RecordedFinding) -> list[dict[str, Any]]:
    if row.change is None:
        return []
    state, probability = row.change
    code = _concept(OWN_SYSTEM, "change", "Change since the prior study")
    return [
        {"code": code, "valueCodeableConcept": _state(state)},
        _number("change-probability", "Probability of the change, not calibrated", probability),
    ]


def _untrained(record: StudyRecord, source: DicomIdentifiers | None) -> list[dict[str, Any]]:
    """Findings that the reader set and the model cannot predict."""
    return [
        {**_finding(record, finding, source), "valueCodeableConcept": _state(record.reader_states[finding])}
        for finding in record.untrained_findings
        if finding in record.reader_states
    ]


def _finding(record: StudyRecord, finding: str, source: DicomIdentifiers | None) -> dict[str, Any]:
    codings = [(OWN_SYSTEM, own_code(finding), finding)]
    if finding in SNOMED:
        codings.append((_SNOMED_SYSTEM, *SNOMED[finding]))
    return {
        "resourceType": "Observation",
        "id": f"finding-{own_code(finding)}",
        "status": record.code,
        "category": [_concept(f"{_HL7}/observation-category", "imaging", "Imaging")],
        "code": {"coding": [_coding(*coding) for coding in codings], "text": finding},
        "subject": _subject(source),
        "performer": _performer(record),
    }


def _performer(record: StudyRecord) -> list[dict[str, str]] | None:
    return [{"display": record.edit.reader}] if record.is_signed else None


def _state(words: str) -> dict[str, Any]:
    return _concept(OWN_SYSTEM, words.replace(" ", "-"), words)


def _number(code: str, display: str, value: float) -> dict[str, Any]:
    quantity = {"value": round(value, 6), "unit": "probability", "system": _UCUM, "code": "1"}
    return {"code": _concept(OWN_SYSTEM, code, display), "valueQuantity": quantity}


def _concept(system: str, code: str, display: str = "") -> dict[str, Any]:
    return {"coding": [_coding(system, code, display)], "text": display or None}


def _coding(system: str, code: str, display: str = "") -> dict[str, Any]:
    return {"system": system, "code": code, "display": display or None}


def _attachment(record: StudyRecord, content_type: str, content: bytes) -> dict[str, Any]:
    return {
        "contentType": content_type,
        "language": "en",
        "data": base64.b64encode(content).decode(),
        "title": record.title,
        "creation": record.issued_at.isoformat(),
    }


def _narrative(record: StudyRecord) -> str:
    parts = "".join(
        f"<h2>{escape(heading)}</h2><p>{escape(text).replace(chr(10), '<br/>')}</p>"
        for heading, text in sections(record)
    )
    parts += "".join(f"<p><b>Warning:</b> {escape(warning)}</p>" for warning in record.warnings)
    notice = escape(f"{record.status} {NOT_A_DEVICE}")
    return f'<div xmlns="http://www.w3.org/1999/xhtml"><p><b>{notice}</b></p>{parts}</div>'


def _markdown(text: str) -> str:
    """Escape plain text for a field that FHIR reads as markdown."""
    return _MARKDOWN.sub(r"\\\1", text)
