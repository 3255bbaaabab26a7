"""Equal and nearly equal reports are found without comparing every pair."""

import random

import numpy as np
import pytest

from data.reports.near_duplicates import NEAR_BOUND, near_report_pairs, signature, similarity, text_digest, words_of

WORDS = [f"word{number}" for number in range(500)]


def text(seed, length=80):
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def changed(written, seed, number):
    words = written.split()
    for place in random.Random(seed).sample(range(len(words)), number):
        words[place] = "changed"
    return " ".join(words)


def test_case_punctuation_and_blanks_are_ignored():
    assert text_digest("No effusion.  Clear lungs") == text_digest("no EFFUSION, clear\nlungs!")
    assert text_digest("no effusion") != text_digest("effusion no")
    assert words_of("T8-spine, 1.5 cm") == ["t8", "spine", "1", "5", "cm"]


def test_similarity_is_the_share_of_common_word_triples():
    assert similarity("a b c d", "a b c e") == pytest.approx(1 / 3)
    assert similarity("a b c d", "A B. c d") == 1
    assert similarity("a b", "a b") == 1
    assert similarity("", "a b c") == 0


def test_equal_entries_of_signatures_estimate_the_similarity():
    pairs = [(text(seed, 200), changed(text(seed, 200), seed, 10)) for seed in range(20)]
    estimates = [np.mean(signature(one) == signature(other)) for one, other in pairs]
    assert np.mean(estimates) == pytest.approx(np.mean([similarity(*pair) for pair in pairs]), abs=0.04)


def test_exactly_the_near_pairs_are_found():
    texts = [text(seed) for seed in range(300)]
    texts += [changed(texts[seed], seed, 2) for seed in range(0, 300, 10)]
    altered = {seed: 300 + number for number, seed in enumerate(range(0, 300, 10))}
    expected = {(one, copy) for one, copy in altered.items() if similarity(texts[one], texts[copy]) >= NEAR_BOUND}
    pairs = near_report_pairs(np.array([signature(written) for written in texts]), texts.__getitem__)
    assert {(one, other) for one, other, _ in pairs} == expected
    assert len(expected) > 20
    assert [value for *_, value in pairs] == sorted((value for *_, value in pairs), reverse=True)


def test_template_shared_by_thousands_of_reports_stays_fast():
    template = text(0, 70)
    texts = [changed(template, seed, 1) for seed in range(600)]
    read = []
    pairs = near_report_pairs(np.array([signature(written) for written in texts]), lambda n: read.append(n) or texts[n])
    assert len(pairs) > 500
    assert len(read) == 600
