"""Draw the lateral view of a phantom: sternum on the left of the image, spine on the right.

Both lungs overlap in this view, so each finding is drawn once.
"""

from dataclasses import dataclass

import numpy as np

from data.synthetic.phantom import disease
from data.synthetic.phantom.anatomy import Patient, ShapeChange
from data.synthetic.phantom.canvas import Canvas, curve, directions, ellipse, ribbon
from data.synthetic.phantom.findings import BANDS, SEGMENTS, extent_of, strength_of
from data.synthetic.scene import SceneFinding

_SPINE = curve([(0.14, -0.1), (0.165, 0.08), (0.215, 0.25), (0.25, 0.45), (0.245, 0.65), (0.205, 0.9), (0.18, 1.1)])
_EDGES = ribbon(_SPINE, 0.072)
_DISCS = [np.array([_EDGES[i], _EDGES[len(_EDGES) - 1 - i]]) for i in range(2, len(_SPINE), 3)]
_BREASTBONE = curve([(-0.115, 0.17), (-0.175, 0.27), (-0.235, 0.40), (-0.268, 0.52)])
_WINDPIPE = curve([(0.02, -0.1), (0.035, 0.1), (0.065, 0.36)])
_BLADE = curve([(0.12, 0.08), (0.20, 0.22), (0.25, 0.38)])
_ARM = curve([(-0.16, -0.2), (-0.10, 0.08), (0.02, 0.17), (0.16, 0.17), (0.3, 0.06), (0.3, -0.2)])
_UPPER_ARM = curve([(-0.08, -0.2), (-0.02, 0.0), (0.06, 0.13)])
_RIBS = [
    ribbon(curve([(0.30, y), (0.26, y + 0.05), (0.05, y + 0.14), (-0.16, y + 0.21)]), np.linspace(0.018, 0.014, 25))
    for y in 0.17 + 0.075 * np.arange(8)
]
_HILUM = np.array([0.045, 0.41])


@dataclass(frozen=True, kw_only=True, slots=True)
class Lateral:
    """Outlines of a lateral chest; `dome` is the height of the anterior diaphragm."""

    patient: Patient
    dome: float
    lung: np.ndarray
    heart: np.ndarray
    aorta: np.ndarray


def build_lateral(patient: Patient, change: ShapeChange) -> Lateral:
    """The outlines of the lateral view of a patient."""
    dome, top = patient.dome - 0.01, patient.apex + 0.03
    front = [(0.07, top), (-0.04, top + 0.045), (-0.13, 0.25), (-0.20, 0.38), (-0.245, 0.53), (-0.262, dome + 0.045)]
    base = [front[-1], (-0.20, dome), (-0.09, dome - 0.012), (0.06, dome + 0.025), (0.19, dome + 0.095)]
    base.append((0.262, dome + 0.155))
    back = [base[-1], (0.285, dome), (0.29, 0.55), (0.275, 0.40), (0.235, 0.27), (0.16, top + 0.025), (0.07, top)]
    large = patient.heart_ratio + change.heart_ratio - 0.44
    heart = [(-0.225, 0.50 - 0.3 * large), (-0.13, 0.41 - 0.2 * large), (-0.02, 0.41), (0.045 + 0.4 * large, 0.48)]
    heart += [(0.06 + 0.62 * large, 0.58), (0.025 + 0.55 * large, dome + 0.03), (-0.1, dome + 0.05)]
    heart += [(-0.22, dome + 0.05), (-0.25, 0.62)]
    bend = 0.02 * change.aorta
    aorta = [(-0.05, 0.43), (-0.045, 0.31), (0.03, 0.245), (0.115, 0.275), (0.15 + bend, 0.42)]
    aorta = curve([*aorta, (0.165 + 0.5 * bend, 0.62), (0.16, 0.85)])
    return Lateral(
        patient=patient,
        dome=dome,
        lung=np.concatenate([curve(front), curve(base)[1:], curve(back)[1:-1]]),
        heart=curve(heart, closed=True),
        aorta=ribbon(aorta, 0.055 + 0.5 * change.mediastinum + 0.03 * change.aorta),
    )


