"""The FHIR report: valid, self-contained, and equal to the record."""

import base64
import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from fhir.resources.diagnosticreport import DiagnosticReport

from page.export.fhir import export_fhir
from page.export.text import export_text
from vlm.schema.findings import FINDINGS


def exported(record, **settings) -> dict:
    return json.loads(export_fhir(record, **settings))


def contained(document, kind) -> list[dict]:
    return [resource for resource in document["contained"] if resource["resourceType"] == kind]


def references(part) -> set[str]:
    if isinstance(part, dict):
        own = {part["reference"]} if isinstance(part.get("reference"), str) else set()
        return own.union(*(references(value) for value in part.values()))
    return set().union(*(references(value) for value in part)) if isinstance(part, list) else set()


@pytest.mark.parametrize("include_identity", [False, True])
def test_report_is_unchanged_by_a_round_trip_through_the_fhir_model(recorded_study, include_identity):
    text = export_fhir(recorded_study, include_identity=include_identity)
    again = DiagnosticReport.model_validate_json(text)
    assert json.loads(again.model_dump_json()) == json.loads(text)


@pytest.mark.parametrize("include_identity", [False, True])
def test_references_and_contained_resources_match(recorded_study, include_identity):
    document = exported(recorded_study, include_identity=include_identity)
    assert references(document) == {f"#{resource['id']}" for resource in document["contained"]}


def test_report_is_a_preliminary_chest_radiology_report(recorded_study):
    document = exported(recorded_study)
    assert document["status"] == "preliminary"
    assert document["category"][0]["coding"][0]["code"] == "RAD"
    assert document["code"]["coding"] == [
        {"system": "http://loinc.org", "code": "36643-5", "display": "XR Chest 2 Views"}
    ]
    assert document["conclusion"] == "Cardiomegaly."
    assert document["issued"] == "2026-11-20T15:30:00Z"
    assert {observation["status"] for observation in contained(document, "Observation")} == {"preliminary"}


@pytest.mark.parametrize(("num_views", "code"), [(1, "36554-4"), (2, "36643-5"), (3, "30745-4")])
def test_study_code_depends_on_the_number_of_views(recorded_study, num_views, code):
    views = (recorded_study.views * 2)[:num_views]
    maps = recorded_study.attention_maps[:, [0, 1, 0][:num_views]]
    document = exported(replace(recorded_study, views=views, attention_maps=maps))
    assert document["code"]["coding"][0]["code"] == code


def test_each_finding_has_probability_prediction_and_report_statement(recorded_study):
    observations = {one["code"]["text"]: one for one in contained(exported(recorded_study), "Observation")}
    assert set(observations) == set(FINDINGS)
    effusion = observations["Pleural Effusion"]
    assert {"system": "http://snomed.info/sct", "code": "60046008", "display": "Pleural effusion"} in (
        effusion["code"]["coding"]
    )
    assert effusion["interpretation"][0]["coding"][0]["code"] == "POS"
    assert effusion["valueCodeableConcept"]["text"] == "Predicted positive"
    assert [part.get("valueQuantity", {}).get("value") for part in effusion["component"]] == [0.9, 0.25, None]
    assert effusion["component"][2]["valueCodeableConcept"]["text"] == "not mentioned"
    assert effusion["note"][0]["text"] == "The written report disagrees with the probability."
    assert effusion["device"] == {"reference": "#model"}
    edema = observations["Edema"]
    assert edema["interpretation"][0]["coding"][0]["code"] == "NEG"
    assert "note" not in edema


def test_uncalibrated_probability_is_marked_at_each_finding(recorded_study):
    document = exported(replace(recorded_study, num_calibration_studies=0))
    assert all("not calibrated" in one["note"][0]["text"] for one in contained(document, "Observation"))


def test_full_report_is_attached_as_text_and_pdf(recorded_study):
    text, pdf = exported(recorded_study)["presentedForm"]
    assert base64.b64decode(text["data"]).decode() == export_text(recorded_study)
    assert base64.b64decode(pdf["data"]).startswith(b"%PDF-")


def test_patient_is_contained_only_with_identity_and_the_study_always(recorded_study):
    nameless, named = exported(recorded_study), exported(recorded_study, include_identity=True)
    assert nameless["subject"] == {"display": "Patient not identified"}
    assert not contained(nameless, "Patient")
    assert contained(named, "Patient") == [
        {
            "resourceType": "Patient",
            "id": "patient",
            "identifier": [{"value": "PID4711"}],
            "name": [{"family": "DOE", "given": ["JANE"]}],
            "gender": "female",
            "birthDate": "1956-07-12",
        }
    ]
    for document in (nameless, named):
        [study] = contained(document, "ImagingStudy")
        assert study["identifier"][0]["value"] == "urn:oid:1.2.3"
        assert [instance["uid"] for instance in study["series"][0]["instance"]] == ["1.2.3.4.0", "1.2.3.4.1"]
    assert named["effectiveDateTime"] == "2026-01-02"
    assert "effectiveDateTime" not in nameless


@pytest.mark.parametrize(
    ("spellings", "name"),
    [
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", {"family": "Yamada", "given": ["Tarou"]}),
        ("=山田^太郎", {"family": "山田", "given": ["太郎"]}),
        ("^=^太郎", {"given": ["太郎"]}),
        ("^^^Dr=山田^太郎", {"family": "山田", "given": ["太郎"]}),
        ("^^=", None),
        ("", None),
    ],
)
def test_patient_has_the_first_spelling_of_the_name(recorded_study, spellings, name):
    views = tuple(
        replace(view, identifiers=replace(view.identifiers, patient_name=spellings)) for view in recorded_study.views
    )
    [patient] = contained(exported(replace(recorded_study, views=views), include_identity=True), "Patient")
    assert patient.get("name") == (name and [name])


def test_images_that_are_not_dicom_have_no_imaging_study(recorded_study):
    views = tuple(replace(view, identifiers=None) for view in recorded_study.views)
    document = exported(replace(recorded_study, views=views), include_identity=True)
    assert not contained(document, "ImagingStudy")
    assert "study" not in document


def test_markup_in_a_report_is_escaped_in_html_and_markdown(recorded_study):
    markup = "<script>alert(1)</script> *5* < 6 & [a](b)\nSecond line."
    document = exported(replace(recorded_study, impression=markup, warnings=(markup,)))
    shown = "".join(ElementTree.fromstring(document["text"]["div"]).itertext())
    assert "<script>alert(1)</script> *5* < 6 & [a](b)Second line." in shown
    assert document["conclusion"].startswith(r"\<script\>alert(1)\</script\> \*5\* \< 6 \& \[a\](b)")


def test_images_of_two_studies_are_rejected(recorded_study):
    first, second = recorded_study.views
    other = replace(second, identifiers=replace(second.identifiers, study_instance_uid="9.9"))
    with pytest.raises(ValueError, match="belong to 2 studies"):
        export_fhir(replace(recorded_study, views=(first, other)))
