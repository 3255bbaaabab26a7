"""Exports of a study that was compared with a prior study: they name the prior by its UID, and list the changes."""

import json
import shutil
import subprocess
from dataclasses import replace
from io import BytesIO

import pydicom
import pytest
from pypdf import PdfReader

from page.export.fhir import export_fhir
from page.export.formats import FORMATS, export
from page.export.pdf import export_pdf
from page.export.sr import export_sr
from page.export.sr_measurements import export_sr_measurements
from page.export.text import export_json, export_text

CHANGES = [
    "Edema: new (50%), but predicted negative",
    "Pleural Effusion: worse (87%), but the report says better",
    "Pneumothorax: resolved (60%)",
    "Cardiomegaly: none (90%), but predicted positive",
]


def items(dataset):
    for item in dataset.get("ContentSequence", []):
        yield item
        yield from items(item)


def test_json_has_the_prior_study_and_the_state_of_each_finding(compared_study):
    document = json.loads(export_json(compared_study))
    [image] = document["prior"].pop("images")
    assert (image["name"], image["view_position"]) == ("prior image 1", "AP")
    assert document["prior"] == {"report": "Findings: ___ has an effusion.", "interval_days": 30}
    assert document["prior_identity"] is None
    changes = {row.pop("finding"): row for row in document["changes"]}
    assert len(changes) == 13  # all but No Finding
    assert changes["Pleural Effusion"] == {
        "state": "worse",
        "probability": 0.87,
        "fits_prediction": True,
        "report_says": ["better"],
    }
    assert changes["Edema"] == {"state": "new", "probability": 0.5, "fits_prediction": False, "report_says": []}
    named = json.loads(export_json(compared_study, include_identity=True))
    assert named["prior_identity"]["study_instance_uid"] == "1.2.2"
    assert named["prior"]["report"] == "Findings: Jane Doe has an effusion."


def test_study_without_a_prior_study_has_no_change(recorded_study):
    document = json.loads(export_json(recorded_study))
    assert (document["prior"], document["changes"], document["prior_identity"]) == (None, [], None)
    assert "prior" not in export_text(recorded_study).lower()
    assert "supportingInfo" not in json.loads(export_fhir(recorded_study))


def test_text_and_pdf_list_the_changes_in_order(compared_study):
    text = export_text(compared_study)
    assert "Compared:    with a prior study, 30 days earlier" in text
    assert "Prior 1:     frontal AP, 50 x 45 pixels\n" in text
    heading, note, *lines = text.partition("CHANGE SINCE THE PRIOR STUDY")[2].split("\n\n")[0].split("\n")
    assert (heading, lines) == ("", CHANGES)
    assert note.endswith("not calibrated.")
    pages = PdfReader(BytesIO(export_pdf(compared_study))).pages
    pdf = " ".join(" ".join(page.extract_text() for page in pages).split())
    assert all(line in pdf for line in CHANGES)
    assert "Prior study, image 1: frontal AP" in pdf


def test_fhir_report_refers_to_the_prior_study_by_its_uid(compared_study):
    document = json.loads(export_fhir(compared_study))
    [info] = document["supportingInfo"]
    assert info["reference"] == {"reference": "#prior"}
    resources = {resource["id"]: resource for resource in document["contained"]}
    assert resources["prior"]["identifier"] == [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.2"}]
    assert resources["prior"]["series"][0]["instance"][0]["uid"] == "1.2.2.4.1"
    assert resources["study"]["identifier"][0]["value"] == "urn:oid:1.2.3"
    components = {part["code"]["text"]: part for part in resources["finding-F10"]["component"]}
    assert components["Change since the prior study"]["valueCodeableConcept"]["text"] == "worse"
    assert components["Probability of the change, not calibrated"]["valueQuantity"]["value"] == 0.87


def test_fhir_names_a_prior_study_of_which_only_the_study_is_known(compared_study):
    [image] = compared_study.prior.images
    image = replace(image, identifiers=replace(image.identifiers, series_instance_uid=""))
    record = replace(compared_study, prior=replace(compared_study.prior, images=(image,)))
    [found] = [one for one in json.loads(export_fhir(record))["contained"] if one["id"] == "prior"]
    assert (found["identifier"][0]["value"], "series" in found) == ("urn:oid:1.2.2", False)


@pytest.mark.parametrize("write", [export_sr, export_sr_measurements])
def test_structured_report_has_the_prior_images_as_other_evidence(compared_study, write, tmp_path):
    content = write(compared_study)
    report = pydicom.dcmread(BytesIO(content))
    assert report.StudyInstanceUID == "1.2.3"
    [other] = report.PertinentOtherEvidenceSequence
    assert other.StudyInstanceUID == "1.2.2"
    assert [one.StudyInstanceUID for one in report.CurrentRequestedProcedureEvidenceSequence] == ["1.2.3"]
    texts = " ".join(item.TextValue for item in items(report) if item.ValueType == "TEXT")
    assert "Compared with a prior study, 30 days earlier." in texts
    if shutil.which("dsrdump") is None:
        pytest.skip("dsrdump is not installed (Debian's package dcmtk)")
    (tmp_path / "report.dcm").write_bytes(content)
    done = subprocess.run(["dsrdump", "+Pl", str(tmp_path / "report.dcm")], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_basic_report_has_a_section_in_the_context_of_the_prior_study(compared_study):
    report = pydicom.dcmread(BytesIO(export_sr(compared_study)))
    [uid] = [
        item
        for item in items(report)
        if item.ValueType == "UIDREF"
        and item.RelationshipType == "HAS OBS CONTEXT"
        and item.ConceptNameCodeSequence[0].CodeMeaning == "Procedure Study Instance UID"
    ]
    assert uid.UID == "1.2.2"
    comments = [item.TextValue for item in items(report) if item.ValueType == "TEXT"]
    assert any("Change since the prior study: worse (87%), not calibrated." in text for text in comments)


def test_measurement_groups_have_the_change(compared_study):
    report = pydicom.dcmread(BytesIO(export_sr_measurements(compared_study)))
    states = [
        item.ConceptCodeSequence[0].CodeMeaning
        for item in items(report)
        if item.ValueType == "CODE" and item.ConceptNameCodeSequence[0].CodeMeaning == "Change since the prior study"
    ]
    assert sorted(states) == ["new", *["none"] * 10, "resolved", "worse"]


@pytest.mark.parametrize("format", FORMATS)
def test_patient_of_the_prior_study_is_not_named_without_identity(compared_study, format):
    content = export(compared_study, format).content
    text = " ".join(page.extract_text() for page in PdfReader(BytesIO(content)).pages) if format == "pdf" else ""
    for secret in ("jane_doe", "Jane Doe", "DOE^JANE", "PID4711", "20251203"):
        assert secret.encode() not in content
        assert secret not in text
