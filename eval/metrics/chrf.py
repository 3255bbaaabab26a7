"""chrF (Popović 2015): F-score of character n-grams of order 1 to 6, which tolerates different word endings.

Spaces are ignored and recall has double weight (beta 2). The values equal sacrebleu 2's CHRF, divided by 100.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int

from eval.metrics.normalization import DEFAULT_NORMALIZATION, TextScore, corpus_score, paired_texts

CHRF_NAME = "chrF (sacrebleu, 0 to 1)"
NUM_ORDERS = 6
BETA = 2.0
MAX_CHARACTERS = 900
"""Different characters of a pair of reports; all others count as one more. So a character has 10 bits at most."""
MAX_CHARACTERS_AT_ONCE = 2**13
"""Characters of the pairs that are counted together; each pair counts as one more, so its number has 13 bits."""


def chrf(
    predictions: Sequence[str], references: Sequence[str], normalization: str = DEFAULT_NORMALIZATION
) -> TextScore:
    """Corpus chrF; `statistics` [studies, 18]: predicted, reference and matched n-grams of 1 to 6 characters."""
    pairs = paired_texts(predictions, references, normalization)
    pairs = [tuple("".join(text.split()) for text in pair) for pair in pairs]
    return corpus_score(np.concatenate(list(map(_statistics, _in_blocks(pairs)))), chrf_from_statistics)


def chrf_from_statistics(statistics: np.ndarray) -> np.ndarray:
    """chrF [...] from sums [..., 18] of the statistics, averaged over the orders that occur in both texts."""
    statistics = np.asarray(statistics, dtype=np.float64)
    predicted, reference, matched = np.split(statistics, 3, axis=-1)
    is_counted = (predicted > 0) & (reference > 0)
    num_orders = np.maximum(1, is_counted.sum(axis=-1))
    precision = np.divide(matched, predicted, out=np.zeros_like(matched), where=is_counted).sum(axis=-1) / num_orders
    recall = np.divide(matched, reference, out=np.zeros_like(matched), where=is_counted).sum(axis=-1) / num_orders
    denominator = BETA**2 * precision + recall
    score = (1 + BETA**2) * precision * recall
    return np.divide(score, denominator, out=np.zeros_like(score), where=denominator > 0)


def _in_blocks(pairs: Sequence[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """Blocks of pairs that are counted together. A pair with characters outside ASCII is a block of its own."""
    block: list[tuple[str, str]] = []
    num_characters = 0
    for pair in pairs:
        is_ascii = all(map(str.isascii, pair))
        size = 1 + sum(map(len, pair))
        if block and (not is_ascii or num_characters + size > MAX_CHARACTERS_AT_ONCE):
            yield block
            block, num_characters = [], 0
        if not is_ascii:
            yield [pair]
            continue
        block.append(pair)
        num_characters += size
    if block:
        yield block


def _statistics(pairs: Sequence[tuple[str, str]]) -> Int[np.ndarray, "pairs 18"]:
    texts = [text for pair in pairs for text in pair]
    lengths = np.array(list(map(len, texts)))
    num_ngrams = [np.maximum(0, lengths - order).reshape(-1, 2) for order in range(NUM_ORDERS)]
    # As in sacrebleu: predicted n-grams are ignored for orders that are longer than the reference.
    predicted = [np.where(num[:, 1] > 0, num[:, 0], 0) for num in num_ngrams]
    return np.column_stack([*predicted, *(num[:, 1] for num in num_ngrams), *_num_matched(texts, lengths)])


def _num_matched(texts: Sequence[str], lengths: np.ndarray) -> list[Int[np.ndarray, " pairs"]]:
    """Number of matched n-grams of each order. Each text is followed by the one that it is compared with.

    The longest n-gram at each place becomes an integer: the number of its pair, its characters, and a last bit that
    says which text it is from. They are sorted once; then those that begin with the same n characters stand together.
    """
    codes, bits = _codes("".join(texts))
    text_of, end_of = (np.repeat(values, lengths) for values in (np.arange(len(texts)), np.cumsum(lengths)))
    places = np.arange(len(codes))
    keys = text_of >> 1
    for offset in range(NUM_ORDERS):
        keys <<= bits
        size = max(0, len(codes) - offset)
        keys[:size] |= np.where(places[offset:] < end_of[:size], codes[offset:], 0)
    keys = np.sort((keys << 1) | (text_of & 1))
    num_in_reference_before = np.append(0, np.cumsum(keys & 1))
    begins, grams, matched = np.arange(len(keys)), keys >> 1, []
    for order in range(NUM_ORDERS, 0, -1):
        is_first = np.flatnonzero(np.diff(grams, prepend=-1))
        begins, grams = begins[is_first], grams[is_first]
        ends = np.append(begins, len(keys))
        num_in_reference = np.diff(num_in_reference_before[ends])
        num_in_both = np.minimum(num_in_reference, np.diff(ends) - num_in_reference)
        num_in_both[grams & (2**bits - 1) == 0] = 0  # the text ends before
        matched.append(np.bincount(grams >> bits * order, num_in_both, minlength=len(texts) // 2).astype(np.int64))
        grams >>= bits
    return matched[::-1]


def _codes(text: str) -> tuple[Int[np.ndarray, " characters"], int]:
    """The text as numbers of its characters from 1 on, and the bits of a number."""
    if text.isascii():  # the usual case, without a loop over characters
        return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64) + 1, 8
    characters = {character: min(number, MAX_CHARACTERS) + 1 for number, character in enumerate(dict.fromkeys(text))}
    return np.array([characters[character] for character in text], dtype=np.int64), 10
