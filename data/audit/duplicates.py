"""Duplicate images in an audited data set: images with the same pixels, and altered copies.

Equal pixels have equal digests. For altered copies, candidates are compared in three steps with the functions of
`data.images.duplicates`: perceptual hashes, then thumbnails, then the images. Each step leaves fewer pairs.
"""

import tempfile
from collections import defaultdict
from dataclasses import dataclass
from functools import partial

import numpy as np

from data.audit.collect import AuditContext, ImageTraits, Place, read_stored_image
from data.images.duplicates import (
    ALIKE_BOUND,
    THUMBNAIL_SIDE,
    coarse_similarity,
    fine_similarity,
    near_pairs,
    thumbnails_agree,
)
from data.images.pixels import pixels_of

COMPARED_PER_IMAGE, MIN_COMPARED = 1, 2000
"""Pairs of thumbnails to compare: one per image, and at least 2,000. The most similar ones come first, so copies are
among them, and in a data set of similar phantoms not every pair is compared."""
_MIN_COARSE_SIMILARITY = 0.8
_PAIRS_PER_CHUNK = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Copies:
    """Images that occur more than once, by number.

    `identical` are groups of images with the same pixels. `altered` are (one, other, similarity), from ALIKE_BOUND on,
    the most similar first; each identical group is represented by its first image. `search` describes the search.
    """

    identical: list[list[int]]
    altered: list[tuple[int, int, float]]
    search: dict[str, int | float | bool]


class ImageIndex:
    """Collects images and finds copies. The number of an image is its index in `owners`, a list of (study, view).

    It is a context manager. Thumbnails are in a temporary file, so memory use is low.
    """

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
        """Add an image that can be read and is not blank."""
        self.owners.append((study, view))
        self._digests.append(traits.digest)
        self._hashes.append(traits.hash)
        self._thumbnails.write(traits.thumbnail)

    def find_copies(self, context: AuditContext) -> Copies:
        groups = defaultdict(list)
        for number, digest in enumerate(self._digests):
            groups[digest].append(number)
        identical = [group for group in groups.values() if len(group) > 1]
        different = np.array([group[0] for group in groups.values()], dtype=np.int64)
        if len(different) < 2:
            return Copies(identical=identical, altered=[], search={"images": len(different)})
        self._thumbnails.flush()
        shape = (len(self.owners), THUMBNAIL_SIDE, THUMBNAIL_SIDE)
        thumbnails = np.memmap(self._thumbnails, dtype=np.uint8, mode="r", shape=shape)
        candidates = near_pairs(np.array(self._hashes, dtype=np.uint64)[different])
        pairs = different[candidates.pairs]
        similarity = coarse_similarity(thumbnails, pairs)
        most_similar = np.argsort(-similarity, kind="stable")[: max(MIN_COMPARED, COMPARED_PER_IMAGE * len(different))]
        compared = pairs[most_similar[similarity[most_similar] >= _MIN_COARSE_SIMILARITY]]
        agreeing = _pairs_with_similar_thumbnails(thumbnails, compared, context)
        search = {
            "images": len(different),
            "max_hash_distance": candidates.max_distance,
            "candidates": len(pairs),
            "candidates_cut": candidates.is_cut,
            "compared_by_thumbnail": len(compared),
            "compared_in_full": len(agreeing),
        }
        return Copies(identical=identical, altered=self._altered(agreeing, context), search=search)

    def _altered(self, pairs: list[tuple[int, int]], context: AuditContext) -> list[tuple[int, int, float]]:
        """The pairs whose images are similar, as (one, other, similarity), the most similar first."""
        stored = [tuple((context.places[self.owners[n][0]], self.owners[n][1]) for n in pair) for pair in pairs]
        results = context.map(
            partial(_compare_images, folder=context.folder),
            stored,
            total=len(pairs),
            description="Comparing images",
            min_parallel=51,
            if_lost=lambda _: 0.0,
        )
        altered = [
            (*pair, round(similarity, 3))
            for pair, (_, similarity) in zip(pairs, results, strict=True)
            if similarity >= ALIKE_BOUND
        ]
        return sorted(altered, key=lambda pair: -pair[2])


def _pairs_with_similar_thumbnails(
    thumbnails: np.ndarray, pairs: np.ndarray, context: AuditContext
) -> list[tuple[int, int]]:
    chunks = [pairs[start : start + _PAIRS_PER_CHUNK] for start in range(0, len(pairs), _PAIRS_PER_CHUNK)]
    results = context.map(
        _compare_thumbnails,
        ((chunk, thumbnails[chunk]) for chunk in chunks),
        total=len(chunks),
        description="Comparing thumbnails",
        min_parallel=11,
        if_lost=lambda item: [False] * len(item[0]),
    )
    return [(int(one), int(other)) for (chunk, _), agree in results for one, other in chunk[agree]]


def _compare_thumbnails(item: tuple[np.ndarray, np.ndarray]) -> list[bool]:
    return [thumbnails_agree((one, other)) for one, other in item[1]]


def _compare_images(pair: tuple[tuple[Place, int], ...], *, folder: str) -> float:
    return fine_similarity(*(pixels_of(read_stored_image(folder, place, view)) for place, view in pair))
