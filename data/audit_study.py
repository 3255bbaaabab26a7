"""What an audit notes of one study: a row of a prepared data set in, its traits out, without pixels or text.

Texts that tell who somebody is are counted by kind and go nowhere.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import datasets
import numpy as np
from PIL import Image

from data.burnt_in import burnt_in_text
from data.identity import MAX_CHARACTERS, remove_identity
from data.images import ImageRefused, read_picture
from data.labeler import label_report
from data.near_reports import MIN_WORDS, signature, text_digest, words_of
from data.perceptual_hash import perceptual_hash
from data.prior_study import speaks_of_prior
from data.same_picture import is_flat, thumbnail
from data.sentences import split_sentences
from data.study import MAX_SIDE, load_studies

SECTIONS = ("indication", "findings", "impression")


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureTraits:
    """One picture. `damage` says why it cannot be read; then all else is empty. `digest` is of the pixels."""

    damage: str = ""
    size: tuple[int, int] = (0, 0)
    digest: bytes = b""
    hash: int = 0
    is_flat: bool = False
    thumbnail: bytes = b""
    burnt_in: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportTraits:
    """The text of a study. `signature` is there from MIN_WORDS on; `labels` are what the labeler reads."""

    num_words: int
    digest: bytes
    signature: np.ndarray | None
    num_sentences: int
    num_prior_sentences: int
    labels: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyTraits:
    """`report` is None where there is none. `identities` counts what in any section looks like somebody's identity."""

    study_id: str
    subject_id: str
    source: str
    license: str
    view_positions: tuple[str, ...]
    labels: tuple[int, ...]
    sections: tuple[str, ...]
    """Those of SECTIONS that hold text."""
    pictures: tuple[PictureTraits, ...]
    report: ReportTraits | None
    identities: Mapping[str, int]


def look_at_study(place: tuple[str, int], *, folder: str) -> StudyTraits:
    """The traits of the study at (split, row) of the data set in `folder`."""
    return study_traits(read_row(folder, *place))


def read_row(folder: str, split: str, row: int) -> dict[str, Any]:
    """A study as it is stored: its pictures are not decoded, so a damaged one spoils nothing."""
    return _rows(folder)[split][row].to_pylist()[0]


def read_report(folder: str, split: str, row: int) -> str:
    """Findings and impression of a study, as they are compared."""
    [texts] = _rows(folder)[split].select_columns(["findings", "impression"])[row].to_pylist()
    return _report(texts)


def picture_of(folder: str, place: tuple[str, int], view: int) -> Image.Image:
    """A picture that is known to be readable."""
    return _decoded(read_row(folder, *place)["images"][view])


def study_traits(row: Mapping[str, Any]) -> StudyTraits:
    texts = {section: row[section] or "" for section in SECTIONS}
    identities: dict[str, int] = {}
    for text in texts.values():
        # The writer takes no longer ones; a data set made elsewhere may hold them.
        for kind, number in remove_identity(text[:MAX_CHARACTERS])[1].items():
            identities[kind] = identities.get(kind, 0) + number
    report = _report(texts)
    return StudyTraits(
        study_id=row["study_id"],
        subject_id=row["subject_id"],
        source=row["source"] or "",
        license=row["license"] or "",
        view_positions=tuple(row["view_positions"]),
        labels=tuple(row["labels"]),
        sections=tuple(section for section, text in texts.items() if text.strip()),
        pictures=tuple(_picture_traits(image) for image in row["images"]),
        report=_report_traits(report) if report else None,
        identities=identities,
    )


def _report(texts: Mapping[str, str | None]) -> str:
    return f"{texts['findings'] or ''} {texts['impression'] or ''}".strip()[:MAX_CHARACTERS]


def _picture_traits(stored: Mapping[str, Any] | None) -> PictureTraits:
    try:
        image = _decoded(stored)
    except ImageRefused as error:
        return PictureTraits(damage=str(error))
    pixels = np.asarray(image)
    return PictureTraits(
        size=image.size,
        digest=hashlib.sha256(repr(image.size).encode() + pixels.tobytes()).digest()[:16],
        hash=perceptual_hash(pixels),
        is_flat=is_flat(pixels),
        thumbnail=thumbnail(pixels).tobytes(),
        burnt_in=burnt_in_text(image),
    )


def _decoded(stored: Mapping[str, Any] | None) -> Image.Image:
    content = (stored or {}).get("bytes")
    if content is None:
        raise ImageRefused("the picture: is not inside the data set (only a path to it, or nothing); prepare it again")
    return read_picture(content, max_side=MAX_SIDE, allow_colour=True, name="the picture").image


def _report_traits(report: str) -> ReportTraits:
    num_words, sentences = len(words_of(report)), split_sentences(report)
    return ReportTraits(
        num_words=num_words,
        digest=text_digest(report),
        signature=signature(report) if num_words >= MIN_WORDS else None,
        num_sentences=len(sentences),
        num_prior_sentences=sum(bool(speaks_of_prior(sentence)) for sentence in sentences),
        labels=label_report(report),
    )


@lru_cache(maxsize=1)
def _rows(folder: str) -> Mapping[str, Sequence[Any]]:
    datasets.disable_progress_bars()
    return {split: rows.with_format("arrow") for split, rows in load_studies(folder).items()}
