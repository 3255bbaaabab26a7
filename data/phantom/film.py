"""The film of a phantom: attenuation to an 8-bit picture, with exposure, scatter, grain, side marker and collimator."""

import cv2
import numpy as np

from data.phantom.canvas import Canvas


def develop(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """The picture of what is on the canvas, uint8 [size, size]; dense things are bright."""
    size, total = canvas.size, canvas.attenuation
    small = cv2.resize(total, (size // 4, size // 4), interpolation=cv2.INTER_AREA)
    scatter = cv2.resize(cv2.blur(small, (9, 9)), (size, size))
    gray = cv2.addWeighted(total, 0.90, scatter, 0.10, 0)
    low, high = rng.uniform(0.10, 0.24), rng.uniform(1.45, 1.85)
    gray = (gray - np.float32(low)) * np.float32(1 / (high - low))
    np.clip(gray, 0, 1, out=gray)
    cv2.pow(gray, rng.uniform(0.75, 1.15), dst=gray)
    gray *= np.float32(rng.uniform(225, 253))
    grain = rng.integers(0, 256, (2, size, size), dtype=np.uint8)
    noise = cv2.GaussianBlur(cv2.subtract(grain[0], grain[1], dtype=cv2.CV_32F), (3, 3), 0.6)
    cv2.scaleAdd(noise, rng.uniform(0.012, 0.05), gray, dst=gray)
    picture = np.clip(gray, 0, 255, out=gray).astype(np.uint8)
    _mark_side(picture, rng)
    _collimate(picture, rng)
    return picture


def _mark_side(picture: np.ndarray, rng: np.random.Generator) -> None:
    """A lead letter in the upper corner of its side, on half of the films."""
    size = len(picture)
    chance, is_left, height = rng.random(), rng.random() < 0.5, rng.uniform(0.07, 0.13)
    if chance < 0.5:
        letter, x = ("L", 0.92) if is_left else ("R", 0.03)
        place = (int(x * size), int(height * size))
        cv2.putText(picture, letter, place, cv2.FONT_HERSHEY_SIMPLEX, size / 450, 235, max(1, size // 180), cv2.LINE_AA)


def _collimate(picture: np.ndarray, rng: np.random.Generator) -> None:
    """Black borders, on a quarter of the films."""
    size = len(picture)
    chance, margins = rng.random(), rng.integers(1, max(2, size // 22), 4)
    if chance < 0.25:
        picture[: margins[0]] = 0
        picture[size - margins[1] :] = 0
        picture[:, : margins[2]] = 0
        picture[:, size - margins[3] :] = 0
