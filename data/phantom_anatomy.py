"""The normal frontal chest of a phantom: a patient's build, the outlines of lungs and heart, and their drawing.

`sample_patient` draws the build, `build_frontal` turns it (with what the findings do to shapes) into outlines,
`draw_frontal_chest` sums their attenuation on a canvas. Schematic: proportions are right, detail is not.
"""

from dataclasses import dataclass

import numpy as np

from data.phantom_canvas import Canvas, curve, ellipse, ribbon

RIGHT, LEFT = -1, 1
"""Sign of x of the patient's sides in a frontal picture."""
SIDES = {"right": (RIGHT,), "left": (LEFT,), "bilateral": (RIGHT, LEFT)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Patient:
    """Build of a patient, the same in all views; lengths are fractions of the picture."""

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


@dataclass(frozen=True, kw_only=True, slots=True)
class ShapeChange:
    """What the findings do to the shapes, beside what they add."""

    heart_ratio: float = 0.0
    mediastinum: float = 0.0
    aorta: float = 0.0
    shift: float = 0.0
    right_dome: float = 0.0
    left_dome: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Lung:
    """One lung field: `outline` closed; `wall` from apex to costophrenic angle; `base` from there to the heart."""

    side: int
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
        """The place u of the way from the midline's edge to the wall and v of the way from apex to diaphragm."""
        top, inner = self.wall[0, 1], abs(self.medial[-1, 0])
        y = top + v * (self.base_y(inner + u * (abs(self.wall[-1, 0]) - inner)) - top)
        return np.array([self.side * (inner + u * (self.wall_x(y) - inner)), y])


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


def _build_lung(side: int, width: float, apex: float, dome: float) -> Lung:
    angle = dome + 0.095
    heights = np.array([0.0, 0.015, 0.06, 0.16, 0.34, 0.58, 0.82, 1.0])
    widths = np.array([0.40, 0.53, 0.67, 0.80, 0.915, 0.975, 0.995, 0.985])
    wall = curve(np.stack([side * widths * width, apex + heights * (angle - apex)], axis=1), per_segment=6)
    base = curve(
        [
            (side * f * width, y)
            for f, y in (
                (0.985, angle),
                (0.93, angle - 0.055),
                (0.78, dome + 0.012),
                (0.55, dome),
                (0.3, dome + 0.02),
                (0.1, dome + 0.05),
            )
        ],
        per_segment=6,
    )
    medial = curve(
        [
            (side * f * width, y)
            for f, y in (
                (0.1, dome + 0.05),
                (0.1, 0.5),
                (0.11, 0.3),
                (0.16, apex + 0.07),
                (0.27, apex + 0.012),
                (0.40, apex),
            )
        ],
        per_segment=6,
    )
    outline = np.concatenate([wall, base[1:], medial[1:-1]])
    return Lung(side=side, outline=outline, wall=wall, base=base, medial=medial[::-1])


def build_frontal(patient: Patient, change: ShapeChange, *, is_ap: bool) -> Frontal:
    """The outlines of this patient's frontal view; AP views come with a shallower breath and a larger heart."""
    width, apex = patient.half_width, patient.apex
    dome = patient.dome - (0.035 if is_ap else 0.0)
    domes = {RIGHT: dome - 0.015 + change.right_dome, LEFT: dome + 0.012 + change.left_dome}
    lungs = {side: _build_lung(side, width, apex, domes[side]) for side in (RIGHT, LEFT)}

    shift = change.shift
    diameter = 2 * width * (patient.heart_ratio + change.heart_ratio + (0.02 if is_ap else 0.0))
    to_right, to_left = 0.34 * diameter, 0.66 * diameter
    bottom = dome + 0.012
    middle = 0.40 + 0.55 * (bottom - 0.40)
    heart = curve(
        [
            (-0.048, 0.36), (-0.056, 0.43), (-to_right, middle), (-0.93 * to_right, bottom - 0.03), (-0.05, bottom + 0.05),
            (0.06, bottom + 0.07), (0.80 * to_left, bottom + 0.035), (to_left, bottom - 0.035),
            (0.80 * to_left, middle - 0.01), (0.085 + 0.1 * (to_left - 0.2), 0.44), (0.076, 0.40), (0.058, 0.37),
        ],
        closed=True,
    ) + (shift, 0)  # fmt: skip
    wide, knob = change.mediastinum, 0.034 * patient.knob * (1 + change.aorta)
    mediastinum = curve(
        [
            (-0.040, 0.02), (-0.044 - 0.6 * wide, 0.17), (-0.050 - wide, 0.26), (-0.050 - 0.9 * wide - 0.25 * (knob - 0.034), 0.34),
            (-0.05, 0.46), (0.05, 0.46), (0.058 + 0.9 * wide, 0.365), (0.052 + knob + 0.5 * wide, 0.305),
            (0.045 + 0.7 * knob + 0.9 * wide, 0.265), (0.046 + wide, 0.23), (0.042 + 0.5 * wide, 0.15), (0.038, 0.02),
        ],
        closed=True,
    ) + (0.8 * shift, 0)  # fmt: skip
    return Frontal(
        patient=patient, lungs=lungs, heart=heart, mediastinum=mediastinum,
        carina=(0.006 + 0.8 * shift, 0.345), shift=shift, is_ap=is_ap,
    )  # fmt: skip


def rib_centrelines(anatomy: Frontal) -> dict[tuple[int, int], np.ndarray]:
    """The posterior ribs, by side and number from the top; each from the spine to the chest wall."""
    t = np.linspace(0, 1, 12)
    ribs = {}
    for side, lung in anatomy.lungs.items():
        for number in range(10):
            start = anatomy.patient.apex - 0.012 + 0.073 * number
            drop = (0.035 + 0.011 * number) * anatomy.patient.rib_slope
            reach = min(lung.wall_x(start + 0.75 * drop), 0.99 * abs(lung.wall[-1, 0])) + 0.006
            x = 0.035 + (reach - 0.035) * np.sin(t * np.pi / 2) ** 0.9
            y = start + drop * t**2.2 - (0.022 + 0.002 * number) * np.sin(np.pi * np.minimum(t * 1.15, 1))
            ribs[side, number] = np.stack([side * x, y], axis=1)
    return ribs


def _anterior_ribs(anatomy: Frontal) -> list[np.ndarray]:
    t = np.linspace(0, 1, 9)
    ribs = []
    for side, lung in anatomy.lungs.items():
        for number in range(6):
            start = anatomy.patient.apex + 0.085 + 0.088 * number
            reach = lung.wall_x(start) + 0.004
            inner = 0.11 + 0.022 * number
            x = reach + (inner - reach) * t
            y = start + (0.05 + 0.014 * number) * anatomy.patient.rib_slope * np.sin(t * np.pi / 2) + 0.01 * t
            ribs.append(np.stack([side * x, y], axis=1))
    return ribs


def clavicle_centreline(anatomy: Frontal, side: int) -> np.ndarray:
    """From the sternum to the shoulder."""
    y = anatomy.patient.apex + (0.02 if anatomy.is_ap else 0.055)
    width = anatomy.patient.half_width
    return curve(
        [
            (side * 0.035, y + 0.03),
            (side * 0.4 * width, y + 0.012),
            (side * 0.75 * width, y - 0.028),
            (side * 1.12 * width, y - 0.03),
        ]
    )


def draw_body(canvas: Canvas, anatomy: Frontal) -> None:
    """Soft tissue with shoulders, neck, abdomen and, in women, breasts."""
    patient = anatomy.patient
    width = patient.half_width + 0.035 + 0.045 * patient.fat
    right = [
        (0.075 + 0.02 * patient.fat, -0.3),
        (0.085 + 0.02 * patient.fat, -0.02),
        (0.14, 0.035),
        (0.30, 0.075),
        (0.47, 0.12),
        (0.62, 0.3),
        (0.62, 0.42),
    ]
    flank = [(width + 0.03, 0.42), (width, 0.5), (width, 0.75), (width + 0.01, 1.4)]
    torso = np.array(right[:5] + [(width + 0.07, 0.27)] + flank)
    outline = np.concatenate([torso * (-1, 1), torso[::-1]])
    arms = [
        np.array(
            [
                (s * 0.40, 0.09),
                (s * 0.49, 0.14),
                (s * (width + 0.20), 0.7),
                (s * (width + 0.12), 0.72),
                (s * (width + 0.055), 0.3),
            ]
        )
        for s in (RIGHT, LEFT)
    ]
    canvas.add(canvas.fill(outline, soft=0.010), 0.62 + 0.12 * patient.fat)
    canvas.add(canvas.fill(outline, soft=0.045), 0.28)
    canvas.add(canvas.fill(*arms, soft=0.012), 0.5)
    belly = np.clip((canvas.y - patient.dome + 0.05) * 5, 0, 1)
    canvas.add(canvas.fill(outline, soft=0.03), 0.30, within=belly.astype(np.float32))
    for side in (RIGHT, LEFT):
        pectoral = curve(
            [(side * 0.12, 0.2), (side * (width + 0.05), 0.14), (side * (width + 0.05), 0.36), (side * 0.3, 0.44)],
            closed=True,
        )
        canvas.add(canvas.fill(pectoral, soft=0.02), 0.06)
    if patient.is_female:
        low = patient.dome + 0.01 + 0.05 * patient.fat
        for side in (RIGHT, LEFT):
            size = 0.105 + 0.03 * patient.fat
            breast = ellipse((side * 0.60 * patient.half_width, low - size), (size * 1.12, size))
            canvas.add(
                canvas.fill(breast, soft=0.006),
                0.07,
                within=np.clip((canvas.y - low + 1.9 * size) / (1.6 * size), 0, 1).astype(np.float32),
            )


def draw_bones(canvas: Canvas, anatomy: Frontal, ribs: list[np.ndarray], clavicles: list[np.ndarray]) -> None:
    """Spine, ribs, clavicles, shoulder blades and upper arms; broken ribs come as several pieces."""
    bone, width = anatomy.patient.bone, anatomy.patient.half_width
    outer = canvas.fill(*(ribbon(rib, 0.026) for rib in ribs))
    inner = canvas.fill(*(ribbon(rib, 0.015) for rib in ribs))
    canvas.add(outer, 0.13 * bone)
    canvas.add(inner, -0.05 * bone)
    taper = np.linspace(0.026, 0.030, 9)
    canvas.add(canvas.fill(*(ribbon(rib, taper) for rib in _anterior_ribs(anatomy)), soft=0.003), 0.055 * bone)
    canvas.add(canvas.fill(*(ribbon(clavicle, 0.030) for clavicle in clavicles)), 0.20 * bone)
    canvas.add(canvas.fill(*(ribbon(clavicle, 0.016) for clavicle in clavicles)), -0.07 * bone)
    blades, heads = [], []
    out = 0.86 if anatomy.is_ap else 1.0
    for side in (RIGHT, LEFT):
        blades.append(
            curve(
                [
                    (side * out * width * f, y)
                    for f, y in ((0.98, 0.13), (1.2, 0.17), (1.12, 0.32), (1.0, 0.44), (0.93, 0.3), (0.9, 0.2))
                ],
                closed=True,
            )
        )
        heads.append(ellipse((side * (width + 0.105), 0.165), (0.042, 0.046)))
        heads.append(
            np.array(
                [
                    (side * (width + 0.075), 0.18),
                    (side * (width + 0.14), 0.17),
                    (side * (width + 0.17), 0.6),
                    (side * (width + 0.135), 0.6),
                ]
            )
        )
    canvas.add(canvas.fill(*blades, soft=0.004), 0.08 * bone)
    canvas.add(canvas.fill(*heads, soft=0.003), 0.30 * bone)

    spine = canvas.fill(np.array([(-0.038, -0.1), (0.038, -0.1), (0.046, 1.2), (-0.046, 1.2)]), soft=0.004)
    canvas.add(spine, 0.17 * bone)
    levels = np.arange(-0.02, 1.05, 0.062)
    discs = [np.array([(-0.036, y), (0.036, y + 0.002)]) for y in levels]
    canvas.add(canvas.lines(discs, width=0.008, soft=0.002), -0.10 * bone)
    knobs = [ellipse((side * 0.024, y + 0.028), (0.008, 0.011), num_points=10) for y in levels for side in (-1, 1)]
    knobs += [ellipse((0.0, y + 0.045), (0.006, 0.012), num_points=10) for y in levels]
    canvas.add(canvas.fill(*knobs, soft=0.002), 0.09 * bone)


def draw_mediastinum(canvas: Canvas, anatomy: Frontal) -> None:
    """Heart, great vessels, windpipe."""
    canvas.add(canvas.fill(anatomy.mediastinum, soft=0.004), 0.34)
    canvas.add(canvas.fill(anatomy.heart, soft=0.004), 0.40)
    canvas.add(canvas.fill(anatomy.heart, soft=0.035), 0.16)
    x, y = anatomy.carina
    airway = [
        ribbon(curve([(0.3 * anatomy.shift, -0.05), (0.5 * anatomy.shift, 0.1), (x - 0.002, 0.22), (x, y)]), 0.036),
        ribbon(curve([(x - 0.004, y - 0.012), (x - 0.04, y + 0.025), (x - 0.085, y + 0.065)]), 0.024),
        ribbon(curve([(x + 0.004, y - 0.012), (x + 0.05, y + 0.027), (x + 0.10, y + 0.06)]), 0.021),
    ]
    canvas.add(canvas.fill(*airway, soft=0.004), -0.20)


def draw_vessels(
    canvas: Canvas, anatomy: Frontal, rng: np.random.Generator, within: dict[int, np.ndarray], *, strength: float = 1.0
) -> None:
    """Hila and the vessels that branch from them, inside the masks `within`."""
    t = np.linspace(0, 1, 6)
    for side, lung in anatomy.lungs.items():
        hilum = np.array([side * 0.088 + anatomy.shift, 0.405 + (0.012 if side == RIGHT else -0.008)])
        trunks, twigs = [], []
        num = 9
        angles = np.linspace(-78, 80, num) + rng.uniform(-7, 7, num)
        reach = (
            abs(lung.wall[-1, 0]) * rng.uniform(0.70, 0.88, num) * (0.75 + 0.35 * np.abs(np.sin(np.deg2rad(angles))))
        )
        bends = rng.uniform(-0.35, 0.35, num)
        for angle, length, bend in zip(np.deg2rad(angles), reach, bends, strict=True):
            direction = angle + bend * t
            steps = np.stack([side * np.cos(direction), np.sin(direction)], axis=1) * (length / 5)
            path = hilum + np.cumsum(steps, axis=0) - steps[0]
            trunks.append(path[:4])
            twigs.append(path[3:])
            for start, fork in ((1, 0.5), (2, -0.55), (3, 0.45), (3, -0.5)):
                turned = direction[start] + fork + 0.3 * bend * t
                branch = np.stack([side * np.cos(turned), np.sin(turned)], axis=1) * (
                    length * (0.42 - 0.07 * start) / 5
                )
                twigs.append(path[start] + np.cumsum(branch, axis=0))
        scale = strength * anatomy.patient.vessels
        canvas.add(canvas.lines(trunks, width=0.010, soft=0.002), 0.15 * scale, within=within[side])
        canvas.add(canvas.lines(twigs, width=0.0055, soft=0.0015), 0.11 * scale, within=within[side])
        canvas.add(canvas.blob(hilum + (side * 0.012, 0.02), (0.024, 0.045), degrees=-side * 12), 0.20 * scale)


def draw_stomach_bubble(canvas: Canvas, anatomy: Frontal, rng: np.random.Generator) -> None:
    """Air in the stomach under the left dome, in about half of the patients."""
    if rng.random() < 0.5:
        return
    x = rng.uniform(0.4, 0.6) * anatomy.patient.half_width
    y = float(anatomy.lungs[LEFT].base_y(x))
    width, height = rng.uniform(0.05, 0.09), rng.uniform(0.025, 0.05)
    outline = ellipse((x, y + 0.03 + height), (width, height))
    canvas.add(canvas.fill(outline, soft=0.006), -rng.uniform(0.2, 0.38))
