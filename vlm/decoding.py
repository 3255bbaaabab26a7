"""Text generation over the decoder's cache: greedy search, samples, beam search, log-probability of given texts.

Each step calls the decoder with one new token per row; rows that have ended leave the batch. The prefix, with
the images, is computed once per study.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vlm.drafting import DraftIndex
from vlm.inputs.batch import batch_tokens
from vlm.layers.gpt2 import GPT2Decoder
from vlm.model import Prefix, ReportModel

NEAR_TIE = 1e-3
"""Passes of several tokens and of one token differ by rounding, about 1e-5 in log-probabilities. Choices that are
closer than this are made by passes of one token."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationOptions:
    """Options of text generation."""

    max_new_tokens: int = 256
    """A report that reaches this length, or takes all positions of the decoder, is cut and marked `is_truncated`."""
    num_beams: int = 1
    """1: greedy search; more: beam search."""
    length_penalty: float = 1.0
    """Beam search only: reports are ranked by log-probability / length ** length_penalty, including the end token."""
    num_candidates: int = 1
    """Reports written for each study: the greedy one, and samples. `eval.checks.candidates` chooses one."""
    temperature: float = 0.7
    """Samples only: the log-probabilities are divided by it."""

    def __post_init__(self):
        for name in ("max_new_tokens", "num_beams", "num_candidates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}")
        if self.num_beams > 1 and self.num_candidates > 1:
            raise ValueError("beam search has no candidates; give num_beams or num_candidates")


@dataclass(frozen=True, slots=True)
class GeneratedTokens:
    """The tokens of one report without the end token, the log-probability of each, and whether it was cut."""

    token_ids: list[int]
    log_probabilities: list[float]
    is_truncated: bool


class _DecoderSession:
    """The decoder with its cache: gives next-token log-probabilities, takes the chosen tokens."""

    def __init__(self, model: ReportModel, prefix: Prefix, bos_token_id: int):
        self.decoder = model.decoder
        start = torch.full((len(prefix.mask), 1), bos_token_id, device=prefix.mask.device)
        self.mask = torch.cat([prefix.mask, torch.ones_like(start, dtype=prefix.mask.dtype)], dim=1)
        embeds = torch.cat([prefix.embeds, self.decoder.embed(start)], dim=1)
        logits, self.cache = self.decoder(embeds, self.mask, num_prefix=prefix.mask.shape[1])
        self.log_probabilities = logits[:, -1].float().log_softmax(dim=-1)

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order; a row may be repeated."""
        self.cache, self.mask = self.decoder.select(self.cache, rows), self.mask[rows]
        self.log_probabilities = self.log_probabilities[rows]

    def write(self, rows: list[int], tokens: list[int]) -> None:
        """Keep these rows and append one token to each."""
        device = self.mask.device
        if rows != list(range(len(self.mask))):
            self.select(torch.tensor(rows, device=device))
        self.log_probabilities = self._append(torch.tensor(tokens, device=device)[:, None])[:, -1]

    def write_draft(self, token: int, draft: Sequence[int], limit: float) -> list[tuple[int, float]]:
        """Append a token, and the drafted tokens that greedy search writes after it; return these with their
        log-probabilities. For one row.

        A choice between two tokens whose log-probabilities differ by less than `limit` is made after a pass of one
        token, as without a draft.
        """
        given = [token, *draft]
        rows = self._append(torch.tensor([given], device=self.mask.device))[0]
        best = rows.topk(2)
        (values, chosen), margins = (part.tolist() for part in best), (best.values[:, 0] - best.values[:, 1]).tolist()
        num_kept = 0
        while margins[num_kept] >= limit and num_kept < len(draft) and chosen[num_kept][0] == draft[num_kept]:
            num_kept += 1
        is_clear = not draft or margins[num_kept] >= limit
        self._remove(len(draft) - num_kept + (not is_clear))
        if is_clear:
            self.log_probabilities = rows[num_kept, None]
        else:
            self.write([0], [given[num_kept]])
        return [(chosen[index][0], values[index][0]) for index in range(num_kept)]

    def _append(self, tokens: Int[Tensor, "batch new"]) -> Float[Tensor, "batch new vocabulary"]:
        """Append tokens to all rows; log-probabilities after each of them."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(tokens.shape)], dim=1)
        logits, self.cache = self.decoder(self.decoder.embed(tokens), self.mask, 0, self.cache)
        return logits.float().log_softmax(dim=-1)

    @property
    def num_free_positions(self) -> list[int]:
        """Positions that the decoder has left for each row; an LSTM has any number."""
        num_positions = sys.maxsize if self.decoder.num_positions is None else self.decoder.num_positions
        return [num_positions - used for used in self.mask.sum(dim=1).tolist()]

    def _remove(self, number: int) -> None:
        """Remove the last positions of all rows."""
        if number:
            self.mask = self.mask[:, :-number]
            self.cache.length -= number


