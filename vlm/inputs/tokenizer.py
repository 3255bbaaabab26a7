"""The tokenizer: that of a pretrained GPT-2, or a byte-pair encoding trained on the reports."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, GPT2Tokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

END = "<|endoftext|>"
"""The only special token of GPT-2, used for the start, the end and padding."""

SENTENCE = "Findings: The lungs are clear without pleural effusion."

MAX_PROMPT_TOKENS = 48
"""Longer indications are cut."""
MAX_PRIOR_TOKENS = 128
"""Longer reports of a prior study are cut."""


def train_tokenizer(texts: Iterable[str], *, vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level byte-pair encoding (like GPT-2's) with at most `vocab_size` tokens.

    Decoding an encoded text gives the same text.
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
    """Load a tokenizer in Hugging Face format by folder or hub id, or GPT-2's `vocab.json` and `merges.txt`.

    Raises:
        ValueError: there is none, it has no end-of-text token, or it cannot write a sentence.
    """
    folder = Path(name)
    if (folder / "vocab.json").is_file() and not (folder / "tokenizer_config.json").is_file():
        if not (folder / "merges.txt").is_file():
            raise ValueError(f"{folder} has vocab.json but no merges.txt; GPT-2's tokenizer needs both")
        tokenizer = GPT2Tokenizer.from_pretrained(str(folder))
    else:
        if folder.is_dir() and not (folder / "tokenizer.json").is_file() and not (folder / "vocab.json").is_file():
            raise ValueError(f"{folder / 'tokenizer.json'} is missing; the folder has no tokenizer")
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(name), revision=revision, trust_remote_code=False)
        except Exception as error:  # the tokenizers library raises Exception itself
            raise ValueError(f"no tokenizer can be read from {str(name)!r}: {error}") from error
    if tokenizer.eos_token_id is None:
        raise ValueError(f"the tokenizer of {str(name)!r} has no end-of-text token; reports would never end")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.bos_token_id is None:
        tokenizer.bos_token = tokenizer.eos_token
    _check_text(tokenizer, str(name))
    return tokenizer


def _check_text(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Check that a sentence keeps most of its letters."""
    try:
        text = tokenizer.decode(tokenizer.encode(SENTENCE, add_special_tokens=False), skip_special_tokens=True)
    except Exception as error:  # the tokenizers library raises Exception itself
        raise ValueError(f"the tokenizer of {name!r} cannot encode text ({error}); give another tokenizer") from error
    letters = {letter for letter in SENTENCE.lower() if letter.isalpha()}
    if len(letters & set(text.lower())) < len(letters) / 2:
        raise ValueError(
            f"the tokenizer of {name!r} has {len(tokenizer)} tokens and cannot write a report: it turns {SENTENCE!r} "
            f"into {text[:60]!r}; give a tokenizer that was trained on English text"
        )


def encode_prompt(tokenizer: PreTrainedTokenizerBase, indication: str, prior_report: str = "") -> list[int]:
    """Token ids of the prompt: the report of the prior study, then the indication. Empty without both."""
    prompt = []
    if prior := " ".join(prior_report.split()):
        end = tokenizer.encode("\n", add_special_tokens=False)
        prompt = (
            tokenizer.encode(f"Prior report: {prior}", add_special_tokens=False)[: MAX_PRIOR_TOKENS - len(end)] + end
        )
    if indication.strip():
        ids = tokenizer.encode(f"Indication: {indication.strip()}\n", add_special_tokens=False)
        prompt += ids[:MAX_PROMPT_TOKENS]
    return prompt


def encode_report(tokenizer: PreTrainedTokenizerBase, report: str, *, max_tokens: int) -> list[int]:
    """Start token, report, end token; a report of more than `max_tokens` is cut and has no end token."""
    ids = tokenizer.encode(report, add_special_tokens=False)
    if len(ids) + 1 > max_tokens:
        return [tokenizer.bos_token_id, *ids[:max_tokens]]
    return [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]


def text_pieces(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> list[str]:
    """The text of each token of a whole text; see `TextPieces`."""
    text = TextPieces(tokenizer)
    pieces = [text.add(token) for token in token_ids]
    if pieces:
        pieces[-1] += text.finish()
    return pieces


class TextPieces:
    """The text of each token; a character of several tokens is returned with its last token."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self.tokenizer = tokenizer
        self.before: list[int] = []
        self.pending: list[int] = []

    def add(self, token_id: int) -> str:
        """The text of this token, "" if its character is not complete."""
        self.pending.append(token_id)
        piece = self.finish()
        if piece.endswith("�"):
            return ""
        # The text of a token may depend on the text before it (a leading space), so keep one piece of context.
        self.before, self.pending = self.pending, []
        return piece

    def finish(self) -> str:
        """The remaining text after the last token: usually "", or the mark of an incomplete character."""
        context = self.tokenizer.decode(self.before)
        return self.tokenizer.decode(self.before + self.pending)[len(context) :]
