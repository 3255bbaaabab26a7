"""Drafts: the index by hand, its file, and reports that are the same with any drafts."""

import numpy as np
import pytest
from safetensors.numpy import save_file

import vlm.decoding
from vlm.decoding import GenerationOptions, generate_reports, generate_tokens
from vlm.drafting import (
    DRAFTS_FILE,
    MAX_CONTEXT,
    MAX_DRAFT,
    MIN_REPORTS,
    DraftIndex,
    build_draft_index,
    load_draft_index,
    save_draft_index,
)

BOS, NEVER = 0, 10**6


def generated(model, prefix, *, drafts=None, eos=NEVER, **options):
    options = GenerationOptions(**options)
    return generate_reports(model, prefix, bos_token_id=BOS, eos_token_id=eos, options=options, drafts=drafts)


def test_index_holds_what_usually_follows_and_nothing_rare():
    common, rare = [0, 5, 6, 7], [0, 5, 9, 8]
    index = build_draft_index([common] * MIN_REPORTS + [rare] * (MIN_REPORTS - 1))
    assert index.next_tokens == {
        (0,): 5,
        (0, 5): 6,
        (5,): 6,
        (0, 5, 6): 7,
        (5, 6): 7,
        (6,): 7,
    }
    assert index.draft([0], 9) == [5, 6, 7]
    assert index.draft([0], 2) == [5, 6]
    assert index.draft([0, 9, 5], 9) == [6, 7]
    assert index.draft([0, 7], 9) == []
    assert index.draft([0], 0) == index.draft([0], -1) == []


def test_token_that_follows_in_less_than_half_of_the_reports_is_not_drafted():
    texts = [[0, 1, 2]] * MIN_REPORTS + [[0, 1, 3]] * MIN_REPORTS + [[0, 1, 4]] * MIN_REPORTS
    assert build_draft_index(texts).next_tokens == {(0,): 1}


def test_text_of_one_report_is_counted_once():
    assert build_draft_index([[0, *[1, 2] * MIN_REPORTS]]).next_tokens == {}


def test_longer_context_is_preferred_and_drafts_are_short():
    index = DraftIndex({(1,): 1, (2, 1): 3})
    assert index.draft([2, 1], 1) == [3]
    assert index.draft([1], 100) == [1] * MAX_DRAFT


def test_index_is_saved_and_loaded(tmp_path):
    index = DraftIndex({(1,): 2, (1, 2): 3, (1, 2, 3, 4): 5})
    save_draft_index(tmp_path, index)
    assert load_draft_index(tmp_path, 6) == index
    assert load_draft_index(tmp_path / "none", 6) is None
    save_draft_index(tmp_path, DraftIndex({}))
    assert load_draft_index(tmp_path, 6) == DraftIndex({})


@pytest.mark.parametrize(
    "entries, message",
    [
        (np.zeros((2, MAX_CONTEXT), np.int32), "shape is"),
        (np.full((1, MAX_CONTEXT + 1), 6, np.int32), "vocabulary of 6"),
        (np.full((1, MAX_CONTEXT + 1), -2, np.int32), "vocabulary of 6"),
        (np.zeros((1, MAX_CONTEXT + 1), np.float32), "vocabulary of 6"),
    ],
)
def test_index_of_another_model_is_named(tmp_path, entries, message):
    save_file({"entries": entries}, tmp_path / DRAFTS_FILE)
    with pytest.raises(ValueError, match=rf"{DRAFTS_FILE}.*{message}.*train.draft_index again"):
        load_draft_index(tmp_path, 6)


def test_damaged_index_is_named(tmp_path):
    (tmp_path / DRAFTS_FILE).write_bytes(b"nothing")
    with pytest.raises(ValueError, match=rf"{DRAFTS_FILE} cannot be read"):
        load_draft_index(tmp_path, 6)


class WrongDrafts(DraftIndex):
    """The right draft, but wrong from a place that moves on."""

    def draft(self, tokens, max_tokens):
        right = super().draft(tokens, max_tokens)
        place = len(tokens) % 4
        return [*right[:place], *(token ^ 1 for token in right[place:])]


def own_index(report):
    """An index that knows this report."""
    return build_draft_index([[BOS, *report.token_ids]] * MIN_REPORTS)