@torch.inference_mode()
def beginning_log_probabilities(
    model: ReportModel, prefix: Prefix, texts: Sequence[Sequence[int]], *, bos_token_id: int
) -> Float[Tensor, "batch texts"]:
    """Natural logarithm of the probability that the report of each row of the prefix begins with each text.

    Texts are token ids without start and end token, at least one each. Memory grows with rows x texts.
    """
    session = _DecoderSession(model, prefix, bos_token_id)
    num_rows, device = len(prefix.mask), prefix.mask.device
    tokens, token_mask = (part.to(device) for part in batch_tokens(texts, pad_token_id=0))
    rows = torch.arange(num_rows, device=device).repeat_interleave(len(texts))
    tokens, token_mask = tokens.repeat(num_rows, 1), token_mask.repeat(num_rows, 1)
    log_probabilities = session.log_probabilities[rows, None]
    if tokens.shape[1] > 1:
        session.select(rows)
        mask = torch.cat([session.mask, token_mask[:, :-1]], dim=1)
        later, _ = model.decoder(model.decoder.embed(tokens[:, :-1]), mask, 0, session.cache)
        log_probabilities = torch.cat([log_probabilities, later.float().log_softmax(dim=-1)], dim=1)
    of_tokens = log_probabilities.gather(2, tokens[..., None])[..., 0]
    return (of_tokens * token_mask).sum(dim=1).view(num_rows, len(texts))


@torch.inference_mode()
def generate_reports(
    model: ReportModel,
    prefix: Prefix,
    *,
    bos_token_id: int,
    eos_token_id: int,
    options: GenerationOptions,
    drafts: DraftIndex | None = None,
) -> list[GeneratedTokens]:
    """One report for each row of the prefix; with `num_candidates`, so many for each row, one after the other.

    `drafts` is for `generate_tokens`; beam search does not use it.
    """
    if options.num_beams > 1:
        return _beam_search(model, prefix, bos_token_id, eos_token_id, options)
    num_reports = len(prefix.mask) * options.num_candidates
    reports = [GeneratedTokens([], [], is_truncated=True) for _ in range(num_reports)]
    for row, token, log_probability in generate_tokens(
        model, prefix, bos_token_id=bos_token_id, eos_token_id=eos_token_id, options=options, drafts=drafts
    ):
        if token == eos_token_id:
            reports[row] = replace(reports[row], is_truncated=False)
        else:
            reports[row].token_ids.append(token)
            reports[row].log_probabilities.append(log_probability)
    return reports


