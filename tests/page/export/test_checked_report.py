"""A report that a reader edited and signed: all five formats contain the edit, and each is read by another library."""

import json
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO

import pydicom
import pytest
from fhir.resources.diagnosticreport import DiagnosticReport
from highdicom.sr import EnhancedSR
from pypdf import PdfReader

from page.export.formats import FORMATS, export
from page.study.edit import Edit
from page.study.read import read_files
from page.study.record import study_record
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.schema.findings import FINDING_INDEX, FINDINGS, NEGATIVE, POSITIVE, UNCERTAIN, UNLABELED

SIGNED_AT = datetime(2026, 11, 29, 1, 30, tzinfo=UTC)
STATES = {"Edema": POSITIVE, "Fracture": NEGATIVE, "Lung Lesion": UNCERTAIN}
UIDS = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4", "SOPInstanceUID": "1.2.3.4.5"}


def edit_by(reader, **settings):
    states = tuple(STATES.get(finding, UNLABELED) for finding in FINDINGS)
    texts = {"findings": "There is a small left pleural effusion.", "impression": "Pleural effusion."}
    return Edit(**{**texts, "states": states, "reader": reader, "checked_at": SIGNED_AT, **settings})


@pytest.fixture(scope="module")
def generator(tiny_checkpoint):
    """One that has learned nothing about Lung Lesion."""
    generator = ReportGenerator.from_pretrained(tiny_checkpoint)
    labeled = tuple(9 * (finding != "Lung Lesion") for finding in FINDINGS)
    generator.calibration = replace(generator.calibration, num_labeled=labeled)
    return generator


@pytest.fixture
def reading(generator, dicom):
    path = dicom(**UIDS, SOPClassUID="1.2.840.10008.5.1.4.1.1.1", BodyPartExamined="CHEST")
    *_, reading = read_files(generator, [path], options=GenerationOptions(max_new_tokens=12), write_anyway=True)
    return reading


@pytest.fixture
def record_by(generator, reading):
    """`record_by("Dr A")`: the record after this reader's edit."""
    return lambda reader, **settings: study_record(reading, generator, edit_by(reader, **settings))


def pdf_text(content: bytes) -> str:
    return " ".join(" ".join(page.extract_text() for page in PdfReader(BytesIO(content)).pages).split())


def all_text(file) -> str:
    if file.media_type == "application/pdf":
        return pdf_text(file.content)
    return " ".join(file.content.decode("latin-1").split())


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_has_the_edit_and_its_reader_but_not_the_text_of_the_model(record_by, reading, format):
    text = all_text(export(record_by("Dr A"), format))
    assert "There is a small left pleural effusion." in text
    assert "checked by Dr A, 2026-11-29 01:30 UTC" in text
    assert "not checked by a person" not in text
    if format != "json":  # which has it as model_findings
        assert " ".join(reading.report.findings.split()) not in text


@pytest.mark.parametrize("format", FORMATS)
def test_edit_without_a_name_is_in_every_format_but_not_signed(record_by, format):
    text = all_text(export(record_by(""), format))
    assert "There is a small left pleural effusion." in text
    assert "and edited; not signed, because the reader gave no name" in text
    assert "checked by" not in text


def test_text_lists_the_findings_that_the_reader_set(record_by):
    lines = export(record_by("Dr A"), "text").content.decode().splitlines()
    assert lines[0] == "CHEST X-RAY REPORT: CHECKED BY A READER"
    start = lines.index("FINDINGS SET BY THE READER")
    assert lines[start + 1 : start + 4] == ["Lung Lesion: possible", "Edema: present", "Fracture: absent"]
    [effusion] = [line for line in lines if line.startswith("Pleural Effusion ")]
    assert "  present" in effusion  # labeled from the edited text
    [fracture] = [line for line in lines if line.startswith("Fracture ")]
    assert "not mentioned, set to absent by the reader" in fracture


def test_pdf_says_on_every_page_that_a_reader_checked_it(record_by):
    file = PdfReader(BytesIO(export(record_by("Dr A"), "pdf").content))
    assert file.metadata.title == "Chest X-ray report: checked by a reader"
    assert all("checked by a reader, machine-written" in page.extract_text() for page in file.pages)
    draft = PdfReader(BytesIO(export(record_by(""), "pdf").content))
    assert all("preliminary, machine-written" in page.extract_text() for page in draft.pages)


def test_json_has_the_edit_and_what_the_model_wrote(record_by, reading):
    document = json.loads(export(record_by("Dr A"), "json").content)
    assert (document["status"], document["edited"], document["reader"]) == ("final", True, "Dr A")
    assert document["checked_at"] == "2026-11-29T01:30:00+00:00"
    assert document["findings"] == "There is a small left pleural effusion."
    assert document["model_findings"] == reading.report.findings.strip()
    assert document["reader_findings"] == {"Lung Lesion": "possible", "Edema": "present", "Fracture": "absent"}


@pytest.mark.parametrize("format", FORMATS)
def test_corrected_findings_are_written_by_organ_system(record_by, format):
    corrected = record_by("Dr A", findings="No fracture. There is a small left pleural effusion.")
    text = all_text(export(replace(corrected, by_system=True), format)).replace("\\n", " ")
    expected = "Pleura There is a small left pleural effusion. Bones No fracture."
    if format == "fhir":  # whose attachments are encoded
        expected = expected.replace("Pleura ", "Pleura<br/>").replace(" Bones ", "<br/>Bones<br/>")
    assert expected in text


