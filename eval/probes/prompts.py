"""What the two probes share: which of two statements a report makes, the prompts before it, and the AUROC with control.

A statement is found by its words, in any case: "viral pneumonia" in "Viral pneumonia is seen." The program does not
check whether the report denies it, so the two statements must exclude each other by their words.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval.metrics.bootstrap import estimates
from eval.metrics.probabilities import ranking_scores
from vlm.schema.number_format import format_interval
from vlm.schema.report_format import reports_of

SCORES = {
    "auroc": "AUROC",
    "auroc_shuffled": "AUROC with another patient's images",
    "difference": "difference",
}

VIEW_CHECKS = {
    "looks_lateral": "looks lateral",
    "looks_frontal": "looks frontal",
    "distant": "out of distribution",
}
"""What `eval.probes.view_check` asks of each image."""
FINDING_PROBE = {"classifier": "classifier", "regression": "logistic regression", "difference": "difference"}
"""What is measured for each finding: AUROC of both, and their paired difference."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """The text of a report before its first statement, and whether the statement starts with a capital letter there."""

    text: str
    is_capitalized: bool

    def followed_by(self, statement: str) -> str:
        return self.text + (statement[:1].upper() + statement[1:] if self.is_capitalized else statement)


@dataclass(frozen=True, kw_only=True, slots=True)
class StatingStudies:
    """A split with its reports and, for each row, the statement in the report: 0, 1 or None (neither or both)."""

    studies: Any
    reports: list[str]
    truths: list[int | None]

    @property
    def rows(self) -> list[int]:
        """The rows that state exactly one of the two."""
        return [row for row, truth in enumerate(self.truths) if truth is not None]


def check_statements(statements: Sequence[str]) -> None:
    """Raise ValueError if a statement is empty or starts with the other: writing one would be writing the other."""
    one, other = (" ".join(statement.lower().split()) for statement in statements)
    if not one or not other:
        raise ValueError("--statements has an empty statement; give two, in the words of the reports")
    if f"{one} ".startswith(f"{other} ") or f"{other} ".startswith(f"{one} "):
        raise ValueError(
            f"--statements {statements[0]!r} {statements[1]!r}: one starts with the other; give two that differ in "
            "their first words, such as 'bacterial pneumonia' 'viral pneumonia'"
        )


def find_statements(
    splits: Mapping[str, Any], split: str, statements: Sequence[str], *, dataset: Path, limit: int = 0
) -> StatingStudies:
    """Find the statements in a split of a data set; with a `limit`, both must be among its first stating studies.

    Raises:
        ValueError: the split is empty, or no report makes one of the statements.
    """
    studies = splits.get(split, ())
    if not len(studies):
        raise ValueError(f"{dataset} has no studies in its {split} split")
    reports = reports_of(studies)
    stating = StatingStudies(
        studies=studies, reports=reports, truths=[which_stated(report, statements) for report in reports]
    )
    used = {stating.truths[row] for row in stating.rows[: limit or None]}
    for number, statement in enumerate(statements):
        if number not in used:
            raise ValueError(
                f"no report of the {split} split of {dataset} makes the statement {statement!r} without the other, so "
                "there is nothing to compare; give --statements in the words of the reports"
            )
    return stating


def which_stated(report: str, statements: Sequence[str]) -> int | None:
    """The index of the one statement that the report makes, 0 or 1; None if it makes both or neither."""
    made = {match.lastgroup for match in _pattern(statements).finditer(report)}
    return int(made.pop().removeprefix("statement")) if len(made) == 1 else None


def count_prompts(reports: Sequence[str], statements: Sequence[str]) -> Counter[Prompt]:
    """How many reports have each prompt before either statement; reports without a statement are not counted."""
    pattern, counts = _pattern(statements), Counter()
    for report in reports:
        if match := pattern.search(report):
            counts[Prompt(text=report[: match.start()], is_capitalized=match[0][0].isupper())] += 1
    return counts


def _pattern(statements: Sequence[str]) -> re.Pattern[str]:
    """If both match, the longer one wins: "no pneumonia" is not "pneumonia"."""
    order = sorted(range(len(statements)), key=lambda number: -len(statements[number]))
    words = {number: r"\s+".join(map(re.escape, statements[number].split())) for number in order}
    alternatives = "|".join(f"(?P<statement{number}>{words[number]})" for number in order)
    return re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)", re.IGNORECASE)


def auroc_with_control(
    scores: np.ndarray,
    shuffled_scores: np.ndarray,
    is_first: np.ndarray,
    subject_ids: Sequence[str],
    num_resamples: int,
    seed: int,
) -> dict[str, Any]:
    """The estimates of SCORES: how well the scores rank the first statement above the second, and the control."""

    def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
        own, control = (ranking_scores(one, is_first, weights)["auroc"] for one in (scores, shuffled_scores))
        return {"auroc": own, "auroc_shuffled": control, "difference": own - control}

    found = estimates(statistic, subject_ids, num_resamples, seed)
    return {name: asdict(estimate) for name, estimate in found.items()}


def auroc_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """The estimates in words; "–" for an undefined one, no brackets without an interval."""
    for name, title in SCORES.items():
        estimate = document[name]
        yield f"{title}: {format_interval(estimate['value'], estimate['low'], estimate['high'])}"


def statement_lines(document: Mapping[str, Any]) -> list[str]:
    """The result of eval.probes.statements in words."""
    one, other = document["statements"]
    stating, other_stating = document["num_stating"]
    lines = [
        f"{one!r} ({stating} studies) versus {other!r} ({other_stating} studies), {document['num_patients']} patients; "
        f"{document['num_left_out']} studies state neither or both",
        *auroc_lines(document),
        f"{len(document['prompts'])} prompts, used in {document['share_of_reports']:.0%} of these reports; the model "
        f"begins {document['mean_probability_of_either']:.0%} of its reports with a prompt and a statement",
    ]
    if document["rejected"]:
        first = document["rejected"][0]
        lines.append(f"{len(document['rejected'])} studies were rejected, first {first['study_id']}: {first['reason']}")
    return lines
