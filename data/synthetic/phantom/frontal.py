"""Draw the normal frontal chest of a phantom: soft tissue, lungs, heart, vessels and stomach bubble."""

import numpy as np

from data.synthetic.phantom.anatomy import LEFT, RIGHT, Frontal, both_sides
from data.synthetic.phantom.canvas import Canvas, curve, directions, ellipse, ribbon


def draw_body(canvas: Canvas, anatomy: Frontal) -> None:
    """Soft tissue with shoulders, neck, arms, abdomen and, in women, breasts."""
    patient = anatomy.patient
    fat = patient.fat
    width = patient.half_width + 0.03 + 0.05 * fat
    half = [(0.070 + 0.02 * fat, -0.3), (0.078 + 0.02 * fat, -0.02), (0.13, 0.035), (0.30, 0.070), (0.47, 0.11)]
    half += [
        (width + 0.06, 0.29),
        (width + 0.02, 0.42),
        (width, 0.55),
        (width + 0.005, 0.75),
        (width + 0.02 * fat, 1.4),
    ]
    right, left = both_sides(np.array(half))
    outline = np.concatenate([right, left[::-1]])
    canvas.add(canvas.fill(outline, soft=0.008), 0.60 + 0.12 * fat)
    canvas.add(canvas.fill(outline, soft=0.045), 0.30)
    arm = np.array([(0.40, 0.09), (0.49, 0.13), (width + 0.20, 0.75), (width + 0.13, 0.75), (width + 0.05, 0.29)])
    muscle = curve([(0.12, 0.2), (width + 0.05, 0.14), (width + 0.05, 0.36), (0.3, 0.44)], closed=True)
    canvas.add(canvas.fill(*both_sides(arm), soft=0.010), 0.5)
    canvas.add(canvas.fill(*both_sides(muscle), soft=0.02), 0.06)
    if patient.is_female:
        size = 0.105 + 0.03 * fat
        low = patient.dome + 0.01 + 0.05 * fat
        fade = np.clip((canvas.y - low + 1.9 * size) / (1.6 * size), 0, 1)
        breasts = [ellipse((s * 0.60 * patient.half_width, low - size), (size * 1.12, size)) for s in (RIGHT, LEFT)]
        canvas.add(canvas.fill(*breasts, soft=0.006), 0.08, within=fade)


def draw_lungs(canvas: Canvas, anatomy: Frontal) -> dict[int, np.ndarray]:
    """Remove the air of the lungs from the soft tissue, and add the abdomen; returns the lung masks by sign of x."""
    lungs = {sign: canvas.fill(lung.outline) for sign, lung in anatomy.lungs.items()}
    both = lungs[RIGHT] + lungs[LEFT]
    deep = canvas.fill(*(lung.outline for lung in anatomy.lungs.values()), soft=0.03)
    canvas.add(both, -0.42)
    canvas.add(deep, -0.24, within=both)
    belly = np.clip((canvas.y - anatomy.patient.dome + 0.06) * 8, 0, 1)
    canvas.add(belly - belly * both, 0.26)
    center = canvas.fill(np.array([(-0.09, -0.1), (0.09, -0.1), (0.13, 1.2), (-0.13, 1.2)]), soft=0.03)
    canvas.add(center - center * both, 0.16)
    return lungs


def draw_mediastinum(canvas: Canvas, anatomy: Frontal, lungs: dict) -> np.ndarray:
    """Draw heart, great vessels and trachea; returns the mask of heart and vessels."""
    both = lungs[RIGHT] + lungs[LEFT]
    heart = canvas.fill(anatomy.heart, soft=0.0035)
    vessels = canvas.fill(anatomy.mediastinum, soft=0.0035)
    solid = np.maximum(heart, 0.95 * vessels)
    canvas.add(solid, 0.52, within=both)
    canvas.add(canvas.fill(anatomy.heart, soft=0.035), 0.18, within=both)
    x, y = anatomy.carina
    airway = [
        ribbon(curve([(0.3 * anatomy.shift, -0.05), (0.5 * anatomy.shift, 0.1), (x - 0.002, 0.22), (x, y)]), 0.036),
        ribbon(curve([(x - 0.004, y - 0.012), (x - 0.04, y + 0.025), (x - 0.085, y + 0.065)]), 0.024),
        ribbon(curve([(x + 0.004, y - 0.012), (x + 0.05, y + 0.027), (x + 0.10, y + 0.06)]), 0.021),
    ]
    canvas.add(canvas.fill(*airway, soft=0.004), -0.20)
    return solid


