"""The structured report: readable by pydicom and dcmtk's dsrdump, equal to the record, only for DICOM images."""

import shutil
import subprocess
from dataclasses import replace
from io import BytesIO

import pydicom
import pytest

from page.export.sr import export_sr
from vlm.schema.findings import FINDINGS


def opened(record, **settings) -> pydicom.Dataset:
    return pydicom.dcmread(BytesIO(export_sr(record, **settings)))


def items(dataset):
    for item in dataset.get("ContentSequence", []):
        yield item
        yield from items(item)


def texts_of(dataset) -> list[str]:
    return [item.TextValue for item in items(dataset) if item.ValueType == "TEXT"]


def dumped(content: bytes, folder) -> str:
    """The output of dsrdump, which must print no errors and no warnings."""
    if shutil.which("dsrdump") is None:
        pytest.skip("dsrdump is not installed (Debian's package dcmtk)")
    path = folder / "report.dcm"
    path.write_bytes(content)
    done = subprocess.run(["dsrdump", "+Pl", str(path)], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode("latin-1")


@pytest.mark.parametrize("include_identity", [False, True])
def test_dsrdump_opens_the_report_without_warnings(recorded_study, tmp_path, include_identity):
    lines = dumped(export_sr(recorded_study, include_identity=include_identity), tmp_path)
    assert lines.startswith("Enhanced SR Document")
    for flag in (
        "Preliminary Flag    : PRELIMINARY",
        "Completion Flag     : PARTIAL",
        "Verification Flag   : UNVERIFIED",
    ):
        assert flag in lines
    assert "The heart is enlarged. No pneumothorax." in lines
    assert '"Probability of Pleural Effusion")="90.0" (%,UCUM,"Percent")' in lines
    assert ("DOE^JANE" in lines) == include_identity


def test_dsrdump_opens_western_characters_markup_and_backslashes(recorded_study, tmp_path):
    hostile = "Größe <b>5 < 6</b> \\ back & more"
    lines = dumped(export_sr(replace(recorded_study, findings=hostile, warnings=(hostile,))), tmp_path)
    assert lines.count(hostile) == 2


def test_report_references_the_images_by_uid(recorded_study):
    report = opened(recorded_study)
    assert report.StudyInstanceUID == "1.2.3"
    [study] = report.CurrentRequestedProcedureEvidenceSequence
    [series] = study.ReferencedSeriesSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == ("1.2.3", "1.2.3.4")
    uids = [reference.ReferencedSOPInstanceUID for reference in series.ReferencedSOPSequence]
    assert sorted(uids) == ["1.2.3.4.0", "1.2.3.4.1"]
    images = [item.ReferencedSOPSequence[0] for item in items(report) if item.ValueType == "IMAGE"]
    assert [image.ReferencedSOPInstanceUID for image in images] == ["1.2.3.4.0", "1.2.3.4.1"]
    assert {image.ReferencedSOPClassUID for image in images} == {"1.2.840.10008.5.1.4.1.1.1.1"}
    assert report.SeriesInstanceUID != "1.2.3.4"


def test_patient_data_is_blank_without_identity(recorded_study):
    personal = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate")
    nameless, named = opened(recorded_study), opened(recorded_study, include_identity=True)
    assert [str(nameless.get(attribute)) or "" for attribute in personal] == ["", "", "", "", "", ""]
    held = ["DOE^JANE", "PID4711", "19560712", "F", "ACC99", "20260102"]
    assert [str(named.get(attribute)) for attribute in personal] == held


def test_first_section_says_that_a_machine_wrote_the_report(recorded_study):
    report = opened(recorded_study)
    summary = next(item for item in report.ContentSequence if item.ValueType == "CONTAINER")
    assert summary.ContentSequence[0].TextValue == "Preliminary. Written by a machine and not checked by a person."
    assert summary.ContentSequence[1].TextValue.startswith("Not a medical device")
    [observer] = [item for item in report.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "121005"]
    assert observer.ConceptCodeSequence[0].CodeMeaning == "Device"


def test_each_finding_has_a_number_named_probability(recorded_study):
    numbers = [item for item in items(opened(recorded_study)) if item.ValueType == "NUM"]
    meanings = [item.ConceptNameCodeSequence[0].CodeMeaning for item in numbers]
    assert sorted(meanings) == sorted(f"Probability of {finding}" for finding in FINDINGS)
    assert float(numbers[0].MeasuredValueSequence[0].NumericValue) == 90
    [code] = [item for item in numbers[1].ContentSequence if item.ValueType == "CODE"]
    assert (code.ConceptCodeSequence[0].CodeValue, code.ConceptCodeSequence[0].CodingSchemeDesignator) == (
        "60046008",
        "SCT",
    )
    assert "Predicted positive (threshold 25%); the report says: not mentioned (disagrees)." in texts_of(numbers[1])


def test_non_western_characters_are_written_as_unicode(recorded_study):
    western, other = (opened(replace(recorded_study, findings=text)) for text in ("Größe", "胸水 Ω"))
    assert (western.SpecificCharacterSet, other.SpecificCharacterSet) == ("ISO_IR 100", "ISO_IR 192")
    assert "Größe" in texts_of(western)
    assert "胸水 Ω" in texts_of(other)


def test_same_record_gives_the_same_sop_instance(recorded_study):
    first, again = opened(recorded_study), opened(recorded_study)
    edited = opened(replace(recorded_study, impression="Normal."))
    assert first.SOPInstanceUID == again.SOPInstanceUID != edited.SOPInstanceUID
    assert opened(recorded_study, include_identity=True).SOPInstanceUID != first.SOPInstanceUID


def test_images_that_are_not_dicom_are_rejected(recorded_study):
    views = tuple(replace(view, identifiers=None) for view in recorded_study.views)
    with pytest.raises(ValueError, match="must refer to images in an archive, and none of these is DICOM"):
        export_sr(replace(recorded_study, views=views))


def test_image_without_uid_is_not_referenced_and_a_note_says_so(recorded_study):
    first, second = recorded_study.views
    lost = replace(second, identifiers=replace(second.identifiers, sop_instance_uid=""))
    report = opened(replace(recorded_study, views=(first, lost)))
    assert len([item for item in items(report) if item.ValueType == "IMAGE"]) == 1
    assert "The model read 2 images; 1 of them is DICOM and referenced here." in texts_of(report)


def test_images_of_two_patients_are_rejected(recorded_study):
    first, second = recorded_study.views
    other = replace(second, identifiers=replace(second.identifiers, patient_id="another"))
    with pytest.raises(ValueError, match="belong to 2 patients by their DICOM headers"):
        export_sr(replace(recorded_study, views=(first, other)))
