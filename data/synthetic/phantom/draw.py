"""Draw synthetic chest X-rays: 8-bit gray images of a Scene, and boxes of the drawn findings.

A phantom is schematic. It shows where a finding is and what distinguishes it from others (a meniscus, a dark rim
without vessels, a sharp nodule), so that a model can be trained and evaluated with known ground truth. It does not
replace real X-rays, and scores on phantoms say nothing about patients.

`develop` turns attenuation into an image, with exposure, scatter, noise, laterality marker and collimation.
"""

from dataclasses import replace

import cv2
import numpy as np
from PIL import Image

from data.study import FindingBox
from data.synthetic.phantom.anatomy import SIGNS, Frontal, Patient, ShapeChange, build_frontal, sample_patient
from data.synthetic.phantom.bones import draw_bones, draw_breaks, plan_bones
from data.synthetic.phantom.canvas import Canvas
from data.synthetic.phantom.devices import DEVICE_DRAWERS
from data.synthetic.phantom.findings import DRAWERS, Masks
from data.synthetic.phantom.frontal import (
    draw_body,
    draw_lungs,
    draw_mediastinum,
    draw_stomach_bubble,
    draw_tortuous_aorta,
    draw_vessels,
)
from data.synthetic.phantom.lateral import build_lateral, draw_lateral_chest, draw_lateral_finding
from data.synthetic.scene import KINDS, Scene, SceneFinding
from vlm.schema.findings import FINDING_INDEX, VIEW_KINDS, view_index


