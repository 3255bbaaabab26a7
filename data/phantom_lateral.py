"""The lateral view of a phantom: breastbone at the picture's left, spine at its right, both lungs on one another."""

import numpy as np

from data.phantom_anatomy import Patient, ShapeChange
from data.phantom_canvas import Canvas, curve, ellipse, ribbon
from data.phantom_findings import extent_of, strength_of
from data.phantom_patterns import (
    draw_band,
    draw_cavity,
    draw_haze,
    draw_mass,
    draw_net,
    draw_nodule,
    draw_patches,
)
from data.scene import SceneFinding

_CENTRES = {
    "apical": (0.07, 0.20),
    "upper": (0.02, 0.29),
    "mid": (-0.08, 0.55),
    "perihilar": (0.03, 0.45),
    "lower": (0.15, 0.66),
    "basal": (0.15, 0.74),
    "diffuse": (0.05, 0.50),
    "": (0.05, 0.50),
}
"""Where the zones of a frontal view lie in the lateral one; the middle zone is the middle lobe's, in front."""


def draw_lateral(
    canvas: Canvas,
    patient: Patient,
    change: ShapeChange,
    findings: tuple[SceneFinding, ...],
    rng: np.random.Generator,
    finding_rngs: list[np.random.Generator],
) -> list[tuple[SceneFinding, np.ndarray]]:
    """Draw everything; returns the findings that this view shows, each with an outline."""
    dome = patient.dome - 0.01
    outline = _lung_outline(patient, dome)
    lung = _draw_chest(canvas, patient, change, outline, dome, rng)
    drawn = []
    for finding, finding_rng in zip(findings, finding_rngs, strict=True):
        shown = _draw_finding(canvas, lung, patient, change, dome, finding, finding_rng)
        if shown is not None:
            drawn.append((finding, shown))
    return drawn


def _lung_outline(patient: Patient, dome: float) -> np.ndarray:
    top = patient.apex + 0.03
    front = curve(
        [(0.07, top), (-0.04, top + 0.045), (-0.13, 0.25), (-0.20, 0.38), (-0.245, 0.53), (-0.262, dome + 0.045)]
    )
    base = curve(
        [
            (-0.262, dome + 0.045),
            (-0.20, dome),
            (-0.09, dome - 0.012),
            (0.06, dome + 0.025),
            (0.19, dome + 0.095),
            (0.262, dome + 0.155),
        ]
    )
    back = curve(
        [
            (0.262, dome + 0.155),
            (0.285, dome),
            (0.29, 0.55),
            (0.275, 0.40),
            (0.235, 0.27),
            (0.16, top + 0.025),
            (0.07, top),
        ]
    )
    return np.concatenate([front, base[1:], back[1:-1]])


def _heart(patient: Patient, change: ShapeChange, dome: float) -> np.ndarray:
    large = patient.heart_ratio + change.heart_ratio - 0.44
    return curve(
        [(-0.225, 0.50 - 0.3 * large), (-0.13, 0.41 - 0.2 * large), (-0.02, 0.41), (0.045 + 0.4 * large, 0.48), (0.06 + 0.62 * large, 0.58),
         (0.025 + 0.55 * large, dome + 0.03), (-0.1, dome + 0.05), (-0.22, dome + 0.05), (-0.25, 0.62)],
        closed=True,
    )  # fmt: skip


def _spine() -> np.ndarray:
    return curve([(0.14, -0.1), (0.165, 0.08), (0.215, 0.25), (0.25, 0.45), (0.245, 0.65), (0.205, 0.9), (0.18, 1.1)])


