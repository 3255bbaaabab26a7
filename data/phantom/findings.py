"""Findings of the lungs in a frontal phantom: opacity, lesion, edema, consolidation, pneumonia, collapse.

Each drawer adds its attenuation and returns the outlines of what it drew, one a place, for the boxes.
`airy` holds, by side, the mask of lung that still holds air (a pneumothorax takes its part away).
"""

import numpy as np

from data.phantom.anatomy import LEFT, SIDES, Frontal
from data.phantom.canvas import Canvas, curve, ellipse
from data.phantom.patterns import (
    draw_band,
    draw_bronchogram,
    draw_cavity,
    draw_haze,
    draw_mass,
    draw_net,
    draw_nodule,
    draw_patches,
)
from data.scene import SceneFinding

DEGREES = {"minimal": 0.6, "small": 0.8, "": 1.0, "moderate": 1.0, "large": 1.25}
ZONES = {
    "apical": 0.14,
    "upper": 0.27,
    "mid": 0.52,
    "perihilar": 0.5,
    "": 0.55,
    "diffuse": 0.55,
    "lower": 0.76,
    "basal": 0.88,
}
"""How far from apex to diaphragm the middle of a zone lies."""


def strength_of(finding: SceneFinding) -> float:
    """How strongly a finding is drawn: 1 is moderate; uncertain ones are faint."""
    return DEGREES[finding.degree] * (0.6 if finding.uncertain else 1.0)


def extent_of(finding: SceneFinding) -> float:
    """How large a finding is drawn: 1 is moderate."""
    return {"minimal": 0.65, "small": 0.8, "": 1.0, "moderate": 1.0, "large": 1.3}[finding.degree]


def _middle(anatomy: Frontal, side: int, zone: str, rng: np.random.Generator, *, u: float = 0.5) -> np.ndarray:
    v = ZONES[zone] + rng.uniform(-0.04, 0.04)
    inner = 0.3 if side == LEFT and v > 0.6 else 0.0  # the heart covers the inner part there
    return anatomy.lungs[side].point(max(u + rng.uniform(-0.1, 0.1), inner + 0.25), v)


def _draw_opacity(canvas: Canvas, anatomy: Frontal, airy: dict, finding: SceneFinding, rng) -> list[np.ndarray]:
    strength, extent = strength_of(finding), extent_of(finding)
    drawn = []
    for side in SIDES[finding.side]:
        centre = _middle(anatomy, side, finding.zone, rng, u=0.55)
        wide, high = (0.13, 0.24) if finding.zone in ("diffuse", "") else (0.12, 0.115)
        if finding.kind == "hazy opacity":
            drawn.append(draw_haze(canvas, airy[side], centre, (wide * extent, high * extent), strength=strength))
        else:
            drawn.append(draw_net(canvas, airy[side], rng, centre, (wide * 1.1, high * 1.1), strength=strength))
    return drawn


def _draw_lesion(canvas: Canvas, anatomy: Frontal, airy: dict, finding: SceneFinding, rng) -> list[np.ndarray]:
    strength, extent = strength_of(finding) ** 0.5, extent_of(finding)
    drawn = []
    for side in SIDES[finding.side]:
        if finding.kind == "nodule":
            centre = _middle(anatomy, side, finding.zone, rng, u=rng.uniform(0.35, 0.75))
            drawn.append(draw_nodule(canvas, rng, centre, rng.uniform(0.028, 0.034) * extent**0.7, strength=strength))
            continue
        centre = _middle(anatomy, side, finding.zone, rng, u=rng.uniform(0.4, 0.65))
        radius = rng.uniform(0.058, 0.068) * extent
        draw = draw_mass if finding.kind == "mass" else draw_cavity
        drawn.append(draw(canvas, rng, centre, radius, strength=strength))
    return drawn


def _draw_edema(canvas: Canvas, anatomy: Frontal, airy: dict, finding: SceneFinding, rng) -> list[np.ndarray]:
    """Both lungs: thick vessels, haze around the hila and Kerley B lines; bat wings when the alveoli fill."""
    strength = strength_of(finding)
    drawn = []
    for side in SIDES[finding.side]:
        lung = anatomy.lungs[side]
        centre = lung.point(0.36, 0.52)
        if finding.kind == "alveolar edema":
            wing = (0.085 + 0.02 * strength, 0.15 + 0.02 * strength)
            draw_haze(canvas, airy[side], centre, wing, strength=1.2 * strength)
            draw_patches(canvas, airy[side], rng, centre, wing, strength=0.45 * strength)
            drawn.append(centre + np.array([(-1, -1), (1, 1)]) * wing)
            continue
        draw_haze(canvas, airy[side], centre, (0.10, 0.19), strength=0.5 * strength)
        kerley = []
        for v in np.arange(0.52, 0.95, 0.032):
            for depth in (0.0, rng.uniform(0.12, 0.2)):
                outer = lung.point(0.985 - depth, v)
                inwards = np.array([-side * rng.uniform(0.03, 0.05), rng.uniform(-0.004, 0.004)])
                kerley.append(np.array([outer, outer + inwards]))
        canvas.add(canvas.lines(kerley, width=0.006), 0.26 * strength, within=airy[side])
        hilum = np.array([side * 0.09 + anatomy.shift, 0.41])
        streaks = []
        for angle in np.deg2rad(np.linspace(-75, 80, 12) + rng.uniform(-5, 5, 12)):
            outwards = np.array([side * np.cos(angle), np.sin(angle)])
            streaks.append(np.array([hilum + 0.02 * outwards, hilum + rng.uniform(0.12, 0.2) * outwards]))
        canvas.add(canvas.lines(streaks, width=0.010, soft=0.003), 0.16 * strength, within=airy[side])
        drawn.append(np.array([(hilum[0], lung.point(0.5, 0.25)[1]), lung.point(1.0, 0.95)]))
    return drawn


