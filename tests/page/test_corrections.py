"""Saved corrections: original and edit, the images as shown, and no patient identity."""

import re
from dataclasses import replace

import numpy as np
import pytest

from data.corrections.store import CorrectionStore, image_file
from data.images.read import read_image
from page.corrections import save_correction
from page.study.edit import Edit
from page.study.prior import prior_study
from page.study.read import read_files
from page.study.record import model_identity
from page.study.upload import read_upload
from tests.helpers.dicom.files import GRAY
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.schema.findings import NEGATIVE, UNLABELED_STUDY

STATES = (NEGATIVE, *UNLABELED_STUDY[1:])


@pytest.fixture(scope="module")
def generator(tiny_checkpoint):
    return ReportGenerator.from_pretrained(tiny_checkpoint)


@pytest.fixture
def read(generator):
    """`read(path, …)`: the complete reading of a study of these files."""

    def read_all(*paths, indication=""):
        options = GenerationOptions(max_new_tokens=12)
        *_, reading = read_files(generator, paths, indication=indication, options=options)
        return reading

    return read_all


@pytest.fixture
def save(generator, tmp_path):
    """`save(reading, edit)` to the store in tmp_path/store."""

    def save_edit(reading, edit):
        store = CorrectionStore(tmp_path / "store")
        return save_correction(store, reading, edit, generator=generator)

    return save_edit


def test_original_and_edit_are_saved_with_the_model_and_its_probabilities(dicom, read, save, generator, tmp_path):
    reading = read(dicom(ViewPosition="AP"), indication="Cough.")
    edit = Edit(findings="No effusion.", impression="Normal.", states=STATES, reader=" Dr A ")
    saved, warning = save(reading, edit)
    correction = saved.correction
    assert (correction.findings, correction.impression, correction.states) == ("No effusion.", "Normal.", STATES)
    assert correction.original_findings == " ".join(reading.report.findings.split())
    assert correction.original_impression == " ".join(reading.report.impression.split())
    assert (correction.indication, correction.reader, correction.view_positions) == ("Cough.", "Dr A", ("AP",))
    assert correction.probabilities == pytest.approx(reading.report.finding_probabilities)
    assert correction.thresholds == generator.thresholds
    assert correction.model_hash == model_identity(generator).hash != ""
    assert correction.preprocessing == generator.config.preprocessing
    [image] = saved.images
    assert np.array_equal(np.asarray(read_image(tmp_path / "store" / image_file(image))), GRAY)
    assert warning == ""


def test_no_identity_of_header_file_name_or_text_is_saved(dicom, read, save, tmp_path):
    path = dicom(PatientID="HOSP-4711", PatientName="Quux^Ludmilla", AccessionNumber="ACC998877")
    path = path.rename(path.with_name("quux_ludmilla.dcm"))
    reading = read(path, indication="Ludmilla Quux, seen on 03/04/2019.")
    saved, warning = save(
        reading, Edit(findings="Effusion in Ms. Quux (HOSP-4711). Call 555-123-4567.", impression="See ACC998877.")
    )
    stored = b"".join(file.read_bytes() for file in (tmp_path / "store").rglob("*") if file.is_file()).lower()
    for word in (b"quux", b"ludmilla", b"4711", b"acc998877", b"03/04/2019", b"555-123"):
        assert word not in stored
    assert saved.correction.findings.startswith("Effusion in")
    assert warning.startswith("Before saving, text that looked like a person's identity was replaced by ___: ")
    assert "date (1)" in warning
    assert int(re.search(r"name \((\d+)\)", warning)[1]) >= 3


def test_prior_study_is_saved_without_identity(dicom, read, save, tmp_path):
    """The reading is given its prior afterwards, because the tiny checkpoint does not compare."""
    identity = {"PatientID": "HOSP-4711", "PatientName": "Quux^Ludmilla"}
    image = read_upload(dicom(ViewPosition="AP", **identity).read_bytes(), "quux.dcm")
    prior = prior_study([image], report="Seen by Dr. Ludmilla Quux on 03/04/2019. No effusion.", interval_days=5)
    reading = replace(read(dicom(**identity)), prior=prior)
    saved, warning = save(reading, Edit(findings="No effusion."))
    correction = saved.correction
    assert (correction.prior_view_positions, correction.prior_interval_days) == (("AP",), 5)
    assert correction.prior_report.startswith("Findings: Seen by") and correction.prior_report.endswith("No effusion.")
    assert "name (" in warning and "date (1)" in warning
    stored = b"".join(file.read_bytes() for file in (tmp_path / "store").rglob("*") if file.is_file()).lower()
    assert not [word for word in (b"quux", b"ludmilla", b"4711", b"03/04/2019") if word in stored]
    [name] = saved.prior_images
    assert np.array_equal(np.asarray(read_image(tmp_path / "store" / image_file(name))), np.asarray(image.image))


def test_studies_of_one_patient_have_the_same_pseudonym(dicom, read, save, tmp_path):
    edit = Edit(findings="No effusion.")
    first = save(read(dicom(PatientID="HOSP-4711")), edit)[0].correction.subject_id
    again = save(read(dicom(PatientID="HOSP-4711", ViewPosition="AP")), edit)[0].correction.subject_id
    other = save(read(dicom(PatientID="HOSP-4712")), edit)[0].correction.subject_id
    unknown = save(read(dicom(PatientID="")), edit)[0].correction.subject_id
    assert first == again != other
    assert unknown == ""
    assert CorrectionStore(tmp_path / "elsewhere").subject_id("HOSP-4711") != first


def test_only_a_finished_report_can_be_corrected_and_an_empty_edit_is_rejected(dicom, read, save, tmp_path):
    reading = read(dicom())
    for unfinished in (replace(reading, is_done=False), replace(reading, report=None)):
        with pytest.raises(ValueError, match="no finished report to correct yet: write one first"):
            save(unfinished, Edit(findings="No effusion."))
    with pytest.raises(ValueError, match="the report is empty and no finding is set"):
        save(reading, Edit(findings="  "))
