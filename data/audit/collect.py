"""Facts about each study in an audit, without pixels or text, and counts over all studies of a split."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import datasets
import numpy as np
from PIL import Image

from data.images.burned_in import burned_in_text
from data.images.duplicates import is_flat, perceptual_hash, thumbnail
from data.images.pixels import ImageRejected, pixels_of
from data.images.read import decode_image
from data.pipeline.workers import map_in_order
from data.reports.deidentify import MAX_CHARACTERS, remove_identity
from data.reports.labeler.labeler import label_sections
from data.reports.near_duplicates import MIN_WORDS, signature, text_digest, words_of
from data.reports.readability import reading_problems
from data.reports.sentences import speaks_of_prior, split_sentences
from data.study import MAX_SIDE, load_studies
from vlm.schema.findings import BLANK, CHANGES, FINDINGS, NEGATIVE, POSITIVE, UNCERTAIN, UNLABELED

SECTIONS = ("indication", "findings", "impression")
STATES = {
    POSITIVE: "positive", UNCERTAIN: "uncertain", NEGATIVE: "negative", BLANK: "blank", UNLABELED: "not labeled",
}  # fmt: skip
WORDS_PER_BIN, NUM_BINS = 10, 13
"""Histogram of report lengths; the last bin holds all longer reports."""

Place = tuple[str, int]
"""Split and row of a study."""
Track = Callable[[int, str], Callable[[int], None]]
"""`track(total, description)` starts a progress bar and returns the function that advances it."""
Item, Result = TypeVar("Item"), TypeVar("Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditContext:
    """The data set in `folder` with the place of each study, and how work on it is run and displayed."""

    folder: str
    places: Sequence[Place]
    num_workers: int
    track: Track

    def map(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        total: int,
        description: str,
        min_parallel: int,
        if_lost: Callable[[Item], Result],
    ) -> Iterator[tuple[Item, Result]]:
        """Yield (item, result) in order. Fewer than `min_parallel` items are processed without worker processes."""
        advance = self.track(total, description)
        num_workers = self.num_workers if total >= min_parallel else 1
        for item, result in map_in_order(function, items, num_workers=num_workers, if_lost=if_lost):
            yield item, result
            advance(1)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageTraits:
    """Facts about an image. If it cannot be read, `error` says why and the rest is empty. `digest` is of the pixels."""

    error: str = ""
    size: tuple[int, int] = (0, 0)
    digest: bytes = b""
    hash: int = 0
    is_blank: bool = False
    thumbnail: bytes = b""
    burned_in: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportTraits:
    """Facts about a report. `signature` is None below MIN_WORDS words; `labels` are those of the labeler."""

    num_words: int
    digest: bytes
    signature: np.ndarray | None
    num_sentences: int
    num_prior_sentences: int
    labels: tuple[int, ...]
    reading_problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PriorTraits:
    """Facts about the prior study of a study."""

    images: tuple[ImageTraits, ...]
    interval_days: int | None
    changes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyTraits:
    """Facts about a study. `identifiers` counts possible personal identifiers in all sections and in the report of the
    prior study, by kind."""

    study_id: str
    subject_id: str
    source: str
    license: str
    view_positions: tuple[str, ...]
    labels: tuple[int, ...]
    sections: tuple[str, ...]
    """The SECTIONS that hold text."""
    images: tuple[ImageTraits, ...]
    report: ReportTraits | None
    identifiers: Mapping[str, int]
    prior: PriorTraits | None = None


def read_traits(place: Place, *, folder: str) -> StudyTraits:
    """The facts about one study of the data set in `folder`."""
    return study_traits(read_row(folder, place))


def read_row(folder: str, place: Place) -> dict[str, Any]:
    """A study as stored. Images are not decoded, so damaged images cause no errors."""
    split, row = place
    return _rows(folder)[split][row].to_pylist()[0]


def read_report(folder: str, place: Place) -> str:
    """Findings and impression of a study, as they are compared."""
    split, row = place
    [texts] = _rows(folder)[split].select_columns(["findings", "impression"])[row].to_pylist()
    return _report(texts)


def read_stored_image(folder: str, place: Place, view: int) -> Image.Image:
    """An image of the data set. Raises ImageRejected if it cannot be read."""
    return _decode(read_row(folder, place)["images"][view])


def study_traits(row: Mapping[str, Any]) -> StudyTraits:
    """The facts about a study as stored."""
    texts = {section: row[section] or "" for section in SECTIONS}
    identifiers = Counter()
    for text in (*texts.values(), row.get("prior_report") or ""):
        # Texts that data.prepare wrote are shorter, but other data sets may have longer ones.
        identifiers.update(remove_identity(text[:MAX_CHARACTERS])[1])
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
        report=_report_traits(texts) if report else None,
        identifiers=identifiers,
        prior=_prior_traits(row),
    )


def _prior_traits(row: Mapping[str, Any]) -> PriorTraits | None:
    """Older data sets lack the columns."""
    if not row.get("prior_images"):
        return None
    return PriorTraits(
        images=tuple(_image_traits(image) for image in row["prior_images"]),
        interval_days=row["prior_interval_days"],
        changes=tuple(row["changes"]),
    )


def _report(texts: Mapping[str, str | None]) -> str:
    return f"{texts['findings'] or ''} {texts['impression'] or ''}".strip()[:MAX_CHARACTERS]


def _image_traits(stored: Mapping[str, Any] | None) -> ImageTraits:
    try:
        image = _decode(stored)
    except ImageRejected as error:
        return ImageTraits(error=str(error))
    pixels = pixels_of(image)
    return ImageTraits(
        size=image.size,
        digest=hashlib.sha256(repr(image.size).encode() + pixels.tobytes()).digest()[:16],
        hash=perceptual_hash(pixels),
        is_blank=is_flat(pixels),
        thumbnail=thumbnail(pixels).tobytes(),
        burned_in=burned_in_text(image),
    )


def _decode(stored: Mapping[str, Any] | None) -> Image.Image:
    content = (stored or {}).get("bytes")
    if content is None:
        raise ImageRejected("the image: is not inside the data set (only a path to it, or nothing); prepare it again")
    return decode_image(content, max_side=MAX_SIDE, allow_color=True, name="the image").image


def _report_traits(texts: Mapping[str, str]) -> ReportTraits:
    report, sections = _report(texts), (texts["findings"], texts["impression"])
    num_words, sentences = len(words_of(report)), split_sentences(report)
    return ReportTraits(
        num_words=num_words,
        digest=text_digest(report),
        signature=signature(report) if num_words >= MIN_WORDS else None,
        num_sentences=len(sentences),
        num_prior_sentences=sum(bool(speaks_of_prior(sentence)) for sentence in sentences),
        labels=label_sections(*sections),
        reading_problems=reading_problems(*sections),
    )


@lru_cache(maxsize=1)
def _rows(folder: str) -> Mapping[str, Sequence[Any]]:
    datasets.disable_progress_bars()
    return {split: rows.with_format("arrow") for split, rows in load_studies(folder).items()}


class SplitCounts:
    """Counts over the studies of a split. `totals` holds studies, images, reports and so on by name. Sentences about a
    prior study are only counted in studies without one."""

    def __init__(self):
        names = (
            "studies",
            "images",
            "reports",
            "labeled",
            "sentences",
            "prior_sentences",
            "reports_with_prior",
            "priors",
        )
        self.totals = Counter(dict.fromkeys(names, 0))
        self.subjects: set[str] = set()
        self.views, self.images_per_study, self.longest_sides = Counter(), Counter(), Counter()
        self.sections, self.report_words, self.reading_problems = Counter(), Counter(), Counter()
        self.findings = {finding: Counter(dict.fromkeys(STATES.values(), 0)) for finding in FINDINGS}
        self.changes = {finding: Counter(dict.fromkeys(CHANGES, 0)) for finding in FINDINGS}
        self.intervals = Counter()

    def add(self, traits: StudyTraits) -> None:
        is_labeled = any(code != UNLABELED for code in traits.labels)
        self.totals.update(studies=1, images=len(traits.images), labeled=int(is_labeled))
        self.subjects.add(traits.subject_id)
        self.views.update(view or "UNKNOWN" for view in traits.view_positions)
        self.images_per_study[len(traits.images)] += 1
        self.longest_sides.update(max(image.size) for image in traits.images if not image.error)
        self.sections.update(traits.sections)
        for finding, code in zip(FINDINGS, traits.labels, strict=False):
            self.findings[finding][STATES.get(code, "unknown code")] += 1
        if traits.prior:
            self.totals["priors"] += 1
            self.intervals.update(() if traits.prior.interval_days is None else (traits.prior.interval_days,))
            for finding, code in zip(FINDINGS, traits.prior.changes, strict=False):
                self.changes[finding].update((CHANGES[code],) if 0 <= code < len(CHANGES) else ())
        if report := traits.report:
            prior = 0 if traits.prior else report.num_prior_sentences
            self.totals.update(reports=1, prior_sentences=prior, reports_with_prior=int(prior > 0))
            self.totals["sentences"] += report.num_sentences
            self.reading_problems.update(report.reading_problems)
            self.report_words[report.num_words] += 1

    def as_json(self) -> dict[str, Any]:
        bins = [0] * NUM_BINS
        for words, count in self.report_words.items():
            bins[min(words // WORDS_PER_BIN, NUM_BINS - 1)] += count
        return {
            **self.totals,
            "reading_problems": dict(sorted(self.reading_problems.items())),
            "subjects": len(self.subjects),
            "missing_sections": {section: self.totals["studies"] - self.sections[section] for section in SECTIONS},
            "views": dict(self.views.most_common()),
            "images_per_study": dict(sorted(self.images_per_study.items())),
            "longest_side": _quantiles(self.longest_sides),
            "findings": {finding: dict(counts) for finding, counts in self.findings.items()},
            "changes": {finding: dict(counts) for finding, counts in self.changes.items()},
            "interval_days": _quantiles(self.intervals),
            "report_words": _quantiles(self.report_words) | {"words_per_bin": WORDS_PER_BIN, "histogram": bins},
        }


class LabelAgreement:
    """Agreement of the labels with those that the labeler reads in the reports.

    A finding is found if it is positive or uncertain. Findings that are not labeled are left out.
    """

    def __init__(self):
        self.studies = self.equal = 0
        self._counts = {finding: Counter(both=0, label_only=0, report_only=0) for finding in FINDINGS}

    def add(self, traits: StudyTraits) -> None:
        if traits.report is None or all(code == UNLABELED for code in traits.labels):
            return
        self.studies += 1
        self.equal += traits.labels == traits.report.labels
        for finding, label, read in zip(FINDINGS, traits.labels, traits.report.labels, strict=False):
            in_label, in_report = (code in (POSITIVE, UNCERTAIN) for code in (label, read))
            if label != UNLABELED and (in_label or in_report):
                kind = "both" if in_label and in_report else "label_only" if in_label else "report_only"
                self._counts[finding][kind] += 1

    def as_json(self) -> dict[str, Any]:
        total = sum(self._counts.values(), Counter())
        findings = {finding: {**counts, "f1": _f1(counts)} for finding, counts in self._counts.items()}
        return {"studies": self.studies, "equal": self.equal, "micro_f1": _f1(total), "findings": findings}


def _f1(counts: Counter) -> float | None:
    """F1 of label and report; None if neither finds anything."""
    return round(2 * counts["both"] / (counts["both"] + counts.total()), 4) if counts.total() else None


def _quantiles(counts: Counter) -> dict[str, int | None]:
    """Lowest, median and highest of counted values."""
    values = sorted(counts.elements()) or [None]
    return {"lowest": values[0], "median": values[(len(values) - 1) // 2], "highest": values[-1]}
