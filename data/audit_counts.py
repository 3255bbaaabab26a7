"""Counts of an audit: what each split holds, and what was noticed in its texts, labels and pictures."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from data.audit_study import SECTIONS, StudyTraits
from vlm.schema.findings import BLANK, FINDINGS, NEGATIVE, POSITIVE, UNCERTAIN, UNLABELED

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
        self.images += len(traits.pictures)
        self.subjects.add(traits.subject_id)
        self.labelled += any(code != UNLABELED for code in traits.labels)
        self.views.update(view or "UNKNOWN" for view in traits.view_positions)
        self.images_per_study[len(traits.pictures)] += 1
        self.longest_sides.update(max(picture.size) for picture in traits.pictures if not picture.damage)
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
