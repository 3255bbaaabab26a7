"""The canvas that phantoms are drawn on: a square map of X-ray attenuation, in anatomical coordinates.

Attenuations of overlapping structures are added, as along an X-ray; `draw.develop` turns the sum into an 8-bit image.
Coordinates are fractions of the image: x from the midline (positive towards the right of the image, the patient's left
in a frontal view), y downwards from the top. The canvas applies zoom, rotation and shift.

The `draw_*` functions draw lung disease in any view. Each adds attenuation at a place, usually inside the mask `within`
(the air-filled lung), and returns the outline of what it drew. `strength` 1 is conspicuous.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

import cv2
import numpy as np

# The renderer runs in one worker process per core: OpenCV threads would compete, and do not survive a fork.
cv2.setNumThreads(0)

_FRACTION_BITS = 4  # cv2 draws with coordinates in sixteenths of a pixel
_BLOB_SIZE = 64
_axis = np.linspace(-3, 3, _BLOB_SIZE, dtype=np.float32)
_BLOB = np.exp(-0.5 * (_axis[:, None] ** 2 + _axis[None, :] ** 2)).astype(np.float32)


@lru_cache(maxsize=64)
def _spline_basis(num_points: int, per_segment: int, closed: bool) -> np.ndarray:
    """Matrix from control points to points on the Catmull-Rom spline through them."""
    num_segments = num_points if closed else num_points - 1
    t = np.arange(per_segment) / per_segment
    weights = 0.5 * np.stack(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3], axis=1
    )
    basis = np.zeros((num_segments * per_segment + (not closed), num_points))
    for segment in range(num_segments):
        for neighbour in range(4):
            index = segment + neighbour - 1
            index = index % num_points if closed else min(max(index, 0), num_points - 1)
            basis[segment * per_segment : (segment + 1) * per_segment, index] += weights[:, neighbour]
    if not closed:
        basis[-1, -1] = 1
    return basis


def curve(points: Sequence, *, closed: bool = False, per_segment: int = 8) -> np.ndarray:
    """A smooth line through `points`, as [point, xy]."""
    points = np.asarray(points, dtype=np.float64)
    return _spline_basis(len(points), per_segment, closed) @ points


def ribbon(centreline: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    """Outline of a band of `width` along `centreline`."""
    tangent = np.empty_like(centreline)
    tangent[1:-1] = centreline[2:] - centreline[:-2]
    tangent[0], tangent[-1] = centreline[1] - centreline[0], centreline[-1] - centreline[-2]
    length = np.maximum(np.sqrt(tangent[:, 0] ** 2 + tangent[:, 1] ** 2), 1e-9)
    offset = tangent[:, ::-1] * (np.array([-0.5, 0.5]) * (width / length)[:, None])
    return np.concatenate([centreline + offset, (centreline - offset)[::-1]])


def ellipse(
    centre: Sequence[float], radii: Sequence[float], *, degrees: float = 0.0, num_points: int = 28
) -> np.ndarray:
    """Outline of an ellipse."""
    angle = np.linspace(0, 2 * np.pi, num_points, endpoint=False)
    turn = np.deg2rad(degrees)
    x, y = radii[0] * np.cos(angle), radii[1] * np.sin(angle)
    return np.stack(
        [centre[0] + x * np.cos(turn) - y * np.sin(turn), centre[1] + x * np.sin(turn) + y * np.cos(turn)], axis=1
    )


class Canvas:
    """The attenuation so far, [size, size]. Masks have the same shape and are float32 in 0..1."""

    def __init__(self, size: int, *, zoom: float = 1.0, degrees: float = 0.0, shift: tuple[float, float] = (0, 0)):
        self.size = size
        turn = np.deg2rad(degrees)
        linear = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        offset = np.array([0.5 + shift[0], 0.5 + shift[1]]) - linear @ np.array([0.0, 0.5])
        self._linear, self._offset, self._zoom = linear, offset, zoom
        self.attenuation = np.zeros((size, size), np.float32)
        inverse = np.linalg.inv(linear)
        pixel = ((np.arange(size) + 0.5) / size).astype(np.float32)
        dx, dy = pixel - np.float32(offset[0]), (pixel - np.float32(offset[1]))[:, None]
        inverse = inverse.astype(np.float32)
        self.x = inverse[0, 0] * dx + inverse[0, 1] * dy
        """x of each pixel in anatomical coordinates."""
        self.y = inverse[1, 0] * dx + inverse[1, 1] * dy

    def place(self, points: np.ndarray) -> np.ndarray:
        """Convert anatomical coordinates to fractions of the width and height of the image."""
        return np.asarray(points) @ self._linear.T + self._offset

    def _fixed(self, lines: Sequence[np.ndarray], size: int) -> list[np.ndarray]:
        """The points of each line in fixed-point pixels for cv2, computed with one product for speed."""
        pixels = np.concatenate(lines) @ (self._linear.T * size) + (self._offset * size - 0.5)
        fixed = np.rint(pixels.clip(-4 * size, 5 * size) * (1 << _FRACTION_BITS)).astype(np.int32)
        ends = list(accumulate(len(line) for line in lines))
        return [fixed[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def fill(self, *outlines: np.ndarray, soft: float = 0.0) -> np.ndarray:
        """Mask of the union of the outlines; the edge is blurred with a standard deviation of `soft`."""
        sigma = soft * self._zoom * self.size
        shrink = 4 if sigma >= 6 else 2 if sigma >= 2.5 else 1
        size = self.size // shrink
        mask = np.zeros((size, size), np.uint8)
        for outline in self._fixed(outlines, size):  # one by one: in one call, cv2 omits overlaps
            cv2.fillPoly(mask, [outline], 255, cv2.LINE_AA, _FRACTION_BITS)
        mask = np.multiply(mask, np.float32(1 / 255), dtype=np.float32)
        return self._soften(mask, sigma / shrink)

    def lines(self, centrelines: Sequence[np.ndarray], *, width: float, soft: float = 0.0) -> np.ndarray:
        """Mask of thin lines of about `width`. Lines thinner than a pixel become fainter."""
        pixels = width * self._zoom * self.size
        thickness = max(1, round(pixels))
        mask = np.zeros((self.size, self.size), np.uint8)
        cv2.polylines(mask, self._fixed(centrelines, self.size), False, 255, thickness, cv2.LINE_AA, _FRACTION_BITS)
        strength = np.float32(min(1.0, max(pixels, 0.4) / thickness) / 255)
        return self._soften(np.multiply(mask, strength, dtype=np.float32), soft * self._zoom * self.size)

    def _soften(self, mask: np.ndarray, sigma: float) -> np.ndarray:
        if sigma > 0.3:
            mask = cv2.GaussianBlur(mask, (0, 0), sigma)
        if mask.shape[0] != self.size:
            mask = cv2.resize(mask, (self.size, self.size), interpolation=cv2.INTER_LINEAR)
        return mask

    def blob(self, centre: Sequence[float], radii: Sequence[float], *, degrees: float = 0.0) -> np.ndarray:
        """A Gaussian of height 1 with standard deviations `radii`."""
        turn = np.deg2rad(degrees)
        scale = 6 / (_BLOB_SIZE - 1)
        shape = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * np.asarray(radii) * scale
        linear = self._linear @ shape * self.size
        middle = self.place(np.asarray(centre)) * self.size - 0.5
        matrix = np.concatenate([linear, (middle - linear @ np.full(2, (_BLOB_SIZE - 1) / 2))[:, None]], axis=1)
        return cv2.warpAffine(_BLOB, matrix, (self.size, self.size), flags=cv2.INTER_LINEAR)

    def clouds(self, rng: np.random.Generator, cells: int) -> np.ndarray:
        """Smooth random texture of about -1..1, with `cells` cells across the image."""
        coarse = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
        return cv2.resize(coarse, (self.size, self.size), interpolation=cv2.INTER_CUBIC)

    def add(self, mask: np.ndarray, weight: float, within: np.ndarray | None = None) -> None:
        """Add `weight` times the mask (times the mask `within`) to the attenuation."""
        if within is None:
            cv2.scaleAdd(mask, weight, self.attenuation, dst=self.attenuation)
        else:
            cv2.add(self.attenuation, cv2.multiply(mask, within, scale=weight), dst=self.attenuation)

    def box(self, points: np.ndarray) -> tuple[float, float, float, float] | None:
        """Bounding box of anatomical points as fractions of the image; None if almost nothing is visible."""
        placed = self.place(points)
        left, top = np.clip(placed.min(axis=0), 0, 1)
        right, bottom = np.clip(placed.max(axis=0), 0, 1)
        if right - left < 0.01 or bottom - top < 0.01:
            return None
        return float(left), float(top), float(right), float(bottom)


def draw_haze(canvas: Canvas, within: np.ndarray, centre, radii, *, strength: float) -> np.ndarray:
    """Ground-glass opacity; vessels and ribs stay visible."""
    canvas.add(canvas.fill(ellipse(centre, radii), soft=0.4 * min(radii)), 0.30 * strength, within=within)
    return ellipse(centre, np.asarray(radii) * 1.05)


def draw_patches(
    canvas: Canvas, within: np.ndarray, rng: np.random.Generator, centre, radii, *, strength: float
) -> np.ndarray:
    """Many ill-defined patches, partly confluent: bronchopneumonia."""
    centre, radii = np.asarray(centre), np.asarray(radii)
    patches = []
    for turn in np.arange(9) * 2.4 + rng.uniform(0, 6):  # the golden angle spreads them evenly
        distance = 0.85 * np.sqrt((len(patches) + 0.5) / 9)
        place = centre + radii * distance * np.array([np.cos(turn), np.sin(turn)]) + rng.normal(0, 0.012, 2)
        patches.append(_lobulated(rng, place, rng.choice([0.011, 0.018, 0.026, 0.034])))
    fluff = canvas.fill(*patches, soft=0.010) + 0.3 * canvas.fill(ellipse(centre, 0.85 * radii), soft=0.3 * min(radii))
    canvas.add(fluff * (1 + 0.35 * canvas.clouds(rng, 28)), 0.46 * strength, within=within)
    return ellipse(centre, radii * 1.05 + 0.012)


def draw_net(
    canvas: Canvas, within: np.ndarray, rng: np.random.Generator, centre, radii, *, strength: float
) -> np.ndarray:
    """A network of fine lines: interstitial disease."""
    centre, radii = np.asarray(centre), np.asarray(radii)
    spacing = 0.024
    lines = []
    for _ in range(int(3.6 * np.prod(radii) / spacing**2)):
        angle, distance = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 1))
        place = centre + radii * distance * np.array([np.cos(angle), np.sin(angle)])
        corners = rng.uniform(0, 2 * np.pi) + np.array([0.0, 1.3, 2.6, 4.2])
        size = spacing * rng.uniform(0.35, 0.75)
        lines.append(place + size * np.stack([np.cos(corners), np.sin(corners)], axis=1))
    area = canvas.fill(ellipse(centre, radii), soft=0.15 * min(radii))
    canvas.add(canvas.lines(lines, width=0.0045), 0.20 * strength, within=within)
    canvas.add(area, 0.05 * strength, within=within)
    return ellipse(centre, radii)


def draw_nodule(canvas: Canvas, rng: np.random.Generator, centre, radius: float, *, strength: float) -> np.ndarray:
    """A round dense spot with a sharp edge."""
    outline = ellipse(centre, (radius * rng.uniform(0.92, 1.08), radius), degrees=rng.uniform(0, 180))
    canvas.add(canvas.fill(outline, soft=0.0025), 0.42 * strength)
    return outline


def _lobulated(rng: np.random.Generator, centre, radius: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 9, endpoint=False)
    distance = radius * rng.uniform(0.86, 1.14, 9)
    return curve(np.asarray(centre) + distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1), closed=True)


def draw_mass(canvas: Canvas, rng: np.random.Generator, centre, radius: float, *, strength: float) -> np.ndarray:
    """A large dense mass with lobes and, often, short spikes."""
    outline = _lobulated(rng, centre, radius)
    canvas.add(canvas.fill(outline, soft=0.004), 0.55 * strength)
    if rng.random() < 0.6:
        middle = np.asarray(centre)
        spikes = [
            np.array([middle + (point - middle) * 0.9, middle + (point - middle) * rng.uniform(1.2, 1.45)])
            for point in outline[::6]
        ]
        canvas.add(canvas.lines(spikes, width=0.006, soft=0.002), 0.2 * strength)
    return outline


def draw_cavity(canvas: Canvas, rng: np.random.Generator, centre, radius: float, *, strength: float) -> np.ndarray:
    """A thick ring around air, sometimes with a fluid level."""
    outline = _lobulated(rng, centre, radius)
    inner = np.asarray(centre) + 0.60 * (outline - np.asarray(centre))
    canvas.add(canvas.fill(outline, soft=0.003), 0.50 * strength)
    canvas.add(canvas.fill(inner, soft=0.003), -0.66 * strength)
    if rng.random() < 0.5:
        level = centre[1] + radius * rng.uniform(0.1, 0.3)
        fluid = inner.copy()
        fluid[:, 1] = np.maximum(fluid[:, 1], level)
        canvas.add(canvas.fill(fluid), 0.5 * strength)
    return outline


def draw_band(canvas: Canvas, within: np.ndarray, start, end, *, strength: float, bend: float = 0.0) -> np.ndarray:
    """Plate atelectasis: one straight or slightly curved band."""
    start, end = np.asarray(start), np.asarray(end)
    line = curve([start, (start + end) / 2 + np.array([0.0, bend]), end])
    outline = ribbon(line, 0.020 * np.sin(np.pi * np.linspace(0.04, 0.96, len(line))) ** 0.5)
    canvas.add(canvas.fill(outline, soft=0.003), 0.46 * strength, within=within)
    return outline


def draw_bronchogram(
    canvas: Canvas, within: np.ndarray, rng: np.random.Generator, start, end, *, strength: float
) -> None:
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
