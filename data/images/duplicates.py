"""Find copies of an image: re-encoded, resized, brightened, or slightly cropped or rotated.

1. `perceptual_hash`: a 64-bit hash, the signs of the 8 x 8 lowest DCT frequencies about their median ("pHash", Zauner
   2010). `near_pairs` finds candidates. Different patients can be as close as copies (docs/LOG.md), so candidates are
   compared further.
2. `fine_similarity`: all chest X-rays look similar at low resolution, so fine structure decides. Both images are
   aligned (affine map by ECC, Evangelidis and Psarakis 2008), structure coarser than about a fiftieth of the side is
   removed, and the rest is correlated. docs/LOG.md has the figures behind the bounds.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

SIDE, KEPT = 32, 8
MAX_DISTANCE = 12
"""Maximum number of different bits of a candidate pair. It includes 91% of copies cropped by up to 5% per side, and
nearly all copies that were re-encoded, resized or brightened."""
CANDIDATES_PER_IMAGE = 30
"""If there are more candidates, the distance is lowered: their number grows with the square of the number of images."""
_SIDE_OF_BLOCK = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """Pairs of images that differ in at most `max_distance` bits, found in blocks. `is_cut`: there are more pairs."""

    hashes: np.ndarray
    max_distance: int
    num_pairs: int
    is_cut: bool = False

    def blocks(self) -> Iterator[np.ndarray]:
        """The pairs in blocks [pairs, 2], lower index first."""
        num_left = self.num_pairs
        for first_row, first_column, distances in _blocks(self.hashes):
            rows, columns = (numbers[:num_left] for numbers in np.nonzero(distances <= self.max_distance))
            if len(rows):
                yield np.stack([rows + first_row, columns + first_column], axis=1)
            num_left -= len(rows)
            if not num_left:
                return


def perceptual_hash(pixels: np.ndarray) -> int:
    """Hash of an 8-bit gray image of any size."""
    small = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    frequencies = cv2.dct(small)[:KEPT, :KEPT].ravel()
    signs = frequencies > np.median(frequencies[1:])  # the first is the mean brightness
    return int.from_bytes(np.packbits(signs).tobytes())


def near_pairs(hashes: np.ndarray, *, max_distance: int = MAX_DISTANCE, max_pairs: int | None = None) -> Candidates:
    """All pairs that differ in at most `max_distance` bits. The distance is lowered if there are more than `max_pairs`
    (default: CANDIDATES_PER_IMAGE for each image). All pairs are compared in blocks: 10,000 hashes take 0.2 s, 400,000
    a few minutes, with little memory."""
    hashes = np.asarray(hashes, dtype=np.uint64)
    max_pairs = CANDIDATES_PER_IMAGE * len(hashes) if max_pairs is None else max_pairs
    counts = np.zeros(max_distance + 1, dtype=np.int64)
    for _, _, distances in _blocks(hashes):
        counts += np.bincount(distances[distances <= max_distance], minlength=max_distance + 1)
    totals = counts.cumsum()
    fitting = np.flatnonzero(totals <= max_pairs)
    distance = int(fitting[-1]) if len(fitting) else 0
    total = int(totals[distance])
    return Candidates(hashes=hashes, max_distance=distance, num_pairs=min(total, max_pairs), is_cut=total > max_pairs)


def _blocks(hashes: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """(first row, first column, distances of some images to the same or later ones); 255 marks what is not a pair."""
    for row in range(0, len(hashes), _SIDE_OF_BLOCK):
        for column in range(row, len(hashes), _SIDE_OF_BLOCK):
            rows, columns = (hashes[start : start + _SIDE_OF_BLOCK] for start in (row, column))
            distances = np.bitwise_count(rows[:, None] ^ columns[None])
            if row == column:
                distances[np.tri(len(rows), dtype=bool)] = 255
            yield row, column, distances


THUMBNAIL_SIDE, FINE_SIDE = 64, 128
FIRST_BOUND = 0.90
"""Minimum correlation at THUMBNAIL_SIDE for a closer comparison."""
SAME_BOUND, ALIKE_BOUND = 0.94, 0.88
"""Minimum correlation at FINE_SIDE of copies, and of pairs that a person should check."""
_THUMBNAIL_BLUR, _FINE_BLUR = 4.0, 2.0
_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)
_LEAST_OVERLAP = 0.6
_CHUNK = 4096
FLAT_LEVELS = 4.0
"""An image with a lower standard deviation shows nothing."""


def thumbnail(pixels: np.ndarray, side: int = THUMBNAIL_SIDE) -> np.ndarray:
    """The image resized to a square, without keeping its aspect ratio."""
    return cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)


def is_flat(pixels: np.ndarray) -> bool:
    """Whether the image shows nothing that can be compared."""
    return float(thumbnail(pixels).std()) < FLAT_LEVELS


def coarse_similarity(thumbnails: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Correlation of the thumbnails of each pair at half their side, without alignment. Cheap; used to rank pairs."""
    similarity = np.empty(len(pairs), dtype=np.float32)
    for start in range(0, len(pairs), _CHUNK):
        chunk = pairs[start : start + _CHUNK]
        one, other = (_halved(thumbnails[chunk[:, side]]) for side in (0, 1))
        similarity[start : start + _CHUNK] = (one * other).sum(axis=1)
    return similarity