def test_json_by_organ_system_still_says_whether_and_what_the_reader_changed(record_by, generator, reading):
    document = json.loads(export(replace(record_by("Dr A"), by_system=True), "json").content)
    assert document["findings"] == "Pleura\nThere is a small left pleural effusion."
    assert document["model_findings"] == reading.report.findings.strip()
    findings = "No fracture. There is a small effusion."
    reading = replace(reading, report=replace(reading.report, findings=findings, impression=""))
    confirmed = study_record(reading, generator, Edit(findings=findings, reader="Dr A"))
    document = json.loads(export(replace(confirmed, by_system=True), "json").content)
    assert document["findings"] == "Pleura\nThere is a small effusion.\nBones\nNo fracture."
    assert not document["edited"]


def test_fhir_report_is_final_and_its_observations_have_the_states_of_the_reader(record_by):
    report = DiagnosticReport.model_validate_json(export(record_by("Dr A"), "fhir").content)
    assert report.status == "final"
    assert [reader.display for reader in report.resultsInterpreter] == ["Dr A"]
    assert report.issued == SIGNED_AT
    assert report.conclusion == "Pleural effusion."
    found = {item.code.text: item for item in report.contained if item.get_resource_type() == "Observation"}
    assert set(found) == set(FINDINGS)
    assert {item.status for item in found.values()} == {"final"}
    assert {item.performer[0].display for item in found.values()} == {"Dr A"}
    states = {name: found[name].valueCodeableConcept.text for name in ("Edema", "Fracture", "Pleural Effusion")}
    assert states == {"Edema": "present", "Fracture": "absent", "Pleural Effusion": "present"}
    assert found["Lung Lesion"].valueCodeableConcept.text == "possible"
    assert found["Lung Lesion"].component is None  # the model has no probability for it
    codes = {name: found[name].interpretation[0].coding[0].code for name in ("Edema", "Fracture")}
    assert codes == {"Edema": "POS", "Fracture": "NEG"}
    assert found["Atelectasis"].interpretation is None  # not mentioned
    parts = {part.code.coding[0].code for part in found["Edema"].component}
    assert parts == {"probability", "threshold", "report-says", "prediction"}


def test_second_signature_makes_the_fhir_report_amended(record_by):
    again = record_by("Dr B", is_amendment=True)
    assert json.loads(export(again, "fhir").content)["status"] == "amended"
    assert json.loads(export(record_by(""), "fhir").content)["status"] == "preliminary"


def test_structured_report_is_verified_by_its_reader(record_by, tmp_path):
    content = export(record_by("Anna Beispiel"), "sr").content
    dataset = pydicom.dcmread(BytesIO(content))
    EnhancedSR.from_dataset(dataset)
    flags = (dataset.CompletionFlag, dataset.VerificationFlag, dataset.PreliminaryFlag)
    assert flags == ("COMPLETE", "VERIFIED", "FINAL")
    [observer] = dataset.VerifyingObserverSequence
    assert (str(observer.VerifyingObserverName), observer.VerifyingOrganization) == ("Anna Beispiel^", "not stated")
    assert str(observer.VerificationDateTime).startswith("20261129013000")
    assert dataset.ContentDate + dataset.ContentTime[:6] == f"{SIGNED_AT.astimezone():%Y%m%d%H%M%S}"
    if shutil.which("dsrdump") is None:
        pytest.skip("dsrdump is not installed (Debian's package dcmtk)")
    (tmp_path / "report.dcm").write_bytes(content)
    done = subprocess.run(["dsrdump", "+Pl", str(tmp_path / "report.dcm")], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode("latin-1")
    assert "Verification Flag   : VERIFIED" in lines
    assert "Anna Beispiel" in lines
    assert "Edema: present (set by the reader)" in lines


def test_unsigned_structured_report_is_not_verified(record_by):
    dataset = pydicom.dcmread(BytesIO(export(record_by(""), "sr").content))
    flags = (dataset.CompletionFlag, dataset.VerificationFlag, dataset.PreliminaryFlag)
    assert flags == ("PARTIAL", "UNVERIFIED", "PRELIMINARY")
    assert "VerifyingObserverSequence" not in dataset


@pytest.mark.parametrize("name", ["Dr A^B=C\\D", "胸 部", "x" * 100])
def test_every_name_of_a_reader_can_be_exported(record_by, name):
    dataset = pydicom.dcmread(BytesIO(export(record_by(name), "sr").content))
    shown = str(dataset.VerifyingObserverSequence[0].VerifyingObserverName)
    assert len(shown) <= 64
    assert shown.count("^") == 1
    for format in FORMATS:
        assert export(record_by(name), format).content


def test_confirmed_report_is_signed_and_not_called_edited(generator, reading):
    texts = {"findings": reading.report.findings, "impression": reading.report.impression}
    record = study_record(reading, generator, Edit(**texts, reader="Dr A"))
    assert (record.code, record.is_edited) == ("final", False)
    assert record.status.startswith("Final. Written by a machine, and checked by Dr A, ")


def test_finding_that_the_reader_set_against_the_prediction_disagrees(generator, reading):
    row = study_record(reading, generator, None).by_probability[0]
    states = [UNLABELED] * len(FINDINGS)
    states[FINDING_INDEX[row.finding]] = NEGATIVE if row.is_positive else POSITIVE
    edit = Edit(findings="Clear.", states=tuple(states), reader="Dr A")
    [checked] = [one for one in study_record(reading, generator, edit).finding_rows if one.finding == row.finding]
    assert checked.disagrees
    assert "by the reader (disagrees)" in checked.statement
