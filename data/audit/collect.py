"""What an audit notes of one study: a row of a prepared data set in, its traits out, without pixels or text.

Texts that tell who somebody is are counted by kind and go nowhere.

Counts of an audit: what each split holds, and what was noticed in its texts, labels and images.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import datasets
import numpy as np
from PIL import Image

from data.images.burned_in import burned_in_text
from data.images.duplicates import is_flat, perceptual_hash, thumbnail
from data.images.pixels import ImageRejected
from data.images.read import decode_image
from data.reports.deidentify import MAX_CHARACTERS, remove_identity
from data.reports.labeler.labeler import label_report
from data.reports.near_duplicates import MIN_WORDS, signature, text_digest, words_of
from data.reports.sentences import speaks_of_prior, split_sentences
from data.study import MAX_SIDE, load_studies
from vlm.schema.findings import BLANK, FINDINGS, NEGATIVE, POSITIVE, UNCERTAIN, UNLABELED

SECTIONS = ("indication", "findings", "impression")


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageTraits:
    """One image. `damage` says why it cannot be read; then all else is empty. `digest` is of the pixels."""

    damage: str = ""
    size: tuple[int, int] = (0, 0)
    digest: bytes = b""
    hash: int = 0
    is_flat: bool = False
    thumbnail: bytes = b""
    burned_in: str = ""


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
    images: tuple[ImageTraits, ...]
    report: ReportTraits | None
    identities: Mapping[str, int]


def look_at_study(place: tuple[str, int], *, folder: str) -> StudyTraits:
    """The traits of the study at (split, row) of the data set in `folder`."""
    return study_traits(read_row(folder, *place))


def read_row(folder: str, split: str, row: int) -> dict[str, Any]:
    """A study as it is stored: its images are not decoded, so a damaged one spoils nothing."""
    return _rows(folder)[split][row].to_pylist()[0]


def read_report(folder: str, split: str, row: int) -> str:
    """Findings and impression of a study, as they are compared."""
    [texts] = _rows(folder)[split].select_columns(["findings", "impression"])[row].to_pylist()
    return _report(texts)


def image_of(folder: str, place: tuple[str, int], view: int) -> Image.Image:
    """An image that is known to be readable."""
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
        images=tuple(_image_traits(image) for image in row["images"]),
        report=_report_traits(report) if report else None,
        identities=identities,
    )


def _report(texts: Mapping[str, str | None]) -> str:
    return f"{texts['findings'] or ''} {texts['impression'] or ''}".strip()[:MAX_CHARACTERS]


def _image_traits(stored: Mapping[str, Any] | None) -> ImageTraits:
    try:
        image = _decoded(stored)
    except ImageRejected as error:
        return ImageTraits(damage=str(error))
    pixels = np.asarray(image)
    return ImageTraits(
        size=image.size,
        digest=hashlib.sha256(repr(image.size).encode() + pixels.tobytes()).digest()[:16],
        hash=perceptual_hash(pixels),
        is_flat=is_flat(pixels),
        thumbnail=thumbnail(pixels).tobytes(),
        burned_in=burned_in_text(image),
    )


def _decoded(stored: Mapping[str, Any] | None) -> Image.Image:
    content = (stored or {}).get("bytes")
    if content is None:
        raise ImageRejected("the image: is not inside the data set (only a path to it, or nothing); prepare it again")
    return decode_image(content, max_side=MAX_SIDE, allow_color=True, name="the image").image


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


STATES = {
    POSITIVE: "positive",
    UNCERTAIN: "uncertain",
    NEGATIVE: "negative",
    BLANK: "blank",
    UNLABELED: "nobody looked",
}
WORDS_PER_BIN, NUM_BINS = 10, 13
"""Of the histogram of report lengths; the last bin holds all longer ones."""


@dataclass(kw_only=True, slots=True)
class SplitCounts:
    """What one split holds."""

    studies: int = 0
    images: int = 0
    reports: int = 0
    labelled: int = 0
    """Studies with at least one finding that somebody looked for."""
    subjects: set[str] = field(default_factory=set)
    views: Counter = field(default_factory=Counter)
    images_per_study: Counter = field(default_factory=Counter)
    longest_sides: Counter = field(default_factory=Counter)
    sections: Counter = field(default_factory=Counter)
    findings: dict[str, Counter] = field(default_factory=lambda: {finding: Counter() for finding in FINDINGS})
    report_words: Counter = field(default_factory=Counter)
    sentences: int = 0
    prior_sentences: int = 0
    reports_with_prior: int = 0

    def add(self, traits: StudyTraits) -> None:
        self.studies += 1
        self.images += len(traits.images)
        self.subjects.add(traits.subject_id)
        self.labelled += any(code != UNLABELED for code in traits.labels)
        self.views.update(view or "UNKNOWN" for view in traits.view_positions)
        self.images_per_study[len(traits.images)] += 1
        self.longest_sides.update(max(image.size) for image in traits.images if not image.damage)
        self.sections.update(traits.sections)
        for finding, code in zip(FINDINGS, traits.labels, strict=False):
            self.findings[finding][STATES.get(code, "no known code")] += 1
        if report := traits.report:
            self.reports += 1
            self.report_words[report.num_words] += 1
            self.sentences += report.num_sentences
            self.prior_sentences += report.num_prior_sentences
            self.reports_with_prior += report.num_prior_sentences > 0

    def as_json(self) -> dict[str, Any]:
        bins = [0] * NUM_BINS
        for words, count in self.report_words.items():
            bins[min(words // WORDS_PER_BIN, NUM_BINS - 1)] += count
        return {
            "studies": self.studies,
            "subjects": len(self.subjects),
            "images": self.images,
            "reports": self.reports,
            "labelled": self.labelled,
            "missing_sections": {section: self.studies - self.sections[section] for section in SECTIONS},
            "views": dict(self.views.most_common()),
            "images_per_study": dict(sorted(self.images_per_study.items())),
            "longest_side": _quantiles(self.longest_sides),
            "findings": {
                finding: {state: counts[state] for state in [*STATES.values(), *sorted({*counts} - {*STATES.values()})]}
                for finding, counts in self.findings.items()
            },
            "report_words": _quantiles(self.report_words) | {"words_per_bin": WORDS_PER_BIN, "histogram": bins},
            "sentences": self.sentences,
            "prior_sentences": self.prior_sentences,
            "reports_with_prior": self.reports_with_prior,
        }


class LabelAgreement:
    """Labels of the data set against what the labeler reads in the report beside them; found is positive or uncertain,
    and what nobody looked for is left out."""

    def __init__(self):
        self.studies = self.equal = 0
        self._both, self._label_only, self._report_only = Counter(), Counter(), Counter()

    def add(self, traits: StudyTraits) -> None:
        if traits.report is None or all(code == UNLABELED for code in traits.labels):
            return
        self.studies += 1
        self.equal += traits.labels == traits.report.labels
        for finding, label, read in zip(FINDINGS, traits.labels, traits.report.labels, strict=False):
            if label == UNLABELED:
                continue
            label_found, report_found = (code in (POSITIVE, UNCERTAIN) for code in (label, read))
            self._both[finding] += label_found and report_found
            self._label_only[finding] += label_found and not report_found
            self._report_only[finding] += report_found and not label_found

    def as_json(self) -> dict[str, Any]:
        """`f1` is None where neither finds anything."""
        return {
            "studies": self.studies,
            "equal": self.equal,
            "micro_f1": _f1(*(counts.total() for counts in (self._both, self._label_only, self._report_only))),
            "findings": {
                finding: {
                    "both": self._both[finding],
                    "label_only": self._label_only[finding],
                    "report_only": self._report_only[finding],
                    "f1": _f1(self._both[finding], self._label_only[finding], self._report_only[finding]),
                }
                for finding in FINDINGS
            },
        }


def _f1(both: int, one: int, other: int) -> float | None:
    return round(2 * both / (2 * both + one + other), 4) if both + one + other else None


def _quantiles(counts: Counter) -> dict[str, int | None]:
    """Lowest, median and highest of counted values."""
    values = sorted(counts.elements())
    if not values:
        return {"lowest": None, "median": None, "highest": None}
    return {"lowest": values[0], "median": values[(len(values) - 1) // 2], "highest": values[-1]}
