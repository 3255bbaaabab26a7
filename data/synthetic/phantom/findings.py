"""Draw findings of the lungs and the pleura in a frontal phantom.

Each drawer draws one side: it adds the attenuation, and returns the outline of what it drew, for the box. `airy` is the
mask of air-filled lung by sign of x; a pneumothorax or effusion removes its part.
"""

import numpy as np

from data.synthetic.phantom import disease
from data.synthetic.phantom.anatomy import LEFT, Frontal, Lung
from data.synthetic.phantom.canvas import Canvas, curve, directions, ellipse, ribbon
from data.synthetic.scene import SceneFinding

Masks = dict[int, np.ndarray]

DEGREES = {"minimal": 0.6, "small": 0.8, "": 1.0, "moderate": 1.0, "large": 1.25}
ZONES = {
    "apical": 0.14, "upper": 0.27, "perihilar": 0.5, "mid": 0.52, "": 0.55, "diffuse": 0.55, "lower": 0.76,
    "basal": 0.88,
}  # fmt: skip
"""Center of each zone as a fraction of the way from apex to diaphragm."""

SEGMENTS = {"minimal": 0.06, "small": 0.075, "": 0.125, "moderate": 0.125}
"""Radius of a consolidation that does not fill its lobe."""
BANDS = {"minimal": 1, "small": 1, "": 2, "moderate": 2, "large": 4}
"""Number of bands of a linear atelectasis."""


def strength_of(finding: SceneFinding) -> float:
    """Contrast of a finding: 1 is moderate; uncertain findings are faint."""
    return DEGREES[finding.degree] * (0.6 if finding.uncertain else 1.0)


def extent_of(finding: SceneFinding) -> float:
    """Size of a finding: 1 is moderate. The steps are large enough to be seen without a second image."""
    return {"minimal": 0.52, "small": 0.7, "": 1.0, "moderate": 1.0, "large": 1.35}[finding.degree]


def _middle(anatomy: Frontal, sign: int, zone: str, rng: np.random.Generator, *, u: float = 0.5) -> np.ndarray:
    v = ZONES[zone] + rng.uniform(-0.04, 0.04)
    inner = 0.3 if sign == LEFT and v > 0.6 else 0.0  # the heart covers the medial part
    return anatomy.lungs[sign].point(max(u + rng.uniform(-0.1, 0.1), inner + 0.25), v)


def _draw_opacity(canvas: Canvas, anatomy: Frontal, sign: int, airy: Masks, finding: SceneFinding, rng) -> np.ndarray:
    strength, extent = strength_of(finding), extent_of(finding)
    center = _middle(anatomy, sign, finding.zone, rng, u=0.55)
    wide, high = (0.13, 0.24) if finding.zone in ("diffuse", "") else (0.12, 0.115)
    if finding.kind == "hazy opacity":
        return disease.haze(canvas, airy[sign], center, (wide * extent, high * extent), strength=strength)
    return disease.net(canvas, airy[sign], rng, center, (wide * 1.1 * extent, high * 1.1 * extent), strength=strength)


def _draw_lesion(canvas: Canvas, anatomy: Frontal, sign: int, airy: Masks, finding: SceneFinding, rng) -> np.ndarray:
    strength, extent = strength_of(finding) ** 0.5, extent_of(finding)
    if finding.kind == "nodule":
        center = _middle(anatomy, sign, finding.zone, rng, u=rng.uniform(0.35, 0.75))
        return disease.nodule(canvas, rng, center, rng.uniform(0.028, 0.034) * extent**0.7, strength=strength)
    center = _middle(anatomy, sign, finding.zone, rng, u=rng.uniform(0.4, 0.65))
    draw = disease.mass if finding.kind == "mass" else disease.cavity
    return draw(canvas, rng, center, rng.uniform(0.058, 0.068) * extent, strength=strength)