def _draw_chest(
    canvas: Canvas, patient: Patient, change: ShapeChange, outline: np.ndarray, dome: float, rng
) -> np.ndarray:
    fat = patient.fat
    bust = 0.07 + 0.05 * fat if patient.is_female else 0.0
    front = curve(
        [
            (-0.09, -0.2),
            (-0.09, 0.04),
            (-0.16, 0.16),
            (-0.25 - 0.02 * fat, 0.35),
            (-0.285 - bust, 0.55),
            (-0.29 - 0.5 * bust, 0.66),
            (-0.295 - 0.05 * fat, 0.8),
            (-0.31 - 0.07 * fat, 1.3),
        ]
    )
    back = curve(
        [
            (0.34, 1.3),
            (0.33 + 0.03 * fat, 0.85),
            (0.36 + 0.03 * fat, 0.5),
            (0.33 + 0.03 * fat, 0.25),
            (0.27, 0.05),
            (0.24, -0.2),
        ]
    )
    body = np.concatenate([front, back])
    canvas.add(canvas.fill(body, soft=0.008), 0.62)
    canvas.add(canvas.fill(body, soft=0.05), 0.45)
    arm = curve([(-0.16, -0.2), (-0.10, 0.08), (0.02, 0.17), (0.16, 0.17), (0.3, 0.06), (0.3, -0.2)])
    canvas.add(canvas.fill(arm, soft=0.012), 0.35)
    canvas.add(
        canvas.fill(ribbon(curve([(-0.08, -0.2), (-0.02, 0.0), (0.06, 0.13)]), 0.06), soft=0.004), 0.2 * patient.bone
    )
    lung = canvas.fill(outline)
    canvas.add(lung, -0.48)
    canvas.add(canvas.fill(outline, soft=0.035), -0.22, within=lung)

    spine = _spine()
    canvas.add(canvas.fill(ribbon(spine, 0.080), soft=0.003), 0.20 * patient.bone)
    normals = ribbon(spine, 0.072)
    half = len(spine)
    discs = [np.array([normals[i], normals[2 * half - 1 - i]]) for i in range(2, half, 3)]
    canvas.add(canvas.lines(discs, width=0.010, soft=0.002), -0.13 * patient.bone)
    ribs = []
    for number in range(8):
        y = 0.17 + 0.075 * number
        ribs.append(
            ribbon(
                curve([(0.30, y), (0.26, y + 0.05), (0.05, y + 0.14), (-0.16, y + 0.21)]), np.linspace(0.018, 0.014, 25)
            )
        )
    canvas.add(canvas.fill(*ribs, soft=0.002), 0.05 * patient.bone, within=lung)
    breastbone = curve([(-0.115, 0.17), (-0.175, 0.27), (-0.235, 0.40), (-0.268, 0.52)])
    canvas.add(canvas.fill(ribbon(breastbone, 0.022), soft=0.002), 0.28 * patient.bone)
    blade = ribbon(curve([(0.12, 0.08), (0.20, 0.22), (0.25, 0.38)]), 0.014)
    canvas.add(canvas.fill(blade, soft=0.002), 0.10 * patient.bone)

    heart = canvas.fill(_heart(patient, change, dome), soft=0.006)
    canvas.add(heart, 0.46, within=lung)
    wide = 0.055 + 0.5 * change.mediastinum + 0.03 * change.aorta
    arch = curve(
        [
            (-0.05, 0.43),
            (-0.045, 0.31),
            (0.03, 0.245),
            (0.115, 0.275),
            (0.15 + 0.02 * change.aorta, 0.42),
            (0.165, 0.62),
            (0.16, 0.85),
        ]
    )
    canvas.add(
        canvas.fill(ribbon(arch, wide), soft=0.006),
        0.09 + 0.08 * min(change.aorta, 1) + 1.2 * change.mediastinum,
        within=lung,
    )
    windpipe = ribbon(curve([(0.02, -0.1), (0.035, 0.1), (0.065, 0.36)]), 0.034)
    canvas.add(canvas.fill(windpipe, soft=0.003), -0.16)
    hilum = np.array([0.045, 0.41])
    canvas.add(canvas.blob(hilum, (0.035, 0.045)), 0.26)
    t = np.linspace(0, 1, 6)
    lines = []
    for angle in np.deg2rad(np.linspace(0, 360, 18, endpoint=False) + rng.uniform(-9, 9, 18)):
        direction = angle + rng.uniform(-0.5, 0.5) * t
        steps = np.stack([np.cos(direction), np.sin(direction)], axis=1) * rng.uniform(0.16, 0.28) / 5
        path = hilum + np.cumsum(steps, axis=0)
        lines += [path, path[2] + 0.5 * (path[2:] - path[2]) @ np.array([[0.88, 0.48], [-0.48, 0.88]])]
    canvas.add(canvas.lines(lines, width=0.007, soft=0.0015), 0.10 * patient.vessels, within=lung)
    return lung


