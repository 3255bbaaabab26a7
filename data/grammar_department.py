"""The habits of one department's reports: of the many ways to say a thing it uses a few, always the same.

Whoever fine-tunes a model on reports of one house meets such habits. Made-up studies have them, too, when a department
is named: the same scenes and pictures, told in fewer words.
"""

import hashlib
from functools import cache
from typing import Any

from numpy.random import BitGenerator, Generator

SHARE = 4
"""A department uses one way of so many, and at least one."""


class Department(Generator):
    """A random generator that chooses among a department's own wordings (`data.grammar_sentences.pick`)."""

    def __init__(self, bit_generator: BitGenerator, number: int):
        super().__init__(bit_generator)
        self.number = number

    def wordings(self, options: tuple[Any, ...]) -> tuple[Any, ...]:
        return _habits(self.number, options)


@cache
def _habits(number: int, options: tuple[Any, ...]) -> tuple[Any, ...]:
    """The ways that this department has, on every machine the same."""
    drawn = {option: hashlib.blake2b(f"{number}:{option!r}".encode()).digest() for option in options}
    return tuple(sorted(drawn, key=drawn.__getitem__)[: -(-len(drawn) // SHARE)])
