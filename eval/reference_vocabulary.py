"""References as a model with a small vocabulary sees them, which is how most figures on the R2Gen splits were made.

Words that the training reports hold fewer than 3 times become <unk> and long references are cut; both raise scores,
so this is never done unasked and its description is printed with the result. Predictions are left as they are.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from eval.normalization import UNKNOWN_WORD, normalize_report

R2GEN_MAX_WORDS = {"r2gen": 59, "r2gen_mimic": 99}
"""R2Gen's --max_seq_length 60 and 100 count the mark at the start of the report."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceVocabulary:
    """`max_words` None: references are not cut. `normalization` is what its words were counted under."""

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
        """Counts the words of a model's training reports.

        Raises:
            ValueError: there is no report, no word is that frequent, or a number is below 1.
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
        """What is printed with every score."""
        cut = "" if self.max_words is None else f", references cut after {self.max_words} words"
        return (
            f"references' words seen fewer than {self.min_count} times in {self.num_training_reports} training reports "
            f"replaced by {UNKNOWN_WORD} ({len(self.words)} words known){cut}"
        )

    def apply(self, reference: str) -> str:
        """A reference report normalised, cut, and its unknown words replaced."""
        words = normalize_report(reference, self.normalization).split()[: self.max_words]
        return " ".join(word if word in self.words else UNKNOWN_WORD for word in words)
