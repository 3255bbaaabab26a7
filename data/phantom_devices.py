"""Broken bones and devices in a frontal phantom."""

import numpy as np

from data.phantom_anatomy import LEFT, RIGHT, SIDES, Frontal, clavicle_centreline, rib_centrelines
from data.phantom_canvas import Canvas, curve, ellipse, ribbon
from data.scene import SceneFinding

_RIB_OF_ZONE = {"apical": 2, "upper": 3, "mid": 5, "": 5, "lower": 6, "basal": 7}


def _break(bone: np.ndarray, at: float, gap: float, step: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Two pieces of a bone parted at the fraction `at`, the outer one displaced; and the middle of the gap."""
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(bone, axis=0).T))])
    cut = at * along[-1]
    resample = lambda s: np.stack([np.interp(s, along, bone[:, 0]), np.interp(s, along, bone[:, 1])], axis=1)  # noqa: E731
    inner, outer = resample(np.linspace(0, cut - gap / 2, 10)), resample(np.linspace(cut + gap / 2, along[-1], 8))
    fade = np.linspace(1, 0.55, 8)[:, None]
    return [inner, outer + step * fade], resample(np.array([cut]))[0] + step / 2


def plan_bones(anatomy: Frontal, fractures: list[tuple[SceneFinding, np.random.Generator]]):
    """Ribs and clavicles, the broken ones in pieces; and for each fracture its finding and the places of its breaks."""
    ribs = {key: [bone] for key, bone in rib_centrelines(anatomy).items()}
    clavicles = {side: [clavicle_centreline(anatomy, side)] for side in (RIGHT, LEFT)}
    breaks = []
    for finding, rng in fractures:
        for side in SIDES[finding.side]:
            down = np.array([0.0, 1.0 if rng.random() < 0.7 else -1.0])
            places = []
            if finding.kind == "clavicle fracture":
                pieces, place = _break(
                    clavicles[side][0], rng.uniform(0.45, 0.6), 0.006, np.array([-side * 0.022, 0.034])
                )
                clavicles[side] = pieces
                places.append(place)
            else:
                first = _RIB_OF_ZONE[finding.zone]
                at = rng.uniform(0.62, 0.78)
                for number in range(first, first + {"large": 3, "moderate": 3, "minimal": 1}.get(finding.degree, 2)):
                    pieces, place = _break(ribs[side, number][0], at + rng.uniform(-0.03, 0.03), 0.018, 0.024 * down)
                    ribs[side, number] = pieces
                    places.append(place)
            breaks.append((finding, places))
    flat = lambda bones: [piece for pieces in bones.values() for piece in pieces]  # noqa: E731
    return flat(ribs), flat(clavicles), breaks


def draw_breaks(canvas: Canvas, places: list[np.ndarray], *, is_uncertain: bool) -> np.ndarray:
    """Dense edges and callus around breaks; returns the outline of them all."""
    for place in places:
        canvas.add(canvas.blob(place, (0.013, 0.015)), 0.10 if is_uncertain else 0.22)
    return np.concatenate([place + np.array([(-0.04, -0.035), (0.04, 0.035)]) for place in places])


def _tube(canvas: Canvas, line: np.ndarray, width: float, strength: float) -> np.ndarray:
    canvas.add(canvas.fill(ribbon(line, width)), strength)
    return line


def _draw_endotracheal(canvas: Canvas, anatomy: Frontal, finding: SceneFinding, rng) -> list[np.ndarray]:
    x, y = anatomy.carina
    tip = y - rng.uniform(0.055, 0.10)
    line = curve([(rng.uniform(-0.01, 0.02), -0.1), (0.3 * x, 0.08), (0.8 * x, tip)])
    _tube(canvas, line, 0.024, 0.16)
    edges = ribbon(line, 0.022)
    canvas.add(canvas.lines([edges[: len(line)], edges[len(line) :]], width=0.0055), 0.42)
    return [np.concatenate([edges, [(0.02, 0.0), (-0.02, 0.0)]]).clip((-1, 0), (1, 1))]


def _draw_nasogastric(canvas: Canvas, anatomy: Frontal, finding: SceneFinding, rng) -> list[np.ndarray]:
    stomach = float(anatomy.lungs[LEFT].base[:, 1].min())
    line = curve(
        [
            (0.012, -0.1),
            (0.016, 0.2),
            (0.02 + anatomy.shift, 0.45),
            (0.03, stomach),
            (0.08, stomach + 0.11),
            (0.17, stomach + rng.uniform(0.10, 0.16)),
        ]
    )
    canvas.add(canvas.lines([line], width=0.008), 0.50)
    return [line.clip((-1, 0), (1, 1))]


def _draw_central_line(canvas: Canvas, anatomy: Frontal, finding: SceneFinding, rng) -> list[np.ndarray]:
    side = -1 if finding.side != "left" else 1
    end = (-0.042 + 0.8 * anatomy.shift, rng.uniform(0.36, 0.44))
    if side == RIGHT:
        line = curve([(-0.14, -0.02), (-0.095, 0.06), (-0.062, 0.15), (-0.052, 0.26), end])
    else:
        line = curve([(0.14, -0.02), (0.10, 0.07), (0.065, 0.16), (-0.01, 0.225), (-0.048, 0.28), end])
    canvas.add(canvas.lines([line], width=0.009), 0.50)
    return [line.clip((-1, 0), (1, 1))]


def _draw_picc(canvas: Canvas, anatomy: Frontal, finding: SceneFinding, rng) -> list[np.ndarray]:
    side = -1 if finding.side != "left" else 1
    width, apex = anatomy.patient.half_width, anatomy.patient.apex
    end = (-0.042 + 0.8 * anatomy.shift, rng.uniform(0.36, 0.43))
    line = [
        (side * (width + 0.16), 0.44),
        (side * (width + 0.09), 0.27),
        (side * 0.8 * width, apex + 0.10),
        (side * 0.4 * width, apex + 0.055),
        (side * 0.1, apex + 0.085),
    ]
    line += [(-0.052, 0.24)] if side == RIGHT else [(0.0, 0.225), (-0.047, 0.28)]
    line = curve([*line, end])
    canvas.add(canvas.lines([line], width=0.007), 0.45)
    return [line.clip((-0.5, 0), (0.5, 1))]


def _draw_pacemaker(canvas: Canvas, anatomy: Frontal, finding: SceneFinding, rng) -> list[np.ndarray]:
    side = 1 if finding.side != "right" else -1
    x, y = side * 0.70 * anatomy.patient.half_width, anatomy.patient.apex + rng.uniform(0.10, 0.14)
    box = ellipse((x, y), (0.055, 0.045), degrees=rng.uniform(-25, 25), num_points=20)
    box = (x, y) + np.sign(box - (x, y)) * np.abs((box - (x, y)) / 0.06) ** 0.75 * 0.06
    canvas.add(canvas.fill(box), 0.85)
    lower = anatomy.heart[:, 1].max()
    leads = []
    for end in ((0.09 + anatomy.shift, lower - 0.055), (-0.07 + anatomy.shift, 0.52))[: 1 + (rng.random() < 0.7)]:
        inlet = [(0.0, 0.215)] if side == LEFT else []
        leads.append(
            curve(
                [
                    (x - side * 0.03, y - 0.035),
                    (side * 0.14, anatomy.patient.apex + 0.05),
                    *inlet,
                    (-0.05, 0.27),
                    (-0.058 + anatomy.shift, 0.46),
                    end,
                ]
            )
        )
    canvas.add(canvas.lines(leads, width=0.008), 0.55)
    return [np.concatenate([box, *leads])]


def _draw_wires(canvas: Canvas, anatomy: Frontal, finding: SceneFinding, rng) -> list[np.ndarray]:
    loops = []
    for y in np.linspace(0.24, rng.uniform(0.60, 0.68), 6):
        x = rng.uniform(-0.006, 0.006) + 0.3 * anatomy.shift
        loop = ellipse((x, y), (0.020, 0.013), degrees=rng.uniform(-20, 20), num_points=14)
        loops.append(np.concatenate([loop, loop[:1], [(x + 0.01, y + 0.02)]]))
    canvas.add(canvas.lines(loops, width=0.0075), 0.62)
    return [np.concatenate(loops)]


def _draw_chest_tube(canvas: Canvas, anatomy: Frontal, finding: SceneFinding, rng) -> list[np.ndarray]:
    side = -1 if finding.side != "left" else 1
    lung = anatomy.lungs[side]
    enter = lung.wall_x(0.62)
    line = curve(
        [
            (side * (enter + 0.16), 0.72),
            (side * (enter + 0.03), 0.635),
            (side * (enter - 0.06), 0.56),
            lung.point(0.62, 0.35),
            lung.point(0.45, 0.14),
        ]
    )
    canvas.add(canvas.fill(ribbon(line, 0.022)), 0.14)
    edges = ribbon(line, 0.021)
    canvas.add(canvas.lines([edges[: len(line)], edges[len(line) :]], width=0.0055), 0.42)
    return [line.clip((-0.5, 0), (0.5, 1))]


DEVICE_DRAWERS = {
    "endotracheal tube": _draw_endotracheal,
    "nasogastric tube": _draw_nasogastric,
    "central venous catheter": _draw_central_line,
    "PICC line": _draw_picc,
    "pacemaker": _draw_pacemaker,
    "sternotomy wires": _draw_wires,
    "chest tube": _draw_chest_tube,
}
"""By kind; called as drawer(canvas, anatomy, finding, rng)."""
