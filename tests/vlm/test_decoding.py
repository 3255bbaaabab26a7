"""Text generation: cached and uncached, greedy and beam search compared with transformers' generate, batches."""

import dataclasses

import pytest
import torch

from vlm.decoding import GeneratedTokens, GenerationOptions, _beam_search, generate_reports, generate_tokens
from vlm.model import Prefix

BOS, NEVER = 0, 10**6
"""The start token, and an end token that no model can write."""


def generated(model, prefix, *, eos=NEVER, **options):
    return generate_reports(model, prefix, bos_token_id=BOS, eos_token_id=eos, options=GenerationOptions(**options))


def rows_of(prefix, rows):
    findings = dataclasses.replace(
        prefix.findings,
        tokens=prefix.findings.tokens[rows],
        logits=prefix.findings.logits[rows],
        attention=prefix.findings.attention[rows],
    )
    return Prefix(prefix.embeds[rows], prefix.mask[rows], findings)


@torch.inference_mode()
def uncached(model, prefix, row, token_ids):
    """Log-probabilities after the start token and after each of `token_ids`, from one call without a cache."""
    ids = torch.tensor([[BOS, *token_ids]])
    embeds = torch.cat([prefix.embeds[row : row + 1], model.decoder.embed(ids)], dim=1)
    mask = torch.cat([prefix.mask[row : row + 1], torch.ones_like(ids)], dim=1)
    logits, _ = model.decoder(embeds, mask, prefix.mask.shape[1])
    return logits[0].log_softmax(dim=-1)


@pytest.fixture(params=["tiny_model", "tiny_lstm"])
def model(request):
    return request.getfixturevalue(request.param)


def test_cached_greedy_search_equals_the_uncached_argmax(model, study_prefix):
    prefix = study_prefix(model)
    for row, report in enumerate(generated(model, prefix, max_new_tokens=15)):
        log_probabilities = uncached(model, prefix, row, report.token_ids)[:-1]
        assert report.token_ids == log_probabilities.argmax(dim=-1).tolist()
        torch.testing.assert_close(
            torch.tensor(report.log_probabilities), log_probabilities.max(dim=-1).values, atol=1e-5, rtol=0
        )
        assert report.is_truncated


def transformers_generate(model, prefix, row, **options):
    """transformers' own writing, of one study so that it need not pad."""
    present = prefix.mask[row].bool()
    embeds = torch.cat([prefix.embeds[row][present], model.decoder.embed(torch.tensor([[BOS]]))[0]])[None]
    return model.decoder.language_model.generate(
        inputs_embeds=embeds,
        attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long),
        pad_token_id=BOS,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
        **options,
    )


def usual_ends(model, prefix, num_beams):
    """Tokens that, taken for the end token, end reports sooner or later."""
    [report] = generated(model, rows_of(prefix, [0]), max_new_tokens=12, num_beams=num_beams)
    return sorted(set(report.token_ids))


def test_greedy_search_equals_transformers_generate(tiny_model, study_prefix):
    prefix = study_prefix(tiny_model)
    lengths = set()
    for eos in usual_ends(tiny_model, prefix, 1):
        for row, report in enumerate(generated(tiny_model, prefix, eos=eos, max_new_tokens=12)):
            expected = transformers_generate(tiny_model, prefix, row, eos_token_id=eos, max_new_tokens=12)
            tokens = report.token_ids + ([] if report.is_truncated else [eos])
            assert tokens == expected.sequences[0].tolist()
            lengths.add(len(tokens))
    assert len(lengths) > 2


@pytest.mark.parametrize("length_penalty", [1.0, 0.0, 0.5])
def test_beam_search_equals_transformers_generate_in_tokens_and_scores(length_penalty, build_model, study_prefix):
    lengths = set()
    for seed in range(3):
        model = build_model(seed=seed)
        prefix = study_prefix(model)
        options = {"num_beams": 3, "length_penalty": length_penalty, "max_new_tokens": 10}
        for eos in usual_ends(model, prefix, 3)[:4]:
            for row, report in enumerate(generated(model, prefix, eos=eos, **options)):
                expected = transformers_generate(model, prefix, row, eos_token_id=eos, **options)
                tokens = report.token_ids + ([] if report.is_truncated else [eos])
                assert tokens == expected.sequences[0].tolist()
                log_probabilities = uncached(model, prefix, row, report.token_ids)
                total = sum(report.log_probabilities)
                if not report.is_truncated:
                    total += log_probabilities[-1, eos].item()
                score = total / len(tokens) ** length_penalty
                assert score == pytest.approx(expected.sequences_scores[0].item(), abs=1e-4)
                chosen = log_probabilities[range(len(report.token_ids)), report.token_ids]
                assert report.log_probabilities == pytest.approx(chosen.tolist(), abs=1e-5)
                lengths.add(len(tokens))
    assert len(lengths) > 2


