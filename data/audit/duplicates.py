"""Duplicate images in an audited data set: images with the same pixels, and altered copies.

Equal pixels have equal digests. For altered copies, candidates are compared in three steps with the functions of
`data.images.duplicates`: perceptual hashes, then thumbnails, then the images. Each step leaves fewer pairs.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from data.audit.collect import AuditContext, ImageTraits, Place, read_stored_image
from data.audit.records import Records, groups_of_equal
from data.images.duplicates import (
    ALIKE_BOUND,
    THUMBNAIL_SIDE,
    Candidates,
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
    """Collects images and finds copies; a context manager. An image has the number in which it was added."""

    def __init__(self):
        self._records = Records(
            [
                ("study", np.int64),
                ("view", np.int32),
                ("digest", "S16"),
                ("hash", np.uint64),
                ("thumbnail", np.uint8, (THUMBNAIL_SIDE, THUMBNAIL_SIDE)),
            ]
        )

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._records.__exit__(*exception)

    def add(self, study: int, view: int, traits: ImageTraits) -> None:
        """Add an image that can be read and is not blank."""
        thumbnail = np.frombuffer(traits.thumbnail, dtype=np.uint8).reshape(THUMBNAIL_SIDE, THUMBNAIL_SIDE)
        self._records.add(study, view, traits.digest, traits.hash, thumbnail)

    def array(self) -> np.ndarray:
        """All images, with the fields `study`, `view` and `digest`."""
        return self._records.array()

    def find_copies(self, context: AuditContext) -> Copies:
        images = self.array()
        different, identical = groups_of_equal(images["digest"])
        if len(different) < 2:
            return Copies(identical=identical, altered=[], search={"images": len(different)})
        candidates = near_pairs(images["hash"][different])
        compared = _most_similar(images["thumbnail"], different, candidates)
        agreeing = _pairs_with_similar_thumbnails(images["thumbnail"], compared, context)
        search = {
            "images": len(different),
            "max_hash_distance": candidates.max_distance,
            "candidates": candidates.num_pairs,
            "candidates_cut": candidates.is_cut,
            "compared_by_thumbnail": len(compared),
            "compared_in_full": len(agreeing),
        }
        return Copies(identical=identical, altered=_altered(agreeing, images, context), search=search)


def _most_similar(thumbnails: np.ndarray, different: np.ndarray, candidates: Candidates) -> np.ndarray:
    """The candidates whose thumbnails are the most similar [pairs, 2], the most similar first."""
    number = max(MIN_COMPARED, COMPARED_PER_IMAGE * len(different))
    kept, num_kept = [], 0  # (pairs, similarity) of some blocks

    def best() -> tuple[np.ndarray, np.ndarray]:
        pairs, similarity = map(np.concatenate, zip(*kept, strict=True))
        order = np.argsort(-similarity, kind="stable")[:number]
        return pairs[order], similarity[order]

    for block in candidates.blocks():
        pairs = different[block]
        similarity = coarse_similarity(thumbnails, pairs)
        is_similar = similarity >= _MIN_COARSE_SIMILARITY
        kept.append((pairs[is_similar], similarity[is_similar]))
        num_kept += len(kept[-1][0])
        if num_kept > 2 * number:
            kept = [best()]
            num_kept = number
    return best()[0] if kept else np.empty((0, 2), dtype=np.int64)


def _altered(pairs: list[tuple[int, int]], images: np.ndarray, context: AuditContext) -> list[tuple[int, int, float]]:
    """The pairs whose images are similar, as (one, other, similarity), the most similar first."""
    results = context.map(
        partial(_compare_images, folder=context.folder),
        [tuple((context.places[images["study"][n]], int(images["view"][n])) for n in pair) for pair in pairs],
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
