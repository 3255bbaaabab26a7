"""Reading a study: the report of the generator, complete at the end, blocked if there are image warnings."""

from copy import copy
from dataclasses import replace

import numpy as np
import pytest

from data.images.dicom.identifiers import DicomIdentifiers
from data.reports.labeler.labeler import label_report
from eval.checks.candidates import best_candidate
from page.study.read import StudyReading, choose_views, complete, read_files, read_study
from page.study.record import study_record
from page.study.upload import UploadedImage, read_study_files
from vlm.checkpoint.store import load_checkpoint
from vlm.generator import GenerationOptions, ReportGenerator
from vlm.operating_point import OperatingPoint, RocCurve
from vlm.schema.findings import FINDING_INDEX, NEGATIVE, NUM_FINDINGS, POSITIVE
from vlm.schema.study_report import StudyReport
from vlm.uncertainty import Calibration

SHORT = GenerationOptions(max_new_tokens=16)


@pytest.fixture(scope="module")
def generator(tiny_checkpoint):
    return ReportGenerator.from_pretrained(tiny_checkpoint)


@pytest.fixture
def two_files(tmp_path, images):
    paths = [tmp_path / "frontal.png", tmp_path / "side.png"]
    for path, image in zip(paths, images, strict=False):
        image.save(path)
    return paths


def written(text, probabilities):
    return StudyReport(
        report=text,
        findings="",
        impression="",
        finding_probabilities=tuple(probabilities),
        attention_maps=np.zeros((NUM_FINDINGS, 1, 2, 2), dtype=np.float32),
        tokens=(),
        token_log_probabilities=(),
        is_truncated=False,
    )


def test_reading_grows_to_the_report_of_the_generator(generator, two_files, images):
    *growing, last = read_files(generator, two_files, views=["PA", "lateral"], indication="cough", options=SHORT)
    [expected] = generator.generate(
        [images[:2]], view_positions=[["PA", "LATERAL"]], indications=["cough"], options=SHORT
    )
    assert not any(reading.is_done for reading in growing)
    assert len(growing) >= 2
    assert last.is_done
    assert last.report.report == expected.report != ""
    assert last.report.finding_probabilities == pytest.approx(expected.finding_probabilities, abs=1e-6)
    assert [image.name for image in last.images] == ["frontal.png", "side.png"]


def test_views_can_be_given_per_image_or_for_all(images, two_files):
    read = read_study_files(two_files)
    assert [image.view_position for image in choose_views(read, ["AP", "lateral"])] == ["AP", "LATERAL"]
    assert [image.view_position for image in choose_views(read, ["AP"])] == ["AP", "AP"]
    assert [image.view_position for image in choose_views(read, [])] == ["UNKNOWN", "UNKNOWN"]
    with pytest.raises(ValueError, match="3 view positions for 2 images; give one per image, or one for all"):
        choose_views(read, ["AP"] * 3)


def test_other_body_part_gets_its_report_only_on_request(generator, dicom):
    path = dicom(BodyPartExamined="KNEE")
    [blocked] = read_files(generator, [path], options=SHORT)
    assert blocked.is_blocked
    assert blocked.report is None
    assert blocked.image_warnings == ("scan: shows another part of the body than the chest (BodyPartExamined KNEE).",)
    *_, last = read_files(generator, [path], options=SHORT, write_anyway=True)
    assert last.report.report
    assert last.image_warnings == blocked.image_warnings
    assert not last.is_blocked


@pytest.mark.parametrize(
    ("uids", "is_blocked"), [(("1.2.3", "1.2.4"), True), (("1.2.3", "1.2.3"), False), (("1.2.3", ""), False)]
)
def test_images_of_two_dicom_studies_are_blocked(generator, images, uids, is_blocked):
    views = [
        UploadedImage(name=f"{number}.dcm", image=image, identifiers=DicomIdentifiers(study_instance_uid=uid))
        for number, (image, uid) in enumerate(zip(images, uids, strict=False))
    ]
    *_, last = read_study(generator, views, options=SHORT)
    assert last.is_blocked == is_blocked
    assert ("The images belong to 2 different DICOM studies" in " ".join(last.image_warnings)) == is_blocked
    assert "1.2.4" not in " ".join(last.image_warnings)


@pytest.mark.parametrize(("patients", "is_blocked"), [(("7", "8"), True), (("7", "7"), False), (("7", ""), False)])
def test_images_of_two_patients_with_one_study_uid_are_blocked(generator, images, patients, is_blocked):
    views = [
        UploadedImage(
            name=f"{number}.dcm",
            image=image,
            identifiers=DicomIdentifiers(study_instance_uid="1.2.3", patient_id=patient),
        )
        for number, (image, patient) in enumerate(zip(images, patients, strict=False))
    ]
    *_, last = read_study(generator, views, options=SHORT)
    assert last.is_blocked == is_blocked
    warnings = " ".join(last.image_warnings)
    assert ("The images belong to 2 patients by their DICOM headers." in warnings) == is_blocked


