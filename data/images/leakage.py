"""Images of training studies that are also in the studies of a held-out split, under whatever name.

Thumbnails are compared, so an image is also found after JPEG compression or resizing. `data.images.duplicates` finds
cropped and brightened copies too, but compares images in pairs, which is too slow here.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO

import datasets
import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from data.images.duplicates import thumbnail
from data.study import IMAGE_COLUMNS

THUMBNAIL_SIDE = 32
SAME_LEVELS = 2.0
"""Two images are the same if their thumbnails differ by less than this many gray levels on average (docs/LOG.md)."""
_BLOCK = 8
"""Side of the blocks of a thumbnail whose means are compared first."""
_CHUNK = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Thumbnails:
    """The thumbnails of all images of some studies; `rows` has the number of the study of each image."""

    rows: np.ndarray
    pixels: UInt8[np.ndarray, "images side side"]


def find_leakage(rows: datasets.Dataset, held_out: Iterable[datasets.Dataset]) -> list[int]:
    """Numbers of the rows with an image that is also in a held-out data set, whatever the study is called. Images of
    prior studies count too."""
    thumbnails = thumbnails_of(rows)
    found: set[int] = set()
    for other in held_out:
        found.update(shared_rows(thumbnails, other))
    return sorted(found)


def shared_rows(thumbnails: Thumbnails, others: datasets.Dataset) -> list[int]:
    """Numbers of the rows with an image that is also in the other data set. Memory does not grow with the other one."""
    found = np.zeros(len(thumbnails.pixels), dtype=bool)
    for start in range(0, len(others), _CHUNK):
        chunk = thumbnails_of(others.select(range(start, min(start + _CHUNK, len(others)))))
        found |= _is_among(thumbnails.pixels, chunk.pixels)
    return np.unique(thumbnails.rows[found]).tolist()


def thumbnails_of(rows: datasets.Dataset) -> Thumbnails:
    """Thumbnails of all images and prior images, decoded or as they are stored.

    Raises:
        ValueError: a stored image cannot be decoded; names the study.
    """
    with ThreadPoolExecutor() as pool:
        studies = list(pool.map(lambda number: _thumbnails(rows[number]), range(len(rows))))
    numbers = [number for number, thumbnails in enumerate(studies) for _ in thumbnails]
    pixels = [one for thumbnails in studies for one in thumbnails]
    empty = np.empty((0, THUMBNAIL_SIDE, THUMBNAIL_SIDE), dtype=np.uint8)
    return Thumbnails(rows=np.array(numbers, dtype=np.int64), pixels=np.stack(pixels) if pixels else empty)


def _thumbnails(row: dict) -> list[np.ndarray]:
    images = [image for name in IMAGE_COLUMNS for image in row.get(name) or ()]
    try:
        return [thumbnail(np.asarray(_decoded(image).convert("L")), THUMBNAIL_SIDE) for image in images]
    except OSError as error:
        raise ValueError(f"study {row['study_id']}: an image cannot be decoded ({error}); prepare it again") from error


def _decoded(image: Image.Image | dict) -> Image.Image:
    if not isinstance(image, dict):
        return image
    if not image["bytes"]:
        raise OSError("it is not in the data set")
    return Image.open(BytesIO(image["bytes"]))


def _is_among(
    pixels: UInt8[np.ndarray, "images side side"], others: UInt8[np.ndarray, "others side side"]
) -> Bool[np.ndarray, " images"]:
    """Whether each thumbnail is among the others. The means of blocks differ at most as much as the pixels, so only
    thumbnails with similar blocks are compared in full."""
    blocks, other_blocks = _block_means(pixels), _block_means(others)
    found = np.zeros(len(pixels), dtype=bool)
    for one, one_blocks in zip(others.astype(np.float32), other_blocks.T, strict=True):
        # 0.01 more, for rounding.
        similar = np.flatnonzero(np.abs(blocks - one_blocks[:, None]).mean(axis=0) < SAME_LEVELS + 0.01)
        similar = similar[~found[similar]]
        found[similar] = np.abs(pixels[similar] - one).mean(axis=(1, 2)) < SAME_LEVELS
    return found


def _block_means(pixels: np.ndarray) -> np.ndarray:
    """[blocks, images]"""
    num = THUMBNAIL_SIDE // _BLOCK
    means = pixels.reshape(len(pixels), num, _BLOCK, num, _BLOCK).mean(axis=(2, 4), dtype=np.float32)
    return np.ascontiguousarray(means.reshape(len(pixels), num * num).T)
