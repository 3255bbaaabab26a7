"""Splits by subject are stable and seeded, have the requested sizes and no patient in common."""

from collections import Counter

import pytest

from data.study import check_disjoint, split_subjects

SUBJECTS = [f"p{number}" for number in range(100)]


def test_sizes_follow_the_fractions():
    splits = split_subjects(SUBJECTS, fractions=(0.7, 0.2, 0.1), seed=0)
    assert Counter(splits.values()) == {"train": 70, "validation": 20, "test": 10}
    assert set(splits) == set(SUBJECTS)


def test_a_split_does_not_depend_on_order_and_repetition():
    assert split_subjects(SUBJECTS, fractions=(0.8, 0.1, 0.1), seed=0) == split_subjects(
        SUBJECTS[::-1] * 2, fractions=(0.8, 0.1, 0.1), seed=0
    )


def test_another_seed_gives_another_split():
    first, second = (split_subjects(SUBJECTS, fractions=(0.5, 0.25, 0.25), seed=seed) for seed in (0, 1))
    assert first != second


def test_the_split_of_a_subject_is_the_same_on_every_machine():
    splits = split_subjects(["a", "b", "c", "d"], fractions=(0.5, 0.25, 0.25), seed=7)
    assert splits == {"a": "train", "c": "train", "b": "validation", "d": "test"}


@pytest.mark.parametrize(("total", "sizes"), [(3, (1, 1, 1)), (5, (3, 1, 1)), (11, (9, 1, 1)), (1, (1, 0, 0))])
def test_small_sets_still_fill_every_split(total, sizes):
    counted = Counter(split_subjects(SUBJECTS[:total], fractions=(0.8, 0.1, 0.1), seed=0).values())
    assert tuple(counted[split] for split in ("train", "validation", "test")) == sizes


def test_a_fraction_of_zero_leaves_the_split_empty():
    assert set(split_subjects(SUBJECTS, fractions=(0.8, 0.2, 0.0), seed=0).values()) == {"train", "validation"}


@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.2), (1.2, -0.1, -0.1)])
def test_fractions_that_do_not_add_up_are_rejected(fractions):
    with pytest.raises(ValueError, match=r"split fractions are .+; give 3 numbers from 0 to 1 for train"):
        split_subjects(SUBJECTS, fractions=fractions, seed=0)


def test_a_subject_in_two_splits_is_rejected():
    with pytest.raises(ValueError, match=r"subject p7 is in two splits, train and test; a patient may be in"):
        check_disjoint({"train": ["p1", "p7"], "validation": ["p2"], "test": ["p7"]})


def test_disjoint_splits_pass():
    check_disjoint({"train": ["p1", "p1"], "validation": ["p2"], "test": []})
