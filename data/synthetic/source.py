"""Synthetic studies as a source for `data.prepare`: a scene, its images and its report for each seed and index.

`make_study(seed, index)` gives the same study on every machine and in any order. So data sets can be generated in
parallel, and enlarged later without a change to existing studies.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.pipeline.raw_study import ImageOptions, PlanContext, SourcePlan
from data.study import MAX_SIDE, Study, split_subjects
from data.synthetic.grammar.report import write_report
from data.synthetic.grammar.sentences import Department
from data.synthetic.phantom.draw import draw_study
from data.synthetic.prior import PriorScene, sample_prior
from data.synthetic.scene import sample_scene
from vlm.schema.report_format import compose_report


def make_study(seed: int, index: int, size: int = 224, *, report_style: int = 0, prior_fraction: float = 0.0) -> Study:
    """Synthetic study number `index` of the series `seed`, with images of `size` x `size` pixels. The report uses the
    wordings of one report style, or all wordings (0). A fraction of the studies have a prior study. Its images are the
    same as without; its report says what changed.

    Two of five studies belong to a subject with two studies; their indices are adjacent.
    """
    scene_rng, image_rng, report_rng, prior_rng = generators(seed, index)
    scene = sample_scene(scene_rng)
    has_prior = prior_rng.random() < prior_fraction
    prior = sample_prior(scene, prior_rng) if has_prior else None
    prior_study = _prior_study(prior, generators(seed, index)[1], prior_rng, size, report_style) if prior else {}
    images, boxes = draw_study(scene, image_rng, size)
    written = write_report(scene, _writer(report_rng, report_style), comparison=prior and prior.comparison)
    return Study(
        study_id=study_id(seed, index),
        subject_id=subject_id(seed, index),
        images=images,
        view_positions=scene.view_positions,
        **dataclasses.asdict(written),
        label_source="source",
        boxes=boxes,
        **prior_study,
        source="synthetic",
        license="Apache-2.0",
    )


def _prior_study(
    prior: PriorScene, image_rng: np.random.Generator, rng: np.random.Generator, size: int, report_style: int
) -> dict[str, Any]:
    """The columns of the prior study. `image_rng` is in the state that the current study is drawn from, so that both
    show the same patient."""
    images, _ = draw_study(prior.scene, image_rng, size, streams=prior.streams, visit=1)
    written = write_report(prior.scene, _writer(rng, report_style))
    return {
        "prior_images": images,
        "prior_view_positions": prior.scene.view_positions,
        "prior_report": compose_report(findings=written.findings, impression=written.impression),
        "prior_interval_days": prior.interval_days,
        "changes": prior.comparison.codes,
    }


def _writer(rng: np.random.Generator, report_style: int) -> np.random.Generator:
    """The generator for the wordings of a report style."""
    return Department(rng.bit_generator, report_style) if report_style else rng


def generators(seed: int, index: int) -> list[np.random.Generator]:
    """The random streams of a study: for its scene, its images, its report and its prior study."""
    if seed < 0 or index < 0:
        raise ValueError(f"a synthetic study needs seed and index of 0 or more, got seed {seed} and index {index}")
    return [np.random.default_rng(child) for child in np.random.SeedSequence([seed, index]).spawn(4)]


def study_id(seed: int, index: int) -> str:
    return f"synthetic-{seed}-{index:06d}"


def subject_id(seed: int, index: int) -> str:
    first = index - 1 if index % 5 == 4 else index
    return f"synthetic-{seed}-subject-{first:06d}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RawSyntheticStudy:
    """A synthetic study, before its images and report are generated."""

    study_id: str
    subject_id: str
    split: str
    seed: int
    index: int
    size: int
    report_style: int
    prior_fraction: float
    files: tuple[str, ...] = ()
    images: tuple[()] = ()

    def study(self, options: ImageOptions) -> Study:
        options = {"report_style": self.report_style, "prior_fraction": self.prior_fraction}
        return make_study(self.seed, self.index, self.size, **options)


@dataclass(frozen=True, kw_only=True, slots=True)
class SyntheticSource:
    """Synthetic studies: phantom images with findings, and their reports."""

    num_studies: int = 1000
    """Number of studies."""
    size: int = 224
    """Width and height of the images in pixels."""
    report_style: int = 0
    """Number of a report style. Each style uses only some of all wordings, like one department. 0: all wordings."""
    prior_fraction: float = 0.0
    """Fraction of the studies that come with a prior study of the same patient, from 0 to 1. Their reports say what
    changed; all other studies are the same as without this option."""

    def __post_init__(self):
        if self.num_studies < 1:
            raise ValueError(f"--num-studies is {self.num_studies}; ask for 1 or more")
        if self.report_style < 0:
            raise ValueError(f"--report-style is {self.report_style}; give its number, or 0 for all wordings")
        if not 0 <= self.prior_fraction <= 1:
            raise ValueError(f"--prior-fraction is {self.prior_fraction}; it must be between 0 and 1")
        if not 64 <= self.size <= MAX_SIDE:
            raise ValueError(f"--size is {self.size}; it must be between 64 and {MAX_SIDE}")

    def plan(self, context: PlanContext) -> SourcePlan:
        subjects = [subject_id(context.seed, index) for index in range(self.num_studies)]
        split_of = split_subjects(subjects, fractions=context.split_fractions, seed=context.seed)
        shared = {name: getattr(self, name) for name in ("size", "report_style", "prior_fraction")}
        raw_studies = (
            RawSyntheticStudy(
                study_id=study_id(context.seed, index),
                subject_id=subject,
                split=split_of[subject],
                seed=context.seed,
                index=index,
                **shared,
            )
            for index, subject in enumerate(subjects)
        )
        return SourcePlan(num_studies=self.num_studies, raw_studies=raw_studies)
