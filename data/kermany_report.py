"""Composes a report for a labelled pneumonia X-ray, in the language of the made-up reports (`data.grammar`).

A report says what the label says and no more: a normal picture has clear lungs and no pneumonia, an ill one has
pneumonia, with its kind where that is known. Side, zone, degree, heart, pleura and bones, of which the label tells
nothing, are left out; "the lungs are clear" denies no other finding by name.
"""

import hashlib
import itertools
from functools import cache
from typing import Literal, get_args

from data import grammar_frames as frames
from data.grammar_sentences import capitalized
from vlm.schema.findings import BLANK, FINDING_INDEX, NEGATIVE, POSITIVE, UNLABELED_STUDY

Picture = Literal["normal", "bacterial_pneumonia", "viral_pneumonia", "pneumonia"]
"""What a picture is labelled as; the last where nobody says which kind."""
PICTURES = get_args(Picture)

_NAMES = ("{kind} pneumonia", "pneumonia of {kind} origin")


def labels_of(picture: Picture) -> tuple[int, ...]:
    """The 14 codes: Pneumonia and No Finding as the grammar codes them; nobody looked for the others."""
    labels = list(UNLABELED_STUDY)
    is_normal = picture == "normal"
    labels[FINDING_INDEX["Pneumonia"]] = NEGATIVE if is_normal else POSITIVE
    labels[FINDING_INDEX["No Finding"]] = POSITIVE if is_normal else BLANK
    return tuple(labels)


def compose_sections(picture: Picture, study_id: str, seed: int) -> tuple[str, str]:
    """Findings and impression; study and seed choose the wording, on every machine the same."""
    wordings = all_wordings(picture)
    drawn = hashlib.blake2b(f"{seed}:{study_id}".encode(), digest_size=8).digest()
    return wordings[int.from_bytes(drawn) % len(wordings)]


@cache
def all_wordings(picture: Picture) -> tuple[tuple[str, str], ...]:
    """Every (findings, impression) that a picture may get; all are equally likely, and some stand there twice."""
    return tuple(_normal() if picture == "normal" else _pneumonia(picture.removesuffix("pneumonia").strip("_")))


def _normal() -> list[tuple[str, str]]:
    denials = [frame.format(list="pneumonia") for frame in frames.DENYING]
    in_findings = [f"{clear} {denial}" for clear, denial in itertools.product(frames.CLEAR_LUNGS, denials)]
    return [
        *itertools.product(in_findings, frames.NORMAL_IMPRESSIONS),
        *itertools.product(frames.CLEAR_LUNGS, denials),
    ]


def _pneumonia(kind: str) -> list[tuple[str, str]]:
    """The kind stands in the findings, in the impression, or in both."""
    stated, brief = _stated("pneumonia"), _brief("pneumonia")
    if not kind:
        return [*itertools.product(stated, brief)]
    names = [name.format(kind=kind) for name in _NAMES]
    stated_kind = [sentence for name in names for sentence in _stated(name)]
    brief_kind = [sentence for name in names for sentence in _brief(name)]
    return [
        *itertools.product(stated_kind, brief_kind + brief),
        *itertools.product(stated, brief_kind),
    ]


def _stated(name: str) -> list[str]:
    words = {"np": name, "bare": name, "Bare": capitalized(name), "is": "is"}
    return [frame.format(**words) for frame in frames.STATED]


def _brief(name: str) -> list[str]:
    return [f"{capitalized(name)}."]
