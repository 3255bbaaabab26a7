"""Writing the report token by token over the decoder's cache: greedy, sampling or beam search.

One loop for all: each step offers every row's continuations to a chooser, which picks rows and tokens. The decoder
is called once a step with one new token a row.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vlm.model import Prefix, ReportModel


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
    """Beam search only: reports are ranked by log-probability / length ** length_penalty."""
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
class WrittenTokens:
    """The tokens of one report without the end token, the log-probability of each, and whether it was cut."""

    token_ids: list[int]
    log_probabilities: list[float]
    is_truncated: bool


class _Writer:
    """The decoder with its cache: hands out next-token log-probabilities, takes the chosen tokens."""

    def __init__(self, model: ReportModel, prefix: Prefix, bos_token_id: int):
        self.decoder = model.decoder
        rows = len(prefix.mask)
        start = torch.full((rows, 1), bos_token_id, device=prefix.mask.device)
        self.mask = torch.cat([prefix.mask, torch.ones_like(start, dtype=prefix.mask.dtype)], dim=1)
        embeds = torch.cat([prefix.embeds, self.decoder.embed(start)], dim=1)
        logits, self.cache = self.decoder(embeds, self.mask, num_prefix=prefix.mask.shape[1])
        self.log_probabilities = logits[:, -1].float().log_softmax(dim=-1)

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        self.cache = self.decoder.select(self.cache, rows)
        self.mask, self.log_probabilities = self.mask[rows], self.log_probabilities[rows]

    def write(self, tokens: Int[Tensor, " rows"]) -> None:
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=1)
        logits, self.cache = self.decoder(self.decoder.embed(tokens[:, None]), self.mask, 0, self.cache)
        self.log_probabilities = logits[:, -1].float().log_softmax(dim=-1)


@torch.inference_mode()
def write_reports(
    model: ReportModel, prefix: Prefix, *, bos_token_id: int, eos_token_id: int, options: GenerationOptions
) -> list[WrittenTokens]:
    """One report for each row of the prefix."""
    if options.num_beams > 1:
        return _beam_search(model, prefix, bos_token_id, eos_token_id, options)
    reports = [([], []) for _ in prefix.mask]
    ended = [False] * len(reports)
    for row, token, log_probability in write_tokens(
        model, prefix, bos_token_id=bos_token_id, eos_token_id=eos_token_id, options=options
    ):
        if token == eos_token_id:
            ended[row] = True
        else:
            reports[row][0].append(token)
            reports[row][1].append(log_probability)
    return [WrittenTokens(*report, is_truncated=not end) for report, end in zip(reports, ended, strict=True)]


@torch.inference_mode()
def write_tokens(
    model: ReportModel, prefix: Prefix, *, bos_token_id: int, eos_token_id: int, options: GenerationOptions
) -> Iterator[tuple[int, int, float]]:
    """(row, token, log-probability) as they are chosen, greedily or by sampling; a row's last is the end token
    unless it was cut. Rows that have ended leave the batch."""
    writer = _Writer(model, prefix, bos_token_id)
    generator = torch.Generator(device="cpu").manual_seed(options.seed)
    rows = list(range(len(prefix.mask)))
    for step in range(options.max_new_tokens):
        if options.do_sample:
            tokens = _sample(writer.log_probabilities, options, generator)
        else:
            tokens = writer.log_probabilities.argmax(dim=-1)
        chosen = writer.log_probabilities.gather(1, tokens[:, None])[:, 0].tolist()
        chosen_ids = tokens.tolist()
        yield from zip(rows, chosen_ids, chosen, strict=True)
        going = [position for position, token in enumerate(chosen_ids) if token != eos_token_id]
        if not going or step + 1 == options.max_new_tokens:
            return
        if len(going) < len(rows):
            kept = torch.tensor(going, device=tokens.device)
            writer.keep(kept)
            tokens, rows = tokens[kept], [rows[position] for position in going]
        writer.write(tokens)


def _sample(
    log_probabilities: Float[Tensor, "rows vocabulary"], options: GenerationOptions, generator: torch.Generator
) -> Int[Tensor, " rows"]:
    """Nucleus sampling (Holtzman et al. 2020): the smallest set of likeliest tokens that reaches top_p."""
    probabilities = (log_probabilities / options.temperature).softmax(dim=-1).cpu()
    likeliest, order = probabilities.sort(dim=-1, descending=True)
    likeliest[likeliest.cumsum(dim=-1) - likeliest >= options.top_p] = 0.0
    drawn = torch.multinomial(likeliest, 1, generator=generator)
    return order.gather(1, drawn)[:, 0].to(log_probabilities.device)


def _beam_search(
    model: ReportModel, prefix: Prefix, bos_token_id: int, eos_token_id: int, options: GenerationOptions
) -> list[WrittenTokens]:
    """Each study keeps its `num_beams` likeliest unfinished texts; it is done when as many have ended and none that
    goes on can overtake them (its score now is an upper bound for length_penalty 0 and the usual heuristic above)."""
    writer = _Writer(model, prefix, bos_token_id)
    num_studies, num_beams = len(prefix.mask), options.num_beams
    device = prefix.mask.device
    writer.keep(torch.arange(num_studies, device=device).repeat_interleave(num_beams))
    scores = torch.full((num_studies, num_beams), float("-inf"), device=device)
    scores[:, 0] = 0.0
    texts: list[list[tuple[list[int], list[float]]]] = [[([], [])] * num_beams for _ in range(num_studies)]
    ended: list[list[tuple[float, list[int], list[float]]]] = [[] for _ in range(num_studies)]
    for step in range(1, options.max_new_tokens + 1):
        log_probabilities = writer.log_probabilities.unflatten(0, (num_studies, num_beams))
        vocabulary = log_probabilities.shape[-1]
        totals = (scores[:, :, None] + log_probabilities).flatten(1)
        best, places = totals.topk(2 * num_beams, dim=-1)
        next_rows, next_tokens, next_texts = [], [], []
        for study in range(num_studies):
            going = []
            for rank, (total, place) in enumerate(zip(best[study].tolist(), places[study].tolist(), strict=True)):
                beam, token = divmod(place, vocabulary)
                token_ids, scored = texts[study][beam]
                score = float(log_probabilities[study, beam, token])
                if token == eos_token_id:
                    if rank < num_beams and total > float("-inf"):
                        ended[study].append((total / step**options.length_penalty, token_ids, scored))
                elif len(going) < num_beams:
                    going.append((total, study * num_beams + beam, token, ([*token_ids, token], [*scored, score])))
            scores[study] = torch.tensor([total for total, *_ in going], device=device)
            next_rows += [row for _, row, _, _ in going]
            next_tokens += [token for _, _, token, _ in going]
            next_texts.append([text for *_, text in going])
        texts = next_texts
        if all(_is_done(ended[study], float(scores[study].max()), step, options) for study in range(num_studies)):
            break
        if step < options.max_new_tokens:
            writer.keep(torch.tensor(next_rows, device=device))
            writer.write(torch.tensor(next_tokens, device=device))
    written = []
    for study in range(num_studies):
        if ended[study]:
            _, token_ids, scored = max(ended[study], key=lambda text: text[0])
            written.append(WrittenTokens(token_ids, scored, is_truncated=False))
        else:
            written.append(WrittenTokens(*texts[study][0], is_truncated=True))
    return written


def _is_done(ended: list, best_going: float, step: int, options: GenerationOptions) -> bool:
    if len(ended) < options.num_beams:
        return False
    return max(score for score, *_ in ended) >= best_going / step**options.length_penalty
