"""Draws made-up chest X-rays: a Scene in, 8-bit gray pictures and the boxes of the drawn findings out.

A phantom is schematic. It shows where a finding lies and what sets it apart from the others (a meniscus, a dark rim
without vessels, a crisp nodule), so that a model can be trained and judged with known truth; it is no substitute for
real X-rays, and scores on phantoms say nothing about patients.
"""

import cv2
import numpy as np
from PIL import Image

from data.phantom_anatomy import (
    LEFT,
    RIGHT,
    Frontal,
    Patient,
    ShapeChange,
    build_frontal,
    draw_body,
    draw_bones,
    draw_mediastinum,
    draw_stomach_bubble,
    draw_vessels,
    sample_patient,
)
from data.phantom_canvas import Canvas, ribbon
from data.phantom_devices import DEVICE_DRAWERS, draw_breaks, plan_bones
from data.phantom_findings import LUNG_DRAWERS
from data.phantom_pleura import draw_effusion, draw_pleural_other, draw_pneumothorax
from data.scene import Scene, SceneFinding
from data.study import FindingBox
from vlm.findings import FINDING_INDEX
from vlm.views import VIEW_KINDS, view_index


def draw_study(
    scene: Scene, rng: np.random.Generator, size: int = 224
) -> tuple[tuple[Image.Image, ...], tuple[FindingBox, ...]]:
    """One picture a view, and a box for each finding in each view that shows it (one a side, if bilateral).

    The same `rng` state gives the same patient and film whatever the scene's findings are, so that two pictures that
    differ by one finding can be compared.
    """
    seed = int(rng.integers(2**63))
    patient = sample_patient(np.random.default_rng([seed, 0]))
    images, boxes = [], []
    for view, position in enumerate(scene.view_positions):
        kind = VIEW_KINDS[view_index(position)]
        canvas, drawn = _draw_frontal(scene, patient, seed, view, size, is_ap=kind == "frontal AP")
        for finding, outline in drawn:
            box = canvas.box(outline)
            if box is not None:
                boxes.append(FindingBox(finding=FINDING_INDEX[finding.finding], view=view, box=box))
        images.append(Image.fromarray(develop(canvas, np.random.default_rng([seed, view, 9]))))
    return tuple(images), tuple(boxes)


def _shape_change(findings: tuple[SceneFinding, ...], rng: np.random.Generator) -> ShapeChange:
    """How the findings of a scene move the heart, the mediastinum and the diaphragm."""
    heart = mediastinum = aorta = shift = 0.0
    dome = {"right": 0.0, "left": 0.0}
    for finding in findings:
        faint = 0.6 if finding.uncertain else 1.0
        away = 1 if finding.side == "right" else -1
        if finding.finding == "Cardiomegaly":
            heart = {"minimal": 0.10, "small": 0.13, "": 0.17, "moderate": 0.18, "large": 0.235}[finding.degree] * (
                0.7 if finding.uncertain else 1
            )
        elif finding.kind == "widened mediastinum":
            mediastinum = {"minimal": 0.03, "small": 0.04, "": 0.055, "moderate": 0.06, "large": 0.08}[
                finding.degree
            ] * faint
        elif finding.kind == "tortuous aorta":
            aorta = {"minimal": 0.6, "small": 0.8, "": 1.0, "moderate": 1.1, "large": 1.4}[finding.degree] * faint
        elif finding.kind == "tension pneumothorax":
            shift += 0.07 * away
            dome[finding.side] += 0.045
        elif finding.kind == "lobar collapse" and finding.side in dome:
            shift -= 0.04 * away
            dome[finding.side] -= 0.055 if finding.zone not in ("upper", "apical") else 0.035
        elif finding.kind == "linear atelectasis":
            for side in dome if finding.side == "bilateral" else (finding.side,):
                dome[side] -= 0.03
        elif finding.finding == "Pleural Effusion" and finding.degree == "large" and finding.side in dome:
            shift += 0.03 * away
    return ShapeChange(
        heart_ratio=heart,
        mediastinum=mediastinum,
        aorta=aorta,
        shift=shift,
        right_dome=dome["right"],
        left_dome=dome["left"],
    )


def _of(findings, *names: str) -> tuple[SceneFinding, ...]:
    return tuple(finding for finding in findings if finding.finding in names)