def _draw_edema(canvas: Canvas, anatomy: Frontal, sign: int, airy: Masks, finding: SceneFinding, rng) -> np.ndarray:
    """Draw perihilar haze and Kerley B lines, which reach higher if it is severe, or bat-wing opacities for alveolar
    edema."""
    strength, extent, lung = strength_of(finding), extent_of(finding), anatomy.lungs[sign]
    center = lung.point(0.36, 0.52)
    if finding.kind == "alveolar edema":
        wing = (0.105 * extent, 0.17 * extent)
        disease.haze(canvas, airy[sign], center, wing, strength=1.2 * strength)
        disease.patches(canvas, airy[sign], rng, center, wing, strength=0.45 * strength)
        return center + np.array([(-1, -1), (1, 1)]) * wing
    disease.haze(canvas, airy[sign], center, (0.10 * extent, 0.19 * extent), strength=0.5 * strength)
    kerley = []
    for v in np.arange(0.95 - 0.43 * extent, 0.95, 0.032):
        for depth in (0.0, rng.uniform(0.12, 0.2)):
            outer = lung.point(0.985 - depth, v)
            inwards = np.array([-sign * rng.uniform(0.03, 0.05), rng.uniform(-0.004, 0.004)])
            kerley.append(np.array([outer, outer + inwards]))
    canvas.add(canvas.lines(kerley, width=0.006), 0.26 * strength, within=airy[sign])
    hilum = np.array([sign * 0.09 + anatomy.shift, 0.41])
    outwards = directions(np.deg2rad(np.linspace(-75, 80, 12) + rng.uniform(-5, 5, 12))) * (sign, 1)
    streaks = [np.array([hilum + 0.02 * out, hilum + rng.uniform(0.12, 0.2) * out]) for out in outwards]
    canvas.add(canvas.lines(streaks, width=0.010, soft=0.003), 0.16 * strength, within=airy[sign])
    return np.array([(hilum[0], lung.point(0.5, 0.25)[1]), lung.point(1.0, 0.95)])


def _lobe(anatomy: Frontal, sign: int, zone: str) -> np.ndarray:
    """Outline of a filled lobe, wider than the lung; its inner borders are the fissures."""
    lung = anatomy.lungs[sign]
    top, height = lung.wall[0, 1], lung.base[:, 1].min() - lung.wall[0, 1]
    if zone in ("upper", "apical"):
        points = [(0.0, -0.2), (0.6, -0.2), (0.6, 0.50), (0.25, 0.49), (0.0, 0.50)]
        if sign == LEFT:
            points[2:] = [(0.6, 0.40), (0.25, 0.47), (0.0, 0.56)]
    elif zone in ("mid", "perihilar", ""):
        points = [(0.0, 0.50), (0.25, 0.50), (0.6, 0.49), (0.34, 0.62), (0.22, 0.86), (0.12, 1.1), (0.0, 1.1)]
    else:
        points = [(0.0, 0.68), (0.12, 0.65), (0.25, 0.68), (0.6, 0.86), (0.6, 1.5), (0.0, 1.5)]
    return np.array(points) * (sign, height) + (0, top)


def _clip_to_lung(anatomy: Frontal, sign: int, points: np.ndarray) -> np.ndarray:
    outline = anatomy.lungs[sign].outline
    return np.clip(points, outline.min(axis=0), outline.max(axis=0))


def _draw_consolidation(
    canvas: Canvas, anatomy: Frontal, sign: int, airy: Masks, finding: SceneFinding, rng
) -> np.ndarray:
    strength, lung, lobe = strength_of(finding), anatomy.lungs[sign], _lobe(anatomy, sign, finding.zone)
    filled = canvas.fill(lobe, soft=0.003 if finding.zone in ("upper", "mid") else 0.010) * airy[sign]
    if finding.degree != "large":  # only one or a few segments, at the fissure
        lobe = ellipse(lung.point(0.55, ZONES[finding.zone] + 0.04), (SEGMENTS[finding.degree],) * 2)
        filled *= canvas.fill(lobe, soft=0.015)
    canvas.add(filled, 0.52 * strength**0.7)
    start, end = lung.points((0.15, ZONES[finding.zone] - 0.06), (0.8, ZONES[finding.zone] + 0.06))
    disease.bronchogram(canvas, filled, rng, start, end, strength=strength)
    return _clip_to_lung(anatomy, sign, lobe)


def _draw_pneumonia(canvas: Canvas, anatomy: Frontal, sign: int, airy: Masks, finding: SceneFinding, rng) -> np.ndarray:
    radii = np.array([0.095, 0.10]) * extent_of(finding)
    center = _middle(anatomy, sign, finding.zone, rng)
    return disease.patches(canvas, airy[sign], rng, center, radii, strength=strength_of(finding))


