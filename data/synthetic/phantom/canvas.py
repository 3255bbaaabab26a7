"""The canvas that phantoms are drawn on: a square map of X-ray attenuation, in anatomical coordinates.

Attenuations of overlapping structures are added, as along an X-ray; `draw.develop` turns the sum into an 8-bit image.
Coordinates are fractions of the image: x from the midline (positive towards the right of the image, the patient's left
in a frontal view), y downwards from the top. The canvas applies zoom, rotation and shift.
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


def ribbon(centerline: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    """Outline of a band of `width` along `centerline`."""
    tangent = np.empty_like(centerline)
    tangent[1:-1] = centerline[2:] - centerline[:-2]
    tangent[0], tangent[-1] = centerline[1] - centerline[0], centerline[-1] - centerline[-2]
    length = np.maximum(np.sqrt(tangent[:, 0] ** 2 + tangent[:, 1] ** 2), 1e-9)
    offset = tangent[:, ::-1] * (np.array([-0.5, 0.5]) * (width / length)[:, None])
    return np.concatenate([centerline + offset, (centerline - offset)[::-1]])


def directions(angle: np.ndarray | float) -> np.ndarray:
    """Unit vectors [..., xy] at angles in radians."""
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def rotation(degrees: float) -> np.ndarray:
    """The matrix that turns column vectors."""
    turn = np.deg2rad(degrees)
    return np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])


def ellipse(
    center: Sequence[float], radii: Sequence[float], *, degrees: float = 0.0, num_points: int = 28
) -> np.ndarray:
    """Outline of an ellipse."""
    angle = np.linspace(0, 2 * np.pi, num_points, endpoint=False)
    turn = np.deg2rad(degrees)
    x, y = radii[0] * np.cos(angle), radii[1] * np.sin(angle)
    return np.stack(
        [center[0] + x * np.cos(turn) - y * np.sin(turn), center[1] + x * np.sin(turn) + y * np.cos(turn)], axis=1
    )


class Canvas:
    """The attenuation so far, [size, size]. Masks have the same shape and are float32 in 0..1."""

    def __init__(self, size: int, *, zoom: float = 1.0, degrees: float = 0.0, shift: tuple[float, float] = (0, 0)):
        self.size = size
        linear = zoom * rotation(degrees)
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

    def lines(self, centerlines: Sequence[np.ndarray], *, width: float, soft: float = 0.0) -> np.ndarray:
        """Mask of thin lines of about `width`. Lines thinner than a pixel become fainter."""
        pixels = width * self._zoom * self.size
        thickness = max(1, round(pixels))
        mask = np.zeros((self.size, self.size), np.uint8)
        cv2.polylines(mask, self._fixed(centerlines, self.size), False, 255, thickness, cv2.LINE_AA, _FRACTION_BITS)
        strength = np.float32(min(1.0, max(pixels, 0.4) / thickness) / 255)
        return self._soften(np.multiply(mask, strength, dtype=np.float32), soft * self._zoom * self.size)

    def _soften(self, mask: np.ndarray, sigma: float) -> np.ndarray:
        if sigma > 0.3:
            mask = cv2.GaussianBlur(mask, (0, 0), sigma)
        if mask.shape[0] != self.size:
            mask = cv2.resize(mask, (self.size, self.size), interpolation=cv2.INTER_LINEAR)
        return mask

    def blob(self, center: Sequence[float], radii: Sequence[float], *, degrees: float = 0.0) -> np.ndarray:
        """A Gaussian of height 1 with standard deviations `radii`."""
        shape = rotation(degrees) * np.asarray(radii) * (6 / (_BLOB_SIZE - 1))
        linear = self._linear @ shape * self.size
        middle = self.place(np.asarray(center)) * self.size - 0.5
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