@torch.inference_mode()
def generate_tokens(
    model: ReportModel,
    prefix: Prefix,
    *,
    bos_token_id: int,
    eos_token_id: int,
    options: GenerationOptions,
    drafts: DraftIndex | None = None,
) -> Iterator[tuple[int, int, float]]:
    """Greedy search: (row, token, log-probability) as they are chosen. Each row ends with the end token unless the
    report was cut. With `num_candidates`, each row of the prefix becomes so many rows; all but the first are sampled.

    Sampling adds Gumbel noise to the log-probabilities (Gumbel 1954; Maddison et al. 2014). Candidate k of every study
    gets the same noise, so a report does not depend on the other studies of the batch.

    `drafts` makes the greedy search of one row with GPT-2 faster. In a batch, checking drafts would cost what it saves.
    """
    session = _DecoderSession(model, prefix, bos_token_id)
    has_one_row = len(prefix.mask) * options.num_candidates == 1
    if drafts is not None and has_one_row and isinstance(model.decoder, GPT2Decoder):
        yield from _drafted_tokens(session, drafts, bos_token_id, eos_token_id, options.max_new_tokens)
        return
    rows, num_candidates = list(range(len(prefix.mask) * options.num_candidates)), options.num_candidates
    if num_candidates > 1:
        session.select(torch.tensor(rows, device=prefix.mask.device) // num_candidates)
    num_free = session.num_free_positions
    randomness = torch.Generator().manual_seed(0)
    for step in range(options.max_new_tokens):
        scores = session.log_probabilities
        if num_candidates > 1:
            noise = -torch.empty(num_candidates, scores.shape[1]).exponential_(generator=randomness).log()
            noise[0] = 0
            candidates = torch.tensor(rows) % num_candidates
            scores = scores / options.temperature + noise[candidates].to(scores.device)
        chosen = scores.argmax(dim=-1)
        log_probabilities = session.log_probabilities.gather(1, chosen[:, None])[:, 0].tolist()
        tokens = chosen.tolist()
        yield from zip(rows, tokens, log_probabilities, strict=True)
        active = [index for index, token in enumerate(tokens) if token != eos_token_id and step < num_free[rows[index]]]
        if not active or step + 1 == options.max_new_tokens:
            return
        rows = [rows[index] for index in active]
        session.write(active, [tokens[index] for index in active])


def _drafted_tokens(
    session: _DecoderSession, drafts: DraftIndex, bos_token_id: int, eos_token_id: int, max_new_tokens: int
) -> Iterator[tuple[int, int, float]]:
    """Greedy search of one row with drafts: the tokens of the search without them."""
    text = [bos_token_id]
    while True:
        token = int(session.log_probabilities[0].argmax())
        text.append(token)
        yield 0, token, session.log_probabilities[0, token].item()
        num_left, [num_free] = max_new_tokens + 1 - len(text), session.num_free_positions
        if token == eos_token_id or not num_left or not num_free:
            return
        draft = drafts.draft(text, min(num_left, num_free - 1))
        for drafted, log_probability in session.write_draft(token, draft, NEAR_TIE):
            text.append(drafted)
            yield 0, drafted, log_probability
            if drafted == eos_token_id:
                return
        if len(text) > max_new_tokens:
            return


class _StudySearch:
    """Beam search for one study: the `active` beams with their log-probabilities, the `ended` texts with their
    scores."""

    def __init__(self, options: GenerationOptions, eos_token_id: int, num_free_positions: int):
        self.options, self.eos_token_id = options, eos_token_id
        self.max_length = min(options.max_new_tokens, num_free_positions + 1)  # the last token needs no position
        self.active = [(0.0, GeneratedTokens([], [], is_truncated=True))]
        self.ended: list[tuple[float, GeneratedTokens]] = []
        self.is_done = False

    def step(self, length: int, tokens: list[list[int]], log_probabilities: list[list[float]]) -> list[int]:
        """Extend the beams by their most likely next tokens; return the index of the parent of each new beam."""
        num_beams, is_last = self.options.num_beams, length == self.max_length
        candidates = [
            (total + log_probability, parent, token, log_probability)
            for parent, (total, _) in enumerate(self.active)
            for token, log_probability in zip(tokens[parent], log_probabilities[parent], strict=True)
        ]
        candidates.sort(key=lambda candidate: -candidate[0])
        active, parents = [], []
        for rank, (total, parent, token, log_probability) in enumerate(candidates[: 2 * num_beams]):
            _, text = self.active[parent]
            has_ended = token == self.eos_token_id
            if has_ended:
                text = replace(text, is_truncated=False)
            else:
                text = GeneratedTokens([*text.token_ids, token], [*text.log_probabilities, log_probability], True)
            if (has_ended or is_last) and rank < num_beams:
                self.ended.append((total / length**self.options.length_penalty, text))
            if not has_ended and len(active) < num_beams:
                active.append((total, text))
                parents.append(parent)
        self.active = active
        self.ended = sorted(self.ended, key=lambda ended: -ended[0])[:num_beams]
        self.is_done = is_last or (
            len(self.ended) == num_beams and active[0][0] / length**self.options.length_penalty <= self.ended[-1][0]
        )
        return parents


def _beam_search(
    model: ReportModel, prefix: Prefix, bos_token_id: int, eos_token_id: int, options: GenerationOptions
) -> list[GeneratedTokens]:
    """Beam search with the rules of transformers' `generate` (early_stopping False).

    A study is done when `num_beams` texts have ended and the best active beam does not score better than the worst of
    them. At the length limit, texts that have not ended compete as they are.
    """
    session = _DecoderSession(model, prefix, bos_token_id)
    searches = [_StudySearch(options, eos_token_id, num_free) for num_free in session.num_free_positions]
    active = searches
    for length in range(1, options.max_new_tokens + 1):
        num_choices = min(2 * options.num_beams, session.log_probabilities.shape[-1])
        log_probabilities, tokens = (best.tolist() for best in session.log_probabilities.topk(num_choices))
        rows, next_tokens, start = [], [], 0
        for search in active:
            end = start + len(search.active)
            parents = search.step(length, tokens[start:end], log_probabilities[start:end])
            if not search.is_done:
                rows += [start + parent for parent in parents]
                next_tokens += [text.token_ids[-1] for _, text in search.active]
            start = end
        active = [search for search in active if not search.is_done]
        if not active:
            break
        session.write(rows, next_tokens)
    return [search.ended[0][1] for search in searches]