def test_one_beam_equals_greedy_search(model, study_prefix):
    """The search for beams, with one, writes what the greedy loop writes."""
    prefix = study_prefix(model)
    [eos, *_] = usual_ends(model, prefix, 1)
    options = GenerationOptions(max_new_tokens=12)
    with torch.inference_mode():
        beams = _beam_search(model, prefix, BOS, eos, options)
    greedy = generated(model, prefix, eos=eos, max_new_tokens=12)
    assert [report.token_ids for report in beams] == [report.token_ids for report in greedy]
    assert [report.is_truncated for report in beams] == [report.is_truncated for report in greedy]


def test_as_many_beams_as_tokens_find_the_most_likely_pair(build_model, study_prefix):
    gains = []
    for seed in range(4):
        model = build_model(seed=seed)
        prefix = study_prefix(model, only=[0])
        first = uncached(model, prefix, 0, [])[0]
        size = len(first)
        pairs = torch.stack([first[token] + uncached(model, prefix, 0, [token])[1] for token in range(size)])
        [report] = generated(model, prefix, max_new_tokens=2, num_beams=size)
        assert tuple(report.token_ids) == divmod(pairs.argmax().item(), size)
        assert sum(report.log_probabilities) == pytest.approx(pairs.max().item(), abs=1e-5)
        [greedy] = generated(model, prefix, max_new_tokens=2)
        gains.append(pairs.max().item() - sum(greedy.log_probabilities))
    assert max(gains) > 1e-2, f"greedy found the best too ({gains}): other seeds must tell them apart"


def assert_same(one: GeneratedTokens, other: GeneratedTokens):
    assert (one.token_ids, one.is_truncated) == (other.token_ids, other.is_truncated)
    assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-5)


@pytest.mark.parametrize(
    "options",
    [{}, {"num_beams": 3, "length_penalty": 0.0}],
    ids=["greedy", "beams"],
)
def test_generation_does_not_depend_on_the_batch(options, model, study_prefix):
    """Studies have unequal numbers of views, prompts of unequal length, and end at unequal times."""
    prefix = study_prefix(model)
    free = generated(model, prefix, max_new_tokens=12, **options)
    eos = free[0].token_ids[3]
    together = generated(model, prefix, eos=eos, max_new_tokens=12, **options)
    assert len({len(report.token_ids) for report in together}) > 1
    for number, report in enumerate(together):
        [alone] = generated(model, study_prefix(model, only=[number]), eos=eos, max_new_tokens=12, **options)
        assert_same(report, alone)
    if not options:
        assert together[0].token_ids == free[0].token_ids[: free[0].token_ids.index(eos)]


def test_rows_that_have_ended_leave_the_batch(tiny_model, study_prefix, monkeypatch):
    prefix = study_prefix(tiny_model)
    eos = generated(tiny_model, prefix, max_new_tokens=12)[0].token_ids[3]
    lengths = [len(report.token_ids) + 1 for report in generated(tiny_model, prefix, eos=eos, max_new_tokens=12)]
    embed, rows = tiny_model.decoder.embed, []
    monkeypatch.setattr(tiny_model.decoder, "embed", lambda ids: rows.append(len(ids)) or embed(ids))
    generated(tiny_model, prefix, eos=eos, max_new_tokens=12)
    assert rows[1:] == [sum(length > step for length in lengths) for step in range(1, min(12, max(lengths)))]


def test_tokens_are_yielded_one_by_one_and_end_with_the_end_token(tiny_model, study_prefix):
    prefix = rows_of(study_prefix(tiny_model), [0])
    eos = generated(tiny_model, prefix, max_new_tokens=12)[0].token_ids[3]
    stream = list(
        generate_tokens(
            tiny_model, prefix, bos_token_id=BOS, eos_token_id=eos, options=GenerationOptions(max_new_tokens=12)
        )
    )
    [report] = generated(tiny_model, prefix, eos=eos, max_new_tokens=12)
    assert [token for _, token, _ in stream] == [*report.token_ids, eos]
    assert {row for row, _, _ in stream} == {0}


