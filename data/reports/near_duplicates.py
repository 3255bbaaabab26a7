"""Find reports that are equal or nearly equal: texts in, signatures and pairs out.

Equal short reports are normal, because normal chests are described with the same few sentences. From MIN_WORDS words
on, two people hardly ever write the same text (docs/LOG.md), so a copy is likely. Near-duplicate pairs are found by
MinHash with banding (Broder 1997; Leskovec et al., "Mining of Massive Datasets", 3.4), which avoids comparing every
pair, and are confirmed by the share of common word triples."""

import hashlib
import re
import zlib
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from jaxtyping import UInt32

MIN_WORDS = 60
NEAR_BOUND = 0.8
"""Jaccard similarity of word triples from which on two reports are near duplicates."""
NUM_BANDS, ROWS_PER_BAND = 16, 4
NUM_HASHES = NUM_BANDS * ROWS_PER_BAND
"""Hashes of a signature. A pair of similarity .8 shares a band with probability .9998, and one of .3 with .12."""
_SLACK = 0.2
"""At a similarity of .8, the estimate from signatures has a standard deviation of .05."""
_NEIGHBORS = 3
"""Each report of a band is compared with this many next ones, in the order of signatures."""
_NUMBERS = np.random.Generator(np.random.PCG64(0))
_FACTORS, _OFFSETS = (_NUMBERS.integers(1, 2**63, (NUM_HASHES, 1), dtype=np.uint64) | np.uint64(1) for _ in range(2))


def words_of(text: str) -> list[str]:
    """The words that are compared: lower case, no punctuation."""
    return re.findall(r"\w+", text.lower())


def text_digest(text: str) -> bytes:
    """A hash that is equal for texts of the same words."""
    return hashlib.sha256(" ".join(words_of(text)).encode(errors="surrogatepass")).digest()[:16]


def signature(text: str) -> np.ndarray:
    """MinHash of the word triples; the share of equal entries estimates the Jaccard similarity."""
    hashed = np.array([zlib.crc32(triple.encode(errors="surrogatepass")) for triple in _triples(text)], dtype=np.uint64)
    return ((hashed * _FACTORS + _OFFSETS) >> np.uint64(32)).min(axis=1).astype(np.uint32)


def similarity(one: str, other: str) -> float:
    """Jaccard similarity of the sets of word triples, 0..1."""
    return _jaccard(_triples(one), _triples(other))


def near_report_pairs(
    signatures: UInt32[np.ndarray, "reports hashes"], text_of: Callable[[int], str]
) -> list[tuple[int, int, float]]:
    """(one, other, similarity) of the pairs from NEAR_BOUND on, most similar first. All texts must differ."""
    triples = lru_cache(maxsize=4096)(lambda index: _triples(text_of(index)))
    pairs = [(one, other, _jaccard(triples(one), triples(other))) for one, other in _candidates(signatures)]
    return sorted((pair for pair in pairs if pair[2] >= NEAR_BOUND), key=lambda pair: -pair[2])


def _candidates(signatures: np.ndarray) -> list[tuple[int, int]]:
    """Pairs with an equal band and similar signatures, which exclude most different pairs without reading the texts."""
    found = [np.empty((0, 2), dtype=np.int64)]
    in_order = np.lexsort(signatures.T[::-1])
    for band in range(NUM_BANDS):
        keys = signatures[in_order, band * ROWS_PER_BAND : (band + 1) * ROWS_PER_BAND]
        by_key = np.lexsort(keys.T)  # equal keys stay in the order of signatures
        keys, reports = keys[by_key], in_order[by_key]
        for distance in range(1, 1 + _NEIGHBORS):
            is_equal = (keys[distance:] == keys[:-distance]).all(axis=1)
            pairs = np.stack([reports[:-distance][is_equal], reports[distance:][is_equal]], axis=1)
            similarity = [(signatures[one] == signatures[other]).mean() for one, other in pairs]
            found.append(np.sort(pairs[np.array(similarity, dtype=float) >= NEAR_BOUND - _SLACK], axis=1))
    return list(map(tuple, np.unique(np.concatenate(found), axis=0).tolist()))


def _jaccard(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)


def _triples(text: str) -> set[str]:
    words = words_of(text)
    return {" ".join(words[start : start + 3]) for start in range(max(1, len(words) - 2))}