def draw_vessels(
    canvas: Canvas, anatomy: Frontal, rng: np.random.Generator, within: dict[int, np.ndarray], *, strength: float = 1.0
) -> None:
    """Draw the hila and their branching vessels, inside the masks `within`."""
    t = np.linspace(0, 1, 6)
    forks, turns = np.array([1, 2, 3, 3]), np.array([0.55, -0.6, 0.5, -0.55])
    strength *= anatomy.patient.vessels
    for sign, lung in anatomy.lungs.items():
        hilum = np.array([sign * 0.085 + anatomy.shift, 0.415 + (0.012 if sign == RIGHT else -0.012)])
        angle = np.deg2rad(np.array([-80, -62, -42, -18, 8, 30, 48, 64, 78]) + rng.uniform(-7, 7, 9))
        reach = abs(lung.wall[-1, 0]) * rng.uniform(0.6, 0.85, 9) * (0.72 + 0.4 * np.abs(np.sin(angle)))
        bend = rng.uniform(-0.6, 0.6, 9)
        start = hilum + (sign * 0.015, 0.055) * directions(angle)
        direction = angle[:, None] + bend[:, None] * t
        trunks = _walk(start, direction, reach, sign)
        turned = direction[:, forks, None] + turns[:, None] + 0.3 * bend[:, None, None] * t
        branches = _walk(trunks[:, forks], turned, reach[:, None] * (0.46 - 0.07 * forks), sign)
        twigs = [*trunks[:, 3:], *branches.reshape(-1, 6, 2)]
        canvas.add(canvas.lines(list(trunks[:, :4]), width=0.009, soft=0.002), 0.14 * strength, within=within[sign])
        canvas.add(canvas.lines(twigs, width=0.0055, soft=0.0015), 0.11 * strength, within=within[sign])
        middle = hilum + np.array([sign * 0.012, 0.02])
        canvas.add(canvas.blob(middle, (0.022, 0.05), degrees=-sign * 12), 0.20 * strength)


def _walk(start: np.ndarray, direction: np.ndarray, length: np.ndarray, sign: int) -> np.ndarray:
    """Paths [..., step, xy] from `start`, with a direction for each step (0 is away from the midline)."""
    steps = directions(direction) * (sign, 1) * (length[..., None, None] / 5)
    steps[..., 0, :] = 0
    return start[..., None, :] + np.cumsum(steps, axis=-2)


def draw_stomach_bubble(canvas: Canvas, anatomy: Frontal, rng: np.random.Generator) -> None:
    """Draw air in the stomach below the left diaphragm, in about half of the patients."""
    is_filled, x = rng.random() < 0.5, rng.uniform(0.4, 0.6) * anatomy.patient.half_width
    width, height, darkness = rng.uniform(0.05, 0.09), rng.uniform(0.025, 0.05), rng.uniform(0.2, 0.38)
    if not is_filled:
        return
    top = float(anatomy.lungs[LEFT].base_y(x)) + 0.03
    canvas.add(canvas.fill(ellipse((x, top + height), (width, height)), soft=0.006), -darkness)


def draw_tortuous_aorta(canvas: Canvas, anatomy: Frontal, amount: float) -> None:
    """Draw the descending aorta as a curved band left of the spine, calcification in the arch, and a wide ascending
    aorta."""
    shift = anatomy.shift
    descent = [(0.065, 0.30), (0.065 + 0.04 * amount, 0.42), (0.06 + 0.03 * amount, 0.55), (0.03, 0.72)]
    width = 0.035 + 0.025 * amount
    canvas.add(canvas.fill(ribbon(curve(descent) + np.array([shift, 0.0]), width), soft=0.003), 0.16)
    canvas.add(canvas.fill(ellipse((-0.035 + shift, 0.35), (0.045 + 0.012 * amount, 0.10)), soft=0.004), 0.20)
    angle, radius = np.linspace(-2.2, 0.4, 10), 0.03 + 0.022 * amount
    arch = (0.055 + shift, 0.305) + radius * directions(angle)
    canvas.add(canvas.lines([arch], width=0.008), 0.35)
