"""Which words of a report the other one does not have, whatever order the two tell things in.

Each sentence is held against that sentence of the other report which is most like it; the words that the two do not
share differ. Case and punctuation do not count.
"""

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

LEAST_LIKENESS = 0.3
"""A sentence less like every other than this (Dice coefficient of the words) has no counterpart: all of it differs."""

_LETTERS = re.compile(r"[^\W_]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Consecutive words of a sentence that all differ from its counterpart, or all do not."""

    text: str
    differs: bool


def differing_spans(sentences: Sequence[str], others: Sequence[str]) -> list[tuple[Span, ...]]:
    """Each sentence in spans; joined by a space they are the sentence's words. Without `others` nothing differs."""
    counterparts = [_keys(other) for other in others]
    bags = [Counter(keys) for keys in counterparts]
    return [_spans(sentence, counterparts, bags) for sentence in sentences]


def _spans(sentence: str, counterparts: list[list[str]], bags: list[Counter]) -> tuple[Span, ...]:
    words, keys = sentence.split(), _keys(sentence)
    shared = [not counterparts or not key for key in keys]  # punctuation alone never differs
    if counterparts:
        bag = Counter(keys)
        likeness, best = max(
            (2 * (bag & other).total() / max(1, bag.total() + other.total()), -number)
            for number, other in enumerate(bags)
        )
        if likeness >= LEAST_LIKENESS:
            matcher = difflib.SequenceMatcher(a=keys, b=counterparts[-best], autojunk=False)
            for block in matcher.get_matching_blocks():
                shared[block.a : block.a + block.size] = [True] * block.size
    spans: list[Span] = []
    for word, is_shared in zip(words, shared, strict=True):
        if spans and spans[-1].differs != is_shared:
            spans[-1] = Span(text=f"{spans[-1].text} {word}", differs=not is_shared)
        else:
            spans.append(Span(text=word, differs=not is_shared))
    return tuple(spans)


def _keys(sentence: str) -> list[str]:
    """What each word is compared by; "" for punctuation that stands alone."""
    return ["".join(_LETTERS.findall(word)).casefold() for word in sentence.split()]
