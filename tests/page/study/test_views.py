"""Which views a study has: what the reader is told of lateral views alone and of several frontal views."""

from dataclasses import replace

import pytest

from page.study.prior import PriorStudy, as_prior
from page.study.read import StudyInput, read_studies, read_study
from page.study.record import study_record
from page.study.upload import UploadedImage
from vlm.generator import GenerationOptions, ReportGenerator

SHORT = {"options": GenerationOptions(max_new_tokens=4)}
LATERALS = "The study has only lateral views. The model needs a frontal view for most findings"


@pytest.fixture(scope="module")
def generator(prior_checkpoint):
    return ReportGenerator.from_pretrained(prior_checkpoint)


@pytest.fixture
def view(images):
    """`view(number, position)`: an uploaded image with this view position."""

    def upload(number, position):
        return UploadedImage(name=f"{number}.png", image=images[number], view_position=position)

    return upload


def test_report_on_lateral_views_alone_is_written_only_on_request(generator, view):
    readings = read_studies(
        generator, [StudyInput(images=[view(0, position)]) for position in ("LL", "PA", "UNKNOWN")], **SHORT
    )
    lateral, *others = readings
    assert lateral.is_blocked and [one.startswith(LATERALS) for one in lateral.image_warnings] == [True]
    assert all(one.has_report and not one.image_warnings for one in others)
    [both] = read_studies(generator, [StudyInput(images=[view(0, "LATERAL"), view(1, "AP")])], **SHORT)
    assert both.has_report
    *_, anyway = read_study(generator, [view(0, "LL")], write_anyway=True, **SHORT)
    assert anyway.has_report and study_record(anyway, generator).warnings[0].startswith(LATERALS)


def test_prior_study_of_lateral_views_alone_is_not_compared_without_a_warning(generator, view):
    prior = PriorStudy(images=(as_prior(view(1, "LATERAL")),))
    [reading] = read_studies(generator, [StudyInput(images=[view(0, "PA")], prior=prior)], **SHORT)
    [warning] = reading.image_warnings
    assert reading.is_blocked and warning.startswith("The prior study has only lateral views. Changes are judged on a")


def test_reader_learns_which_of_several_frontal_views_is_compared(generator, view):
    images = [view(0, "LATERAL"), view(1, "PA"), view(2, "AP")]
    prior = PriorStudy(images=(as_prior(replace(view(3, "PA"), name="before.png")),))
    [compared, alone] = read_studies(
        generator, [StudyInput(images=images, prior=prior), StudyInput(images=images)], **SHORT
    )
    assert compared.notes == (
        "1.png: Changes are judged on this image, the first of 2 frontal views of the study.",
        *alone.notes,
    )
    assert not [note for note in alone.notes if "Changes" in note]
