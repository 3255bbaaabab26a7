"""Which studies show a picture that is held out, whatever they are called: what is tested must not be learned.

Pictures are compared small, so that one that was stored as JPEG, shrunk, or saved again is still told.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import cv2
import datasets
import numpy as np
from PIL import Image

THUMBNAIL_SIDE = 32
SAME_LEVELS = 2.0
"""Pictures whose thumbnails differ by less than this many gray levels on average are the same one (docs/LOG.md)."""
CHUNK = 256


def studies_with_pictures_of(rows: datasets.Dataset, held_out: Iterable[datasets.Dataset]) -> list[int]:
    """The numbers of the rows with a picture that is also in one of the data sets."""
    numbers, thumbnails = _thumbnails(rows)
    found = np.zeros(len(thumbnails), dtype=bool)
    for other in held_out:
        for start in range(0, len(other), CHUNK):
            _, others = _thumbnails(other.select(range(start, min(start + CHUNK, len(other)))))
            for thumbnail in others:
                found |= np.abs(thumbnails - thumbnail).mean(axis=1) < SAME_LEVELS
    return sorted({number for number, is_found in zip(numbers, found, strict=True) if is_found})


def _thumbnails(rows: datasets.Dataset) -> tuple[list[int], np.ndarray]:
    """A thumbnail a picture, [pictures, pixels], and the number of the row that each is of."""
    with ThreadPoolExecutor() as pool:
        studies = list(
            pool.map(lambda number: [_thumbnail(image) for image in rows[number]["images"]], range(len(rows)))
        )
    numbers = [number for number, thumbnails in enumerate(studies) for _ in thumbnails]
    flat = [thumbnail for thumbnails in studies for thumbnail in thumbnails]
    return numbers, np.array(flat, dtype=np.float32).reshape(len(flat), THUMBNAIL_SIDE**2)


def _thumbnail(image: Image.Image) -> np.ndarray:
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    return cv2.resize(np.asarray(image.convert("L")), side, interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
