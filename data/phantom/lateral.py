"""The lateral view of a phantom: breastbone at the picture's left, spine at its right, both lungs on one another."""

from dataclasses import dataclass

import numpy as np

from data.phantom.anatomy import Patient, ShapeChange
from data.phantom.canvas import Canvas, curve, ribbon

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
    """Outlines of a lateral chest; `dome` is the height of the diaphragm's front part."""

    patient: Patient
    dome: float
    lung: np.ndarray
    heart: np.ndarray
    aorta: np.ndarray


def build_lateral(patient: Patient, change: ShapeChange) -> Lateral:
    """The outlines of this patient's lateral view."""
    dome, top = patient.dome - 0.01, patient.apex + 0.03
    front = [(0.07, top), (-0.04, top + 0.045), (-0.13, 0.25), (-0.20, 0.38), (-0.245, 0.53), (-0.262, dome + 0.045)]
    base = [front[-1], (-0.20, dome), (-0.09, dome - 0.012), (0.06, dome + 0.025), (0.19, dome + 0.095)]
    base.append((0.262, dome + 0.155))
    back = [base[-1], (0.285, dome), (0.29, 0.55), (0.275, 0.40), (0.235, 0.27), (0.16, top + 0.025), (0.07, top)]
    large = patient.heart_ratio + change.heart_ratio - 0.44
    heart = [
        (-0.225, 0.50 - 0.3 * large),
        (-0.13, 0.41 - 0.2 * large),
        (-0.02, 0.41),
        (0.045 + 0.4 * large, 0.48),
        (0.06 + 0.62 * large, 0.58),
        (0.025 + 0.55 * large, dome + 0.03),
        (-0.1, dome + 0.05),
        (-0.22, dome + 0.05),
        (-0.25, 0.62),
    ]
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
    """The normal chest; returns the mask of lung that holds air, weaker where the heart lies between the lungs."""
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
    front = [
        (-0.09, -0.2),
        (-0.09, 0.04),
        (-0.16, 0.16),
        (-0.25 - 0.02 * fat, 0.35),
        (-0.285 - bust, 0.55),
        (-0.29 - 0.5 * bust, 0.66),
        (-0.295 - 0.05 * fat, 0.8),
        (-0.31 - 0.07 * fat, 1.3),
    ]
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
    steps = np.stack([np.cos(direction), np.sin(direction)], axis=-1) * rng.uniform(0.03, 0.055, (18, 1, 1))
    trunks = _HILUM + np.cumsum(steps, axis=1)
    fork = trunks[:, 2:3]
    twigs = fork + 0.5 * (trunks[:, 2:] - fork) @ np.array([[0.88, 0.48], [-0.48, 0.88]])
    canvas.add(canvas.lines([*trunks, *twigs], width=0.007, soft=0.0015), 0.10 * patient.vessels, within=airy)