def _draw_atelectasis(
    canvas: Canvas, anatomy: Frontal, sign: int, airy: Masks, finding: SceneFinding, rng
) -> np.ndarray:
    strength, lung = strength_of(finding) ** 0.6, anatomy.lungs[sign]
    if finding.kind == "linear atelectasis":
        outlines = []
        for number in range(BANDS[finding.degree]):
            v = ZONES[finding.zone or "lower"] + 0.06 - 0.085 * number + rng.uniform(-0.015, 0.015)
            start = lung.point(rng.uniform(0.28, 0.4), v + 0.02)
            end = lung.point(rng.uniform(0.78, 0.95), v + rng.uniform(-0.06, 0.04))
            bend = rng.uniform(-0.008, 0.012)
            outlines.append(disease.band(canvas, airy[sign], start, end, strength=strength, bend=bend))
        return np.concatenate(outlines)
    part = 1.1 if finding.degree == "large" else 0.75  # of the way from the end of the lung to its middle
    if finding.zone in ("apical", "upper", "mid", "perihilar"):
        edge = lung.points(
            *(np.array([(-0.2, 0.30), (0.12, 0.40), (0.25, 0.30), (0.5, 0.17), (0.85, 0.10)]) * (1, part))
        )
        corners = lung.points((1.1, -0.1), (-0.3, -0.15))
    else:
        rise = np.array([(-0.25, 0.74), (0.16, 0.54), (0.40, 0.32), (0.72, 0.08)]) * (1, part)
        edge = lung.points(*((0, 1.1) + rise * (1, -1)))
        corners = lung.points((0.5, 1.3), (-0.3, 1.3))
    wedge = np.concatenate([curve(edge), corners])
    # airless lung is visible through the heart, so it is not reduced there like air-filled lung
    solid = np.minimum(1.4 * airy[sign], 1)
    canvas.add(canvas.fill(wedge, soft=0.003), 0.56 * strength, within=solid)
    return _clip_to_lung(anatomy, sign, wedge)


def _retracted(lung: Lung, degree: str, is_tension: bool) -> np.ndarray:
    """Edge of a lung that is separated from the wall, from the midline over the top to the diaphragm."""
    top, angle = lung.wall[0, 1], lung.wall[-1, 1]
    height = angle - top
    if is_tension:
        points = [(0.05, 0.25), (0.22, 0.27), (0.36, 0.38), (0.40, 0.52), (0.34, 0.66), (0.18, 0.76), (0.02, 0.78)]
    else:
        apical, lateral, end = {
            "minimal": (0.11, 0.07, 0.45), "small": (0.15, 0.10, 0.62), "": (0.22, 0.2, 0.95),
            "moderate": (0.22, 0.22, 0.95), "large": (0.30, 0.40, 1.0),
        }[degree]  # fmt: skip
        points = [(0.08, apical + 0.02), (0.25, apical), (0.45, apical + 0.02)]
        for v in (0.25, 0.4, 0.6, 0.8):
            gap = lateral * np.clip((end - v) / 0.3, 0, 1)
            if v > apical + 0.06:
                points.append((1.0 - gap, v))
        points += [(1.03 - lateral * (end == 1.0), 0.96), (0.95 - lateral * (end == 1.0), 1.1)]
    edge = []
    for u, v in points:
        y = top + v * height
        edge.append((lung.sign * (0.03 + u * (lung.wall_x(y) - 0.03)), y))
    return curve(edge)


def _draw_pneumothorax(
    canvas: Canvas, anatomy: Frontal, sign: int, airy: Masks, finding: SceneFinding, rng
) -> np.ndarray:
    """Draw a dark rim without vessels outside a fine bright line; removes it from `airy`."""
    strength, lung = 0.75 if finding.uncertain else 1.0, anatomy.lungs[sign]
    is_tension, is_large = finding.kind == "tension pneumothorax", finding.degree == "large"
    edge = _retracted(lung, finding.degree, is_tension)
    bottom = edge[-1, 1] + 0.1 if is_tension or is_large else 1.2
    collapsed = canvas.fill(np.concatenate([edge, [(0.0, bottom), (0.0, edge[0, 1])]]))
    whole = airy[sign]
    airy[sign] = whole * collapsed
    canvas.add(whole - airy[sign], -0.17 * strength)
    canvas.add(airy[sign], 0.16 if is_tension else 0.10 if is_large else 0.05)
    canvas.add(canvas.lines([edge], width=0.007), 0.26 * strength, within=whole)
    if is_tension:
        return lung.outline
    wall = np.stack([sign * lung.wall_x(edge[:, 1]), edge[:, 1]], axis=1)
    is_apart = (np.abs(wall[:, 0] - edge[:, 0]) > 0.015) & (edge[:, 1] < lung.wall[-1, 1])
    return np.concatenate([edge[is_apart], wall[is_apart], lung.wall[:1]])


