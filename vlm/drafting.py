"""Drafts of the next tokens from an n-gram index, which make greedy search faster and change no report.

The index knows which token usually follows the last tokens. The decoder checks several drafted tokens in one pass and
keeps those that it would write itself (speculative decoding, Leviathan et al. 2023; the index takes the place of the
small model). An entry was in MIN_REPORTS training reports at least, so the index holds no text of a single report. A
checkpoint has no index unless `python -m train.draft_index` adds one.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

DRAFTS_FILE = "drafts.safetensors"
MAX_CONTEXT = 4
"""Tokens before the next one."""
MIN_REPORTS = 5
MIN_SHARE = 0.5
"""An entry is kept if its token follows its context at least this often."""
MAX_ENTRIES = 50_000
MAX_DRAFT = 8
_EMPTY = -1


@dataclass(frozen=True, slots=True)
class DraftIndex:
    """The usual next token by the last tokens, at most MAX_CONTEXT of them."""

    next_tokens: dict[tuple[int, ...], int]

    def draft(self, tokens: Sequence[int], max_tokens: int) -> list[int]:
        """The usual continuation of `tokens`; it ends where the index knows none, and may be empty."""
        text = list(tokens[-MAX_CONTEXT:])
        given = len(text)
        while len(text) - given < min(max_tokens, MAX_DRAFT):
            contexts = (tuple(text[-size:]) for size in range(min(MAX_CONTEXT, len(text)), 0, -1))
            token = next((self.next_tokens[context] for context in contexts if context in self.next_tokens), None)
            if token is None:
                break
            text.append(token)
        return text[given:]


def build_draft_index(reports: Iterable[Sequence[int]]) -> DraftIndex:
    """The index of these reports, given as tokens with start and end token."""
    counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for tokens in reports:
        entries = {
            (*tokens[end - size : end], tokens[end])
            for end in range(1, len(tokens))
            for size in range(1, min(MAX_CONTEXT, end) + 1)
        }
        for *context, token in entries:
            counts[tuple(context)][token] += 1
    found = [
        (number, context, token)
        for context, following in counts.items()
        for token, number in following.most_common(1)
        if number >= MIN_REPORTS and number >= MIN_SHARE * following.total()
    ]
    found.sort(key=lambda entry: (-entry[0], entry[1]))
    return DraftIndex({context: token for _, context, token in found[:MAX_ENTRIES]})


def save_draft_index(folder: Path, index: DraftIndex) -> None:
    """Write the index into the checkpoint folder: one row per entry, its context and its token."""
    rows = [
        (_EMPTY,) * (MAX_CONTEXT - len(context)) + (*context, token) for context, token in index.next_tokens.items()
    ]
    entries = np.array(rows, dtype=np.int32).reshape(-1, MAX_CONTEXT + 1)
    save_file({"entries": entries}, folder / DRAFTS_FILE)


def load_draft_index(folder: Path, vocab_size: int) -> DraftIndex | None:
    """The index of a checkpoint folder; None if it has none.

    Raises:
        ValueError: the file is damaged, or of another model; names it.
    """
    path = folder / DRAFTS_FILE
    if not path.is_file():
        return None
    fix = "delete it, or run python -m train.draft_index again"
    try:
        with safe_open(path, framework="numpy") as file:
            shape = file.get_slice("entries").get_shape()
            if len(shape) != 2 or shape[0] > MAX_ENTRIES or shape[1] != MAX_CONTEXT + 1:
                raise ValueError(f"its shape is {shape}")
            entries = file.get_tensor("entries")
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}); {fix}") from error
    if entries.dtype != np.int32 or (len(entries) and not _EMPTY <= entries.min() <= entries.max() < vocab_size):
        raise ValueError(f"{path} has tokens that the vocabulary of {vocab_size} does not have; {fix}")
    return DraftIndex(
        {tuple(token for token in context if token != _EMPTY): token for *context, token in entries.tolist()}
    )
