"""The model sees the prior study of each study, also if a control shows other images."""

import datasets
import pytest
from accelerate import PartialState
from PIL import Image

from data.study import FEATURES
from eval.controls.control import BLANK
from eval.controls.images import _generated
from eval.predictions.generate import GenerationRun, Job, write_predictions
from tests.helpers.fake_generator import FakeGenerator, make_row
from vlm.generator import GenerationOptions


class ComparingGenerator(FakeGenerator):
    """Records the gray level and the report of the priors."""

    def __init__(self, reads_priors=True):
        super().__init__()
        self.reads_priors, self.priors = reads_priors, []

    def generate(self, images, priors=None, **inputs):
        levels = [prior and (prior.images[0].getpixel((0, 0)), prior.report, prior.interval_days) for prior in priors]
        self.priors += levels
        return super().generate(images, **inputs)


@pytest.fixture
def build_run(tmp_path):
    rows = [make_row(number, "test") | {"indication": "", "view_positions": ["PA"]} for number in (0, 2, 4)]
    for number, row in enumerate(rows[:2]):
        earlier = {"prior_images": [Image.new("L", (8, 8), 50 + number)], "prior_view_positions": ["AP"]}
        row |= earlier | {"prior_report": f"Findings: {number}.", "prior_interval_days": number}
    studies = datasets.Dataset.from_list(rows, features=FEATURES)

    def build(generator):
        return GenerationRun(
            generator=generator,
            studies=studies,
            folder=tmp_path,
            options=GenerationOptions(),
            batch_size=2,
            processes=PartialState(),
            track=lambda total, title: lambda number: None,
        )

    return build


def test_each_study_comes_with_its_own_prior_whatever_images_are_shown(build_run):
    generator = ComparingGenerator()
    jobs = [Job(study=0, images_of=0), Job(study=1, images_of=2), Job(study=2, images_of=0)]
    written = write_predictions(build_run(generator), jobs)
    assert len(written.predictions) == 3 and not written.rejections
    assert generator.shown == [0, 4, 0]
    assert generator.priors == [(50, "Findings: 0.", 0), (51, "Findings: 1.", 1), None]


def test_model_that_does_not_compare_gets_no_prior(build_run):
    generator = ComparingGenerator(reads_priors=False)
    write_predictions(build_run(generator), [Job(study=0, images_of=0)])
    assert generator.priors == [None]


def test_studies_with_different_priors_do_not_share_the_prediction_of_a_control(build_run):
    jobs = [Job(study=row, images_of=row, shown="blank") for row in range(3)]
    for reads_priors, expected in ((True, 3), (False, 1)):
        generator = ComparingGenerator(reads_priors)
        run = build_run(generator)
        own = list(write_predictions(run, [Job(study=row, images_of=row) for row in range(3)]).predictions.values())
        generator.priors.clear()
        control = _generated(f"{BLANK} {reads_priors}", run, own, range(3), jobs)
        assert len(control.predictions) == 3
        assert len(generator.priors) == expected
