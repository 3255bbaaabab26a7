"""Draw the bones of a frontal phantom (ribs, clavicles, spine, scapulae) and their fractures."""

from dataclasses import dataclass
from itertools import chain

import numpy as np

from data.synthetic.phantom.anatomy import LEFT, RIGHT, SIGNS, Frontal, both_sides
from data.synthetic.phantom.canvas import Canvas, curve, ellipse, ribbon
from data.synthetic.scene import SceneFinding

_LEVELS = np.arange(-0.02, 1.05, 0.062)
_DISCS = [np.array([(-0.036, y), (0.036, y + 0.002)]) for y in _LEVELS]
_PROCESSES = [ellipse((x, y + 0.028), (0.008, 0.011), num_points=10) for y in _LEVELS for x in (-0.024, 0.024)]
_PROCESSES += [ellipse((0.0, y + 0.045), (0.006, 0.012), num_points=10) for y in _LEVELS]
"""The gaps between the vertebrae, and their processes; the same in all patients."""

_RIB_OF_ZONE = {"apical": 2, "upper": 3, "mid": 5, "lower": 6, "basal": 7}


def _rib_centerlines(anatomy: Frontal) -> dict[tuple[int, int], np.ndarray]:
    """The posterior ribs by sign of x and number from the top, each from the spine to the chest wall."""
    t = np.linspace(0, 1, 12)
    ribs = {}
    for sign, lung in anatomy.lungs.items():
        for number in range(10):
            start = anatomy.patient.apex - 0.012 + 0.073 * number
            drop = (0.035 + 0.011 * number) * anatomy.patient.rib_slope
            reach = min(lung.wall_x(start + 0.75 * drop), 0.99 * abs(lung.wall[-1, 0])) + 0.006
            x = 0.035 + (reach - 0.035) * np.sin(t * np.pi / 2) ** 0.9
            y = start + drop * t**2.2 - (0.022 + 0.002 * number) * np.sin(np.pi * np.minimum(t * 1.15, 1))
            ribs[sign, number] = np.stack([sign * x, y], axis=1)
    return ribs


def _anterior_rib_centerlines(anatomy: Frontal) -> list[np.ndarray]:
    t = np.linspace(0, 1, 9)
    ribs = []
    for sign, lung in anatomy.lungs.items():
        for number in range(6):
            start = anatomy.patient.apex + 0.085 + 0.088 * number
            reach = lung.wall_x(start) + 0.004
            inner = 0.11 + 0.022 * number
            x = reach + (inner - reach) * t
            y = start + (0.05 + 0.014 * number) * anatomy.patient.rib_slope * np.sin(t * np.pi / 2) + 0.01 * t
            ribs.append(np.stack([sign * x, y], axis=1))
    return ribs


def _clavicle_centerline(anatomy: Frontal, sign: int) -> np.ndarray:
    """From the sternum to the shoulder."""
    y = anatomy.patient.apex + (0.02 if anatomy.is_ap else 0.055)
    width = anatomy.patient.half_width
    line = [(0.035, y + 0.03), (0.4 * width, y + 0.012), (0.75 * width, y - 0.028), (1.12 * width, y - 0.03)]
    return curve(line) * (sign, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Break:
    """A fracture: its center, and the two ends of the bone."""

    place: np.ndarray
    ends: tuple[np.ndarray, np.ndarray]


def _break(bone: np.ndarray, at: float, gap: float, step: np.ndarray) -> tuple[list[np.ndarray], Break]:
    """Split a bone at the fraction `at` of its length, and displace the outer piece by `step`."""
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(bone, axis=0).T))])
    cut, end = at * along[-1], 0.045

    def piece(first: float, last: float, num_points: int) -> np.ndarray:
        s = np.linspace(first, last, num_points)
        return np.stack([np.interp(s, along, bone[:, 0]), np.interp(s, along, bone[:, 1])], axis=1)

    fade = np.linspace(1, 0.7, 8)[:, None]
    pieces = [piece(0, cut - gap / 2, 10), piece(cut + gap / 2, along[-1], 8) + step * fade]
    ends = (piece(cut - gap / 2 - end, cut - gap / 2, 5), piece(cut + gap / 2 + end, cut + gap / 2, 5) + step)
    return pieces, Break(place=(ends[0][-1] + ends[1][-1]) / 2, ends=ends)


