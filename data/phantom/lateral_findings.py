"""Findings in the lateral view of a phantom; both sides lie on one another, so each finding is drawn once."""

import numpy as np

from data.phantom.canvas import Canvas, curve, ellipse, ribbon
from data.phantom.findings import extent_of, strength_of
from data.phantom.lateral import Lateral
from data.phantom.patterns import (
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
    "mid": (-0.06, 0.55),
    "perihilar": (0.03, 0.45),
    "lower": (0.15, 0.64),
    "basal": (0.16, 0.71),
    "diffuse": (0.05, 0.50),
    "": (0.05, 0.50),
}
"""Where the zones of a frontal view lie in the lateral one; the middle zone is the middle lobe's, in front."""

_LINES = {
    "endotracheal tube": [(0.02, -0.1), (0.033, 0.1), (0.05, 0.26)],
    "nasogastric tube": [(0.06, -0.1), (0.09, 0.2), (0.10, 0.5), (0.04, 0.80), (-0.06, 0.88)],
    "central venous catheter": [(-0.03, -0.1), (-0.03, 0.15), (-0.02, 0.38)],
    "PICC line": [(-0.05, -0.1), (-0.02, 0.12), (-0.02, 0.38)],
    "chest tube": [(0.42, 0.62), (0.24, 0.55), (0.12, 0.35), (0.10, 0.2)],
}


def draw_lateral_finding(
    canvas: Canvas, anatomy: Lateral, airy: np.ndarray, finding: SceneFinding, rng: np.random.Generator
) -> np.ndarray | None:
    """Draws a finding; returns its outline, or None for one that a lateral view does not show."""
    if finding.finding == "Cardiomegaly":
        return np.minimum(anatomy.heart, (1.0, anatomy.dome + 0.02))
    if finding.finding == "Enlarged Cardiomediastinum":
        return np.array([(-0.09, 0.21), (0.20, 0.42 if finding.kind == "widened mediastinum" else 0.62)])
    if finding.kind in ("lobar consolidation", "lobar collapse"):
        return _draw_lobe(canvas, anatomy, airy, finding)
    if finding.finding == "Pleural Effusion":
        return _draw_effusion(canvas, anatomy, airy, finding)
    if finding.kind == "calcified plaque":
        dome = anatomy.dome
        crest = curve([(-0.14, dome - 0.010), (-0.06, dome - 0.010), (0.02, dome + 0.010)])
        outline = ribbon(crest, 0.014)
        canvas.add(canvas.fill(outline), 0.6)
        return outline
    if finding.finding == "Support Devices":
        return _draw_device(canvas, anatomy, finding)
    return _draw_lung_finding(canvas, anatomy, airy, finding, rng)


def _draw_lung_finding(canvas, anatomy: Lateral, airy: np.ndarray, finding: SceneFinding, rng) -> np.ndarray | None:
    strength, extent = strength_of(finding), extent_of(finding)
    centre = np.array(_CENTRES[finding.zone]) + rng.uniform(-0.02, 0.02, 2)
    match finding.kind:
        case "hazy opacity":
            return draw_haze(canvas, airy, centre, (0.11 * extent, 0.11 * extent), strength=strength)
        case "interstitial opacity":
            radii = (0.17, 0.24) if finding.zone == "diffuse" else (0.13, 0.11)
            return draw_net(canvas, airy, rng, centre, radii, strength=strength)
        case "nodule":
            return draw_nodule(canvas, rng, centre, 0.031 * extent**0.7, strength=strength**0.5)
        case "mass":
            return draw_mass(canvas, rng, centre, 0.062 * extent, strength=strength**0.5)
        case "cavitary lesion":
            return draw_cavity(canvas, rng, centre, 0.062 * extent, strength=strength**0.5)
        case "interstitial edema":
            draw_haze(canvas, airy, (0.04, 0.45), (0.13, 0.18), strength=0.6 * strength)
            return draw_net(canvas, airy, rng, (0.05, 0.55), (0.15, 0.2), strength=0.5 * strength)
        case "alveolar edema":
            draw_patches(canvas, airy, rng, (0.04, 0.46), (0.13, 0.16), strength=0.4 * strength)
            return draw_haze(canvas, airy, (0.04, 0.46), (0.13, 0.17), strength=1.2 * strength)
        case "bronchopneumonia":
            return draw_patches(canvas, airy, rng, centre, (0.09 * extent, 0.09 * extent), strength=strength)
        case "linear atelectasis":
            ends = np.array([(-0.10, 0.02), (0.07, -0.02)])
            bands = [centre + ends - (0, rise) for rise in (0.0, 0.05)]
            return np.concatenate([draw_band(canvas, airy, *band, strength=strength**0.6) for band in bands])
    return None


