"""Exports: all formats of one record, and no identity in any of them by default."""

import ast
import base64
import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pypdf import PdfReader

from page.export.formats import FORMATS, export
from page.export.text import export_json, export_text
from page.study.read import read_files
from page.study.record import study_record
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.schema.findings import FINDINGS

IDENTITY = ("jane", "doe", "pid4711", "acc99", "1956", "20260102", "2026-01-02")


def shown(file) -> str:
    """All text in an exported file and its attachments, in lower case."""
    if file.media_type == "application/pdf":
        return text_of_pdf(file.content).lower()
    if file.media_type == "application/fhir+json":
        report = json.loads(file.content)
        text, pdf = (base64.b64decode(form.pop("data")) for form in report["presentedForm"])
        return f"{json.dumps(report)} {text.decode()} {text_of_pdf(pdf)}".lower()
    return file.content.decode("latin-1").lower()


def text_of_pdf(content: bytes) -> str:
    reader = PdfReader(BytesIO(content))
    return " ".join([*(page.extract_text() for page in reader.pages), str(reader.metadata)])


@pytest.mark.parametrize("format", FORMATS)
def test_file_and_its_name_have_no_identity_by_default(recorded_study, format):
    file = export(recorded_study, format)
    text = file.name.lower() + shown(file)
    assert not [word for word in IDENTITY if word in text]


@pytest.mark.parametrize("format", FORMATS)
def test_patient_is_in_the_file_with_identity_but_not_in_its_name(recorded_study, format):
    file = export(recorded_study, format, include_identity=True)
    text = shown(file)
    assert "doe" in text and "pid4711" in text and "acc99" in text
    assert file.name == export(recorded_study, format).name


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_has_the_report_and_says_that_it_is_a_draft(recorded_study, format):
    text = " ".join(shown(export(recorded_study, format)).split())
    assert "written by a machine and not checked by a person" in text
    assert "not a medical device" in text
    assert "preliminary" in text
    assert "the heart is enlarged. no pneumothorax." in text
    assert "both states and denies edema" in text


@pytest.mark.parametrize("format", FORMATS)
def test_same_record_gives_the_same_bytes(recorded_study, format):
    other = replace(recorded_study, findings="Ω other letters before it")
    first = export(recorded_study, format).content
    assert export(other, format).content != first
    assert export(recorded_study, format).content == first


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_has_the_findings_by_organ_system_on_request(recorded_study, format):
    text = " ".join(shown(export(replace(recorded_study, by_system=True), format)).split())
    text = text.replace("<br/>", " ").replace("\\n", " ")
    assert "pleura no pneumothorax. heart and mediastinum the heart is enlarged." in text
    if format != "json":  # which has them as model_findings
        assert "the heart is enlarged. no pneumothorax." not in text


def test_text_has_a_line_for_each_organ_system(recorded_study):
    text = export_text(replace(recorded_study, by_system=True))
    heart = "Heart and mediastinum\nThe heart is enlarged.\n"
    assert f"\nFINDINGS\nPleura\nNo pneumothorax.\n{heart}\nIMPRESSION\nCardiomegaly.\n" in text


def test_identity_is_removed_from_findings_by_organ_system(recorded_study):
    named = replace(recorded_study, by_system=True, findings="The heart of Ms. Jane Doe is enlarged. No pneumothorax.")
    text = export_text(named)
    assert "Pleura\nNo pneumothorax.\nHeart and mediastinum\nThe heart of Ms. ___ is enlarged.\n" in text


def test_conclusion_without_an_impression_is_the_findings_by_organ_system(recorded_study):
    report = json.loads(export(replace(recorded_study, by_system=True, impression=""), "fhir").content)
    assert report["conclusion"].startswith("Pleura\nNo pneumothorax.\n")


def test_unknown_format_is_rejected_by_name(recorded_study):
    with pytest.raises(ValueError, match="no export format 'docx'; choose one of text, json, pdf, fhir, sr"):
        export(recorded_study, "docx")


def test_text_layout(recorded_study):
    text = export_text(recorded_study)
    top, table = text.split("FINDINGS BY PROBABILITY\n")
    assert top == (
        "CHEST X-RAY REPORT: PRELIMINARY DRAFT\n"
        "Preliminary. Written by a machine and not checked by a person.\n"
        "Not a medical device. For research and teaching only, not for diagnosis or treatment.\n"
        "\n"
        f"Study:       {recorded_study.pseudonym}\n"
        "Image 1:     frontal PA, 40 x 32 pixels\n"
        "Image 2:     lateral, 32 x 40 pixels\n"
        "Read at:     2026-11-20 15:30 UTC\n"
        "Model:       training/best [0123456789abcdef], cxrscribe 0.1.0\n"
        "\nINDICATION\nMs. ___ has a cough.\n"
        "\nFINDINGS\nThe heart is enlarged. No pneumothorax.\n"
        "\nIMPRESSION\nCardiomegaly.\n"
        '\nWARNINGS\n- The report both states and denies Edema: "Edema." / "No edema."\n'
        "\n"
    )
    lines = table.splitlines()
    assert lines[0].startswith("Probabilities are calibrated on 40 validation studies")
    assert lines[2] == "Cardiomegaly                        90%        25%    positive  present"
    assert lines[3] == "Pleural Effusion                    90%        25%    positive  not mentioned (disagrees)"
    assert lines[4] == "Enlarged Cardiomediastinum          <1%        25%    negative  not mentioned"
    assert len(lines) == 2 + len(FINDINGS)


