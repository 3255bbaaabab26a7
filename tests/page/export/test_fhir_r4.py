"""The FHIR R4 report: valid, and with the content of the R5 report."""

import json
from dataclasses import replace

import pytest
from fhir.resources.R4B.diagnosticreport import DiagnosticReport

from page.export.fhir import export_fhir
from page.export.fhir_r4 import NOTE_EXTENSION, PRIOR_EXTENSION, export_fhir_r4


def contained(document, kind):
    return [resource for resource in document["contained"] if resource["resourceType"] == kind]


@pytest.mark.parametrize("include_identity", [False, True])
def test_report_is_valid_and_nothing_of_r5_is_lost(recorded_study, include_identity):
    text = export_fhir_r4(recorded_study, include_identity=include_identity, uid="2.25.7")
    assert json.loads(DiagnosticReport.model_validate_json(text).model_dump_json()) == json.loads(text)
    old, new = json.loads(text), json.loads(export_fhir(recorded_study, include_identity=include_identity))
    same = new.keys() - {"note", "study", "contained", "identifier", "conclusion", "presentedForm"}
    assert {key: old[key] for key in same} == {key: new[key] for key in same}
    assert [one["valueAnnotation"] for one in old["extension"]] == new["note"]
    assert {one["url"] for one in old["extension"]} == {NOTE_EXTENSION}
    assert old["imagingStudy"] == new["study"]
    assert old["identifier"] == [*new["identifier"], {"system": "urn:ietf:rfc:3986", "value": "urn:oid:2.25.7"}]
    assert contained(old, "Observation") == contained(new, "Observation")
    assert contained(old, "Patient") == contained(new, "Patient")
    assert contained(old, "ImagingStudy")[0]["series"][0]["modality"]["code"] == "DX"
    assert contained(old, "Device")[0]["deviceName"][0]["name"] == contained(new, "Device")[0]["displayName"]


def test_prior_study_is_in_the_extension_for_the_element_of_r5(compared_study):
    document = json.loads(export_fhir_r4(compared_study))
    [prior] = [one["extension"] for one in document["extension"] if one["url"] == PRIOR_EXTENSION]
    assert prior[1] == {"url": "reference", "valueReference": {"reference": "#prior"}}
    assert prior[0]["valueCodeableConcept"]["text"] == "Prior study for comparison"
    assert [study["id"] for study in contained(document, "ImagingStudy")] == ["study", "prior"]


def test_conclusion_is_plain_text(recorded_study):
    document = json.loads(export_fhir_r4(replace(recorded_study, impression="*5* < 6 [a]")))
    assert document["conclusion"] == "*5* < 6 [a]"


def test_report_without_dicom_images_or_conclusion(recorded_study):
    views = tuple(replace(view, identifiers=None) for view in recorded_study.views)
    document = json.loads(export_fhir_r4(replace(recorded_study, views=views, impression="", findings="")))
    assert not {"imagingStudy", "conclusion"} & document.keys()
