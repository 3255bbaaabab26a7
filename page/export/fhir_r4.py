"""A study's report as a FHIR R4 DiagnosticReport, the version that most servers of hospitals use.

It says what the R5 report says (page/export/fhir.py). R4 has no `note` and no `supportingInfo` in a report: the notes
and the prior study are in HL7's extensions for these elements of R5, and the notes in the narrative, too. Its
`conclusion` is plain text, not markdown.
"""

import json
from typing import Any

from fhir.resources.R4B.diagnosticreport import DiagnosticReport  # the resources used here are equal in R4 and R4B

from page.export.fhir import export_fhir
from page.study.record import StudyRecord, without_identity

_ELEMENT_OF_R5 = "http://hl7.org/fhir/5.0/StructureDefinition/extension-DiagnosticReport"
NOTE_EXTENSION, PRIOR_EXTENSION = f"{_ELEMENT_OF_R5}.note", f"{_ELEMENT_OF_R5}.supportingInfo"


def uid_identifier(uid: str) -> dict[str, str]:
    """A DICOM UID as a FHIR identifier."""
    return {"system": "urn:ietf:rfc:3986", "value": f"urn:oid:{uid}"}


def export_fhir_r4(record: StudyRecord, *, include_identity: bool = False, uid: str = "") -> str:
    """The resource as JSON, validated against the FHIR definitions. `uid` is added to its identifiers.

    Raises:
        ValueError: the images belong to several studies or patients.
    """
    document = json.loads(export_fhir(record, include_identity=include_identity))
    shown = record if include_identity else without_identity(record)
    if "conclusion" in document:
        document["conclusion"] = shown.impression or shown.written_findings
    document["extension"] = [{"url": NOTE_EXTENSION, "valueAnnotation": note} for note in document.pop("note")]
    for info in document.pop("supportingInfo", []):
        parts = [
            {"url": "type", "valueCodeableConcept": info["type"]},
            {"url": "reference", "valueReference": info["reference"]},
        ]
        document["extension"].append({"url": PRIOR_EXTENSION, "extension": parts})
    if "study" in document:
        document["imagingStudy"] = document.pop("study")
    if uid:
        document["identifier"].append(uid_identifier(uid))
    _to_r4(document["contained"])
    return DiagnosticReport.model_validate(document).model_dump_json(indent=2) + "\n"


def _to_r4(contained: list[dict[str, Any]]) -> None:
    for resource in contained:
        if resource["resourceType"] == "Device":
            resource["deviceName"] = [{"name": resource.pop("displayName"), "type": "user-friendly-name"}]
        elif resource["resourceType"] == "ImagingStudy":
            for series in resource.get("series", []):
                [series["modality"]] = series["modality"]["coding"]