def _draw_effusion(canvas: Canvas, anatomy: Frontal, sign: int, airy: Masks, finding: SceneFinding, rng) -> np.ndarray:
    """Draw fluid that hides the diaphragm and rises along the wall in a meniscus; removes it from `airy`."""
    strength, lung = 0.6 if finding.uncertain else 1.0, anatomy.lungs[sign]
    dome, angle, width, top = lung.base[:, 1].min(), lung.wall[-1, 1], abs(lung.wall[-1, 0]), lung.wall[0, 1]
    level, climb, inner = {
        "minimal": (dome + 0.045, 0.035, 0.45), "small": (dome - 0.005, 0.06, 0.12), "": (dome - 0.09, 0.09, 0.0),
        "moderate": (dome - 0.10, 0.09, 0.0), "large": (top + 0.38 * (dome - top), 0.10, 0.0),
    }[finding.degree]  # fmt: skip
    level += rng.uniform(-0.01, 0.01)
    u = np.linspace(0, 1, 14)
    x = width * (inner + (1.03 - inner) * u)
    fall = 0.10 * (1 - u) ** 3 if inner else 0.0
    y = level + 0.25 * climb - climb * u**3.5 - 0.3 * climb * (1 - u) ** 4 * (inner == 0) + fall
    surface = np.stack([sign * x, y], axis=1)
    fluid = np.concatenate([surface, [(sign * width * 1.1, angle + 0.1), (sign * width * inner, angle + 0.1)]])
    filled = canvas.fill(fluid, soft=0.005)
    canvas.add(filled, 0.66 * strength, within=airy[sign])
    airy[sign] = airy[sign] * (1 - strength * filled)
    return np.array([(sign * width * max(inner, 0.1), max(angle, y.min() + 0.05)), (sign * width, y.min())])


def _draw_pleural_other(
    canvas: Canvas, anatomy: Frontal, sign: int, lungs: Masks, finding: SceneFinding, rng
) -> np.ndarray:
    """Draw pleural thickening (a bright band inside the wall) or plaques (sharp calcified patches)."""
    draw = _draw_thickening if finding.kind == "pleural thickening" else _draw_plaques
    return draw(canvas, anatomy.lungs[sign], lungs[sign], finding, rng)


def _draw_thickening(canvas: Canvas, lung: Lung, mask: np.ndarray, finding: SceneFinding, rng) -> np.ndarray:
    is_cap = finding.zone in ("apical", "upper")
    edge = np.concatenate([lung.medial[9::-1], lung.wall[1:25]]) if is_cap else lung.wall[18:]
    strength = strength_of(finding)
    thick = 0.010 + 0.038 * extent_of(finding) + 0.012 * is_cap
    # overlapping pieces of different thickness make the inner border wavy
    starts = range(0, len(edge) - 3, 5)
    stretches = [canvas.lines([edge[i : i + 7]], width=2 * thick * rng.uniform(0.75, 1.1)) for i in starts]
    canvas.add(np.maximum.reduce(stretches), 0.50 * strength**0.5, within=mask)
    return np.concatenate([edge, edge - np.array([lung.sign * thick, 0.0])])


def _draw_plaques(canvas: Canvas, lung: Lung, mask: np.ndarray, finding: SceneFinding, rng) -> np.ndarray:
    """Draw calcified plaques with dense borders on the chest wall, and on the diaphragm."""
    angle = np.linspace(0, 2 * np.pi, 11, endpoint=False)
    outlines = []
    for _ in range({"minimal": 1, "small": 2, "large": 8}.get(finding.degree, 4)):
        reach = rng.uniform(0.35, 1.15, 11) * rng.uniform(0.020, 0.032)
        leaf = np.stack([1.5 * reach * np.cos(angle), reach * np.sin(angle)], axis=1)
        outlines.append(lung.point(rng.uniform(0.45, 0.88), rng.uniform(0.45, 0.9)) + leaf)
    x = np.linspace(0.35, 0.7, 7) * abs(lung.wall[-1, 0])
    crest = np.stack([lung.sign * x, lung.base_y(x) - 0.002], axis=1)
    outlines.append(ribbon(crest, 0.011 * rng.uniform(0.7, 1.2, 7)))
    inner = canvas.fill(*(0.75 * outline + 0.25 * outline.mean(axis=0) for outline in outlines))
    canvas.add(canvas.fill(*outlines) * (1 - 0.4 * inner), 0.37 if finding.uncertain else 0.62)
    return np.concatenate(outlines)


DRAWERS = {
    "Lung Opacity": _draw_opacity,
    "Lung Lesion": _draw_lesion,
    "Edema": _draw_edema,
    "Consolidation": _draw_consolidation,
    "Pneumonia": _draw_pneumonia,
    "Atelectasis": _draw_atelectasis,
    "Pneumothorax": _draw_pneumothorax,
    "Pleural Effusion": _draw_effusion,
    "Pleural Other": _draw_pleural_other,
}
"""The drawer for each finding: drawer(canvas, anatomy, sign, masks, finding, rng)."""
