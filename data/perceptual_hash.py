"""A 64-bit hash by which pictures that look alike are near each other, and the search for near pairs among many.

The hash is the signs of a picture's 8 x 8 lowest cosine frequencies about their median (the "pHash" of Zauner 2010). Of
chest X-rays it finds candidates and proves nothing: different patients are as near as copies (docs/LOG.md), so
`data.same_picture` has the last word.
"""

from dataclasses import dataclass

import cv2
import numpy as np

SIDE, KEPT = 32, 8
MAX_DISTANCE = 12
"""Differing bits up to which a pair is a candidate: 91 % of copies cropped by up to 5 % a side lie within, nearly all
copies that were encoded anew, resized or brightened."""
CANDIDATES_PER_PICTURE = 30
"""Where there are more, the distance is lowered: candidates grow with the square of the pictures."""
_ROWS = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """Pairs of pictures, [pairs, 2] with the lower index first, that differ in at most `max_distance` bits; `is_cut`:
    there are more such pairs."""

    pairs: np.ndarray
    max_distance: int
    is_cut: bool = False


def perceptual_hash(pixels: np.ndarray) -> int:
    """The hash of an 8-bit gray picture of any size."""
    small = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    frequencies = cv2.dct(small)[:KEPT, :KEPT].ravel()
    signs = frequencies > np.median(frequencies[1:])  # the first is the brightness of all
    return int.from_bytes(np.packbits(signs).tobytes())


def near_pairs(hashes: np.ndarray, *, max_distance: int = MAX_DISTANCE, max_pairs: int | None = None) -> Candidates:
    """All pairs that differ in at most `max_distance` bits; fewer bits, where that would be more than `max_pairs`
    (by default CANDIDATES_PER_PICTURE each). Every pair is compared, by blocks: 10,000 hashes take 0.2 s, 400,000 some
    minutes, in a few megabytes."""
    hashes = np.asarray(hashes, dtype=np.uint64)
    max_pairs = CANDIDATES_PER_PICTURE * len(hashes) if max_pairs is None else max_pairs
    counts = np.zeros(max_distance + 1, dtype=np.int64)
    for _, distances in _blocks(hashes):
        counts += np.bincount(distances[distances <= max_distance], minlength=max_distance + 1)
    fitting = np.flatnonzero(counts.cumsum() <= max_pairs)
    distance = int(fitting[-1]) if len(fitting) else 0
    found, num_found = [np.empty((0, 2), dtype=np.int64)], 0
    for start, distances in _blocks(hashes):
        rows, columns = np.nonzero(distances <= distance)
        found.append(np.stack([rows + start, columns + start], axis=1))
        num_found += len(rows)
        if num_found > max_pairs:
            break
    pairs = np.concatenate(found)
    return Candidates(pairs=pairs[:max_pairs], max_distance=distance, is_cut=len(pairs) > max_pairs)


def _blocks(hashes: np.ndarray):
    """(first row, distances): some rows against themselves and all later ones; what is no pair is at distance 255."""
    for start in range(0, len(hashes), _ROWS):
        distances = np.bitwise_count(hashes[start : start + _ROWS, None] ^ hashes[None, start:])
        rows = np.arange(len(distances))
        distances[:, : len(rows)][rows[:, None] >= rows[None, :]] = 255
        yield start, distances
