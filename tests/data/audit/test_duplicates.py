"""The most similar candidates are kept, however they come in blocks."""

import numpy as np

from data.audit import duplicates
from data.images import duplicates as images


def test_the_most_similar_pairs_of_all_blocks_are_kept(monkeypatch):
    monkeypatch.setattr(images, "_SIDE_OF_BLOCK", 4)
    monkeypatch.setattr(duplicates, "MIN_COMPARED", 5)
    monkeypatch.setattr(duplicates, "COMPARED_PER_IMAGE", 0)
    rng = np.random.default_rng(0)
    base = rng.integers(40, 200, (64, 64))
    noise = rng.normal(0, 1, (20, 64, 64)) * np.arange(20)[:, None, None]
    thumbnails = np.clip(base + noise, 0, 255).astype(np.uint8)
    candidates = images.near_pairs(np.zeros(20, dtype=np.uint64))
    pairs = np.concatenate(list(candidates.blocks()))
    assert len(pairs) == 20 * 19 / 2
    similarity = images.coarse_similarity(thumbnails, pairs)
    found = duplicates._most_similar(thumbnails, np.arange(20), candidates)
    assert found.tolist() == pairs[np.argsort(-similarity)[:5]].tolist()