def test_report_that_ends_at_the_limit_is_not_truncated(tiny_model, study_prefix):
    prefix = rows_of(study_prefix(tiny_model), [0])
    tokens = generated(tiny_model, prefix, max_new_tokens=12)[0].token_ids
    place = tokens.index(tokens[3])
    for num_beams in (1, 2):
        [report] = generated(tiny_model, prefix, eos=tokens[3], max_new_tokens=place + 1, num_beams=num_beams)
        if num_beams == 1:
            assert (report.token_ids, report.is_truncated) == (tokens[:place], False)
        [cut] = generated(tiny_model, prefix, max_new_tokens=place, num_beams=num_beams)
        assert cut.is_truncated and len(cut.token_ids) == place


def test_generation_works_in_bf16(model, study_prefix):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prefix = study_prefix(model)
        for num_beams in (1, 2):
            for report in generated(model, prefix, max_new_tokens=5, num_beams=num_beams):
                assert len(report.token_ids) == 5


@pytest.mark.parametrize("num_beams", [1, 3])
def test_text_is_cut_when_a_row_has_no_position_left(tiny_model, study_prefix, num_beams):
    prefix = study_prefix(tiny_model)
    reports = generated(tiny_model, prefix, max_new_tokens=96, num_beams=num_beams)
    used = prefix.mask.sum(dim=1).tolist()
    assert len(set(used)) > 1  # each row has its own limit; the first position is the start token
    assert [len(report.token_ids) for report in reports] == [96 - number for number in used]
    assert all(report.is_truncated for report in reports)
    alone = generated(tiny_model, rows_of(prefix, [0]), max_new_tokens=96, num_beams=num_beams)
    assert alone[0].token_ids == reports[0].token_ids


@pytest.mark.parametrize(
    "options, message",
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
        ({"num_beams": 0}, "num_beams must be at least 1, got 0"),
    ],
)
def test_invalid_options_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        GenerationOptions(**options)


def test_first_candidate_is_the_greedy_report_and_the_others_differ(model, study_prefix):
    prefix = study_prefix(model)
    greedy = generated(model, prefix, max_new_tokens=12)
    candidates = generated(model, prefix, max_new_tokens=12, num_candidates=5)
    assert len(candidates) == 5 * len(greedy)
    assert [report.token_ids for report in candidates[::5]] == [report.token_ids for report in greedy]
    for row in range(len(greedy)):
        assert len({tuple(report.token_ids) for report in candidates[5 * row : 5 * row + 5]}) > 2


def test_candidates_do_not_depend_on_the_batch(model, study_prefix):
    prefix = study_prefix(model)
    together = generated(model, prefix, max_new_tokens=12, num_candidates=3)
    for row in range(len(prefix.mask)):
        alone = generated(model, rows_of(prefix, [row]), max_new_tokens=12, num_candidates=3)
        assert [report.token_ids for report in alone] == [
            report.token_ids for report in together[3 * row : 3 * row + 3]
        ]


def test_log_probabilities_of_candidates_are_those_of_the_model(model, study_prefix):
    prefix = study_prefix(model)
    for index, report in enumerate(generated(model, prefix, max_new_tokens=8, num_candidates=3, temperature=2.0)):
        log_probabilities = uncached(model, prefix, index // 3, report.token_ids)[:-1]
        expected = log_probabilities.gather(1, torch.tensor(report.token_ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(report.log_probabilities), expected, atol=1e-5, rtol=0)


def test_first_tokens_of_samples_follow_the_probabilities_at_the_temperature(model, study_prefix):
    prefix = rows_of(study_prefix(model), [0])
    num_samples, temperature = 4000, 0.5
    samples = generated(model, prefix, max_new_tokens=1, num_candidates=num_samples + 1, temperature=temperature)[1:]
    probabilities = (uncached(model, prefix, 0, [])[0] / temperature).softmax(dim=-1)
    counts = torch.bincount(torch.tensor([report.token_ids[0] for report in samples]), minlength=len(probabilities))
    error = (counts / num_samples - probabilities).abs()
    assert (error < 5 * (probabilities * (1 - probabilities) / num_samples).sqrt() + 1e-3).all()
