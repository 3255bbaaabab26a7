"""Normalization of reports before text metrics compare their words; its name is printed with each score.

Scores depend on case, headings and punctuation, so two figures are comparable only under the same normalization. Most
published figures on Indiana (IU X-Ray) reports use `r2gen`, where full stops are words.

Most figures on the R2Gen splits also pass the references through a vocabulary: words that occur fewer than 3 times in
the training reports become <unk>, and long references are truncated. Both raise scores, so `ReferenceVocabulary` is
only used on request, and its description is printed with the result. Predictions are not changed by it.

Text metrics take two lists of strings of equal length and return a score per study and a corpus score. A metric that is
not a mean over studies keeps additive `statistics`, so a bootstrap resample is a product of weights and statistics.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from vlm.schema.report_format import report_body

UNKNOWN_WORD = "<unk>"
MAX_TEXTS_KEPT = 2**15
"""References are normalized again for each control."""
_WORD = re.compile(r"\d+\.\d+|[^\W_]+")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
# R2Gen's character set contains the range `:-[`, so it also includes ;<=>?@ and A to Z. <unk> comes from a model.
_R2GEN_DROPPED = re.compile(rf"({UNKNOWN_WORD})|[.,?;*!%^&_+():-\[\]{{}}\"/\\']")


@lru_cache(maxsize=MAX_TEXTS_KEPT)
def _plain(report: str) -> str:
    return " ".join(_WORD.findall(report_body(report).lower()))


def _none(report: str) -> str:
    return " ".join(report.split())


def _r2gen(report: str) -> str:
    """clean_report_iu_xray of cuhksz-nlp/R2Gen, modules/tokenizers.py; idempotent."""
    given = _none(report)
    if not given:
        return ""
    cleaned = _r2gen_sentences(report)
    # An unfinished report that a model generated in this format gets no full stop.
    return given if f"{given} ." == cleaned and " . " in given else cleaned


def _r2gen_mimic(report: str) -> str:
    """clean_report_mimic_cxr of the same file; also joins lines and repeated spaces and underscores."""
    return _r2gen(re.sub(r" +", " ", re.sub(r"_+", "_", report.replace("\n", " "))))


def _r2gen_sentences(report: str) -> str:
    text = re.sub(r"\.+", ".", report).replace("1. ", "")
    for before in (". ", " "):
        for number in "2345":
            text = text.replace(f"{before}{number}. ", ". ")
    sentences = [_R2GEN_DROPPED.sub(r"\1", sentence) for sentence in text.strip().lower().split(". ")]
    return _none(" . ".join(sentences) + " .")


NORMALIZATIONS: dict[str, Callable[[str], str]] = {
    "plain": _plain,
    "none": _none,
    "lowercase": lambda report: _none(report.lower()),
    "no_punctuation": lambda report: _none(report.lower().translate(_NO_PUNCTUATION)),
    "r2gen": _r2gen,
    "r2gen_mimic": _r2gen_mimic,
}
DESCRIPTIONS = {
    "plain": "headings dropped, lower case, punctuation and ___ to spaces, decimals kept",
    "none": "the text as given, split at white space",
    "lowercase": "lower case, split at white space; headings and punctuation stay",
    "no_punctuation": "lower case, every ASCII punctuation mark deleted (x-ray becomes xray); headings stay",
    "r2gen": "as R2Gen for Indiana (IU X-Ray): lower case, list numbers and punctuation but - deleted, "
    "a full stop is a word",
    "r2gen_mimic": "as R2Gen for MIMIC-CXR: like r2gen, with line ends and runs of _ and spaces joined first",
}
DEFAULT_NORMALIZATION = "plain"
R2GEN_MAX_WORDS = {"r2gen": 59, "r2gen_mimic": 99}
"""R2Gen's --max_seq_length (60 and 100) includes the start token. In these normalizations a full stop is a word."""


def normalize_report(report: str, normalization: str = DEFAULT_NORMALIZATION) -> str:
    """The words of a report, separated by single spaces.

    Raises:
        ValueError: unknown normalization.
    """
    if normalization not in NORMALIZATIONS:
        raise ValueError(f"normalization {normalization!r} is not known; choose one of {', '.join(NORMALIZATIONS)}")
    return NORMALIZATIONS[normalization](report)