def _draw_finding(canvas, lung, patient, change, dome, finding: SceneFinding, rng) -> np.ndarray | None:
    """Draws one finding where a lateral view would show it; its outline, or None where it would not."""
    strength, extent, kind = strength_of(finding), extent_of(finding), finding.kind
    x, y = _CENTRES[finding.zone]
    centre = np.array([x + rng.uniform(-0.02, 0.02), y + rng.uniform(-0.02, 0.02)])
    if kind == "enlarged heart":
        return _heart(patient, change, dome)
    if kind in ("tortuous aorta", "widened mediastinum"):
        return np.array([(-0.09, 0.21), (0.20, 0.42 if kind == "widened mediastinum" else 0.62)])
    if kind == "hazy opacity":
        return draw_haze(canvas, lung, centre, (0.11 * extent, 0.11 * extent), strength=strength)
    if kind == "interstitial opacity":
        return draw_net(
            canvas, lung, rng, centre, (0.17, 0.24) if finding.zone == "diffuse" else (0.13, 0.11), strength=strength
        )
    if kind == "nodule":
        return draw_nodule(canvas, rng, centre, 0.028 * extent**0.7, strength=strength**0.5)
    if kind == "mass":
        return draw_mass(canvas, rng, centre, 0.062 * extent, strength=strength**0.5)
    if kind == "cavitary lesion":
        return draw_cavity(canvas, rng, centre, 0.062 * extent, strength=strength**0.5)
    if kind == "interstitial edema":
        draw_haze(canvas, lung, (0.04, 0.45), (0.13, 0.18), strength=0.6 * strength)
        return draw_net(canvas, lung, rng, (0.05, 0.55), (0.15, 0.2), strength=0.5 * strength)
    if kind == "alveolar edema":
        draw_patches(canvas, lung, rng, (0.04, 0.46), (0.13, 0.16), strength=0.5 * strength)
        return draw_haze(canvas, lung, (0.04, 0.46), (0.13, 0.17), strength=1.2 * strength)
    if kind == "bronchopneumonia":
        return draw_patches(canvas, lung, rng, centre, (0.09 * extent, 0.09 * extent), strength=strength)
    if kind == "linear atelectasis":
        return np.concatenate(
            [
                draw_band(
                    canvas, centre + (-0.10, 0.02 - s), centre + (0.07, -0.02 - s), width=0.014, strength=strength**0.6
                )
                for s in (0.0, 0.05)
            ]
        )
    if kind in ("lobar consolidation", "lobar collapse"):
        area = _lobe(finding.zone, dome, small=kind == "lobar collapse")
        canvas.add(canvas.fill(area, soft=0.004), 0.44 * strength**0.7, within=lung)
        return area.clip((-0.26, patient.apex + 0.03), (0.285, dome + 0.15))
    if kind == "pleural effusion":
        return _draw_effusion(canvas, lung, dome, finding)
    if kind == "calcified plaque":
        crest = curve([(-0.14, dome - 0.010), (-0.06, dome - 0.010), (0.02, dome + 0.010)])
        canvas.add(canvas.fill(ribbon(crest, 0.013)), 0.6)
        return crest + np.array([[0.0, -0.008]])
    return _draw_device(canvas, patient, dome, finding)