def draw_lateral_chest(canvas: Canvas, anatomy: Lateral, change: ShapeChange, rng: np.random.Generator) -> np.ndarray:
    """Draw the normal chest; returns the mask of air-filled lung, weaker where the heart is between the lungs."""
    patient = anatomy.patient
    _draw_body(canvas, patient)
    lung = canvas.fill(anatomy.lung)
    canvas.add(lung, -0.48)
    canvas.add(canvas.fill(anatomy.lung, soft=0.035), -0.22, within=lung)
    belly = np.clip((canvas.y - anatomy.dome + 0.02) * 8, 0, 1)
    canvas.add(belly - belly * lung, 0.12)
    _draw_bones(canvas, patient, lung)

    heart = canvas.fill(anatomy.heart, soft=0.006)
    canvas.add(heart, 0.52, within=lung)
    aorta = 0.09 + 0.08 * min(change.aorta, 1) + 1.2 * change.mediastinum
    canvas.add(canvas.fill(anatomy.aorta, soft=0.006), aorta, within=lung)
    canvas.add(canvas.fill(ribbon(_WINDPIPE, 0.034), soft=0.003), -0.16)
    airy = lung * (1 - 0.5 * heart)
    _draw_vessels(canvas, patient, airy, rng)
    return airy


def _draw_body(canvas: Canvas, patient: Patient) -> None:
    fat = patient.fat
    bust = 0.07 + 0.05 * fat if patient.is_female else 0.0
    front = [(-0.09, -0.2), (-0.09, 0.04), (-0.16, 0.16), (-0.25 - 0.02 * fat, 0.35), (-0.285 - bust, 0.55)]
    front += [(-0.29 - 0.5 * bust, 0.66), (-0.295 - 0.05 * fat, 0.8), (-0.31 - 0.07 * fat, 1.3)]
    back = [(0.34, 1.3), (0.33, 0.85), (0.36, 0.5), (0.33, 0.25), (0.27, 0.05), (0.24, -0.2)]
    padding = 0.03 * fat * np.array([[0, 0], [1, 0], [1, 0], [1, 0], [0, 0], [0, 0]])
    body = np.concatenate([curve(front), curve(back + padding)])
    canvas.add(canvas.fill(body, soft=0.008), 0.62)
    canvas.add(canvas.fill(body, soft=0.05), 0.45)
    canvas.add(canvas.fill(_ARM, soft=0.012), 0.35)
    canvas.add(canvas.fill(ribbon(_UPPER_ARM, 0.06), soft=0.004), 0.2 * patient.bone)


def _draw_bones(canvas: Canvas, patient: Patient, lung: np.ndarray) -> None:
    canvas.add(canvas.fill(ribbon(_SPINE, 0.080), soft=0.003), 0.20 * patient.bone)
    canvas.add(canvas.lines(_DISCS, width=0.010, soft=0.002), -0.13 * patient.bone)
    canvas.add(canvas.fill(*_RIBS, soft=0.002), 0.05 * patient.bone, within=lung)
    canvas.add(canvas.fill(ribbon(_BREASTBONE, 0.022), soft=0.002), 0.20 * patient.bone)
    canvas.add(canvas.fill(ribbon(_BLADE, 0.014), soft=0.002), 0.10 * patient.bone)


def _draw_vessels(canvas: Canvas, patient: Patient, airy: np.ndarray, rng: np.random.Generator) -> None:
    canvas.add(canvas.blob(_HILUM, (0.035, 0.045)), 0.26)
    angle = np.deg2rad(np.linspace(0, 360, 18, endpoint=False) + rng.uniform(-9, 9, 18))
    direction = angle[:, None] + rng.uniform(-0.5, 0.5, (18, 1)) * np.linspace(0, 1, 6)
    steps = directions(direction) * rng.uniform(0.03, 0.055, (18, 1, 1))
    trunks = _HILUM + np.cumsum(steps, axis=1)
    fork = trunks[:, 2:3]
    twigs = fork + 0.5 * (trunks[:, 2:] - fork) @ np.array([[0.88, 0.48], [-0.48, 0.88]])
    canvas.add(canvas.lines([*trunks, *twigs], width=0.007, soft=0.0015), 0.10 * patient.vessels, within=airy)


