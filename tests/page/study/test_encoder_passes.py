"""Reading studies: each image passes through the encoder once, and the readings are those of separate passes."""

import weakref
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from page.study.prior import as_prior, prior_study
from page.study.read import StudyInput, read_studies, read_study
from page.study.upload import UploadedImage
from tests.helpers.view_checks import everything_looks_lateral
from vlm.generator import GenerationOptions, ReportGenerator

CANDIDATES = GenerationOptions(max_new_tokens=12, num_candidates=3)


@pytest.fixture(scope="module")
def unchecked(prior_checkpoint):
    """A generator without an OOD check."""
    return ReportGenerator.from_pretrained(prior_checkpoint)


@pytest.fixture
def checked(prior_checkpoint):
    """A generator whose OOD check measures the distances of the images, and accepts them."""
    generator = ReportGenerator.from_pretrained(prior_checkpoint)
    detector = everything_looks_lateral()
    generator.ood_detector = replace(detector, settings=replace(detector.settings, limit=1e3), lateral=None)
    return generator


@pytest.fixture
def views(images):
    views = [("PA", images[0]), ("LATERAL", images[1])]
    return [UploadedImage(name=f"{view}.png", image=image, view_position=view) for view, image in views]


@pytest.fixture
def prior(images):
    return prior_study([as_prior(UploadedImage(name="before.png", image=images[2], view_position="AP"))])


@pytest.fixture
def blank():
    return UploadedImage(name="blank.png", image=Image.new("L", (40, 40), 90), view_position="PA")


def last_of(generator, images, **settings):
    *_, last = read_study(generator, images, options=CANDIDATES, **settings)
    return last


def separate_passes(monkeypatch):
    """From now on, nothing is remembered."""
    monkeypatch.setattr(ReportGenerator, "encoding_once", lambda self: self)


def assert_same(reading, expected):
    assert reading.report.report == expected.report.report != ""
    for name in ("finding_probabilities", "token_log_probabilities", "attention_maps"):
        np.testing.assert_allclose(getattr(reading.report, name), getattr(expected.report, name), atol=1e-5)
    changes = [np.ravel(one.report.change_probabilities or ()) for one in (reading, expected)]
    np.testing.assert_allclose(*changes, atol=1e-5)
    assert reading.image_warnings == expected.image_warnings
    assert (reading.ood_distance is None) == (expected.ood_distance is None)
    assert (reading.ood_distance or 0) == pytest.approx(expected.ood_distance or 0, rel=1e-5)


def test_checks_findings_candidates_and_prior_share_one_pass(checked, views, prior, encoder_passes, monkeypatch):
    sizes = encoder_passes(checked)
    reading = last_of(checked, views, prior=prior)
    assert sizes == [2, 1]
    assert reading.report.change_probabilities and reading.ood_distance > 0
    separate_passes(monkeypatch)
    assert_same(reading, last_of(checked, views, prior=prior))
    assert sum(sizes) - 3 == 3 * 3  # checks, findings, candidates


def test_batch_of_studies_shares_one_pass(checked, views, prior, blank, encoder_passes, monkeypatch):
    studies = [StudyInput(images=views, prior=prior), StudyInput(images=[blank]), StudyInput(images=views[:1])]
    sizes = encoder_passes(checked)
    readings = read_studies(checked, studies, options=CANDIDATES)
    assert sizes == [2, 1]
    assert [reading.is_blocked for reading in readings] == [False, True, False]
    separate_passes(monkeypatch)
    expected = read_studies(checked, studies, options=CANDIDATES)
    for number in (0, 2):
        assert_same(readings[number], expected[number])
    assert readings[1].image_warnings == expected[1].image_warnings


def test_images_that_were_not_checked_are_encoded_for_the_report(checked, views, blank, encoder_passes, monkeypatch):
    images = [blank, views[0]]
    sizes = encoder_passes(checked)
    reading = last_of(checked, images, write_anyway=True)
    assert sizes == [1, 1]
    assert reading.image_warnings[0].startswith("blank.png: The image is blank")
    separate_passes(monkeypatch)
    assert_same(reading, last_of(checked, images, write_anyway=True))


def test_without_a_check_images_are_encoded_once_too(unchecked, views, prior, encoder_passes, monkeypatch):
    sizes = encoder_passes(unchecked)
    reading = last_of(unchecked, views, prior=prior)
    assert sizes == [2, 1]
    assert reading.ood_distance is None
    separate_passes(monkeypatch)
    assert_same(reading, last_of(unchecked, views, prior=prior))


def test_blocked_study_is_encoded_for_the_checks_only(checked, blank, views, encoder_passes):
    sizes = encoder_passes(checked)
    assert last_of(checked, [blank, views[0]]).is_blocked
    assert sizes == [1]


def test_features_are_dropped_with_the_end_of_the_reading(checked, views, monkeypatch):
    remembering, encoding_once = [], ReportGenerator.encoding_once

    def noted(generator):
        once = encoding_once(generator)
        remembering.append(weakref.ref(once.patch_features))
        return once

    monkeypatch.setattr(ReportGenerator, "encoding_once", noted)
    last = last_of(checked, views)
    [batched] = read_studies(checked, [StudyInput(images=views)], options=CANDIDATES)
    assert last.has_report and batched.has_report
    assert len(remembering) == 2
    assert not any(patch_features() for patch_features in remembering)
