"""Prior studies of synthetic studies: the same patient, known changes, and an unchanged current study."""

import hashlib
from collections import Counter

import numpy as np
import pytest

from data.synthetic.phantom.draw import draw_study
from data.synthetic.prior import sample_prior
from data.synthetic.scene import Scene, SceneFinding, sample_scene
from data.synthetic.source import SyntheticSource, make_study
from vlm.schema.findings import CHANGES, FINDING_INDEX, FINDINGS, POSITIVE, UNCERTAIN, UNKNOWN_CHANGE, UNKNOWN_CHANGES

DEGREES = ("minimal", "small", "moderate", "large")
FIELDS = ("study_id", "subject_id", "view_positions", "indication", "report", "labels", "severities", "boxes")


@pytest.fixture(scope="module")
def pairs():
    scenes = [sample_scene(np.random.default_rng([3, index])) for index in range(1000)]
    return [(scene, sample_prior(scene, np.random.default_rng([4, index]))) for index, scene in enumerate(scenes)]


def pixels(study, name="images"):
    return [image.tobytes() for image in getattr(study, name)]


def test_reports_without_prior_studies_are_those_of_earlier_versions():
    digest = hashlib.sha256()
    for index in range(24):
        study = make_study(7, index, size=64, report_style=index % 3)
        digest.update(f"{study.indication} {study.report}".encode())
    assert digest.hexdigest()[:32] == "f10199776932a5f4c3d11bf1ce416d2b"


def test_a_prior_study_changes_neither_the_images_nor_the_other_studies():
    num_priors = 0
    for index in range(12):
        without, some = make_study(7, index, size=64), make_study(7, index, size=64, prior_fraction=0.5)
        assert pixels(some) == pixels(without)
        assert (some.boxes, some.severities) == (without.boxes, without.severities)
        if some.prior_images:
            num_priors += 1
            assert some.changes != UNKNOWN_CHANGES
        else:
            assert all(getattr(some, name) == getattr(without, name) for name in FIELDS)
            assert (some.prior_report, some.prior_interval_days, some.changes) == ("", None, UNKNOWN_CHANGES)
    assert 2 <= num_priors <= 10


def test_a_study_with_a_prior_study_is_reproducible_and_complete():
    first, again = (make_study(7, 3, size=64, prior_fraction=1.0, report_style=2) for _ in range(2))
    assert pixels(first, "prior_images") == pixels(again, "prior_images")
    assert (first.report, first.prior_report, first.changes) == (again.report, again.prior_report, again.changes)
    assert len(first.prior_images) == len(first.prior_view_positions) >= 1
    assert first.prior_report.startswith("Findings: ")
    assert pixels(first, "prior_images")[0] != pixels(first)[0]


def test_changes_agree_with_both_scenes(pairs):
    for current, prior in pairs:
        now, before = ({item.finding: item for item in scene.findings} for scene in (current, prior.scene))
        assert len(prior.comparison.changes) == len(FINDINGS) - 1
        for finding, change in prior.comparison.changes.items():
            expected = {(True, False): "new", (False, True): "resolved", (False, False): "none"}
            if finding in now and finding in before:
                one, other = now[finding], before[finding]
                assert (one.laterality, one.zone, one.kind) == (other.laterality, other.zone, other.kind)
                steps = DEGREES.index(one.degree) - DEGREES.index(other.degree) if one.degree else 0
                assert change == ("worse" if steps > 0 else "better" if steps < 0 else "unchanged")
            else:
                assert change == expected[finding in now, finding in before]


def test_devices_become_neither_worse_nor_better(pairs):
    states = {prior.comparison.changes["Support Devices"] for _, prior in pairs}
    assert states == {"none", "new", "unchanged", "resolved"}


def test_each_change_is_frequent_enough_to_learn(pairs):
    counts = Counter(change for _, prior in pairs for change in prior.comparison.changes.values())
    told = sum(counts.values()) - counts["none"]
    assert set(counts) == set(CHANGES)
    for change in CHANGES[1:]:
        assert counts[change] / told > 0.07, (change, counts)


def test_the_current_degree_tells_little_about_the_change(pairs):
    changes = {degree: Counter() for degree in DEGREES}
    for current, prior in pairs:
        for item in current.findings:
            if item.degree and not item.uncertain:
                changes[item.degree][prior.comparison.changes[item.finding]] += 1
    for degree, counts in changes.items():
        assert max(counts.values()) / counts.total() < 0.55, (degree, counts)


def test_codes_are_in_the_order_of_the_findings(pairs):
    for _, prior in pairs[:50]:
        codes = prior.comparison.codes
        assert codes[FINDING_INDEX["No Finding"]] == UNKNOWN_CHANGE
        assert all(CHANGES[codes[FINDING_INDEX[name]]] == change for name, change in prior.comparison.changes.items())


def test_labels_and_changes_agree():
    for index in range(40):
        study = make_study(9, index, size=32, prior_fraction=1.0)
        for name, label, change in zip(FINDINGS[:-1], study.labels, study.changes, strict=False):
            is_present = CHANGES[change] in ("new", "worse", "unchanged", "better")
            assert is_present == (label in (POSITIVE, UNCERTAIN)), (index, name)


def drawn(*findings, visit=0, streams=()):
    scene = Scene(findings=findings, view_positions=("PA",))
    (image,), _ = draw_study(scene, np.random.default_rng(0), 112, visit=visit, streams=streams)
    return np.asarray(image, dtype=np.float64)


def test_another_visit_shows_the_same_patient_in_another_exposure():
    one, same, other = drawn(), drawn(visit=1), drawn(visit=2)
    assert np.abs(one - same).mean() > 1
    assert np.abs(same - other).mean() > 1
    (stranger,), _ = draw_study(Scene(findings=(), view_positions=("PA",)), np.random.default_rng(1), 112)
    correlation = [np.corrcoef(one.ravel(), image.ravel())[0, 1] for image in (same, np.asarray(stranger, float))]
    assert correlation[0] > correlation[1]


def test_a_finding_of_the_same_stream_is_drawn_in_the_same_place():
    nodule = SceneFinding(finding="Lung Lesion", kind="nodule", laterality="left", zone="upper", degree="large")
    heart = SceneFinding(finding="Cardiomegaly", kind="enlarged heart", degree="moderate")
    scene = Scene(findings=(nodule,), view_positions=("PA",))
    both = Scene(findings=(heart, nodule), view_positions=("PA",))
    boxes = {
        name: draw_study(shown, np.random.default_rng(0), 112, streams=streams)[1][-1].box
        for name, shown, streams in (("alone", scene, (1,)), ("second", both, ()), ("other", scene, (5,)))
    }
    assert boxes["alone"] == boxes["second"] != boxes["other"]


@pytest.mark.parametrize("fraction", [-0.1, 1.5])
def test_a_fraction_outside_0_to_1_is_rejected(fraction):
    with pytest.raises(ValueError, match=rf"--prior-fraction is {fraction}; it must be between 0 and 1"):
        SyntheticSource(prior_fraction=fraction)
