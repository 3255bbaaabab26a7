"""Findings of the pleural space in a frontal phantom: pneumothorax, effusion, thickening, calcified plaques."""

import numpy as np

from data.phantom.anatomy import SIDES, Frontal, Lung
from data.phantom.canvas import Canvas, curve, ribbon
from data.phantom.findings import strength_of
from data.scene import SceneFinding


def _retracted(lung: Lung, degree: str, is_tension: bool) -> np.ndarray:
    """Edge of the lung that has come away from the wall, from the midline over the top to the diaphragm."""
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
        edge.append((lung.side * (0.03 + u * (lung.wall_x(y) - 0.03)), y))
    return curve(edge)


def draw_pneumothorax(canvas: Canvas, anatomy: Frontal, airy: dict, finding: SceneFinding, rng) -> list[np.ndarray]:
    """A dark rim without vessels outside a fine bright line; takes its part out of `airy`."""
    strength = 0.75 if finding.uncertain else 1.0
    drawn = []
    for side in SIDES[finding.side]:
        lung = anatomy.lungs[side]
        is_tension = finding.kind == "tension pneumothorax"
        edge = _retracted(lung, finding.degree, is_tension)
        bottom = edge[-1, 1] + 0.1 if is_tension or finding.degree == "large" else 1.2
        collapsed = canvas.fill(np.concatenate([edge, [(0.0, bottom), (0.0, edge[0, 1])]]))
        whole = airy[side]
        airy[side] = whole * collapsed
        canvas.add(whole - airy[side], -0.17 * strength)
        canvas.add(airy[side], 0.16 if is_tension else 0.10 if finding.degree == "large" else 0.05)
        canvas.add(canvas.lines([edge], width=0.007), 0.26 * strength, within=whole)
        if is_tension:
            drawn.append(lung.outline)
            continue
        wall = np.stack([side * lung.wall_x(edge[:, 1]), edge[:, 1]], axis=1)
        is_apart = (np.abs(wall[:, 0] - edge[:, 0]) > 0.015) & (edge[:, 1] < lung.wall[-1, 1])
        drawn.append(np.concatenate([edge[is_apart], wall[is_apart], lung.wall[:1]]))
    return drawn


def draw_effusion(canvas: Canvas, anatomy: Frontal, airy: dict, finding: SceneFinding, rng) -> list[np.ndarray]:
    """Fluid that hides the diaphragm and climbs the wall in a meniscus; takes its part out of `airy`."""
    strength = 0.6 if finding.uncertain else 1.0
    drawn = []
    for side in SIDES[finding.side]:
        lung = anatomy.lungs[side]
        dome, angle, width = lung.base[:, 1].min(), lung.wall[-1, 1], abs(lung.wall[-1, 0])
        top = lung.wall[0, 1]
        level, climb = {
            "minimal": (dome + 0.045, 0.035), "small": (dome - 0.005, 0.06), "": (dome - 0.09, 0.09),
            "moderate": (dome - 0.10, 0.09), "large": (top + 0.38 * (dome - top), 0.10),
        }[finding.degree]  # fmt: skip
        level += rng.uniform(-0.01, 0.01)
        inner = 0.0 if finding.degree in ("moderate", "large", "") else 0.12 if finding.degree == "small" else 0.45
        u = np.linspace(0, 1, 14)
        x = width * (inner + (1.03 - inner) * u)
        fall = 0.10 * (1 - u) ** 3 if inner else 0.0
        y = level + 0.25 * climb - climb * u**3.5 - 0.3 * climb * (1 - u) ** 4 * (inner == 0) + fall
        surface = np.stack([side * x, y], axis=1)
        fluid = np.concatenate([surface, [(side * width * 1.1, angle + 0.1), (side * width * inner, angle + 0.1)]])
        filled = canvas.fill(fluid, soft=0.005)
        canvas.add(filled, 0.66 * strength, within=airy[side])
        airy[side] = airy[side] * (1 - strength * filled)
        drawn.append(np.array([(side * width * max(inner, 0.1), max(angle, y.min() + 0.05)), (side * width, y.min())]))
    return drawn


def draw_pleural_other(canvas: Canvas, anatomy: Frontal, lungs: dict, finding: SceneFinding, rng) -> list[np.ndarray]:
    """Thickening: a bright band inside the wall. Plaques: hard-edged patches of chalk."""
    draw = _draw_thickening if finding.kind == "pleural thickening" else _draw_plaques
    return [draw(canvas, anatomy.lungs[side], lungs[side], finding, rng) for side in SIDES[finding.side]]


def _draw_thickening(canvas: Canvas, lung: Lung, mask: np.ndarray, finding: SceneFinding, rng) -> np.ndarray:
    is_cap = finding.zone in ("apical", "upper")
    edge = np.concatenate([lung.medial[9::-1], lung.wall[1:25]]) if is_cap else lung.wall[18:]
    strength = strength_of(finding)
    thick = 0.030 + 0.017 * strength + 0.012 * is_cap
    # overlapping stretches, each of its own thickness, make the inner border wavy
    starts = range(0, len(edge) - 3, 5)
    stretches = [canvas.lines([edge[i : i + 7]], width=2 * thick * rng.uniform(0.75, 1.1)) for i in starts]
    canvas.add(np.maximum.reduce(stretches), 0.50 * strength**0.5, within=mask)
    return np.concatenate([edge, edge - np.array([lung.side * thick, 0.0])])


def _draw_plaques(canvas: Canvas, lung: Lung, mask: np.ndarray, finding: SceneFinding, rng) -> np.ndarray:
    """Chalk on the chest wall, like holly leaves with a rolled border, and on the diaphragm."""
    angle = np.linspace(0, 2 * np.pi, 11, endpoint=False)
    outlines = []
    for _ in range({"minimal": 2, "small": 3, "large": 6}.get(finding.degree, 4)):
        reach = rng.uniform(0.35, 1.15, 11) * rng.uniform(0.020, 0.032)
        leaf = np.stack([1.5 * reach * np.cos(angle), reach * np.sin(angle)], axis=1)
        outlines.append(lung.point(rng.uniform(0.45, 0.88), rng.uniform(0.45, 0.9)) + leaf)
    x = np.linspace(0.35, 0.7, 7) * abs(lung.wall[-1, 0])
    crest = np.stack([lung.side * x, lung.base_y(x) - 0.002], axis=1)
    outlines.append(ribbon(crest, 0.011 * rng.uniform(0.7, 1.2, 7)))
    inner = canvas.fill(*(0.75 * outline + 0.25 * outline.mean(axis=0) for outline in outlines))
    canvas.add(canvas.fill(*outlines) * (1 - 0.4 * inner), 0.37 if finding.uncertain else 0.62)
    return np.concatenate(outlines)