def _lobe(zone: str, dome: float, *, small: bool) -> np.ndarray:
    """The part of the lung in front of, or behind, the fissures."""
    if zone in ("upper", "apical"):
        if small:
            return np.array([(-0.3, 0.1), (-0.3, 0.34), (-0.1, 0.30), (0.05, 0.36), (0.03, 0.2), (0.1, 0.05)])
        return np.array([(-0.3, 0.05), (-0.3, 0.46), (0.0, 0.46), (0.14, 0.33), (0.20, 0.22), (0.2, 0.05)])
    if zone in ("mid", "perihilar", ""):
        return np.array([(-0.3, 0.48), (0.0, 0.47), (-0.08, 0.62), (-0.17, dome + 0.1), (-0.3, dome + 0.1)])
    if small:
        return np.array([(0.10, 0.45), (0.33, 0.58), (0.33, dome + 0.2), (0.12, dome + 0.2)])
    return np.array([(0.20, 0.34), (0.33, 0.36), (0.33, dome + 0.25), (-0.08, dome + 0.1), (0.02, 0.60)])


def _draw_effusion(canvas: Canvas, lung: np.ndarray, dome: float, finding: SceneFinding) -> np.ndarray:
    level = {"minimal": 0.085, "small": 0.04, "": -0.06, "moderate": -0.06, "large": -0.22}[finding.degree] + dome
    inner = 0.12 if finding.degree == "minimal" else 0.0 if finding.degree == "small" else -0.3
    surface = curve(
        [
            (inner, level + 0.06),
            (inner + 0.10, level + 0.035),
            (0.16, level + 0.02),
            (0.24, level - 0.02),
            (0.32, level - 0.10),
        ]
    )
    fluid = np.concatenate([surface, [(0.34, dome + 0.3), (inner, dome + 0.3)]])
    canvas.add(canvas.fill(fluid, soft=0.005), 0.48 * (0.6 if finding.uncertain else 1.0), within=lung)
    return np.array([(max(inner, -0.24), level - 0.04), (0.28, dome + 0.13)])


def _draw_device(canvas: Canvas, patient: Patient, dome: float, finding: SceneFinding) -> np.ndarray | None:
    if finding.kind == "pacemaker":
        box = ellipse((-0.15, 0.22), (0.020, 0.050), degrees=28)
        lead = curve([(-0.13, 0.20), (-0.02, 0.17), (0.0, 0.30), (-0.02, 0.5), (-0.15, dome - 0.02)])
        canvas.add(canvas.fill(box), 0.85)
        canvas.add(canvas.lines([lead], width=0.008), 0.55)
        return np.concatenate([box, lead])
    if finding.kind == "sternotomy wires":
        places = curve([(-0.155, 0.24), (-0.215, 0.36), (-0.262, 0.52)], per_segment=3)[:6]
        loops = [ellipse(place, (0.014, 0.010)) for place in places]
        canvas.add(canvas.lines([np.concatenate([loop, loop[:1]]) for loop in loops], width=0.008), 0.62)
        return np.concatenate(loops)
    lines = {
        "endotracheal tube": [(0.02, -0.1), (0.033, 0.1), (0.05, 0.26)],
        "nasogastric tube": [(0.06, -0.1), (0.09, 0.2), (0.10, 0.5), (0.04, dome + 0.08), (-0.06, dome + 0.14)],
        "central venous catheter": [(-0.03, -0.1), (-0.03, 0.15), (-0.02, 0.38)],
        "PICC line": [(-0.05, -0.1), (-0.02, 0.12), (-0.02, 0.38)],
        "chest tube": [(0.42, 0.62), (0.24, 0.55), (0.12, 0.35), (0.10, 0.2)],
    }.get(finding.kind)
    if lines is None:
        return None
    line = curve(lines)
    canvas.add(
        canvas.lines([line], width=0.016 if "tube" in finding.kind and "naso" not in finding.kind else 0.009), 0.42
    )
    return line.clip((-0.5, 0.0), (0.5, 1.0))
