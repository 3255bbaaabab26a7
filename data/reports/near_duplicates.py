"""Find reports that are equal or nearly equal: texts in, signatures and pairs out.

Equal short reports are normal, because normal chests are described with the same few sentences. From MIN_WORDS words
on, two people hardly ever write the same text (docs/LOG.md), so a copy is likely. Near-duplicate pairs are found by
MinHash with banding (Broder 1997; Leskovec et al., "Mining of Massive Datasets", 3.4), which avoids comparing every
pair, and are confirmed by the share of common word triples."""

import hashlib
import re
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

MIN_WORDS = 60
NEAR_BOUND = 0.8
"""Jaccard similarity of word triples from which on two reports are near duplicates."""
NUM_BANDS, ROWS_PER_BAND = 16, 4
"""A pair of similarity .8 shares a band with probability .9998, a pair of similarity .3 with .12."""
_SLACK = 0.2
"""At a similarity of .8, the estimate from signatures has a standard deviation of .05."""
_NEIGHBORS = 3
"""Each report of a band is compared with this many next ones, in the order of signatures."""
_NUMBERS = np.random.Generator(np.random.PCG64(0))
_FACTORS, _OFFSETS = (
    _NUMBERS.integers(1, 2**63, (NUM_BANDS * ROWS_PER_BAND, 1), dtype=np.uint64) | np.uint64(1) for _ in range(2)
)


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


def near_report_pairs(signatures: Sequence[np.ndarray], text_of: Callable[[int], str]) -> list[tuple[int, int, float]]:
    """(one, other, similarity) of the pairs from NEAR_BOUND on, most similar first. All texts must differ."""
    signatures = np.asarray(signatures)
    candidates = set()
    for band in range(NUM_BANDS):
        keys = signatures[:, band * ROWS_PER_BAND : (band + 1) * ROWS_PER_BAND]
        buckets = defaultdict(list)
        for index, key in enumerate(keys):
            buckets[key.tobytes()].append(index)
        for bucket in buckets.values():
            bucket.sort(key=lambda index: signatures[index].tobytes())
            for place, one in enumerate(bucket):
                others = np.array(bucket[place + 1 : place + 1 + _NEIGHBORS], dtype=int)
                # Signatures exclude most different pairs without reading the texts.
                likely = (signatures[others] == signatures[one]).mean(axis=1) >= NEAR_BOUND - _SLACK
                candidates.update((min(one, other), max(one, other)) for other in others[likely].tolist())
    triples = lru_cache(maxsize=4096)(lambda index: _triples(text_of(index)))
    pairs = [(one, other, _jaccard(triples(one), triples(other))) for one, other in sorted(candidates)]
    return sorted((pair for pair in pairs if pair[2] >= NEAR_BOUND), key=lambda pair: -pair[2])


def _jaccard(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)


def _triples(text: str) -> set[str]:
    words = words_of(text)
    return {" ".join(words[start : start + 3]) for start in range(max(1, len(words) - 2))}