def _draw_lobe(canvas: Canvas, anatomy: Lateral, airy: np.ndarray, finding: SceneFinding) -> np.ndarray:
    """The lung in front of, or behind, the fissures; a collapsed lobe is a narrow wedge there."""
    dome, is_collapse = anatomy.dome, finding.kind == "lobar collapse"
    if finding.zone in ("upper", "apical"):
        area = [(-0.3, 0.05), (-0.3, 0.46), (0.0, 0.46), (0.14, 0.33), (0.20, 0.22), (0.2, 0.05)]
        if is_collapse:
            area = [(-0.3, 0.1), (-0.3, 0.34), (-0.1, 0.30), (0.05, 0.36), (0.03, 0.2), (0.1, 0.05)]
    elif finding.zone in ("mid", "perihilar", ""):
        area = [(-0.3, 0.48), (0.0, 0.47), (-0.08, 0.62), (-0.17, dome + 0.1), (-0.3, dome + 0.1)]
    elif is_collapse:
        area = [(0.10, 0.45), (0.33, 0.58), (0.33, dome + 0.2), (0.12, dome + 0.2)]
    else:
        area = [(0.20, 0.34), (0.33, 0.36), (0.33, dome + 0.25), (-0.08, dome + 0.1), (0.02, 0.60)]
    filled = canvas.fill(np.array(area), soft=0.004)
    if finding.degree in ("minimal", "small") and not is_collapse:  # only a segment, as in the frontal view
        segment = np.array(_CENTRES[finding.zone]), (0.085, 0.085)
        filled = filled * canvas.fill(ellipse(*segment), soft=0.015)
        area = ellipse(*segment)
    canvas.add(filled, 0.46 * strength_of(finding) ** 0.7, within=airy)
    return np.clip(area, anatomy.lung.min(axis=0), anatomy.lung.max(axis=0))


def _draw_effusion(canvas: Canvas, anatomy: Lateral, airy: np.ndarray, finding: SceneFinding) -> np.ndarray:
    """Fluid gathers behind first, and climbs the back wall."""
    dome = anatomy.dome
    level = dome + {"minimal": 0.085, "small": 0.04, "": -0.06, "moderate": -0.06, "large": -0.22}[finding.degree]
    inner = {"minimal": 0.12, "small": 0.0}.get(finding.degree, -0.3)
    rise = [(inner, 0.06), (inner + 0.10, 0.035), (0.16, 0.02), (0.24, -0.02), (0.32, -0.10)]
    surface = curve(rise) + np.array([0.0, level])
    fluid = np.concatenate([surface, [(0.34, dome + 0.3), (inner, dome + 0.3)]])
    canvas.add(canvas.fill(fluid, soft=0.005), 0.50 * (0.6 if finding.uncertain else 1.0), within=airy)
    return np.array([(max(inner, -0.24), level - 0.04), (0.28, dome + 0.13)])


def _draw_device(canvas: Canvas, anatomy: Lateral, finding: SceneFinding) -> np.ndarray:
    if finding.kind == "pacemaker":
        box = ellipse((-0.15, 0.22), (0.020, 0.050), degrees=28)
        lead = curve([(-0.13, 0.20), (-0.02, 0.17), (0.0, 0.30), (-0.02, 0.5), (-0.15, anatomy.dome - 0.02)])
        canvas.add(canvas.fill(box), 0.85)
        canvas.add(canvas.lines([lead], width=0.008), 0.55)
        return np.concatenate([box, lead])
    if finding.kind == "sternotomy wires":
        places = curve([(-0.155, 0.24), (-0.215, 0.36), (-0.262, 0.52)], per_segment=3)[:6]
        loops = [ellipse(place, (0.014, 0.010)) for place in places]
        canvas.add(canvas.lines([np.concatenate([loop, loop[:1]]) for loop in loops], width=0.007), 0.60)
        return np.concatenate(loops)
    line = curve(_LINES[finding.kind])
    thick = 0.016 if finding.kind in ("endotracheal tube", "chest tube") else 0.009
    canvas.add(canvas.lines([line], width=thick), 0.42)
    return line.clip((-0.5, 0.0), (0.5, 1.0))