def thumbnails_agree(pair: tuple[np.ndarray, np.ndarray]) -> bool:
    """Whether two thumbnails are similar enough to compare their images."""
    return _aligned_correlation(*pair, blur=_THUMBNAIL_BLUR, start=None)[0] >= FIRST_BOUND


def fine_similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of the fine structure of two images, -1..1; compare it with SAME_BOUND and ALIKE_BOUND."""
    _, coarse = _aligned_correlation(thumbnail(one), thumbnail(other), blur=_THUMBNAIL_BLUR, start=None)
    coarse[:, 2] *= FINE_SIDE / THUMBNAIL_SIDE
    fine = (thumbnail(image, FINE_SIDE) for image in (one, other))
    return _aligned_correlation(*fine, blur=_FINE_BLUR, start=coarse)[0]


def _halved(thumbnails: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels, flattened and normalized to length 1 and mean 0."""
    number, side = len(thumbnails), thumbnails.shape[1] // 2
    halved = thumbnails.reshape(number, side, 2, side, 2).mean(axis=(2, 4), dtype=np.float32).reshape(number, -1)
    halved -= halved.mean(axis=1, keepdims=True)
    return halved / np.maximum(np.linalg.norm(halved, axis=1, keepdims=True), 1e-6)


def _aligned_correlation(
    one: np.ndarray, other: np.ndarray, *, blur: float, start: np.ndarray | None
) -> tuple[float, np.ndarray]:
    """The higher correlation, with or without aligning `other` to `one`, and the affine map."""
    one, other = one.astype(np.float32), other.astype(np.float32)
    warp = np.eye(2, 3, dtype=np.float32) if start is None else start.astype(np.float32)
    as_they_are = _correlation(_structure(one, blur), _structure(other, blur))
    try:
        _, warp = cv2.findTransformECC(one, other, warp, cv2.MOTION_AFFINE, _STEPS, None, 5)
    except cv2.error:  # no common structure: not similar
        return as_they_are, warp
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid_over = cv2.warpAffine(other, warp, one.shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.ones_like(other), warp, one.shape[::-1], flags=flags) > 0.5
    if inside.mean() < _LEAST_OVERLAP:
        return as_they_are, warp
    aligned = _correlation(_structure(one, blur)[inside], _structure(laid_over, blur)[inside])
    return max(as_they_are, aligned), warp


def _structure(pixels: np.ndarray, blur: float) -> np.ndarray:
    return pixels - cv2.GaussianBlur(pixels, (0, 0), blur)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one.ravel() - one.mean(), other.ravel() - other.mean()
    return float(one @ other / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-6))
