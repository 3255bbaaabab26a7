"""Phantoms show each finding of a scene on its side and inside its box, and nothing else changes."""

from itertools import pairwise

import numpy as np
import pytest

from data.synthetic.grammar.phrases import NAMINGS
from data.synthetic.phantom.anatomy import build_frontal, sample_patient
from data.synthetic.phantom.draw import draw_study, shape_change
from data.synthetic.scene import KINDS, Scene, SceneFinding
from vlm.schema.findings import FINDING_INDEX

SIDED = {
    "Lung Lesion",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
}
KIND_PAIRS = [(finding, kind) for finding, kinds in KINDS.items() for kind in kinds]
MOVES_SHAPES = {"lobar collapse", "linear atelectasis", "tension pneumothorax"}
"""These findings also move the diaphragm or the mediastinum, so pixels outside their boxes change."""


def draw(*findings, views=("PA",), seed=0, size=112):
    scene = Scene(findings=findings, view_positions=views)
    images, boxes = draw_study(scene, np.random.default_rng(seed), size)
    return [np.asarray(image, dtype=np.float64) for image in images], boxes


def finding_of(finding, kind, *, laterality="right", degree="moderate", zone=""):
    if finding not in SIDED | {"Lung Opacity", "Fracture"}:
        laterality = "bilateral" if finding == "Edema" else ""
    return SceneFinding(finding=finding, kind=kind, laterality=laterality, degree=degree, zone=zone)


def mask_of(boxes, size, view=0):
    mask = np.zeros((size, size), bool)
    for box in boxes:
        if box.view == view:
            left, top, right, bottom = (round(edge * size) for edge in box.box)
            mask[top : bottom + 1, left : right + 1] = True
    return mask


def test_the_same_generator_state_draws_the_same_pixels_and_boxes():
    effusion = finding_of("Pleural Effusion", "pleural effusion")
    first, first_boxes = draw(effusion, views=("AP", "LATERAL"), seed=5)
    second, second_boxes = draw(effusion, views=("AP", "LATERAL"), seed=5)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert first_boxes == second_boxes


def test_two_normal_patients_look_different():
    (first,), _ = draw(seed=1)
    (second,), _ = draw(seed=2)
    assert np.abs(first - second).mean() > 3


def test_there_is_one_square_8_bit_image_per_view():
    scene = Scene(findings=(), view_positions=("PA", "LATERAL"))
    images, boxes = draw_study(scene, np.random.default_rng(0), 96)
    assert [(image.mode, image.size) for image in images] == [("L", (96, 96))] * 2
    assert boxes == ()


@pytest.mark.parametrize(("finding", "kind"), KIND_PAIRS, ids=[kind for _, kind in KIND_PAIRS])
def test_a_finding_changes_the_image_inside_its_box(finding, kind):
    inside, outside = [], []
    for seed in range(2):
        (with_it,), boxes = draw(finding_of(finding, kind), seed=seed)
        (without,), _ = draw(seed=seed)
        change = np.abs(with_it - without)
        mask = mask_of(boxes, len(with_it))
        assert {box.finding for box in boxes} == {FINDING_INDEX[finding]}
        inside.append(change[mask].mean())
        outside.append(change[~mask].mean())
    assert np.mean(inside) > 2
    assert np.mean(inside) > (1.5 if kind in MOVES_SHAPES else 4) * np.mean(outside)


@pytest.mark.parametrize(("finding", "kind"), KIND_PAIRS, ids=[kind for _, kind in KIND_PAIRS])
@pytest.mark.parametrize("laterality", ["left", "bilateral"])
def test_boxes_are_inside_the_image_and_not_empty(finding, kind, laterality):
    _, boxes = draw(finding_of(finding, kind, laterality=laterality), views=("AP", "LATERAL"), seed=1, size=48)
    assert any(box.view == 0 for box in boxes)
    for box in boxes:
        left, top, right, bottom = box.box
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1


def test_a_right_effusion_brightens_the_lower_left_of_the_image():
    for seed in range(3):
        (with_it,), boxes = draw(finding_of("Pleural Effusion", "pleural effusion"), seed=seed)
        (without,), _ = draw(seed=seed)
        change = with_it - without
        size = len(change)
        lower = slice(int(0.5 * size), int(0.8 * size))
        assert change[lower, int(0.15 * size) : int(0.4 * size)].mean() > 15
        assert abs(change[lower, int(0.6 * size) : int(0.85 * size)].mean()) < 1
        assert boxes[0].box[2] < 0.55


@pytest.mark.parametrize("finding", sorted(SIDED))
def test_the_left_of_the_patient_is_the_right_of_the_image(finding):
    for laterality, is_right_half in (("left", True), ("right", False)):
        _, boxes = draw(finding_of(finding, KINDS[finding][0], laterality=laterality))
        middles = [(box.box[0] + box.box[2]) / 2 for box in boxes]
        assert [middle > 0.5 for middle in middles] == [is_right_half]


def test_a_bilateral_finding_has_two_boxes():
    _, boxes = draw(finding_of("Pleural Effusion", "pleural effusion", laterality="bilateral"))
    middles = sorted((box.box[0] + box.box[2]) / 2 for box in boxes)
    assert len(middles) == 2
    assert middles[0] < 0.5 < middles[1]