def test_text_with_identity_starts_with_the_patient(recorded_study):
    text = export_text(recorded_study, include_identity=True)
    assert "Patient:     DOE, JANE\nPatient ID:  PID4711\nBorn:        1956-07-12\nSex:         F\n" in text
    assert "Image 1:     frontal PA, 40 x 32 pixels (jane_doe_front.dcm)\n" in text


def test_uncalibrated_probabilities_are_marked(recorded_study):
    raw = replace(recorded_study, num_calibration_studies=0)
    assert json.loads(export_json(raw))["num_calibration_studies"] == 0
    for format in set(FORMATS) - {"json"}:
        assert "not calibrated" in " ".join(shown(export(raw, format)).split()), format


def test_an_empty_report_says_so(recorded_study):
    silent = replace(recorded_study, findings="", impression="", warnings=())
    assert "FINDINGS\nNothing was written.\n" in export_text(silent)
    for format in FORMATS:
        assert export(silent, format).content


def test_json_has_the_keys_and_values_of_version_2(recorded_study):
    document = json.loads(export_json(recorded_study))
    assert (document["schema"], document["schema_version"]) == ("cxrscribe-report", 2)
    assert list(document) == [
        *(
            "schema",
            "schema_version",
            "status",
            "notice",
            "study",
            "read_at",
            "model",
            "edited",
            "reader",
            "checked_at",
            "indication",
        ),
        *(
            "findings",
            "impression",
            "model_findings",
            "model_impression",
            "reader_findings",
            "images",
            "prior",
            "finding_probabilities",
            "changes",
            "untrained_findings",
            "num_calibration_studies",
            "operating_point",
            "warnings",
            "ood_not_checked",
        ),
        *("identity", "prior_identity"),
    ]
    assert document["status"] == "preliminary"
    assert document["read_at"] == "2026-11-20T15:30:00+00:00"
    assert document["model"] == {"name": "training/best", "hash": "0123456789abcdef", "program_version": "0.1.0"}
    assert document["images"][1]["view_position"] == "LL"
    assert document["finding_probabilities"][9] == {
        "finding": "Pleural Effusion",
        "probability": 0.9,
        "threshold": 0.25,
        "predicted_positive": True,
        "report_says": "not mentioned",
        "disagrees": True,
        "severity": {"name": "moderate", "probability": 0.75},
    }
    assert document["finding_probabilities"][0]["severity"] is None
    assert document["identity"] is None
    named = json.loads(export_json(recorded_study, include_identity=True))
    assert named["identity"]["patient_name"] == "DOE^JANE"


def test_structured_report_refers_to_the_study_of_the_dicom_file(tiny_checkpoint, tmp_path):
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3.4.5"
    header.StudyInstanceUID, header.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    header.Modality, header.BodyPartExamined, header.PatientName = "CR", "CHEST", "Doe^Jane"
    header.Rows, header.Columns, header.SamplesPerPixel, header.PixelRepresentation = 40, 32, 1, 0
    header.BitsAllocated, header.BitsStored, header.HighBit = 8, 8, 7
    header.PhotometricInterpretation, header.PixelData = "MONOCHROME2", bytes(range(256)) * 5
    header.save_as(tmp_path / "jane_doe.dcm", enforce_file_format=True)
    generator = ReportGenerator.from_pretrained(tiny_checkpoint)
    options = GenerationOptions(max_new_tokens=8)
    *_, reading = read_files(generator, [tmp_path / "jane_doe.dcm"], write_anyway=True, options=options)
    record = study_record(reading, generator)
    report = pydicom.dcmread(BytesIO(export(record, "sr").content))
    [study] = report.CurrentRequestedProcedureEvidenceSequence
    assert (report.StudyInstanceUID, str(report.PatientName)) == ("1.2.3", "")
    assert study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.5"
    named = pydicom.dcmread(BytesIO(export(record, "sr", include_identity=True).content))
    assert named.PatientName == "Doe^Jane"


def test_page_starts_without_export_libraries():
    """Follow the imports at module level; those inside functions run when a format is first used."""
    root = Path(__file__).parents[3]
    loaded, waiting = set(), ["app", "page.export.formats"]
    while waiting:
        name = waiting.pop()
        path = root / (name.replace(".", "/") + ".py")
        if name in loaded or not path.exists():
            continue
        loaded.add(name)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    assert "page.study.record" in loaded
    assert not loaded & {"page.export.pdf", "page.export.fhir", "page.export.sr"}
