"""Splits by subject: every study of a patient lies in one split, so that nothing of a test patient is learned.

The order of subjects is a hash of seed and name: the same on every machine, whatever the order of the table.
"""

import hashlib
from collections.abc import Iterable, Mapping

from data.study import SPLITS


def check_fractions(fractions: tuple[float, float, float]) -> None:
    """Raises ValueError unless there is one fraction for each of train, validation, test, and their sum is 1."""
    if len(fractions) != len(SPLITS) or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(
            f"split fractions are {' '.join(f'{part:g}' for part in fractions)}; give {len(SPLITS)} numbers from 0 to "
            f"1 for {', '.join(SPLITS)} that add up to 1, for example 0.8 0.1 0.1"
        )


def split_subjects(subject_ids: Iterable[str], *, fractions: tuple[float, float, float], seed: int) -> dict[str, str]:
    """The split of each subject. Sizes are as near to the fractions as whole subjects allow; where there are enough
    subjects, each split with a fraction above 0 gets at least one."""
    check_fractions(fractions)
    ordered = sorted(set(subject_ids), key=lambda subject: (_position(subject, seed), subject))
    sizes = _sizes(len(ordered), fractions)
    names = [split for split, size in zip(SPLITS, sizes, strict=True) for _ in range(size)]
    return dict(zip(ordered, names, strict=True))


def later_split(one: str, other: str) -> str:
    """Of two splits that a subject is in, the one that counts, so that what is tested was never learned: test before
    validation before train before none ("")."""
    return max(one, other, key=("", *SPLITS).index)


def left_out(subject_id: str, split: str, kept: str) -> str:
    """Why a study of `split` is refused whose patient has another in the split `kept`; "" where they are one."""
    if split in ("", kept):
        return ""
    return (
        f"patient {subject_id} is also in the split {kept}, and a patient may be in one only; "
        f"this study of {split} is left out"
    )


def check_disjoint(subjects_by_split: Mapping[str, Iterable[str]]) -> None:
    """Raises ValueError that names a subject found in two splits, and the splits."""
    split_of = {}
    for split, subjects in subjects_by_split.items():
        for subject in set(subjects):
            other = split_of.setdefault(subject, split)
            if other != split:
                raise ValueError(
                    f"subject {subject} is in two splits, {other} and {split}; a patient may be in one only, "
                    "else what is learned from one study is tested on the next"
                )


def _position(subject: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}:{subject}".encode(), digest_size=8).digest()


def _sizes(total: int, fractions: tuple[float, float, float]) -> list[int]:
    exact = [total * part for part in fractions]
    sizes = [int(size + 1e-9) for size in exact]
    by_remainder = sorted(range(len(sizes)), key=lambda index: (sizes[index] - exact[index], index))
    for index in by_remainder[: total - sum(sizes)]:
        sizes[index] += 1
    for index, part in enumerate(fractions):
        largest = max(range(len(sizes)), key=sizes.__getitem__)
        if part > 0 and sizes[index] == 0 and sizes[largest] > 1:
            sizes[index], sizes[largest] = 1, sizes[largest] - 1
    return sizes
