"""The other DICOM objects of a report: measurement report (TID 1500), encapsulated PDF and parametric maps."""

import shutil
import subprocess
import time
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO

import numpy as np
import pydicom
import pytest
from pydicom import uid

from page.export.dicom_document import DocumentPlace, document_uid, reference
from page.export.encapsulated_pdf import export_encapsulated_pdf
from page.export.parametric_map import MAP_SIDE, export_parametric_maps
from page.export.sr_measurements import export_sr_measurements
from vlm.explain.attention import heatmaps
from vlm.schema.findings import FINDINGS

PLACE = DocumentPlace(
    series_instance_uid=document_uid("series"),
    sop_instance_uid=document_uid("instance"),
    series_number=9002,
    instance_number=2,
    predecessor=reference("1.2.3", "1.2.5", uid.EncapsulatedPDFStorage, "1.2.5.1"),
)
WRITERS = (export_sr_measurements, export_encapsulated_pdf)


def opened(content: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(BytesIO(content))


def items(dataset):
    for item in dataset.get("ContentSequence", []):
        yield item
        yield from items(item)


def meaning(item) -> str:
    return item.ConceptNameCodeSequence[0].CodeMeaning


def test_dsrdump_opens_the_measurement_report_without_warnings(recorded_study, tmp_path):
    if shutil.which("dsrdump") is None:
        pytest.skip("dsrdump is not installed (Debian's package dcmtk)")
    path = tmp_path / "report.dcm"
    path.write_bytes(export_sr_measurements(recorded_study, include_identity=True))
    done = subprocess.run(["dsrdump", "+Pl", str(path)], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode("latin-1")
    assert lines.startswith("Comprehensive SR Document")
    assert "Preliminary Flag    : PRELIMINARY" in lines


@pytest.mark.parametrize("write", WRITERS)
def test_times_are_in_the_time_zone_of_the_machine_like_the_study_time(recorded_study, monkeypatch, write):
    read_at = datetime(2026, 11, 29, 20, 30, tzinfo=UTC)
    monkeypatch.setenv("TZ", "JST-9")
    time.tzset()
    try:
        report = opened(write(replace(recorded_study, read_at=read_at), include_identity=True))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert (report.ContentDate, report.ContentTime[:6]) == ("20261130", "053000")
    assert report.TimezoneOffsetFromUTC == "+0900"


def test_measurement_report_has_the_probability_of_each_finding(recorded_study):
    report = opened(export_sr_measurements(recorded_study))
    template = report.ContentTemplateSequence[0]
    assert (template.MappingResource, template.TemplateIdentifier) == ("DCMR", "1500")
    groups = [item for item in items(report) if meaning(item) == "Measurement Group"]
    values = {}
    for group in groups:
        parts = {meaning(item): item for item in group.ContentSequence}
        finding = parts["Tracking Identifier"].TextValue
        probability = parts["Probability of the finding"].MeasuredValueSequence[0].NumericValue
        prediction = parts["Prediction of the model"].ConceptCodeSequence[0].CodeMeaning
        values[finding] = (float(probability), prediction)
    assert set(values) == set(FINDINGS)
    assert values["Pleural Effusion"] == (90.0, "positive")
    assert values["Fracture"] == (0.1, "negative")


def test_measurement_report_has_the_texts_and_warnings(recorded_study):
    report = opened(export_sr_measurements(recorded_study))
    texts = [(meaning(item), item.TextValue) for item in items(report) if item.ValueType == "TEXT"]
    assert ("Finding", "The heart is enlarged. No pneumothorax.") in texts
    assert ("Impression", "Cardiomegaly.") in texts
    assert ("Comment", "Preliminary. Written by a machine and not checked by a person.") in texts
    assert ("Comment", recorded_study.warnings[0]) in texts
    images = [item.ReferencedSOPSequence[0] for item in items(report) if item.ValueType == "IMAGE"]
    assert {image.ReferencedSOPInstanceUID for image in images} == {"1.2.3.4.0", "1.2.3.4.1"}


@pytest.mark.parametrize("write", WRITERS)
def test_patient_is_only_named_with_identity(recorded_study, write):
    nameless, named = opened(write(recorded_study)), opened(write(recorded_study, include_identity=True))
    assert (str(nameless.PatientName), nameless.PatientID, nameless.AccessionNumber) == ("", "", "")
    assert (str(named.PatientName), named.PatientID, named.AccessionNumber) == ("DOE^JANE", "PID4711", "ACC99")
    assert nameless.StudyInstanceUID == named.StudyInstanceUID == "1.2.3"
    assert b"DOE" not in write(recorded_study)


@pytest.mark.parametrize("write", WRITERS)
def test_place_gives_series_instance_and_predecessor(recorded_study, write):
    document = opened(write(recorded_study, include_identity=True, place=PLACE))
    assert (document.SeriesInstanceUID, document.SOPInstanceUID) == (PLACE.series_instance_uid, PLACE.sop_instance_uid)
    assert (document.SeriesNumber, document.InstanceNumber) == (9002, 2)
    [before] = document.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert before.ReferencedSOPInstanceUID == "1.2.5.1"


@pytest.mark.parametrize("write", WRITERS)
def test_same_record_gives_the_same_file_and_another_text_another_instance(recorded_study, write):
    other = replace(recorded_study, findings="The heart is normal.")
    assert write(recorded_study) == write(recorded_study)
    assert opened(write(other)).SOPInstanceUID != opened(write(recorded_study)).SOPInstanceUID


@pytest.mark.parametrize("write", WRITERS)
def test_images_that_are_no_dicom_are_rejected(recorded_study, write):
    views = tuple(replace(view, identifiers=None) for view in recorded_study.views)
    with pytest.raises(ValueError, match="must refer to images in an archive"):
        write(replace(recorded_study, views=views))


def test_pdf_inside_is_the_exported_pdf(recorded_study):
    from page.export.pdf import export_pdf

    document = opened(export_encapsulated_pdf(recorded_study))
    pdf = document.EncapsulatedDocument[: document.EncapsulatedDocumentLength]
    assert pdf == export_pdf(recorded_study)
    assert (document.MIMETypeOfEncapsulatedDocument, document.VerificationFlag) == ("application/pdf", "UNVERIFIED")
    assert [source.ReferencedSOPInstanceUID for source in document.SourceInstanceSequence] == ["1.2.3.4.0", "1.2.3.4.1"]


def test_parametric_maps_hold_the_heat_of_each_finding_and_image(recorded_study):
    maps = [opened(content) for content in export_parametric_maps(recorded_study, place=PLACE)]
    sizes = [view.image.size for view in recorded_study.views]
    assert max(max(size) for size in sizes) <= MAP_SIDE
    heat = heatmaps(recorded_study.attention_maps, sizes, recorded_study.square)
    assert len({document.SOPInstanceUID for document in maps}) == len(maps) == 2
    for document, expected in zip(maps, heat, strict=True):
        assert document.SeriesInstanceUID == PLACE.series_instance_uid
        values = np.frombuffer(document.FloatPixelData, "<f4").reshape(-1, document.Rows, document.Columns)
        np.testing.assert_array_equal(values, expected)
        names = [
            frame.RealWorldValueMappingSequence[0].LUTExplanation for frame in document.PerFrameFunctionalGroupsSequence
        ]
        assert names == [f"Heat of {finding}" for finding in FINDINGS]


def test_files_of_one_study_are_valid_for_other_programs(recorded_study, tmp_path):
    """dciodvfy of dicom3tools knows the definitions of the standard."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian's package dicom3tools)")
    contents = [write(recorded_study, include_identity=True) for write in WRITERS]
    contents += export_parametric_maps(recorded_study, place=PLACE)
    for content in contents:
        path = tmp_path / "object.dcm"
        path.write_bytes(content)
        lines = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True).stderr.splitlines()
        # Laterality is for paired parts of the body; the chest is none, which dciodvfy does not know.
        assert [line for line in lines if line.startswith("Error") and "Laterality" not in line] == []