def test_report_is_compared_with_itself_and_the_probabilities():
    text = "Findings: Small left pleural effusion. The heart is enlarged. Impression: No pleural effusion."
    probabilities = np.full(NUM_FINDINGS, 0.1)
    probabilities[FINDING_INDEX["Cardiomegaly"]] = probabilities[FINDING_INDEX["Edema"]] = 0.9
    done = complete(StudyReading(images=(), report=written(text, probabilities)))
    assert done.labels == label_report(text)
    assert done.labels[FINDING_INDEX["Cardiomegaly"]] == POSITIVE != NEGATIVE
    disagreeing = {index for index, disagrees in enumerate(done.disagrees) if disagrees}
    assert disagreeing == {FINDING_INDEX["Pleural Effusion"], FINDING_INDEX["Edema"]}
    [contradiction] = done.contradictions
    assert (contradiction.stated, contradiction.denied) == ("Small left pleural effusion.", "No pleural effusion.")
    assert [sentence.section for sentence in done.sentences] == ["Findings", "Findings", "Impression"]


def test_findings_without_training_labels_are_not_compared():
    probabilities = np.full(NUM_FINDINGS, 0.1)
    probabilities[FINDING_INDEX["Edema"]], probabilities[FINDING_INDEX["Fracture"]] = 0.9, 0.52
    labeled = tuple(int(finding not in ("Edema", "Fracture")) for finding in FINDING_INDEX)
    report = written("Findings: The heart is enlarged.", probabilities)
    done = complete(StudyReading(images=(), report=report, calibration=Calibration(num_labeled=labeled)))
    assert {index for index, disagrees in enumerate(done.disagrees) if disagrees} == {FINDING_INDEX["Cardiomegaly"]}
    assert not any(done.low_confidence)
    assert done.report.finding_probabilities == tuple(probabilities)


def test_model_without_reports_only_classifies(tiny_checkpoint, images):
    checkpoint = load_checkpoint(tiny_checkpoint)
    checkpoint.model.config = replace(checkpoint.model.config, writes_reports=False)
    steps = list(read_study(ReportGenerator(checkpoint), [UploadedImage(name="a", image=images[0])]))
    assert all(step.only_classifies and step.report.report == "" for step in steps)
    assert steps[-1].is_done
    assert not any(steps[-1].disagrees)
    assert len(set(steps[-1].report.finding_probabilities)) > 1


def test_mention_of_a_prior_study_is_found():
    text = "Findings: The heart is unchanged compared to the prior study."
    done = complete(StudyReading(images=(), report=written(text, [0.1] * NUM_FINDINGS)))
    assert done.prior_sentences == ("The heart is unchanged compared to the prior study.",)


def test_empty_report_states_no_finding():
    done = complete(StudyReading(images=(), report=written("", [0.9] * NUM_FINDINGS)))
    assert set(done.labels) == {0}
    assert not any(done.disagrees)
    assert done.sentences == ()


def test_too_long_indication_is_rejected(generator, two_files):
    with pytest.raises(ValueError, match="the indication has 1001 characters; shorten it to 1000"):
        list(read_files(generator, two_files, indication="x" * 1001))


def test_reading_without_an_image_gives_instructions(generator):
    with pytest.raises(ValueError, match="choose a file"):
        list(read_study(generator, []))
    with pytest.raises(ValueError, match="choose a file"):
        read_files(generator, [])


def test_best_candidate_is_read_after_the_findings(generator, two_files, images):
    options = replace(SHORT, num_candidates=4)
    *growing, last = read_files(generator, two_files, views=["PA", "lateral"], options=options)
    inputs = {"view_positions": [["PA", "LATERAL"]], "indications": [""]}
    [candidates] = generator.generate_candidates([images[:2]], options=options, **inputs)
    assert [len(reading.report.report) > 0 for reading in growing] == [False, True]
    assert last.report.report == best_candidate(candidates, generator.calibration, ["PA", "LATERAL"]).report
    assert last.report.finding_probabilities == growing[0].report.finding_probabilities


def test_operating_point_decides_which_findings_are_positive(generator, two_files):
    *_, at_f1 = read_files(generator, two_files[:1], options=SHORT)
    probability = at_f1.report.finding_probabilities[0]
    thresholds = (probability + 0.001, probability - 0.001)
    curve = RocCurve(thresholds=thresholds, sensitivities=(0.5, 0.9), specificities=(0.9, 0.5))
    moved = copy(generator)
    moved.calibration = replace(generator.calibration, curves=(curve,) * NUM_FINDINGS)
    for point, is_positive in (("sensitivity=0.8", True), ("specificity=0.8", False)):
        *_, reading = read_files(moved.at(OperatingPoint.parse(point)), two_files[:1], options=SHORT)
        record = study_record(reading, generator)
        assert record.finding_rows[0].is_positive == is_positive
        assert point.replace("=0.8", " of at least 80%") in record.calibration_note
