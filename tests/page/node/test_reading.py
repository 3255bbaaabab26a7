"""Which images the node uses, what it says about the others, and the UIDs of the files that it sends."""

from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("pynetdicom", reason="the extra `hospital` is not installed")

from pydicom import dcmread

from page.node.reading import read_stable_study
from page.node.states import StableStudy
from tests.helpers.dicom.node import SR_TID_1500, image_content
from vlm.generator import GenerationOptions, ReportGenerator

SHORT = GenerationOptions(max_new_tokens=4)


@pytest.fixture(scope="module")
def generator(tiny_checkpoint):
    return ReportGenerator.from_pretrained(tiny_checkpoint)


@pytest.fixture
def study(tmp_path):
    """`study([content, …], version=1)`: a study of these files."""

    def make(contents, **settings):
        images = {}
        for number, content in enumerate(contents):
            path = tmp_path / f"{number}-{hash(content):x}.dcm"
            path.write_bytes(content)
            images[f"1.2.826.1.1.{number + 1}"] = path
        defaults = {"revision": 1, "num_removed": 0, "version": 0, "report_key": "", "previous": {}}
        return StableStudy(uid="1.2.826.1", images=images, **defaults | settings)

    return make


def read(generator, study, kinds=("sr",)):
    return read_stable_study(generator, study, kinds=kinds, options=SHORT)


def opened(result):
    return dcmread(BytesIO(result.content))


def texts_of(dataset):
    for item in dataset.get("ContentSequence", []):
        if item.ValueType == "TEXT":
            yield item.TextValue
        yield from texts_of(item)


def test_images_that_cannot_be_used_are_left_out_and_the_report_says_so(generator, study):
    contents = [
        image_content(1, 1),
        image_content(1, 2, BodyPartExamined="KNEE"),
        image_content(1, 3)[:-400],
        image_content(1, 4, PresentationIntentType="FOR PROCESSING"),
        image_content(1, 5, ViewPosition="LL"),
    ]
    outcome = read(generator, study(contents))
    assert outcome.reason == ""
    assert {uid: reason[:37] for uid, reason in outcome.image_reasons.items()} == {
        "1.2.826.1.1.2": "shows another part of the body than t",
        "1.2.826.1.1.3": outcome.image_reasons["1.2.826.1.1.3"][:37],
        "1.2.826.1.1.4": "is raw data of the detector (FOR PROC",
    }
    [report] = map(opened, outcome.results)
    [note] = [text for text in texts_of(report) if text.startswith("Not used for this report")]
    assert note.startswith("Not used for this report: 3 images (shows another part of the body")
    [evidence] = report.CurrentRequestedProcedureEvidenceSequence
    used = {item.ReferencedSOPInstanceUID for item in evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence}
    assert used == {"1.2.826.1.1.1", "1.2.826.1.1.5"}


def test_each_image_is_encoded_once_for_its_check_and_the_report(generator, study, monkeypatch, encoder_passes):
    monkeypatch.setattr(generator, "ood_detector", detector(distance=0.5, is_lateral=False))
    sizes = encoder_passes(generator)
    outcome = read(generator, study([image_content(1, 1), image_content(1, 2)]))
    assert len(outcome.results) == 1
    assert sizes == [1, 1]


def detector(distance, is_lateral):
    """An OOD check with the same answers for every image."""
    return SimpleNamespace(
        distances=lambda features: np.full(len(features), distance),
        looks_mirrored=lambda features: np.zeros(len(features), bool),
        looks_lateral=lambda features: np.full(len(features), is_lateral),
        looks_frontal=lambda features: np.zeros(len(features), bool),
    )


def test_image_out_of_distribution_is_not_used(generator, study, monkeypatch):
    monkeypatch.setattr(generator, "ood_detector", detector(distance=3.0, is_lateral=False))
    outcome = read(generator, study([image_content(1, 1)]))
    assert outcome.results == ()
    assert outcome.reason.startswith("no image can be used: This image looks different from the images the model was")


