"""The tokenizer: a pretrained GPT-2's own, or a byte-pair vocabulary trained on the reports at hand."""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, GPT2Tokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

END = "<|endoftext|>"
"""GPT-2's only special token: it starts a text, ends it and pads."""

MAX_PROMPT_TOKENS = 48
"""Longer indications are cut."""


def train_tokenizer(texts: Iterable[str], *, vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level byte-pair vocabulary (as GPT-2's) of at most `vocab_size` tokens, learned from the texts.

    Any text survives encoding and decoding unchanged.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END,
        eos_token=END,
        pad_token=END,
        clean_up_tokenization_spaces=False,
    )


def load_tokenizer(name: str | Path, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder or hub id in Hugging Face format, or of GPT-2's bare `vocab.json` and `merges.txt`.

    Raises:
        ValueError: there is none, or it has no end-of-text token.
    """
    folder = Path(name)
    if (folder / "vocab.json").is_file() and not (folder / "tokenizer_config.json").is_file():
        if not (folder / "merges.txt").is_file():
            raise ValueError(f"{folder} has vocab.json but no merges.txt; both make up GPT-2's tokenizer")
        vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
        lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
        merges = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
        tokenizer = GPT2Tokenizer(vocab=vocabulary, merges=merges)
    else:
        if folder.is_dir() and not (folder / "tokenizer.json").is_file() and not (folder / "vocab.json").is_file():
            raise ValueError(f"{folder / 'tokenizer.json'} is missing; the folder has no tokenizer")
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(name), revision=revision)
        except Exception as error:  # the tokenizers library raises this very class
            raise ValueError(f"no tokenizer can be read from {str(name)!r}: {error}") from error
    if tokenizer.eos_token_id is None:
        raise ValueError(f"the tokenizer of {str(name)!r} has no end-of-text token, so a report could never end")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.bos_token_id is None:
        tokenizer.bos_token = tokenizer.eos_token
    return tokenizer


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, indication: str, *, max_tokens: int = MAX_PROMPT_TOKENS
) -> list[int]:
    """Token ids of the prompt; empty without an indication."""
    if not indication.strip():
        return []
    return tokenizer.encode(f"Indication: {indication.strip()}\n", add_special_tokens=False)[:max_tokens]


def encode_report(tokenizer: PreTrainedTokenizerBase, report: str, *, max_tokens: int) -> list[int]:
    """Start token, the report, end token; a report of more than `max_tokens` is cut and has no end token."""
    ids = tokenizer.encode(report, add_special_tokens=False)
    if len(ids) + 1 > max_tokens:
        return [tokenizer.bos_token_id, *ids[:max_tokens]]
    return [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]


class TextPieces:
    """The text that each further token adds; a character spread over several tokens comes with the last of them."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self.tokenizer = tokenizer
        self.before: list[int] = []
        self.pending: list[int] = []

    def add(self, token_id: int) -> str:
        """The piece of this token, "" where its character goes on."""
        self.pending.append(token_id)
        piece = self.finish()
        if piece.endswith("�"):
            return ""
        # Tokens whose text depends on what stands before them (a leading space) need one piece of context.
        self.before, self.pending = self.pending, []
        return piece

    def finish(self) -> str:
        """What is left after the last token: the mark of a character that was cut, mostly ""."""
        context = self.tokenizer.decode(self.before)
        return self.tokenizer.decode(self.before + self.pending)[len(context) :]