_CENTERS = {
    "apical": (0.07, 0.20), "upper": (0.02, 0.29), "mid": (-0.06, 0.55), "perihilar": (0.03, 0.45),
    "lower": (0.15, 0.64), "basal": (0.16, 0.71), "diffuse": (0.05, 0.50), "": (0.05, 0.50),
}  # fmt: skip
"""Centers of the zones of a frontal view in the lateral view. The mid zone is the middle lobe, in front."""

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
    """Draw a finding; returns its outline, or None if a lateral view does not show it."""
    if finding.finding == "Cardiomegaly":
        return np.minimum(anatomy.heart, (1.0, anatomy.dome + 0.02))
    if finding.finding == "Enlarged Cardiomediastinum":
        return np.array([(-0.09, 0.21), (0.20, 0.42 if finding.kind == "widened mediastinum" else 0.62)])
    if finding.kind in ("lobar consolidation", "lobar collapse"):
        return _draw_lobe(canvas, anatomy, airy, finding)
    if finding.finding == "Pleural Effusion":
        return _draw_effusion(canvas, anatomy, airy, finding)
    if finding.kind == "calcified plaque":
        crest = [(-0.14, anatomy.dome - 0.010), (-0.06, anatomy.dome - 0.010), (0.02, anatomy.dome + 0.010)]
        outline = ribbon(curve(crest), 0.014)
        canvas.add(canvas.fill(outline), 0.6)
        return outline
    if finding.finding == "Support Devices":
        return _draw_device(canvas, anatomy, finding)
    return _draw_lung_finding(canvas, anatomy, airy, finding, rng)


def _draw_lung_finding(canvas, anatomy: Lateral, airy: np.ndarray, finding: SceneFinding, rng) -> np.ndarray | None:
    strength, extent = strength_of(finding), extent_of(finding)
    center = np.array(_CENTERS[finding.zone]) + rng.uniform(-0.02, 0.02, 2)
    match finding.kind:
        case "hazy opacity":
            return disease.haze(canvas, airy, center, (0.11 * extent, 0.11 * extent), strength=strength)
        case "interstitial opacity":
            radii = np.array((0.17, 0.24) if finding.zone == "diffuse" else (0.13, 0.11))
            return disease.net(canvas, airy, rng, center, radii * extent, strength=strength)
        case "nodule":
            return disease.nodule(canvas, rng, center, 0.031 * extent**0.7, strength=strength**0.5)
        case "mass" | "cavitary lesion":
            draw = disease.mass if finding.kind == "mass" else disease.cavity
            return draw(canvas, rng, center, 0.062 * extent, strength=strength**0.5)
        case "interstitial edema":
            disease.haze(canvas, airy, (0.04, 0.45), (0.13 * extent, 0.18 * extent), strength=0.6 * strength)
            return disease.net(canvas, airy, rng, (0.05, 0.55), (0.15 * extent, 0.2 * extent), strength=0.5 * strength)
        case "alveolar edema":
            wings = (0.13 * extent, 0.17 * extent)
            disease.patches(canvas, airy, rng, (0.04, 0.46), wings, strength=0.4 * strength)
            return disease.haze(canvas, airy, (0.04, 0.46), wings, strength=1.2 * strength)
        case "bronchopneumonia":
            return disease.patches(canvas, airy, rng, center, (0.09 * extent, 0.09 * extent), strength=strength)
        case "linear atelectasis":
            ends = np.array([(-0.10, 0.02), (0.07, -0.02)])
            bands = [center + ends - (0, 0.05 * number) for number in range(BANDS[finding.degree])]
            return np.concatenate([disease.band(canvas, airy, *band, strength=strength**0.6) for band in bands])
    return None


def _draw_lobe(canvas: Canvas, anatomy: Lateral, airy: np.ndarray, finding: SceneFinding) -> np.ndarray:
    """A filled lobe, in front of or behind the fissures; a collapsed lobe is a narrow wedge."""
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
    area = np.array(area)
    if is_collapse and finding.degree != "large":
        area = area.mean(axis=0) + 0.75 * (area - area.mean(axis=0))
    filled = canvas.fill(area, soft=0.004)
    if finding.degree != "large" and not is_collapse:  # only a part, as in the frontal view
        area = ellipse(_CENTERS[finding.zone], (SEGMENTS[finding.degree],) * 2)
        filled = filled * canvas.fill(area, soft=0.015)
    canvas.add(filled, 0.46 * strength_of(finding) ** 0.7, within=airy)
    return np.clip(area, anatomy.lung.min(axis=0), anatomy.lung.max(axis=0))


def _draw_effusion(canvas: Canvas, anatomy: Lateral, airy: np.ndarray, finding: SceneFinding) -> np.ndarray:
    """Fluid collects in the posterior angle first, and rises along the posterior wall."""
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
