"""The images of an audited data set: those that are there twice, with the same pixels or as altered copies.

Pixels are compared by digest; altered copies by perceptual hash, then by thumbnails, then by the images
themselves, fewer each time. Thumbnails lie in a nameless file, so that memory stays small.
"""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from data.audit.collect import ImageTraits, image_of
from data.images.duplicates import (
    ALIKE_BOUND,
    THUMBNAIL_SIDE,
    coarse_similarity,
    fine_similarity,
    near_pairs,
    thumbnails_agree,
)
from data.pipeline.workers import map_in_order

COMPARED_PER_IMAGE, LEAST_COMPARED = 1, 2000
"""So many candidates for each image, and so many in any case, are compared by their thumbnails, the likeliest of all
first: copies lead that order, and schematic images would have all of theirs compared."""
_LEAST_ALIKE = 0.8
_PAIRS_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Copies:
    """`identical`: groups of numbers of images with the same pixels; `altered`: (one, other, similarity) from
    ALIKE_BOUND on, most alike first, each group of identical ones represented by its first. `search` says how they were
    sought."""

    identical: list[list[int]]
    altered: list[tuple[int, int, float]]
    search: dict[str, int | float | bool]


class ImageIndex:
    """Collects images as they are looked at; an image's number is its place in `owners`, (study, view). Use as a
    context manager."""

    def __init__(self):
        self.owners: list[tuple[int, int]] = []
        self._digests: list[bytes] = []
        self._hashes: list[int] = []
        self._thumbnails = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._thumbnails.close()

    def add(self, study: int, view: int, traits: ImageTraits) -> None:
        """An image that can be read and shows something."""
        self.owners.append((study, view))
        self._digests.append(traits.digest)
        self._hashes.append(traits.hash)
        self._thumbnails.write(traits.thumbnail)

    def copies(
        self,
        folder: str,
        places: Sequence[tuple[str, int]],
        *,
        num_workers: int,
        track: Callable[[int, str], Callable[[int], None]],
    ) -> Copies:
        """`places` are (split, row) of the studies in `folder`; `track` as in `data.audit`."""
        groups = defaultdict(list)
        for number, digest in enumerate(self._digests):
            groups[digest].append(number)
        identical = [group for group in groups.values() if len(group) > 1]
        different = np.array([group[0] for group in groups.values()], dtype=np.int64)
        if len(different) < 2:
            return Copies(identical=identical, altered=[], search={"images": len(different)})
        thumbnails = self._thumbnail_array()
        candidates = near_pairs(np.array(self._hashes, dtype=np.uint64)[different])
        pairs = different[candidates.pairs]
        alike = coarse_similarity(thumbnails, pairs)
        num_compared = max(LEAST_COMPARED, COMPARED_PER_IMAGE * len(different))
        likeliest = np.argsort(-alike, kind="stable")[:num_compared]
        compared = pairs[likeliest[alike[likeliest] >= _LEAST_ALIKE]]
        advance = track(len(compared), "Comparing thumbnails")
        agreeing = list(_agreeing(thumbnails, compared, num_workers=num_workers, advance=advance))
        advance = track(len(agreeing), "Comparing images")
        altered = []
        compare = partial(_compare, folder=folder)
        items = [tuple((places[self.owners[n][0]], self.owners[n][1]) for n in pair) for pair in agreeing]
        workers = num_workers if len(items) > 50 else 1
        outcomes = map_in_order(compare, items, num_workers=workers, if_lost=lambda _: 0.0)
        for (one, other), (_, similarity) in zip(agreeing, outcomes, strict=True):
            advance(1)
            if similarity >= ALIKE_BOUND:
                altered.append((int(one), int(other), round(similarity, 3)))
        search = {
            "images": len(different),
            "max_hash_distance": candidates.max_distance,
            "candidates": len(pairs),
            "candidates_cut": candidates.is_cut,
            "compared_by_thumbnail": len(compared),
            "compared_in_full": len(agreeing),
        }
        return Copies(identical=identical, altered=sorted(altered, key=lambda pair: -pair[2]), search=search)

    def _thumbnail_array(self) -> np.ndarray:
        self._thumbnails.flush()
        shape = (len(self.owners), THUMBNAIL_SIDE, THUMBNAIL_SIDE)
        return np.memmap(self._thumbnails, dtype=np.uint8, mode="r", shape=shape)


def _agreeing(
    thumbnails: np.ndarray, pairs: np.ndarray, *, num_workers: int, advance: Callable[[int], None]
) -> Iterator[np.ndarray]:
    """The pairs whose thumbnails agree."""
    chunks = (pairs[start : start + _PAIRS_AT_ONCE] for start in range(0, len(pairs), _PAIRS_AT_ONCE))
    workers = num_workers if len(pairs) > 10 * _PAIRS_AT_ONCE else 1
    items = ((chunk, thumbnails[chunk]) for chunk in chunks)
    lost = lambda item: [False] * len(item[0])  # noqa: E731
    for (chunk, _), agree in map_in_order(_agree, items, num_workers=workers, if_lost=lost):
        yield from chunk[agree]
        advance(len(chunk))


def _agree(item: tuple[np.ndarray, np.ndarray]) -> list[bool]:
    return [thumbnails_agree((one, other)) for one, other in item[1]]


def _compare(pair: tuple[tuple[tuple[str, int], int], ...], *, folder: str) -> float:
    return fine_similarity(*(np.asarray(image_of(folder, place, view)) for place, view in pair))
