"""Writing the report token by token over the decoder's cache: greedy, sampling or beam search.

The decoder is called once a step with one new token a row; rows that have ended leave the batch.

How likely a report model is to begin a report with given texts: log-probabilities instead of a written report.

The images are looked at once a study; every text then goes through the decoder over the same cache.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vlm.inputs.batch import batch_tokens
from vlm.model import Prefix, ReportModel


@torch.inference_mode()
def beginning_log_probabilities(
    model: ReportModel, prefix: Prefix, texts: Sequence[Sequence[int]], *, bos_token_id: int
) -> Float[Tensor, "batch texts"]:
    """Natural logarithm of the probability that the report of each row of the prefix begins with each text.

    Texts are token ids, without start and end token, at least one each; memory grows with rows x texts.
    """
    num_rows, device = len(prefix.mask), prefix.mask.device
    start = torch.full((num_rows, 1), bos_token_id, device=device)
    mask = torch.cat([prefix.mask, prefix.mask.new_ones(num_rows, 1)], dim=1)
    embeds = torch.cat([prefix.embeds, model.decoder.embed(start)], dim=1)
    first, cache = model.decoder(embeds, mask, prefix.mask.shape[1])

    tokens, token_mask = (part.to(device) for part in batch_tokens(texts, pad_token_id=0))
    rows = torch.arange(num_rows, device=device).repeat_interleave(len(texts))
    tokens, token_mask = tokens.repeat(num_rows, 1), token_mask.repeat(num_rows, 1)
    logits = first[rows]
    if tokens.shape[1] > 1:
        mask = torch.cat([mask[rows], token_mask[:, :-1]], dim=1)
        later, _ = model.decoder(model.decoder.embed(tokens[:, :-1]), mask, 0, model.decoder.select(cache, rows))
        logits = torch.cat([logits, later], dim=1)
    of_tokens = logits.float().log_softmax(dim=-1).gather(2, tokens[..., None])[..., 0]
    return (of_tokens * token_mask).sum(dim=1).view(num_rows, len(texts))


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationOptions:
    """How a report is written."""

    max_new_tokens: int = 128
    """A report that reaches this is cut there and marked `is_truncated`."""
    num_beams: int = 1
    """1: greedy or sampling; more: beam search."""
    do_sample: bool = False
    """Draws each token from the distribution instead of taking the likeliest."""
    temperature: float = 1.0
    """Sampling only: below 1 sharpens the distribution, above 1 flattens it."""
    top_p: float = 1.0
    """Sampling only: draws among the likeliest tokens that together reach this probability."""
    length_penalty: float = 1.0
    """Beam search only: reports are ranked by log-probability / length ** length_penalty, the end token counted."""
    seed: int = 0
    """Sampling only."""

    def __post_init__(self):
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if self.num_beams < 1:
            raise ValueError(f"num_beams must be at least 1, got {self.num_beams}")
        if self.do_sample and self.num_beams > 1:
            raise ValueError("do_sample and num_beams > 1 exclude each other; choose one")
        if self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}; for greedy leave do_sample off")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must lie in (0, 1], got {self.top_p}")


@dataclass(frozen=True, slots=True)
class GeneratedTokens:
    """The tokens of one report without the end token, the log-probability of each, and whether it was cut."""

    token_ids: list[int]
    log_probabilities: list[float]
    is_truncated: bool


class _DecoderSession:
    """The decoder with its cache: hands out next-token log-probabilities, takes the chosen tokens."""

    def __init__(self, model: ReportModel, prefix: Prefix, bos_token_id: int):
        self.decoder = model.decoder
        start = torch.full((len(prefix.mask), 1), bos_token_id, device=prefix.mask.device)
        self.mask = torch.cat([prefix.mask, torch.ones_like(start, dtype=prefix.mask.dtype)], dim=1)
        embeds = torch.cat([prefix.embeds, self.decoder.embed(start)], dim=1)
        logits, self.cache = self.decoder(embeds, self.mask, num_prefix=prefix.mask.shape[1])
        self.log_probabilities = logits[:, -1].float().log_softmax(dim=-1)

    def write(self, rows: list[int], tokens: list[int]) -> None:
        """Goes on with those rows, each (again) with its token."""
        device = self.mask.device
        if rows != list(range(len(self.mask))):
            kept = torch.tensor(rows, device=device)
            self.cache, self.mask = self.decoder.select(self.cache, kept), self.mask[kept]
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(rows), 1)], dim=1)
        embeds = self.decoder.embed(torch.tensor(tokens, device=device)[:, None])
        logits, self.cache = self.decoder(embeds, self.mask, 0, self.cache)
        self.log_probabilities = logits[:, -1].float().log_softmax(dim=-1)


@torch.inference_mode()
def generate_reports(
    model: ReportModel, prefix: Prefix, *, bos_token_id: int, eos_token_id: int, options: GenerationOptions
) -> list[GeneratedTokens]:
    """One report for each row of the prefix."""
    if options.num_beams > 1:
        return _beam_search(model, prefix, bos_token_id, eos_token_id, options)
    reports = [([], []) for _ in prefix.mask]
    ended = [False] * len(reports)
    for row, token, log_probability in generate_tokens(
        model, prefix, bos_token_id=bos_token_id, eos_token_id=eos_token_id, options=options
    ):
        if token == eos_token_id:
            ended[row] = True
        else:
            reports[row][0].append(token)
            reports[row][1].append(log_probability)
    return [GeneratedTokens(*report, is_truncated=not end) for report, end in zip(reports, ended, strict=True)]


@torch.inference_mode()
def generate_tokens(
    model: ReportModel, prefix: Prefix, *, bos_token_id: int, eos_token_id: int, options: GenerationOptions
) -> Iterator[tuple[int, int, float]]:
    """(row, token, log-probability) as they are chosen, greedily or by sampling; a row's last is the end token
    unless it was cut."""
    writer = _DecoderSession(model, prefix, bos_token_id)
    generator = torch.Generator().manual_seed(options.seed)
    rows = list(range(len(prefix.mask)))
    for step in range(options.max_new_tokens):
        if options.do_sample:
            chosen = _sample(writer.log_probabilities, options, torch.rand((), generator=generator).item())
        else:
            chosen = writer.log_probabilities.argmax(dim=-1)
        log_probabilities = writer.log_probabilities.gather(1, chosen[:, None])[:, 0].tolist()
        tokens = chosen.tolist()
        yield from zip(rows, tokens, log_probabilities, strict=True)
        going = [place for place, token in enumerate(tokens) if token != eos_token_id]
        if not going or step + 1 == options.max_new_tokens:
            return
        rows = [rows[place] for place in going]
        writer.write(going, [tokens[place] for place in going])


def _sample(
    log_probabilities: Float[Tensor, "rows vocabulary"], options: GenerationOptions, level: float
) -> Int[Tensor, " rows"]:
    """Nucleus sampling (Holtzman et al. 2020): from the smallest set of likeliest tokens that reaches top_p, the one
    at `level`, 0..1, of their cumulative probability.

    All rows share the level, so that what is written for a study does not depend on what else is in the batch.
    """
    probabilities = (log_probabilities / options.temperature).softmax(dim=-1)
    likeliest, order = probabilities.sort(dim=-1, descending=True)
    cumulative = likeliest.cumsum(dim=-1)
    is_candidate = cumulative - likeliest < options.top_p
    total = (likeliest * is_candidate).sum(dim=-1, keepdim=True)
    place = torch.searchsorted(cumulative, total * level, right=True)
    # Rounding may lift the last level to the total itself.
    place = place.minimum(is_candidate.sum(dim=-1, keepdim=True) - 1)
    return order.gather(1, place)[:, 0]


@dataclass(frozen=True, slots=True)
class _Beam:
    """A text that is being written: its tokens, their log-probabilities, and the sum of these."""

    token_ids: list[int]
    log_probabilities: list[float]
    total: float

    def followed_by(self, token: int, log_probability: float) -> "_Beam":
        return _Beam([*self.token_ids, token], [*self.log_probabilities, log_probability], self.total + log_probability)


class _StudySearch:
    """Beam search for one study: `going` on, and `ended` with the score of each."""

    def __init__(self, options: GenerationOptions, eos_token_id: int):
        self.options, self.eos_token_id = options, eos_token_id
        self.going = [_Beam([], [], 0.0)]
        self.ended: list[tuple[float, GeneratedTokens]] = []
        self.is_done = False

    def step(self, length: int, tokens: list[list[int]], log_probabilities: list[list[float]]) -> list[int]:
        """Takes for each beam its likeliest next tokens; returns which beam each that goes on continues."""
        num_beams, is_last = self.options.num_beams, length == self.options.max_new_tokens
        candidates = [
            (beam.total + log_probability, parent, token, log_probability)
            for parent, beam in enumerate(self.going)
            for token, log_probability in zip(tokens[parent], log_probabilities[parent], strict=True)
        ]
        candidates.sort(key=lambda candidate: -candidate[0])
        going, parents = [], []
        for rank, (total, parent, token, log_probability) in enumerate(candidates[: 2 * num_beams]):
            beam = self.going[parent]
            has_ended = token == self.eos_token_id
            if not has_ended:
                beam = beam.followed_by(token, log_probability)
            if (has_ended or is_last) and rank < num_beams:
                written = GeneratedTokens(beam.token_ids, beam.log_probabilities, is_truncated=not has_ended)
                self.ended.append((total / length**self.options.length_penalty, written))
            if not has_ended and len(going) < num_beams:
                going.append(beam)
                parents.append(parent)
        self.going = going
        self.ended = sorted(self.ended, key=lambda ended: -ended[0])[:num_beams]
        self.is_done = is_last or (
            len(self.ended) == num_beams and going[0].total / length**self.options.length_penalty <= self.ended[-1][0]
        )
        return parents


def _beam_search(
    model: ReportModel, prefix: Prefix, bos_token_id: int, eos_token_id: int, options: GenerationOptions
) -> list[GeneratedTokens]:
    """The rules are those of transformers' `generate` (early_stopping False): a study is done when `num_beams` texts
    have ended and the best that goes on scores no better now than the worst of these; at the length limit texts that
    have not ended compete as they are."""
    writer = _DecoderSession(model, prefix, bos_token_id)
    searches = [_StudySearch(options, eos_token_id) for _ in prefix.mask]
    active = searches
    for length in range(1, options.max_new_tokens + 1):
        num_choices = min(2 * options.num_beams, writer.log_probabilities.shape[-1])
        log_probabilities, tokens = (best.tolist() for best in writer.log_probabilities.topk(num_choices))
        rows, next_tokens, start = [], [], 0
        for search in active:
            end = start + len(search.going)
            parents = search.step(length, tokens[start:end], log_probabilities[start:end])
            if not search.is_done:
                rows += [start + parent for parent in parents]
                next_tokens += [beam.token_ids[-1] for beam in search.going]
            start = end
        active = [search for search in active if not search.is_done]
        if not active:
            break
        writer.write(rows, next_tokens)
    return [search.ended[0][1] for search in searches]