def plan_bones(anatomy: Frontal, fractures: list[tuple[SceneFinding, np.random.Generator]]):
    """Ribs and clavicles, with broken ones in pieces; and each fracture finding with its breaks."""
    ribs = {key: [bone] for key, bone in _rib_centerlines(anatomy).items()}
    clavicles = {sign: [_clavicle_centerline(anatomy, sign)] for sign in (RIGHT, LEFT)}
    breaks = []
    for finding, rng in fractures:
        for sign in SIGNS[finding.laterality]:
            if finding.kind == "clavicle fracture":
                step = np.array([-sign * 0.034, 0.060])
                clavicles[sign], one = _break(clavicles[sign][0], rng.uniform(0.36, 0.48), 0.004, step)
                breaks.append((finding, [one]))
                continue
            step = np.array([0.0, 0.034 if rng.random() < 0.7 else -0.034])
            at = rng.uniform(0.62, 0.78)
            several = []
            first = _RIB_OF_ZONE.get(finding.zone, 5)
            for number in range(first, first + {"minimal": 1, "small": 2}.get(finding.degree, 3)):
                rib = ribs[sign, number][0]
                ribs[sign, number], one = _break(rib, at + rng.uniform(-0.03, 0.03), 0.026, step)
                several.append(one)
            breaks.append((finding, several))
    return list(chain(*ribs.values())), list(chain(*clavicles.values())), breaks


def draw_breaks(canvas: Canvas, breaks: list[Break], *, is_uncertain: bool) -> np.ndarray:
    """Draw dense splintered ends around each gap; returns the outline of all."""
    ends = [end for one in breaks for end in one.ends]
    strength = 0.6 if is_uncertain else 1.0
    canvas.add(canvas.fill(*(ribbon(end, 0.028) for end in ends), soft=0.003), 0.16 * strength)
    canvas.add(canvas.fill(*(ribbon(end[2:], 0.034) for end in ends), soft=0.004), 0.28 * strength)
    return np.concatenate([one.place + np.array([(-0.045, -0.04), (0.045, 0.04)]) for one in breaks])


def draw_bones(canvas: Canvas, anatomy: Frontal, lungs: dict, ribs: list, clavicles: list) -> None:
    """Draw spine, ribs, clavicles, scapulae and upper arms."""
    bone, width = anatomy.patient.bone, anatomy.patient.half_width
    over_lung = 0.45 + 0.55 * (lungs[RIGHT] + lungs[LEFT])
    rib = canvas.fill(*(ribbon(rib, 0.027) for rib in ribs))
    marrow = canvas.fill(*(ribbon(rib, 0.014) for rib in ribs))
    canvas.add(rib, 0.17 * bone, within=over_lung)
    canvas.add(marrow, -0.06 * bone, within=over_lung)
    front = [ribbon(rib, np.linspace(0.027, 0.031, len(rib))) for rib in _anterior_rib_centerlines(anatomy)]
    canvas.add(canvas.fill(*front, soft=0.003), 0.075 * bone, within=over_lung)
    canvas.add(canvas.fill(*(ribbon(clavicle, 0.031) for clavicle in clavicles)), 0.26 * bone)
    canvas.add(canvas.fill(*(ribbon(clavicle, 0.016) for clavicle in clavicles)), -0.07 * bone)

    out = 0.86 if anatomy.is_ap else 1.0
    corners = np.array([(0.98, 0.13), (1.2, 0.17), (1.12, 0.32), (1.0, 0.44), (0.93, 0.3), (0.9, 0.2)])
    blade = curve(corners * (out * width, 1), closed=True)
    heads = [ellipse((sign * (width + 0.105), 0.165), (0.042, 0.046)) for sign in (RIGHT, LEFT)]
    arm = np.array([(width + 0.075, 0.18), (width + 0.14, 0.17), (width + 0.17, 0.6), (width + 0.135, 0.6)])
    canvas.add(canvas.fill(*both_sides(blade), soft=0.004), 0.08 * bone)
    canvas.add(canvas.fill(*heads, *both_sides(arm), soft=0.003), 0.28 * bone)

    spine = canvas.fill(np.array([(-0.036, -0.1), (0.036, -0.1), (0.046, 1.2), (-0.046, 1.2)]), soft=0.004)
    canvas.add(spine, 0.13 * bone)
    canvas.add(canvas.lines(_DISCS, width=0.008, soft=0.002), -0.09 * bone)
    canvas.add(canvas.fill(*_PROCESSES, soft=0.002), 0.08 * bone)