def develop(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """The image of the canvas, uint8 [size, size]; dense structures are bright."""
    size, total = canvas.size, canvas.attenuation
    small = cv2.resize(total, (size // 4, size // 4), interpolation=cv2.INTER_AREA)
    scatter = cv2.resize(cv2.blur(small, (9, 9)), (size, size))
    gray = cv2.addWeighted(total, 0.90, scatter, 0.10, 0)
    low, high = rng.uniform(0.10, 0.24), rng.uniform(1.45, 1.85)
    gray = (gray - np.float32(low)) * np.float32(1 / (high - low))
    np.clip(gray, 0, 1, out=gray)
    cv2.pow(gray, rng.uniform(0.75, 1.15), dst=gray)
    gray *= np.float32(rng.uniform(225, 253))
    grain = rng.integers(0, 256, (2, size, size), dtype=np.uint8)
    noise = cv2.GaussianBlur(cv2.subtract(grain[0], grain[1], dtype=cv2.CV_32F), (3, 3), 0.6)
    cv2.scaleAdd(noise, rng.uniform(0.012, 0.05), gray, dst=gray)
    image = np.clip(gray, 0, 255, out=gray).astype(np.uint8)
    _mark_laterality(image, rng)
    _collimate(image, rng)
    return image


def _mark_laterality(image: np.ndarray, rng: np.random.Generator) -> None:
    """Draw a laterality marker in the upper corner of its side, on half of the images."""
    size = len(image)
    chance, is_left, height = rng.random(), rng.random() < 0.5, rng.uniform(0.07, 0.13)
    if chance < 0.5:
        letter, x = ("L", 0.92) if is_left else ("R", 0.03)
        place = (int(x * size), int(height * size))
        cv2.putText(image, letter, place, cv2.FONT_HERSHEY_SIMPLEX, size / 450, 235, max(1, size // 180), cv2.LINE_AA)


def _collimate(image: np.ndarray, rng: np.random.Generator) -> None:
    """Draw black borders, on a quarter of the images."""
    size = len(image)
    chance, margins = rng.random(), rng.integers(1, max(2, size // 22), 4)
    if chance < 0.25:
        image[: margins[0]] = 0
        image[size - margins[1] :] = 0
        image[:, : margins[2]] = 0
        image[:, size - margins[3] :] = 0


Sampled = list[tuple[SceneFinding, np.random.Generator]]
"""Findings, each with its own generator."""
Drawn = list[tuple[SceneFinding, np.ndarray]]
"""Findings with their outlines; a bilateral finding occurs twice."""


def draw_study(
    scene: Scene,
    rng: np.random.Generator,
    size: int = 224,
    *,
    streams: tuple[int, ...] = (),
    visit: int = 0,
) -> tuple[tuple[Image.Image, ...], tuple[FindingBox, ...]]:
    """Draw one image per view, and a box for each finding in each view that shows it (one per side if bilateral).

    The same state of `rng` gives the same patient and exposure for any findings, so that images that differ in one
    finding can be compared. Another `visit` of the patient has another position and exposure. `streams` are the numbers
    of the random streams of the findings (default: their order): the same number gives the same place and form.
    """
    seed = int(rng.integers(2**63))
    patient = sample_patient(np.random.default_rng([seed, 0]))
    findings = _settle(scene.findings, np.random.default_rng([seed, 3]))
    change = shape_change(findings, patient)
    images, boxes = [], []
    for view, position in enumerate(scene.view_positions):
        kind = VIEW_KINDS[view_index(position)]
        view_rng = np.random.default_rng([seed, 1, view])
        numbers = streams or range(len(findings))
        rngs = (np.random.default_rng([seed, 2, view, number]) for number in numbers)
        sampled = list(zip(findings, rngs, strict=True))
        canvas = _aim(view_rng, size, is_ap=kind == "frontal AP")
        exposure_rng = view_rng
        if visit:
            exposure_rng = np.random.default_rng([seed, 4, view, visit])
            canvas = _aim(exposure_rng, size, is_ap=kind == "frontal AP")
        if kind == "lateral":
            drawn = _draw_lateral(canvas, patient, change, sampled, view_rng)
        else:
            anatomy = build_frontal(patient, change, is_ap=kind == "frontal AP")
            drawn = _draw_frontal(canvas, anatomy, change, sampled, view_rng)
        cv2.multiply(canvas.attenuation, 1 + 0.03 * canvas.clouds(exposure_rng, 9), dst=canvas.attenuation)
        for finding, outline in drawn:
            box = canvas.box(outline)
            if box is not None:
                boxes.append(FindingBox(finding=FINDING_INDEX[finding.finding], view=view, box=box))
        images.append(Image.fromarray(develop(canvas, exposure_rng)))
    return tuple(images), tuple(boxes)


_ON_BOTH_SIDES = ("Edema", "Lung Opacity")
_ON_A_SIDE = DRAWERS.keys() - _ON_BOTH_SIDES | {"Fracture"}


def _settle(findings: tuple[SceneFinding, ...], rng: np.random.Generator) -> tuple[SceneFinding, ...]:
    """Choose a side for each finding that needs one and has none."""
    settled = []
    for finding in findings:
        if finding.kind not in KINDS.get(finding.finding, ()):
            raise ValueError(
                f"scene finding {finding.finding!r}: kind {finding.kind!r} cannot be drawn; "
                f"use one of {', '.join(KINDS.get(finding.finding, ())) or 'the findings in scene.KINDS'}"
            )
        laterality = finding.laterality
        if not laterality and finding.finding in _ON_BOTH_SIDES:
            laterality = "bilateral"
        elif not laterality and finding.finding in _ON_A_SIDE:
            laterality = "right" if rng.random() < 0.5 else "left"
        settled.append(replace(finding, laterality=laterality))
    return tuple(settled)


def _aim(rng: np.random.Generator, size: int, *, is_ap: bool) -> Canvas:
    """A canvas with a small rotation, shift and zoom; larger for AP views, which are taken at the bedside."""
    unrest = 1.8 if is_ap else 1.0
    return Canvas(
        size,
        zoom=rng.uniform(0.93, 1.05) * (1.03 if is_ap else 1.0),
        degrees=float(np.clip(rng.normal(0, 1.4 * unrest), -6, 6)),
        shift=tuple(np.clip(rng.normal(0, 0.011 * unrest, 2), -0.04, 0.04)),
    )


_HEART_RATIOS = {"minimal": 0.53, "small": 0.55, "": 0.605, "moderate": 0.605, "large": 0.665}
"""The smallest cardiothoracic ratio of each degree. The ranges are apart, so that the size of a heart tells its degree;
a normal heart has at most .475."""
_BORDERLINE_HEART = 0.515


def shape_change(findings: tuple[SceneFinding, ...], patient: Patient) -> ShapeChange:
    """How the findings change the heart, the mediastinum and the diaphragm."""
    change = ShapeChange()
    for finding in findings:
        amount = {"minimal": 0.45, "small": 0.6, "": 1.0, "moderate": 1.0, "large": 1.5}[finding.degree]
        if finding.uncertain:
            amount = 0.5
        away = {"right": 1.0, "left": -1.0}.get(finding.laterality, 0.0)  # direction in which the mediastinum is pushed
        lift = 0.0
        if finding.finding == "Cardiomegaly":
            smallest = _BORDERLINE_HEART if finding.uncertain else _HEART_RATIOS[finding.degree]
            change.heart_ratio = smallest + (patient.heart_ratio - 0.40) / 3 - patient.heart_ratio
        elif finding.kind == "widened mediastinum":
            change.mediastinum = 0.068 * amount
        elif finding.kind == "tortuous aorta":
            change.aorta = 1.05 * amount
        elif finding.kind == "tension pneumothorax":
            change.shift, lift = change.shift + 0.07 * away, -0.045
        elif finding.kind == "lobar collapse":
            change.shift -= 0.04 * amount * away
            lift = (0.035 if finding.zone in ("upper", "apical") else 0.055) * amount
        elif finding.kind == "linear atelectasis":
            lift = 0.03
        elif finding.finding == "Pleural Effusion" and finding.degree == "large":
            change.shift += 0.03 * away
        if lift:
            for sign in SIGNS[finding.laterality]:
                change.dome[sign] -= lift
    return change


def _draw_frontal(
    canvas: Canvas, anatomy: Frontal, change: ShapeChange, sampled: Sampled, rng: np.random.Generator
) -> Drawn:
    """Draw from back to front where one structure hides or displaces another; otherwise the order does not matter."""
    drawn: Drawn = []

    def draw_all(name: str, masks: Masks) -> None:
        for finding, finding_rng in sampled:
            if finding.finding == name:
                drawn.extend((finding, o) for o in _draw_sides(canvas, anatomy, masks, finding, finding_rng))

    draw_body(canvas, anatomy)
    lungs = draw_lungs(canvas, anatomy)
    draw_stomach_bubble(canvas, anatomy, rng)
    ribs, clavicles, breaks = plan_bones(anatomy, [pair for pair in sampled if pair[0].finding == "Fracture"])
    draw_bones(canvas, anatomy, lungs, ribs, clavicles)
    drawn += [(finding, draw_breaks(canvas, places, is_uncertain=finding.uncertain)) for finding, places in breaks]
    airy = dict(lungs)
    draw_all("Pneumothorax", airy)
    behind_heart = 1 - 0.65 * draw_mediastinum(canvas, anatomy, lungs)  # only part of the lung is behind the heart
    airy, lungs = ({sign: mask * behind_heart for sign, mask in masks.items()} for masks in (airy, lungs))
    draw_all("Pleural Effusion", airy)
    congestion = 1.3 if any(finding.kind == "interstitial edema" for finding, _ in sampled) else 1.0
    draw_vessels(canvas, anatomy, rng, airy, strength=congestion)
    if change.aorta:
        draw_tortuous_aorta(canvas, anatomy, change.aorta)
    for finding, finding_rng in sampled:
        drawn += [(finding, o) for o in _draw_finding(canvas, anatomy, lungs, airy, finding, finding_rng)]
    return drawn


def _draw_sides(
    canvas: Canvas, anatomy: Frontal, masks: Masks, finding: SceneFinding, rng: np.random.Generator
) -> list[np.ndarray]:
    draw = DRAWERS[finding.finding]
    return [draw(canvas, anatomy, sign, masks, finding, rng) for sign in SIGNS[finding.laterality]]


def _draw_lateral(
    canvas: Canvas, patient: Patient, change: ShapeChange, sampled: Sampled, rng: np.random.Generator
) -> Drawn:
    anatomy = build_lateral(patient, change)
    airy = draw_lateral_chest(canvas, anatomy, change, rng)
    drawn = ((finding, draw_lateral_finding(canvas, anatomy, airy, finding, own_rng)) for finding, own_rng in sampled)
    return [pair for pair in drawn if pair[1] is not None]


def _draw_finding(
    canvas: Canvas, anatomy: Frontal, lungs: Masks, airy: Masks, finding: SceneFinding, rng: np.random.Generator
) -> list[np.ndarray]:
    """The outlines of a finding, which this function draws unless it was drawn before or is a change of shape."""
    mediastinum, y = anatomy.mediastinum, anatomy.mediastinum[:, 1]
    match finding.finding, finding.kind:
        case (("Fracture" | "Pneumothorax" | "Pleural Effusion"), _):
            return []
        case "Support Devices", kind:
            return [DEVICE_DRAWERS[kind](canvas, anatomy, finding, rng)]
        case "Cardiomegaly", _:
            return [np.minimum(anatomy.heart, (1.0, anatomy.heart[:, 1].max() - 0.09))]
        case _, "tortuous aorta":
            return [np.concatenate([mediastinum[y > 0.2], [(0.09 + anatomy.shift, 0.6)]])]
        case _, "widened mediastinum":
            return [mediastinum[(y > 0.13) & (y < 0.42)]]
    return _draw_sides(canvas, anatomy, lungs if finding.finding == "Pleural Other" else airy, finding, rng)
