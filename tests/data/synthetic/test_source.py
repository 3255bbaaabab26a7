"""Synthetic studies are reproducible and have plausible statistics."""

from collections import Counter

import numpy as np
import pytest

from data.reports.labeler.severity import report_severities
from data.synthetic.grammar.report import write_report
from data.synthetic.scene import KINDS, sample_scene
from data.synthetic.source import generators, make_study
from vlm.schema.findings import FINDING_INDEX, FINDINGS, NUM_FINDINGS, POSITIVE, SEVERITIES, UNCERTAIN, UNKNOWN_SEVERITY

NUM_SCENES = 2000


@pytest.fixture(scope="module")
def scenes():
    return [sample_scene(np.random.default_rng([3, index])) for index in range(NUM_SCENES)]


def test_a_study_depends_only_on_seed_and_index():
    first, other = make_study(7, 123, size=64), make_study(7, 5, size=64)
    again = make_study(7, 123, size=64)
    assert [image.tobytes() for image in first.images] == [image.tobytes() for image in again.images]
    assert (first.report, first.indication, first.labels, first.boxes) == (
        again.report,
        again.indication,
        again.labels,
        again.boxes,
    )
    assert first.images[0].tobytes() != other.images[0].tobytes()
    assert make_study(8, 123, size=64).images[0].tobytes() != first.images[0].tobytes()


def test_a_study_has_source_and_license():
    study = make_study(7, 123, size=64)
    assert (study.study_id, study.source, study.license) == ("synthetic-7-000123", "synthetic", "Apache-2.0")


def test_subjects_have_one_or_two_studies():
    subjects = Counter(make_study(1, index, size=32).subject_id for index in range(20))
    assert sorted(subjects.values()) == [1] * 12 + [2] * 4


@pytest.mark.parametrize(("seed", "index"), [(-1, 0), (0, -1)])
def test_negative_numbers_are_rejected(seed, index):
    with pytest.raises(ValueError, match=f"0 or more, got seed {seed} and index {index}"):
        make_study(seed, index)


def test_labels_agree_with_the_scene():
    for index in range(40):
        scene, study = sample_scene(generators(2, index)[0]), make_study(2, index, size=32)
        drawn = {FINDING_INDEX[finding.finding] for finding in scene.findings}
        told = {i for i, code in enumerate(study.labels) if code in (POSITIVE, UNCERTAIN)}
        assert drawn <= told
        boxed = {box.finding for box in study.boxes if box.view == 0}
        assert boxed == drawn
        assert len(study.labels) == NUM_FINDINGS


def test_each_finding_has_a_medium_frequency(scenes):
    shares = Counter(name for scene in scenes for name in {finding.finding for finding in scene.findings})
    assert set(shares) == set(FINDINGS) - {"No Finding"}
    for finding, count in shares.items():
        assert 0.10 <= count / NUM_SCENES <= 0.22, finding


def test_a_fifth_to_a_quarter_of_the_studies_are_normal(scenes):
    normal = [scene for scene in scenes if {finding.finding for finding in scene.findings} <= {"Support Devices"}]
    assert 0.18 <= len(normal) / NUM_SCENES <= 0.27
    assert any(scene.findings for scene in normal)


def test_each_kind_occurs(scenes):
    kinds = Counter(finding.kind for scene in scenes for finding in scene.findings)
    assert set(kinds) == {kind for kinds in KINDS.values() for kind in kinds}
    assert min(kinds.values()) >= 0.01 * NUM_SCENES


def test_some_findings_are_uncertain_but_no_device_is(scenes):
    findings = [finding for scene in scenes for finding in scene.findings]
    assert 0.06 <= np.mean([finding.uncertain for finding in findings]) <= 0.15
    assert not any(finding.uncertain for finding in findings if finding.finding == "Support Devices")


def test_a_third_of_the_studies_have_a_lateral_view(scenes):
    views = Counter(scene.view_positions for scene in scenes)
    assert set(views) == {("PA",), ("AP",), ("PA", "LATERAL"), ("AP", "LATERAL")}
    assert 0.28 <= (views["PA", "LATERAL"] + views["AP", "LATERAL"]) / NUM_SCENES <= 0.42


def test_related_findings_occur_together(scenes):
    names = [{finding.finding for finding in scene.findings} for scene in scenes]

    def share(finding, given):
        chosen = [present for present in names if given in present]
        return np.mean([finding in present for present in chosen])

    assert share("Cardiomegaly", given="Edema") > 0.5
    assert share("Pneumothorax", given="Fracture") > 0.3
    assert share("Pneumothorax", given="Edema") < 0.15


def test_large_pneumothorax_and_effusion_are_not_on_the_same_side(scenes):
    for scene in scenes:
        taken = [
            f.laterality
            for f in scene.findings
            if f.kind == "tension pneumothorax" or (f.finding == "Pneumothorax" and f.degree == "large")
        ]
        for finding in scene.findings:
            if finding.finding in ("Pleural Effusion", "Consolidation", "Pneumonia", "Lung Lesion"):
                assert finding.laterality not in taken


def test_uncertain_enlargements_have_no_degree_and_certain_ones_have_one():
    scenes = (sample_scene(np.random.default_rng(seed)) for seed in range(300))
    found = [
        item for scene in scenes for item in scene.findings if item.kind in ("enlarged heart", "widened mediastinum")
    ]
    assert {item.uncertain for item in found} == {True, False}
    assert all(bool(item.degree) != item.uncertain for item in found)


def test_severities_are_those_of_the_scene_and_the_report_states_them():
    grades = {"": "", "minimal": "small", "small": "small", "moderate": "moderate", "large": "large"}
    num_stated = 0
    for index in range(60):
        scene_rng, _, report_rng, _ = generators(4, index)
        scene = sample_scene(scene_rng)
        written = write_report(scene, report_rng)
        has_severity = {item.finding for item in scene.findings} - {"Support Devices"}
        expected = {
            item.finding: "" if item.kind == "rib fracture" else grades[item.degree]  # no report names how large it is
            for item in scene.findings
        }
        assert all(
            code == (SEVERITIES.index(expected[name]) if name in has_severity else UNKNOWN_SEVERITY)
            for name, code in zip(FINDINGS, written.severities, strict=True)
        )
        stated = report_severities(written.findings, written.impression)
        pairs = [(own, true) for own, true in zip(stated, written.severities, strict=True) if own > 0]
        assert all(own == true for own, true in pairs) or "borderline" in written.findings
        num_stated += len(pairs)
    assert num_stated > 50
