"""Made-up studies: a scene, its pictures and its report, from a seed and a number alone.

`make_study(seed, index)` gives the same study on every machine and in any order, so that data sets can be made in
parallel and grown later without changing what is there.
"""

import numpy as np

from data.grammar import write_report
from data.grammar_department import Department
from data.phantom.draw import draw_study
from data.scene import Scene
from data.scene_sampling import sample_scene
from data.study import Study


def make_scene(seed: int, index: int) -> Scene:
    """What the study `make_study(seed, index)` shows."""
    return sample_scene(_generators(seed, index)[0])


def make_study(seed: int, index: int, size: int = 224, *, department: int = 0) -> Study:
    """The made-up study number `index` of a series; pictures have `size` pixels a side. Its report is in the wordings
    of one `department`, or in all there are (0).

    Two studies out of five belong to a subject who has two; they are neighbours in the series.
    """
    scene_rng, picture_rng, report_rng = _generators(seed, index)
    scene = sample_scene(scene_rng)
    images, boxes = draw_study(scene, picture_rng, size)
    if department:
        report_rng = Department(report_rng.bit_generator, department)
    written = write_report(scene, report_rng)
    return Study(
        study_id=f"synthetic-{seed}-{index:06d}",
        subject_id=subject_id(seed, index),
        images=images,
        view_positions=scene.view_positions,
        indication=written.indication,
        findings=written.findings,
        impression=written.impression,
        labels=written.labels,
        boxes=boxes,
        source="synthetic",
        license="Apache-2.0",
    )


def _generators(seed: int, index: int) -> list[np.random.Generator]:
    if seed < 0 or index < 0:
        raise ValueError(f"a made-up study needs seed and index of 0 or more, got seed {seed} and index {index}")
    return [np.random.default_rng(child) for child in np.random.SeedSequence([seed, index]).spawn(3)]


def subject_id(seed: int, index: int) -> str:
    first = index - 1 if index % 5 == 4 else index
    return f"synthetic-{seed}-subject-{first:06d}"