@pytest.mark.parametrize("near_tie", [vlm.decoding.NEAR_TIE, float("inf")])
@pytest.mark.parametrize("kind", [DraftIndex, WrongDrafts])
def test_reports_are_the_same_with_drafts(kind, near_tie, build_model, study_prefix, monkeypatch):
    monkeypatch.setattr(vlm.decoding, "NEAR_TIE", near_tie)
    for seed in range(2):
        model = build_model(seed=seed)
        for study in range(3):
            prefix = study_prefix(model, only=[study])
            [free] = generated(model, prefix, max_new_tokens=25)
            drafts = kind(own_index(free).next_tokens)
            for eos, limits in ((NEVER, (1, 14, 25)), (free.token_ids[12], (25,))):
                for limit in limits:
                    [expected] = generated(model, prefix, eos=eos, max_new_tokens=limit)
                    [report] = generated(model, prefix, drafts=drafts, eos=eos, max_new_tokens=limit)
                    assert report.token_ids == expected.token_ids
                    assert report.is_truncated == expected.is_truncated
                    assert report.log_probabilities == pytest.approx(expected.log_probabilities, abs=1e-4)


def test_good_drafts_take_fewer_passes(tiny_model, study_prefix, monkeypatch):
    prefix = study_prefix(tiny_model, only=[0])
    [free] = generated(tiny_model, prefix, max_new_tokens=40)
    embed, passes = tiny_model.decoder.embed, []
    monkeypatch.setattr(tiny_model.decoder, "embed", lambda ids: passes.append(ids.shape[1]) or embed(ids))
    generated(tiny_model, prefix, max_new_tokens=40)
    without = len(passes)
    passes.clear()
    generated(tiny_model, prefix, drafts=own_index(free), max_new_tokens=40)
    assert len(passes) < without == 40
    assert max(passes) > 1


def test_drafts_do_not_take_more_positions_than_the_model_has(tiny_model, study_prefix):
    prefix = study_prefix(tiny_model, only=[0])
    num_free = tiny_model.decoder.num_positions - int(prefix.mask.sum()) - 1
    for max_new_tokens in (num_free, num_free + 2):
        [free] = generated(tiny_model, prefix, max_new_tokens=max_new_tokens)
        [drafted] = generated(tiny_model, prefix, drafts=own_index(free), max_new_tokens=max_new_tokens)
        assert drafted.token_ids == free.token_ids
        assert len(free.token_ids) == min(max_new_tokens, num_free + 1) and free.is_truncated


@pytest.mark.parametrize("options", [{"num_beams": 2}, {"num_candidates": 3}])
def test_beams_and_samples_and_batches_do_not_use_drafts(options, tiny_model, study_prefix):
    class Unused(DraftIndex):
        def draft(self, tokens, max_tokens):
            raise AssertionError("drafted")

    drafts = Unused({})
    generated(tiny_model, study_prefix(tiny_model, only=[0]), drafts=drafts, max_new_tokens=5, **options)
    generated(tiny_model, study_prefix(tiny_model), drafts=drafts, max_new_tokens=5)
    with pytest.raises(AssertionError, match="drafted"):
        generated(tiny_model, study_prefix(tiny_model, only=[0]), drafts=drafts, max_new_tokens=5)


def test_lstm_writes_the_same_with_an_index(tiny_lstm, study_prefix):
    prefix = study_prefix(tiny_lstm, only=[0])
    [free] = generated(tiny_lstm, prefix, max_new_tokens=12)
    assert generated(tiny_lstm, prefix, drafts=own_index(free), max_new_tokens=12) == [free]


def test_drafted_tokens_are_yielded_one_by_one(tiny_model, study_prefix):
    prefix = study_prefix(tiny_model, only=[0])
    [free] = generated(tiny_model, prefix, max_new_tokens=12)
    options = GenerationOptions(max_new_tokens=12)
    stream = generate_tokens(
        tiny_model, prefix, bos_token_id=BOS, eos_token_id=NEVER, options=options, drafts=own_index(free)
    )
    assert [(row, token) for row, token, _ in stream] == [(0, token) for token in free.token_ids]