def normalize_prediction(prediction: str, normalization: str = DEFAULT_NORMALIZATION) -> str:
    """`normalize_report` without a full stop after an unfinished prediction: R2Gen cleans only references.

    Raises:
        ValueError: unknown normalization.
    """
    words = normalize_report(prediction, normalization)
    is_unfinished = normalization in R2GEN_MAX_WORDS and not prediction.rstrip().endswith(".")
    return words.removesuffix(" .") if is_unfinished else words


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceVocabulary:
    """`max_words` None: references are not truncated. `normalization` is the one used to count the words."""

    words: frozenset[str]
    normalization: str
    num_training_reports: int
    min_count: int
    max_words: int | None

    @classmethod
    def from_reports(
        cls,
        training_reports: Iterable[str],
        *,
        normalization: str = "r2gen",
        min_count: int = 3,
        max_words: int | None = None,
    ) -> "ReferenceVocabulary":
        """Count the words of the training reports of a model.

        Raises:
            ValueError: there are no reports, no word is frequent enough, or a number is below 1.
        """
        for name, value in (("min_count", min_count), ("max_words", max_words)):
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; give at least 1")
        counts: Counter[str] = Counter()
        num_training_reports = 0
        for report in training_reports:
            counts.update(normalize_report(report, normalization).split())
            num_training_reports += 1
        words = frozenset(word for word, count in counts.items() if count >= min_count)
        if not words:
            raise ValueError(
                f"no word occurs {min_count} times in the {num_training_reports} training reports for the reference "
                "vocabulary; give the reports that the model was trained on"
            )
        return cls(
            words=words,
            normalization=normalization,
            num_training_reports=num_training_reports,
            min_count=min_count,
            max_words=max_words,
        )

    @property
    def description(self) -> str:
        """The description that is printed with each score."""
        cut = "" if self.max_words is None else f", references cut after {self.max_words} words"
        return (
            f"references' words seen fewer than {self.min_count} times in {self.num_training_reports} training reports "
            f"replaced by {UNKNOWN_WORD} ({len(self.words)} words known){cut}"
        )

    def apply(self, reference: str) -> str:
        """Normalize and truncate a reference and replace its unknown words."""
        words = normalize_report(reference, self.normalization).split()[: self.max_words]
        return " ".join(word if word in self.words else UNKNOWN_WORD for word in words)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TextScore:
    """A metric per study and over all studies; with `statistics` [studies, k] if it is computed from their sums."""

    per_study: np.ndarray
    score: Any
    statistics: np.ndarray | None = None


def mean_score(per_study: Sequence[float]) -> TextScore:
    """The mean of the scores of at least one study."""
    per_study = np.asarray(per_study, dtype=np.float64)
    return TextScore(per_study=per_study, score=float(per_study.mean()))


def corpus_score(statistics: Sequence[Sequence[int]], score_of: Callable[[np.ndarray], np.ndarray]) -> TextScore:
    """`score_of` computes scores from statistics [..., k] of a study or summed over studies."""
    statistics = np.array(statistics, dtype=np.int64)
    score = score_of(statistics.sum(axis=0)).tolist()
    return TextScore(per_study=score_of(statistics), score=score, statistics=statistics)


def paired_texts(predictions: Sequence[str], references: Sequence[str], normalization: str) -> list[tuple[str, str]]:
    """Normalized prediction and reference of each study.

    Raises:
        ValueError: the lists are empty or have different lengths, or the normalization is unknown.
    """
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions but {len(references)} references: give one of each per study")
    if not len(predictions):
        raise ValueError("0 predictions to score: give at least one study with a reference report")
    return [
        (normalize_prediction(prediction, normalization), normalize_report(reference, normalization))
        for prediction, reference in zip(predictions, references, strict=True)
    ]


def paired_words(
    predictions: Sequence[str], references: Sequence[str], normalization: str
) -> list[tuple[list[str], list[str]]]:
    """`paired_texts`, split into words."""
    return [(one.split(), other.split()) for one, other in paired_texts(predictions, references, normalization)]