def test_image_that_looks_lateral_is_not_used_as_a_frontal_one(generator, study, monkeypatch):
    monkeypatch.setattr(generator, "ood_detector", detector(distance=0.5, is_lateral=True))
    outcome = read(generator, study([image_content(1, 1, ViewPosition="PA"), image_content(1, 2, ViewPosition="LL")]))
    assert outcome.reason.startswith("has only lateral views")
    assert [reason[:40] for reason in outcome.image_reasons.values()] == ["This image looks like a lateral view, bu"]


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        ([image_content(1, 1, BodyPartExamined="KNEE")], "no image can be used: shows another part of the body"),
        ([image_content(1, 1, ViewPosition="LL")], "has only lateral views, and the report needs a frontal one"),
        ([image_content(1, number) for number in range(1, 8)], "has 7 images, more than the 6"),
        (
            [image_content(1, 1), image_content(1, 2, PatientID="OTHER")],
            "The images belong to 2 patients by their DICOM headers",
        ),
    ],
)
def test_study_that_cannot_be_read_is_rejected_with_the_reason(generator, study, contents, reason):
    outcome = read(generator, study(contents))
    assert outcome.results == ()
    assert outcome.reason.startswith(reason)


def test_report_made_again_has_the_same_uids_and_names_the_patient(generator, study):
    first, again = (read(generator, study([image_content(1, 1)])) for _ in range(2))
    [one], [other] = first.results, again.results
    assert (one.sop_uid, one.series_uid) == (other.sop_uid, other.series_uid)
    report = opened(one)
    assert report.SOPClassUID == SR_TID_1500
    assert (report.StudyInstanceUID, report.PatientID, report.PatientName) == ("1.2.826.1", "MRN-1", "Doe^Jane1")
    assert (report.PreliminaryFlag, report.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    assert report.SeriesInstanceUID != "1.2.826.1.1"


def test_report_on_other_images_is_a_new_instance_of_the_same_series(generator, study):
    [old] = read(generator, study([image_content(1, 1)])).results
    previous = {"sr": (old.sop_class_uid, old.series_uid, old.sop_uid)}
    contents = [image_content(1, 1), image_content(1, 2)]
    [new] = read(generator, study(contents, version=1, report_key="old", previous=previous)).results
    assert new.sop_uid != old.sop_uid
    assert new.series_uid == old.series_uid
    report = opened(new)
    [predecessor] = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert predecessor.ReferencedSOPInstanceUID == old.sop_uid
    assert report.InstanceNumber == 2
    assert any(text.startswith("This is version 2 of the report: other images") for text in texts_of(report))


@pytest.mark.parametrize("kind", ["sr", "map", "fhir"])
def test_report_on_the_images_of_an_older_version_is_another_instance(generator, study, kind):
    """Version 2 had an image that was replaced and can no longer be used."""
    one = read(generator, study([image_content(1, 1)]), kinds=[kind])
    used = frozenset(result.sop_uid for result in one.results)
    contents = [image_content(1, 1), image_content(1, 2, BodyPartExamined="KNEE")]
    settings = {"version": 2, "report_key": "key of version 2"}
    three = read(generator, study(contents, used_uids=used, **settings), kinds=[kind])
    again = read(generator, study(contents, used_uids=used, **settings), kinds=[kind])
    assert three.results and used.isdisjoint(result.sop_uid for result in three.results)
    assert [result.sop_uid for result in three.results] == [result.sop_uid for result in again.results]


def test_new_image_that_is_not_used_makes_no_new_version(generator, study):
    first = read(generator, study([image_content(1, 1)]))
    knee = image_content(1, 2, BodyPartExamined="KNEE")
    outcome = read(generator, study([image_content(1, 1), knee], version=1, report_key=first.report_key))
    assert (outcome.results, outcome.reason) == ((), "")
    assert list(outcome.image_reasons) == ["1.2.826.1.1.2"]


def test_deleted_images_are_mentioned(generator, study):
    [result] = read(generator, study([image_content(1, 1)], num_removed=2)).results
    assert any("2 images of an earlier version" in text for text in texts_of(opened(result)))


def test_each_kind_has_its_own_series(generator, study):
    results = read(generator, study([image_content(1, 1)]), kinds=("sr", "sr-text", "pdf", "map")).results
    assert [result.kind for result in results] == ["sr", "sr-text", "pdf", "map"]
    assert len({result.series_uid for result in results}) == 4
    assert {opened(result).StudyInstanceUID for result in results} == {"1.2.826.1"}
