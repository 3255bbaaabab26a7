"""The shape of a phantom's frontal chest: a patient's build, outlines of lungs, heart and mediastinum.

`sample_patient` draws the build, `build_frontal` turns it, with what the findings do to shapes, into outlines.
Schematic: the proportions are right, detail is left out. Coordinates as in `data.synthetic.phantom.canvas`.
"""

from dataclasses import dataclass, field

import numpy as np

from data.synthetic.phantom.canvas import curve

RIGHT, LEFT = -1, 1
"""Sign of x for the sides of the patient in a frontal image."""
SIGNS = {"right": (RIGHT,), "left": (LEFT,), "bilateral": (RIGHT, LEFT)}


def both_sides(*outlines: np.ndarray) -> list[np.ndarray]:
    """Outlines on the left of the patient, and their mirror images on the right."""
    return [outline * (sign, 1) for outline in outlines for sign in (RIGHT, LEFT)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Patient:
    """The build of a patient, the same in all views. Lengths are fractions of the image."""

    is_female: bool
    half_width: float
    apex: float
    dome: float
    fat: float
    bone: float
    heart_ratio: float
    knob: float
    rib_slope: float
    vessels: float


def sample_patient(rng: np.random.Generator) -> Patient:
    """A patient with a normal heart and aorta."""
    return Patient(
        is_female=bool(rng.random() < 0.48),
        half_width=rng.uniform(0.33, 0.385),
        apex=rng.uniform(0.085, 0.125),
        dome=rng.uniform(0.68, 0.76),
        fat=rng.uniform(0, 1),
        bone=rng.uniform(0.75, 1.25),
        heart_ratio=rng.uniform(0.40, 0.475),
        knob=rng.uniform(0.9, 1.15),
        rib_slope=rng.uniform(0.8, 1.25),
        vessels=rng.uniform(0.8, 1.15),
    )


@dataclass(kw_only=True, slots=True)
class ShapeChange:
    """How findings change the shapes of normal structures; `dome` is by sign of x."""

    heart_ratio: float = 0.0
    mediastinum: float = 0.0
    aorta: float = 0.0
    shift: float = 0.0
    dome: dict[int, float] = field(default_factory=lambda: {RIGHT: 0.0, LEFT: 0.0})


@dataclass(frozen=True, kw_only=True, slots=True)
class Lung:
    """One lung field: closed `outline`, `wall` from apex to costophrenic angle, `base` from there to the heart."""

    sign: int
    outline: np.ndarray
    wall: np.ndarray
    base: np.ndarray
    medial: np.ndarray

    def wall_x(self, y):
        """Distance of the chest wall from the midline at height y."""
        return np.interp(y, self.wall[:, 1], np.abs(self.wall[:, 0]))

    def base_y(self, x):
        """Height of the diaphragm at the distance |x| from the midline."""
        return np.interp(np.abs(x), np.abs(self.base[::-1, 0]), self.base[::-1, 1])

    def point(self, u: float, v: float) -> np.ndarray:
        """The point at fraction u from the medial border to the wall, and v from apex to diaphragm."""
        top, inner = self.wall[0, 1], abs(self.medial[-1, 0])
        y = top + v * (self.base_y(inner + u * (abs(self.wall[-1, 0]) - inner)) - top)
        return np.array([self.sign * (inner + u * (self.wall_x(y) - inner)), y])

    def points(self, *places: tuple[float, float]) -> np.ndarray:
        """`point` for each of the (u, v)."""
        return np.array([self.point(u, v) for u, v in places])


@dataclass(frozen=True, kw_only=True, slots=True)
class Frontal:
    """Outlines of a frontal chest."""

    patient: Patient
    lungs: dict[int, Lung]
    heart: np.ndarray
    mediastinum: np.ndarray
    carina: tuple[float, float]
    shift: float
    is_ap: bool


def _build_lung(sign: int, width: float, apex: float, dome: float) -> Lung:
    angle = dome + 0.095
    heights = np.array([0.0, 0.014, 0.055, 0.15, 0.31, 0.53, 0.78, 1.0])
    widths = np.array([0.37, 0.48, 0.605, 0.73, 0.85, 0.94, 0.99, 0.985])
    wall = np.stack([widths * width, apex + heights * (angle - apex)], axis=1)
    base = [(0.985 * width, angle), (0.93 * width, angle - 0.050), (0.78 * width, dome + 0.012), (0.55 * width, dome)]
    base += [(0.30 * width, dome + 0.016), (0.08 * width, dome + 0.045)]
    medial = [base[-1], (0.09 * width, 0.5), (0.10 * width, 0.3), (0.13 * width, apex + 0.07)]
    medial += [(0.23 * width, apex + 0.012), (0.37 * width, apex)]
    wall, base, medial = (curve(points, per_segment=6) * (sign, 1) for points in (wall, base, medial))
    outline = np.concatenate([wall, base[1:], medial[1:-1]])
    return Lung(sign=sign, outline=outline, wall=wall, base=base, medial=medial[::-1])


def build_frontal(patient: Patient, change: ShapeChange, *, is_ap: bool) -> Frontal:
    """The outlines of a frontal view. In AP views, the lungs are smaller and the heart is larger."""
    width, apex = patient.half_width, patient.apex
    dome = patient.dome - (0.035 if is_ap else 0.0)
    domes = {RIGHT: dome - 0.015 + change.dome[RIGHT], LEFT: dome + 0.012 + change.dome[LEFT]}
    lungs = {sign: _build_lung(sign, width, apex, domes[sign]) for sign in (RIGHT, LEFT)}
    diameter = 2 * width * (patient.heart_ratio + change.heart_ratio + (0.02 if is_ap else 0.0))
    return Frontal(
        patient=patient,
        lungs=lungs,
        heart=_build_heart(diameter, domes[LEFT] - 0.2 * change.dome[LEFT]) + np.array([change.shift, 0.0]),
        mediastinum=_build_mediastinum(patient, change) + np.array([0.8 * change.shift, 0.0]),
        carina=(0.006 + 0.8 * change.shift, 0.345),
        shift=change.shift,
        is_ap=is_ap,
    )


def _build_heart(diameter: float, dome: float) -> np.ndarray:
    """A third of the transverse diameter is on the patient's right; the lower border is below the diaphragm."""
    right, left = 0.335 * diameter, 0.665 * diameter
    top, low = 0.40, dome - 0.005
    middle = top + 0.6 * (low - top)
    bulge = max(0.0, left - 0.2)
    outline = [(-0.048, 0.35), (-0.058, 0.43), (-0.92 * right, middle - 0.05), (-right, middle + 0.02)]
    outline += [(-0.90 * right, low), (-0.05, low + 0.09), (0.10, low + 0.10), (0.86 * left, low + 0.06)]
    outline += [(left, low - 0.025), (0.965 * left, low - 0.09), (0.80 * left, middle - 0.05)]
    outline += [(0.100 + 0.25 * bulge, 0.44), (0.078, 0.40), (0.060, 0.37)]
    return curve(outline, closed=True)


def _build_mediastinum(patient: Patient, change: ShapeChange) -> np.ndarray:
    wide, knob = change.mediastinum, 0.032 * patient.knob * (1 + change.aorta)
    right = [(-0.038, 0.02), (-0.044 - 0.6 * wide, 0.17), (-0.050 - wide, 0.26)]
    right += [(-0.050 - 0.9 * wide - 0.25 * (knob - 0.032), 0.34), (-0.05, 0.50)]
    left = [(0.05, 0.50), (0.056 + 0.9 * wide, 0.365), (0.052 + knob + 0.5 * wide, 0.305)]
    left += [(0.045 + 0.7 * knob + 0.9 * wide, 0.265), (0.044 + wide, 0.23), (0.040 + 0.5 * wide, 0.15), (0.036, 0.02)]
    return curve(right + left, closed=True)
