"""Synthetic studies as a source for `data.prepare`: a scene, its images and its report for each seed and index.

`make_study(seed, index)` gives the same study on every machine and in any order. So data sets can be generated in
parallel, and enlarged later without a change to existing studies.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from data.pipeline.raw_study import ImageOptions, PlanContext, SourcePlan
from data.study import MAX_SIDE, Study, split_subjects
from data.synthetic.grammar.report import write_report
from data.synthetic.grammar.sentences import Department
from data.synthetic.phantom.draw import draw_study
from data.synthetic.scene import sample_scene


def make_study(seed: int, index: int, size: int = 224, *, report_style: int = 0) -> Study:
    """Synthetic study number `index` of the series `seed`, with images of `size` x `size` pixels. The report uses the
    wordings of one report style, or all wordings (0).

    Two of five studies belong to a subject with two studies; their indices are adjacent.
    """
    scene_rng, image_rng, report_rng = generators(seed, index)
    scene = sample_scene(scene_rng)
    images, boxes = draw_study(scene, image_rng, size)
    if report_style:
        report_rng = Department(report_rng.bit_generator, report_style)
    written = write_report(scene, report_rng)
    return Study(
        study_id=study_id(seed, index),
        subject_id=subject_id(seed, index),
        images=images,
        view_positions=scene.view_positions,
        **dataclasses.asdict(written),
        label_source="source",
        boxes=boxes,
        source="synthetic",
        license="Apache-2.0",
    )


def generators(seed: int, index: int) -> list[np.random.Generator]:
    if seed < 0 or index < 0:
        raise ValueError(f"a synthetic study needs seed and index of 0 or more, got seed {seed} and index {index}")
    return [np.random.default_rng(child) for child in np.random.SeedSequence([seed, index]).spawn(3)]


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
    files: tuple[str, ...] = ()
    images: tuple[()] = ()

    def study(self, options: ImageOptions) -> Study:
        return make_study(self.seed, self.index, self.size, report_style=self.report_style)


@dataclass(frozen=True, kw_only=True, slots=True)
class SyntheticSource:
    """Synthetic studies: phantom images with findings, and their reports."""

    num_studies: int = 1000
    """Number of studies."""
    size: int = 224
    """Width and height of the images in pixels."""
    report_style: int = 0
    """Number of a report style. Each style uses only some of all wordings, like one department. 0: all wordings."""

    def __post_init__(self):
        if self.num_studies < 1:
            raise ValueError(f"--num-studies is {self.num_studies}; ask for 1 or more")
        if self.report_style < 0:
            raise ValueError(f"--report-style is {self.report_style}; give its number, or 0 for all wordings")
        if not 64 <= self.size <= MAX_SIDE:
            raise ValueError(f"--size is {self.size}; it must be between 64 and {MAX_SIDE}")

    def plan(self, context: PlanContext) -> SourcePlan:
        subjects = [subject_id(context.seed, index) for index in range(self.num_studies)]
        split_of = split_subjects(subjects, fractions=context.split_fractions, seed=context.seed)
        shared = {"seed": context.seed, "size": self.size, "report_style": self.report_style}
        raw_studies = (
            RawSyntheticStudy(
                study_id=study_id(context.seed, index),
                subject_id=subject,
                split=split_of[subject],
                index=index,
                **shared,
            )
            for index, subject in enumerate(subjects)
        )
        return SourcePlan(num_studies=self.num_studies, raw_studies=raw_studies)