def _draw_frontal(scene: Scene, patient: Patient, seed: int, view: int, size: int, *, is_ap: bool):
    """A canvas with everything on it, and pairs of finding and outline."""
    rng = np.random.default_rng([seed, view, 1])
    canvas = Canvas(
        size,
        zoom=rng.uniform(0.93, 1.05) * (1.03 if is_ap else 1),
        degrees=rng.normal(0, 2.6 if is_ap else 1.4),
        shift=(rng.normal(0, 0.012), rng.normal(0, 0.012)),
    )
    findings = scene.findings
    change = _shape_change(findings, rng)
    anatomy = build_frontal(patient, change, is_ap=is_ap)
    drawn = []
    finding_rng = lambda number: np.random.default_rng([seed, view, 2, number])  # noqa: E731

    draw_body(canvas, anatomy)
    lungs = {side: canvas.fill(lung.outline) for side, lung in anatomy.lungs.items()}
    for lung, mask in zip(anatomy.lungs.values(), lungs.values(), strict=True):
        canvas.add(mask, -0.44)
        canvas.add(canvas.fill(lung.outline, soft=0.03), -0.20, within=mask)
    draw_stomach_bubble(canvas, anatomy, rng)
    ribs, clavicles, breaks = plan_bones(anatomy, _of(findings, "Fracture"), finding_rng(50))
    draw_bones(canvas, anatomy, ribs, clavicles)
    airy = dict(lungs)
    for number, finding in enumerate(findings):
        if finding.finding == "Pneumothorax":
            drawn += [(finding, o) for o in draw_pneumothorax(canvas, anatomy, airy, finding, finding_rng(number))]
    draw_mediastinum(canvas, anatomy)
    congested = any(finding.finding == "Edema" for finding in findings)
    draw_vessels(canvas, anatomy, rng, airy, strength=1.35 if congested else 1.0)
    if change.aorta:
        _draw_tortuous_aorta(canvas, anatomy, change.aorta)
    for number, finding in enumerate(findings):
        if finding.finding in LUNG_DRAWERS:
            outlines = LUNG_DRAWERS[finding.finding](canvas, anatomy, airy, finding, finding_rng(number))
        elif finding.finding == "Pleural Effusion":
            outlines = draw_effusion(canvas, anatomy, lungs, finding, finding_rng(number))
        elif finding.finding == "Pleural Other":
            outlines = draw_pleural_other(canvas, anatomy, lungs, finding, finding_rng(number))
        elif finding.finding == "Support Devices":
            outlines = DEVICE_DRAWERS[finding.kind](canvas, anatomy, finding, finding_rng(number))
        elif finding.finding == "Cardiomegaly":
            outlines = [anatomy.heart]
        elif finding.finding == "Enlarged Cardiomediastinum":
            top = anatomy.mediastinum[anatomy.mediastinum[:, 1] > 0.13]
            outlines = [np.concatenate([top, [(0.08, 0.62)]]) if finding.kind == "tortuous aorta" else top]
        else:
            continue
        drawn += [(finding, outline) for outline in outlines]
    drawn += [(finding, draw_breaks(canvas, places, is_uncertain=finding.uncertain)) for finding, places in breaks]
    cv2.multiply(canvas.attenuation, 1 + 0.05 * canvas.clouds(rng, 9) * 0.6, dst=canvas.attenuation)
    return canvas, drawn


def _draw_tortuous_aorta(canvas: Canvas, anatomy: Frontal, amount: float) -> None:
    """The descending aorta as a bent band left of the spine, chalk in the arch, a bulge of the ascending part."""
    from data.phantom_canvas import curve, ellipse

    shift = anatomy.shift
    band = ribbon(
        curve(
            [
                (0.065 + shift, 0.30),
                (0.085 + 0.02 * amount + shift, 0.42),
                (0.075 + 0.015 * amount + shift, 0.55),
                (0.03 + shift, 0.72),
            ]
        ),
        0.06,
    )
    canvas.add(canvas.fill(band, soft=0.003), 0.16)
    bulge = ellipse((-0.035 + shift, 0.35), (0.045 + 0.012 * amount, 0.10))
    canvas.add(canvas.fill(bulge, soft=0.004), 0.20)
    angle = np.linspace(-2.2, 0.4, 10)
    radius = 0.03 + 0.022 * amount
    arch = np.stack([0.055 + shift + radius * np.cos(angle), 0.305 + radius * np.sin(angle)], axis=1)
    canvas.add(canvas.lines([arch], width=0.008), 0.35)


def develop(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """The picture of the attenuation, uint8: exposure, film curve, scatter, noise, border of the collimator."""
    size = canvas.size
    total = canvas.attenuation
    scatter = cv2.resize(
        cv2.blur(cv2.resize(total, (size // 4, size // 4), interpolation=cv2.INTER_AREA), (9, 9)), (size, size)
    )
    cv2.addWeighted(total, 0.90, scatter, 0.10, 0, dst=total)
    low = rng.uniform(0.10, 0.24)
    high = rng.uniform(1.55, 1.95)
    gray = (total - low) * np.float32(1 / (high - low))
    np.clip(gray, 0, 1, out=gray)
    cv2.pow(gray, rng.uniform(0.75, 1.15), dst=gray)
    gray += rng.uniform(0.1, 0.3) * gray * (1 - gray) * (2 * gray - 1)
    grain = rng.integers(0, 256, (2, size, size), dtype=np.uint8)
    noise = cv2.subtract(grain[0], grain[1], dtype=cv2.CV_32F)
    noise = cv2.GaussianBlur(noise, (3, 3), 0.6)
    gray *= np.float32(rng.uniform(225, 253))
    cv2.scaleAdd(noise, rng.uniform(0.015, 0.055), gray, dst=gray)
    gray = np.clip(gray, 0, 255, out=gray).astype(np.uint8)
    if rng.random() < 0.5:
        letter, x = ("L", 0.91) if rng.random() < 0.5 else ("R", 0.04)
        cv2.putText(
            gray,
            letter,
            (int(x * size), int(0.10 * size)),
            cv2.FONT_HERSHEY_SIMPLEX,
            size / 420,
            235,
            max(1, size // 180),
            cv2.LINE_AA,
        )
    if rng.random() < 0.25:
        margins = rng.integers(1, max(2, size // 22), 4)
        gray[: margins[0]] = 0
        gray[size - margins[1] :] = 0
        gray[:, : margins[2]] = 0
        gray[:, size - margins[3] :] = 0
    return gray
