"""Draw devices in a frontal phantom: tubes, lines, pacemakers and wires."""

import numpy as np

from data.synthetic.phantom.anatomy import LEFT, RIGHT, Frontal
from data.synthetic.phantom.canvas import Canvas, curve, directions, ellipse, ribbon, rotation
from data.synthetic.scene import SceneFinding


def _draw_tube(canvas: Canvas, line: np.ndarray) -> np.ndarray:
    """A plastic tube: two bright walls, darker between them."""
    edges = ribbon(line, 0.021)
    canvas.add(canvas.fill(ribbon(line, 0.023)), 0.15)
    canvas.add(canvas.lines([edges[: len(line)], edges[len(line) :]], width=0.0055), 0.42)
    return edges


def _draw_endotracheal(canvas: Canvas, anatomy: Frontal, finding: SceneFinding, rng) -> np.ndarray:
    x, y = anatomy.carina
    tip = y - rng.uniform(0.055, 0.10)
    line = curve([(rng.uniform(-0.01, 0.02), -0.1), (0.3 * x, 0.08), (0.8 * x, tip)])
    return _draw_tube(canvas, line)


def _draw_nasogastric(canvas: Canvas, anatomy: Frontal, finding: SceneFinding, rng) -> np.ndarray:
    stomach = float(anatomy.lungs[LEFT].base[:, 1].min())
    line = [(0.012, -0.1), (0.016, 0.2), (0.02 + anatomy.shift, 0.45), (0.03, stomach)]
    line = curve([*line, (0.08, stomach + 0.11), (0.17, stomach + rng.uniform(0.10, 0.16))])
    canvas.add(canvas.lines([line], width=0.008), 0.50)
    return line


def _draw_central_line(canvas: Canvas, anatomy: Frontal, finding: SceneFinding, rng) -> np.ndarray:
    sign = LEFT if finding.laterality == "left" else RIGHT
    end = (-0.042 + 0.8 * anatomy.shift, rng.uniform(0.36, 0.44))
    if sign == RIGHT:
        line = curve([(-0.14, -0.02), (-0.095, 0.06), (-0.062, 0.15), (-0.052, 0.26), end])
    else:
        line = curve([(0.14, -0.02), (0.10, 0.07), (0.065, 0.16), (-0.01, 0.225), (-0.048, 0.28), end])
    canvas.add(canvas.lines([line], width=0.009), 0.50)
    return line


def _draw_picc(canvas: Canvas, anatomy: Frontal, finding: SceneFinding, rng) -> np.ndarray:
    sign = LEFT if finding.laterality == "left" else RIGHT
    width, apex = anatomy.patient.half_width, anatomy.patient.apex
    end = (-0.042 + 0.8 * anatomy.shift, rng.uniform(0.36, 0.43))
    line = [(width + 0.16, 0.44), (width + 0.09, 0.27), (0.8 * width, apex + 0.10), (0.4 * width, apex + 0.055)]
    line = [(sign * x, y) for x, y in [*line, (0.1, apex + 0.085)]]
    line += [(-0.052, 0.24)] if sign == RIGHT else [(0.0, 0.225), (-0.047, 0.28)]
    line = curve([*line, end])
    canvas.add(canvas.lines([line], width=0.007), 0.45)
    return line


def _draw_pacemaker(canvas: Canvas, anatomy: Frontal, finding: SceneFinding, rng) -> np.ndarray:
    sign = RIGHT if finding.laterality == "right" else LEFT
    x, y = sign * 0.70 * anatomy.patient.half_width, anatomy.patient.apex + rng.uniform(0.10, 0.14)
    turn = rotation(rng.uniform(-25, 25))
    corners = directions(np.linspace(0, 2 * np.pi, 24, endpoint=False))
    corners = np.sign(corners) * np.abs(corners) ** 0.5 * (0.055, 0.042)  # a rounded box
    box = np.array([x, y]) + corners @ turn.T
    canvas.add(canvas.fill(box), 0.70)
    canvas.add(canvas.fill(0.6 * box + 0.4 * np.array([x, y])), 0.30)
    lower = anatomy.heart[:, 1].max()
    inlet = [(0.0, 0.215)] if sign == LEFT else []
    shared = [(x - sign * 0.03, y - 0.035), (sign * 0.14, anatomy.patient.apex + 0.05), *inlet, (-0.05, 0.27)]
    shared.append((-0.058 + anatomy.shift, 0.46))
    leads = [curve([*shared, (0.09 + anatomy.shift, lower - 0.155)])]
    if rng.random() < 0.7:  # a second lead in the atrium
        leads.append(curve([*shared, (-0.085 + anatomy.shift, 0.52)]))
    canvas.add(canvas.lines(leads, width=0.008), 0.55)
    return np.concatenate([box, *leads])


def _draw_wires(canvas: Canvas, anatomy: Frontal, finding: SceneFinding, rng) -> np.ndarray:
    loops = []
    for y in np.linspace(0.24, rng.uniform(0.60, 0.68), 6):
        x = rng.uniform(-0.006, 0.006) + 0.3 * anatomy.shift
        loop = ellipse((x, y), (0.020, 0.013), degrees=rng.uniform(-20, 20), num_points=14)
        loops.append(np.concatenate([loop, loop[:1], [(x + 0.01, y + 0.02)]]))
    canvas.add(canvas.lines(loops, width=0.0075), 0.62)
    return np.concatenate(loops)


def _draw_chest_tube(canvas: Canvas, anatomy: Frontal, finding: SceneFinding, rng) -> np.ndarray:
    sign = LEFT if finding.laterality == "left" else RIGHT
    lung = anatomy.lungs[sign]
    enter = lung.wall_x(0.62)
    line = [(sign * (enter + out), y) for out, y in ((0.16, 0.72), (0.03, 0.635), (-0.06, 0.56))]
    return _draw_tube(canvas, curve([*line, lung.point(0.62, 0.35), lung.point(0.45, 0.14)]))


DEVICE_DRAWERS = {
    "endotracheal tube": _draw_endotracheal,
    "nasogastric tube": _draw_nasogastric,
    "central venous catheter": _draw_central_line,
    "PICC line": _draw_picc,
    "pacemaker": _draw_pacemaker,
    "sternotomy wires": _draw_wires,
    "chest tube": _draw_chest_tube,
}
"""The drawer for each kind: drawer(canvas, anatomy, finding, rng)."""