def _lobe(anatomy: Frontal, side: int, zone: str) -> np.ndarray:
    """Outline of what a filled lobe covers, wider than the lung; its inner borders are the fissures."""
    lung = anatomy.lungs[side]
    top, height = lung.wall[0, 1], lung.base[:, 1].min() - lung.wall[0, 1]
    if zone in ("upper", "apical"):
        points = [(0.0, -0.2), (0.6, -0.2), (0.6, 0.50), (0.25, 0.49), (0.0, 0.50)]
        if side == LEFT:
            points[2:] = [(0.6, 0.40), (0.25, 0.47), (0.0, 0.56)]
    elif zone in ("mid", "perihilar", ""):
        points = [(0.0, 0.50), (0.25, 0.50), (0.6, 0.49), (0.34, 0.62), (0.22, 0.86), (0.12, 1.1), (0.0, 1.1)]
    else:
        points = [(0.0, 0.68), (0.12, 0.65), (0.25, 0.68), (0.6, 0.86), (0.6, 1.5), (0.0, 1.5)]
    return np.array(points) * (side, height) + (0, top)


def _clip_to_lung(anatomy: Frontal, side: int, points: np.ndarray) -> np.ndarray:
    outline = anatomy.lungs[side].outline
    return np.clip(points, outline.min(axis=0), outline.max(axis=0))


def _draw_consolidation(canvas: Canvas, anatomy: Frontal, airy: dict, finding: SceneFinding, rng) -> list[np.ndarray]:
    strength = strength_of(finding)
    drawn = []
    for side in SIDES[finding.side]:
        lung = anatomy.lungs[side]
        lobe = _lobe(anatomy, side, finding.zone)
        soft = 0.003 if finding.zone in ("upper", "mid") else 0.010
        filled = canvas.fill(lobe, soft=soft) * airy[side]
        if finding.degree in ("minimal", "small"):  # only a segment, at the fissure
            segment = lung.point(0.55, ZONES[finding.zone] + 0.04), (0.085, 0.085)
            filled *= canvas.fill(ellipse(*segment), soft=0.015)
            lobe = ellipse(*segment)
        canvas.add(filled, 0.52 * strength**0.7)
        start = lung.point(0.15, ZONES[finding.zone] - 0.06)
        draw_bronchogram(canvas, filled, rng, start, lung.point(0.8, ZONES[finding.zone] + 0.06), strength=strength)
        drawn.append(_clip_to_lung(anatomy, side, lobe))
    return drawn


def _draw_pneumonia(canvas: Canvas, anatomy: Frontal, airy: dict, finding: SceneFinding, rng) -> list[np.ndarray]:
    strength, extent = strength_of(finding), extent_of(finding)
    drawn = []
    for side in SIDES[finding.side]:
        centre = _middle(anatomy, side, finding.zone, rng, u=0.5)
        drawn.append(draw_patches(canvas, airy[side], rng, centre, (0.095 * extent, 0.10 * extent), strength=strength))
    return drawn


def _draw_atelectasis(canvas: Canvas, anatomy: Frontal, airy: dict, finding: SceneFinding, rng) -> list[np.ndarray]:
    strength = strength_of(finding)
    drawn = []
    for side in SIDES[finding.side]:
        lung = anatomy.lungs[side]
        if finding.kind == "linear atelectasis":
            outlines = []
            for number in range(1 if finding.degree == "minimal" else 2 if finding.degree in ("", "small") else 3):
                v = ZONES[finding.zone or "lower"] + 0.06 - 0.085 * number + rng.uniform(-0.015, 0.015)
                start = lung.point(rng.uniform(0.28, 0.4), v + 0.02)
                end = lung.point(rng.uniform(0.78, 0.95), v + rng.uniform(-0.06, 0.04))
                bend = rng.uniform(-0.008, 0.012)
                outlines.append(draw_band(canvas, airy[side], start, end, strength=strength**0.6, bend=bend))
            drawn.append(np.concatenate(outlines))
            continue
        if finding.zone in ("apical", "upper", "mid", "perihilar"):
            edge = lung.points((-0.2, 0.30), (0.12, 0.40), (0.25, 0.30), (0.5, 0.17), (0.85, 0.10))
            corners = lung.points((1.1, -0.1), (-0.3, -0.15))
        else:
            edge = lung.points((-0.25, 0.36), (0.16, 0.56), (0.40, 0.78), (0.72, 1.02))
            corners = lung.points((0.5, 1.3), (-0.3, 1.3))
        wedge = np.concatenate([curve(edge), corners])
        # airless lung behind the heart shows through it, so its share there is not taken off as for open lung
        solid = np.minimum(1.4 * airy[side], 1)
        canvas.add(canvas.fill(wedge, soft=0.003), 0.56 * strength**0.6, within=solid)
        drawn.append(_clip_to_lung(anatomy, side, wedge))
    return drawn


LUNG_DRAWERS = {
    "Lung Opacity": _draw_opacity,
    "Lung Lesion": _draw_lesion,
    "Edema": _draw_edema,
    "Consolidation": _draw_consolidation,
    "Pneumonia": _draw_pneumonia,
    "Atelectasis": _draw_atelectasis,
}
"""By finding; called as drawer(canvas, anatomy, airy, finding, rng)."""