def test_the_apex_of_the_heart_points_to_the_right_of_the_image():
    for seed in range(3):
        (image,), boxes = draw(finding_of("Cardiomegaly", "enlarged heart"), seed=seed)
        left, _, right, bottom = boxes[0].box
        assert right - 0.5 > 1.3 * (0.5 - left)
        row = image[int((bottom - 0.06) * len(image))]
        assert row[int(0.62 * len(row))] > row[int(0.32 * len(row))]


def test_a_pneumothorax_darkens_the_apex():
    (with_it,), boxes = draw(finding_of("Pneumothorax", "pneumothorax", degree="large"), seed=3)
    (without,), _ = draw(seed=3)
    left, top, right, _ = (int(edge * 112) for edge in boxes[0].box)
    apex = (slice(top + 6, top + 17), slice(left + 11, right - 9))
    assert with_it[apex].mean() < without[apex].mean() - 10


def test_a_larger_effusion_hides_more():
    def brightness(degree):
        (image,), _ = draw(finding_of("Pleural Effusion", "pleural effusion", degree=degree), seed=4)
        return image.mean()

    levels = [brightness(degree) for degree in ("minimal", "small", "moderate", "large")]
    assert levels == sorted(levels)
    assert levels[-1] > levels[0] + 4


ONE_SIZE, TWO_SIZES = {"tension pneumothorax"}, {"lobar collapse"}
ALIKE_IN_LATERAL_VIEWS = {"pneumothorax", "pleural thickening", "calcified plaque"}
ZONE = {"lobar consolidation": "lower", "lobar collapse": "lower"}
GRADED = [
    (finding, kind, view)
    for finding, kind in KIND_PAIRS
    for view in ("PA", "LATERAL")
    if kind in NAMINGS and NAMINGS[kind].degrees
    if kind not in ONE_SIZE and not (view == "LATERAL" and kind in ALIKE_IN_LATERAL_VIEWS)
]


@pytest.mark.parametrize(("finding", "kind", "view"), GRADED, ids=[f"{kind}, {view}" for _, kind, view in GRADED])
def test_each_degree_that_a_report_names_changes_more_of_the_image(finding, kind, view):
    degrees = ("moderate", "large") if kind in TWO_SIZES else ("small", "moderate", "large")
    changed = []
    for degree in degrees:
        item = finding_of(finding, kind, degree=degree, zone=ZONE.get(kind, ""))
        areas = []
        for seed in range(4):
            (with_it,), _ = draw(item, views=(view,), seed=seed)
            (without,), _ = draw(views=(view,), seed=seed)
            areas.append((np.abs(with_it - without) > 12).sum())
        changed.append(np.mean(areas))
    assert all(larger > 1.15 * smaller for smaller, larger in pairwise(changed)), changed


def test_the_degree_of_an_enlarged_heart_does_not_depend_on_the_patient():
    """The widest heart of a degree is narrower than the narrowest of the next, measured in one view."""
    widths = {degree: [] for degree in ("", "small", "moderate", "large")}
    for seed in range(12):
        for degree, found in widths.items():
            items = [finding_of("Cardiomegaly", "enlarged heart", degree=degree)] if degree else []
            change = shape_change(tuple(items), patient := sample_patient(np.random.default_rng(seed)))
            heart = build_frontal(patient, change, is_ap=False).heart
            found.append(np.ptp(heart[:, 0]) / (2 * patient.half_width))
    assert all(max(smaller) < min(larger) for smaller, larger in pairwise(widths.values())), widths


def test_an_uncertain_finding_is_drawn_fainter():
    nodule = {"finding": "Lung Lesion", "kind": "nodule", "laterality": "left", "zone": "upper", "degree": "moderate"}
    (without,), _ = draw(seed=6)
    (sure,), _ = draw(SceneFinding(**nodule), seed=6)
    (faint,), _ = draw(SceneFinding(**nodule, uncertain=True), seed=6)
    assert 0 < (faint - without).max() < 0.95 * (sure - without).max()


def test_a_tension_pneumothorax_pushes_the_heart_away():
    for seed in range(3):
        (pushed,), _ = draw(finding_of("Pneumothorax", "tension pneumothorax", degree="large"), seed=seed)
        (without,), _ = draw(seed=seed)
        change = (pushed - without)[61:70, 40:100].mean(axis=0)
        assert change[:12].min() < -40  # the right border of the heart leaves its place, and air takes it
        assert change[20:].max() > 60  # the left border reaches farther


def test_a_missing_side_is_chosen_once_for_all_views():
    mass = SceneFinding(finding="Lung Lesion", kind="mass", zone="upper", degree="large")
    sides = set()
    for seed in range(8):
        _, boxes = draw(mass, views=("PA", "AP"), seed=seed, size=64)
        halves = {(box.box[0] + box.box[2]) / 2 > 0.5 for box in boxes}
        assert len(boxes) == 2
        assert len(halves) == 1
        sides |= halves
    assert sides == {True, False}


def test_an_unknown_kind_is_rejected_with_the_known_kinds():
    with pytest.raises(ValueError, match=r"'Fracture'.*'broken heart'.*rib fracture, clavicle fracture"):
        draw(SceneFinding(finding="Fracture", kind="broken heart"))
