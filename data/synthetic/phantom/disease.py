"""Draw lung disease in any view of a phantom.

Each function adds attenuation at a place, usually inside the mask `within` (the air-filled lung), and returns the
outline of what it drew. `strength` 1 is conspicuous.
"""

import numpy as np

from data.synthetic.phantom.canvas import Canvas, curve, directions, ellipse, ribbon


def haze(canvas: Canvas, within: np.ndarray, center, radii, *, strength: float) -> np.ndarray:
    """Ground-glass opacity; vessels and ribs stay visible."""
    canvas.add(canvas.fill(ellipse(center, radii), soft=0.4 * min(radii)), 0.30 * strength, within=within)
    return ellipse(center, np.asarray(radii) * 1.05)


def patches(
    canvas: Canvas, within: np.ndarray, rng: np.random.Generator, center, radii, *, strength: float
) -> np.ndarray:
    """Many ill-defined patches, partly confluent: bronchopneumonia."""
    center, radii = np.asarray(center), np.asarray(radii)
    patches = []
    for turn in np.arange(9) * 2.4 + rng.uniform(0, 6):  # the golden angle spreads them evenly
        distance = 0.85 * np.sqrt((len(patches) + 0.5) / 9)
        place = center + radii * distance * directions(turn) + rng.normal(0, 0.012, 2)
        patches.append(_lobulated(rng, place, rng.choice([0.011, 0.018, 0.026, 0.034])))
    fluff = canvas.fill(*patches, soft=0.010) + 0.3 * canvas.fill(ellipse(center, 0.85 * radii), soft=0.3 * min(radii))
    canvas.add(fluff * (1 + 0.35 * canvas.clouds(rng, 28)), 0.46 * strength, within=within)
    return ellipse(center, radii * 1.05 + 0.012)


def net(canvas: Canvas, within: np.ndarray, rng: np.random.Generator, center, radii, *, strength: float) -> np.ndarray:
    """A network of fine lines: interstitial disease."""
    center, radii = np.asarray(center), np.asarray(radii)
    spacing = 0.024
    lines = []
    for _ in range(int(3.6 * np.prod(radii) / spacing**2)):
        angle, distance = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 1))
        place = center + radii * distance * directions(angle)
        corners = rng.uniform(0, 2 * np.pi) + np.array([0.0, 1.3, 2.6, 4.2])
        size = spacing * rng.uniform(0.35, 0.75)
        lines.append(place + size * directions(corners))
    area = canvas.fill(ellipse(center, radii), soft=0.15 * min(radii))
    canvas.add(canvas.lines(lines, width=0.0045), 0.20 * strength, within=within)
    canvas.add(area, 0.05 * strength, within=within)
    return ellipse(center, radii)


def nodule(canvas: Canvas, rng: np.random.Generator, center, radius: float, *, strength: float) -> np.ndarray:
    """A round dense spot with a sharp edge."""
    outline = ellipse(center, (radius * rng.uniform(0.92, 1.08), radius), degrees=rng.uniform(0, 180))
    canvas.add(canvas.fill(outline, soft=0.0025), 0.42 * strength)
    return outline


def _lobulated(rng: np.random.Generator, center, radius: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 9, endpoint=False)
    distance = radius * rng.uniform(0.86, 1.14, 9)
    return curve(np.asarray(center) + distance[:, None] * directions(angle), closed=True)


def mass(canvas: Canvas, rng: np.random.Generator, center, radius: float, *, strength: float) -> np.ndarray:
    """A large dense mass with lobes and, often, short spikes."""
    outline = _lobulated(rng, center, radius)
    canvas.add(canvas.fill(outline, soft=0.004), 0.55 * strength)
    if rng.random() < 0.6:
        middle = np.asarray(center)
        spikes = [
            np.array([middle + (point - middle) * 0.9, middle + (point - middle) * rng.uniform(1.2, 1.45)])
            for point in outline[::6]
        ]
        canvas.add(canvas.lines(spikes, width=0.006, soft=0.002), 0.2 * strength)
    return outline


def cavity(canvas: Canvas, rng: np.random.Generator, center, radius: float, *, strength: float) -> np.ndarray:
    """A thick ring around air, sometimes with a fluid level."""
    outline = _lobulated(rng, center, radius)
    inner = np.asarray(center) + 0.60 * (outline - np.asarray(center))
    canvas.add(canvas.fill(outline, soft=0.003), 0.50 * strength)
    canvas.add(canvas.fill(inner, soft=0.003), -0.66 * strength)
    if rng.random() < 0.5:
        level = center[1] + radius * rng.uniform(0.1, 0.3)
        fluid = inner.copy()
        fluid[:, 1] = np.maximum(fluid[:, 1], level)
        canvas.add(canvas.fill(fluid), 0.5 * strength)
    return outline


def band(canvas: Canvas, within: np.ndarray, start, end, *, strength: float, bend: float = 0.0) -> np.ndarray:
    """Plate atelectasis: one straight or slightly curved band."""
    start, end = np.asarray(start), np.asarray(end)
    line = curve([start, (start + end) / 2 + np.array([0.0, bend]), end])
    outline = ribbon(line, 0.020 * np.sin(np.pi * np.linspace(0.04, 0.96, len(line))) ** 0.5)
    canvas.add(canvas.fill(outline, soft=0.003), 0.46 * strength, within=within)
    return outline


def bronchogram(canvas: Canvas, within: np.ndarray, rng: np.random.Generator, start, end, *, strength: float) -> None:
    """Air-filled bronchi, dark inside consolidated lung."""
    start, end = np.asarray(start), np.asarray(end)
    along = end - start
    across = np.array([-along[1], along[0]])
    trunk = curve([start, start + 0.5 * along + rng.uniform(-0.08, 0.08) * across, end])
    forks = [
        curve([start + f * along, start + (f + 0.25) * along + g * across])
        for f, g in ((0.3, 0.25), (0.45, -0.3), (0.65, 0.25))
    ]
    canvas.add(canvas.lines([trunk, *forks], width=0.007, soft=0.0015), -0.17 * strength, within=within)
