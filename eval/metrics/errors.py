"""Errors of a report against its reference, by kind and weighted by harm, and one score between 0 and 1.

Both reports are read as statements (`data/reports/labeler/statements.py`), which are joined to one claim for each
abnormality and device. Claims are compared by name. What only one report has is an error, a smaller one if the other
report has something near in the same place. What both have is compared by side, zone, severity, certainty, change and
position.

    score = .97 * (1/2 + agreed) / (1/2 + agreed + harm) + .03 * word overlap

`agreed` is the weight of what both reports say, `harm` the sum of the harms of all errors (tables: `harm.py`). That
something is normal is no claim: leaving it out is no error."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from data.reports.labeler.attributes import MODERATE
from data.reports.labeler.claims import Claim, Claims, degree_words, join_claims
from data.reports.labeler.labeler import described_sentences, speaks_of_chest
from data.reports.labeler.statements import join_statements
from data.reports.sentences import speaks_of_prior
from eval.metrics.bleu import matched_ngrams
from eval.metrics.harm import GENERAL, HARMS, MINOR, MISPLACED, NEAR, Harms, harm_of, level_of
from eval.metrics.laterality import MAX_REPORTS_KEPT
from eval.metrics.normalization import normalize_report

ERROR_KINDS = (
    "false finding", "missing finding", "wrong side", "wrong location", "wrong severity", "wrong certainty",
    "false device", "missing device", "wrong device position", "false comparison", "missing comparison",
    "contradiction",
)  # fmt: skip
_PRIOR = 0.5
"""Added to what both reports agree on, so that a reference without findings has a score too."""
_OVERLAP_SHARE = 0.03
_LEAST = 0.04
"""Harm of an error about something benign: enough to order two reports, too little to matter."""
_UNCERTAIN = 0.6
"""Share of the weight if a finding is only suspected."""

SHARES = {
    "opposite side": 0.8,
    "one side of two": 0.4,
    "side not given": 0.15,
    "opposite zone": 0.4,
    "neighboring zone": 0.2,
    "zone not given": 0.1,
    "far severity": 0.6,
    "other severity": 0.25,
    "severity not given": 0.1,
    "other size": 0.3,
    "other number": 0.15,
    "certainty": 0.2,
    "opposite change": 0.5,
    "other change": 0.25,
    "change not given": 0.1,
}
"""Share of the weight of a finding that each difference costs if both reports have the finding."""
_COUNTED = 0.5
"""Share of the weight of a missing finding that is taken off a false one that stands for it: they are one error."""
_DENIED = 0.1
"""Added share if a report denies a finding instead of leaving it out."""
_FAR_MM = 15
"""Tips of devices nearer than this to each other are in the same position."""
_HARM_OF_COMPARISON = 0.12
_HARM_OF_SILENCE = 0.5
"""A report that says nothing about the chest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportError:
    """`kind`: one of ERROR_KINDS; `harm`: its weight, 1 for a critical error; `words`: the error in plain words."""

    kind: str
    harm: float
    words: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportErrors:
    """The errors of one report, the most harmful first; `score`: 1 without errors, towards 0 with many grave ones."""

    errors: tuple[ReportError, ...]
    score: float

    @property
    def harm(self) -> float:
        return sum(error.harm for error in self.errors)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Content:
    """`prior`: words on a prior study, or ""; `is_silent`: nothing is said about the chest."""

    claims: Claims
    prior: str
    is_silent: bool


def report_errors(report: str, reference: str, harms: Harms = HARMS) -> ReportErrors:
    """Compare a report with its reference. An empty report scores 0.

    `harms` may be `HARMS | {...}`, with other weights for some names.
    """
    return _compare(report, reference, _overlaps([report], [reference])[0], harms)


def _compare(report: str, reference: str, overlap: float, harms: Harms) -> ReportErrors:
    written, true = _content(report), _content(reference)
    errors: list[ReportError] = []
    agreed = 0.0
    for name, claim in true.claims.stated.items():
        weight = _weight(claim, harms)
        other = written.claims.stated.get(name)
        found = (
            [_missing(claim, written.claims, true.claims, weight)]
            if other is None
            else _differences(other, claim, weight, harms)
        )
        errors += found
        agreed += max(0.0, weight - sum(error.harm for error in found))
    errors += [
        _false(claim, written.claims, true.claims, harms)
        for name, claim in written.claims.stated.items()
        if name not in true.claims.stated
    ]
    errors += _errors_of_the_whole(written, true, harms)
    harm = sum(error.harm for error in errors)
    score = (1 - _OVERLAP_SHARE) * (_PRIOR + agreed) / (_PRIOR + agreed + harm)
    score += _OVERLAP_SHARE * overlap
    counted = sorted((error for error in errors if error.harm), key=lambda error: -error.harm)
    return ReportErrors(errors=tuple(counted), score=score if report.strip() else 0.0)


@lru_cache(maxsize=MAX_REPORTS_KEPT)
def _content(report: str) -> _Content:
    sentences = described_sentences(report)
    statements = join_statements(sentences)
    return _Content(
        claims=join_claims(statements),
        prior=next(filter(None, map(speaks_of_prior, sentences)), ""),
        is_silent=not statements and not any(map(speaks_of_chest, sentences)),
    )


def _overlaps(reports: Sequence[str], references: Sequence[str]) -> list[float]:
    """F1 of the words and pairs of words of each report and its reference."""
    words, true = ([normalize_report(text).split() for text in texts] for texts in (reports, references))
    matched = matched_ngrams(words, true, max_order=2).sum(axis=1).tolist()
    totals = [sum(len(text) + len(text[1:]) for text in pair) for pair in zip(words, true, strict=True)]
    return [2 * both / total if total else 1.0 for both, total in zip(matched, totals, strict=True)]


def _weight(claim: Claim, harms: Harms) -> float:
    """The harm of leaving a claim out, at least that of a benign error."""
    weight = max(harm_of(claim.name, claim.severity, harms), _LEAST)
    if claim.is_misplaced:
        weight = max(weight, MISPLACED.get(claim.name, MINOR))
    return weight if claim.is_certain else weight * _UNCERTAIN


def _error(kind: str, harm: float, words: str) -> ReportError:
    return ReportError(kind=kind, harm=harm, words=f"{kind}: {words} ({level_of(harm)})")


def _missing(claim: Claim, written: Claims, true: Claims, weight: float) -> ReportError:
    kind = "missing device" if claim.is_device else "missing finding"
    if claim.is_misplaced:
        weight += MINOR  # the device and its position
    near, share = _nearest(claim, written, true)
    if near is not None:
        return _error(kind, weight * (1 - share), f"{claim.describe()}, reported as {near.describe()}")
    is_denied = claim.name in written.denied and not claim.is_device
    return _error(kind, weight * (1 + _DENIED * is_denied), claim.describe() + ", which is denied" * is_denied)


def _false(claim: Claim, written: Claims, true: Claims, harms: Harms) -> ReportError:
    weight = _weight(claim, harms)
    kind = "false device" if claim.is_device else "false finding"
    near, share = _nearest(claim, true, written)
    if near is not None and near.name not in written.stated:
        weight = max(0.0, weight - _COUNTED * _weight(near, harms))
    if near is not None:
        return _error(kind, weight * (1 - share), f"{claim.describe()} for {near.describe()}")
    return _error(kind, weight, claim.describe())


def _nearest(claim: Claim, others: Claims, own: Claims) -> tuple[Claim | None, float]:
    """The claim of the other report that comes nearest, and the share of the harm that it saves.

    It saves half as much if it has its own counterpart in `own`, the report that makes this claim, and more if this
    claim only says the same in general: "opacity, likely pneumonia".
    """
    found: tuple[Claim | None, float] = None, 0.0
    for name, other in others.stated.items():
        share = NEAR.get(frozenset({claim.name, name}), 0.0) * _likeness(claim, other)
        if name in own.stated and claim.name in GENERAL:
            share = 1 - (1 - share) ** 2
        elif name in own.stated and claim.is_certain:
            share /= 2
        if share > found[1]:
            found = other, share
    return found


def _likeness(claim: Claim, other: Claim) -> float:
    """1 in the same place and of the same degree; less if sides or zones exclude each other or the degrees are far."""
    sides = not claim.sides or not other.sides or claim.sides & other.sides
    zones = not claim.zones or not other.zones or claim.zones & other.zones
    degrees = abs((claim.severity or MODERATE) - (other.severity or MODERATE)) < 1.5
    return (1.0 if sides else 0.3) * (1.0 if zones else 0.7) * (1.0 if degrees else 0.6)


def _differences(written: Claim, true: Claim, weight: float, harms: Harms) -> list[ReportError]:
    """The errors in a claim that both reports make; together at most a little more than leaving it out."""
    mean = (weight + _weight(written, harms)) / 2
    found = [
        _error(kind, mean * SHARES[difference], words)
        for kind, difference, words in (
            *_of_place(written, true),
            *_of_degree(written, true),
            *_of_change(written, true),
        )
    ]
    return found + _of_position(written, true)


Difference = tuple[str, str, str]
"""Kind of error, key of SHARES, words."""


def _of_place(written: Claim, true: Claim) -> Iterator[Difference]:
    name = true.name
    own, other = _words(written.sides), _words(true.sides)
    if written.sides and true.sides and not written.sides & true.sides:
        yield "wrong side", "opposite side", f"{name}, {own} instead of {other}"
        return  # the zone on the other side says nothing
    if written.sides and true.sides and written.sides != true.sides:
        yield "wrong side", "one side of two", f"{name}, {own} instead of {other}"
    elif written.sides != true.sides:
        yield "wrong side", "side not given", f"{name}, {own} instead of {other}"
    own, other = _words(written.zones), _words(true.zones)
    if written.zones and true.zones and not written.zones & true.zones:
        is_near = "middle" in written.zones | true.zones
        yield "wrong location", "neighboring zone" if is_near else "opposite zone", f"{name}, {own} instead of {other}"
    elif written.zones != true.zones:
        yield "wrong location", "zone not given", f"{name}, {own} instead of {other}"


def _words(places: Iterable[str]) -> str:
    return " and ".join(sorted(places)) or "no place"


def _of_degree(written: Claim, true: Claim) -> Iterator[Difference]:
    name = true.name
    if (difference := _severity_difference(written, true)) is not None:
        own, other = (degree_words(claim.severity) or "no degree" for claim in (written, true))
        yield "wrong severity", difference, f"{name}, {own} instead of {other}"
    if written.size_mm and true.size_mm and not 0.7 <= written.size_mm / true.size_mm <= 1.4:
        yield "wrong severity", "other size", f"{name}, {written.size_mm:g} mm instead of {true.size_mm:g} mm"
    if written.count and true.count and written.count != true.count:
        yield "wrong severity", "other number", f"{name}, another number"
    if written.is_certain != true.is_certain:
        words = ("possible", "stated")
        yield "wrong certainty", "certainty", f"{name}, {words[written.is_certain]} instead of {words[true.is_certain]}"


def _severity_difference(written: Claim, true: Claim) -> str | None:
    """The greatest difference over the sides, as a key of SHARES."""
    if written.severity is None and true.severity is None:
        return None
    if written.severity is None or true.severity is None:
        is_usual = 1.5 <= (written.severity or true.severity) <= 2
        return None if is_usual else "severity not given"
    sides = (written.severities.keys() & true.severities.keys()) - {""}
    pairs = [(written.severities[side], true.severities[side]) for side in sides]
    distance = max(abs(own - other) for own, other in pairs or [(written.severity, true.severity)])
    return None if distance < 0.5 else "other severity" if distance < 1.5 else "far severity"


_DIRECTION = {"better": -1, "same": 0, "worse": 1, "new": 1}


def _of_change(written: Claim, true: Claim) -> Iterator[Difference]:
    if not written.changes and not true.changes:
        return
    kind = "false comparison" if written.changes else "missing comparison"
    own, other = (claim.changes[-1] if claim.changes else "" for claim in (written, true))
    words = f"{true.name}, {own or 'no change given'} instead of {other or 'no change given'}"
    if not own or not other:
        if (own or other) != "same":
            yield kind, "change not given", words
    elif (distance := abs(_DIRECTION[own] - _DIRECTION[other])) > 0:
        yield kind, "opposite change" if distance == 2 else "other change", words


def _of_position(written: Claim, true: Claim) -> list[ReportError]:
    harm = MISPLACED.get(true.name, MINOR)
    if written.is_misplaced != true.is_misplaced:
        if true.is_misplaced:
            is_reassuring = any(position.is_good for position in written.positions)
            words = f"{true.name} is in a bad position, which is not said"
            return [_error("wrong device position", harm * (1 + _DENIED * is_reassuring), words)]
        return [_error("wrong device position", harm / 2, f"{true.name} is not in a bad position")]
    own, other = ({position.place for position in claim.positions} - {""} for claim in (written, true))
    if own and other and not own & other:
        harm = harm / 2 if true.is_misplaced else MINOR / 2
        return [_error("wrong device position", harm, f"{true.name}, {_words(own)} instead of {_words(other)}")]
    own, other = (
        max(filter(None, (at.distance_mm for at in claim.positions)), default=None) for claim in (written, true)
    )
    if own and other and abs(own - other) > _FAR_MM:
        return [_error("wrong device position", MINOR / 2, f"{true.name}, {own:g} mm instead of {other:g} mm")]
    return []


def _errors_of_the_whole(written: _Content, true: _Content, harms: Harms) -> list[ReportError]:
    """Comparison with a prior study, contradictions, and silence."""
    errors = []
    if written.prior and not true.prior:
        errors.append(_error("false comparison", _HARM_OF_COMPARISON, f"“{written.prior}”"))
    if true.prior and not written.prior:
        errors.append(_error("missing comparison", _HARM_OF_COMPARISON / 2, f"“{true.prior}”"))
    for name in sorted(written.claims.contradicted - true.claims.contradicted):
        weight = _weight(written.claims.stated[name], harms)
        errors.append(_error("contradiction", weight / 2, f"{name} is stated and denied"))
    if written.is_silent and not true.is_silent:
        errors.append(_error("missing finding", _HARM_OF_SILENCE, "the report says nothing about the chest"))
    return errors


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ErrorScores:
    """Per study: `scores` [studies], `harms` [studies], `counts` [studies, kinds] in the order of ERROR_KINDS."""

    scores: np.ndarray
    harms: np.ndarray
    counts: np.ndarray


def error_scores(reports: Sequence[str], references: Sequence[str], harms: Harms = HARMS) -> ErrorScores:
    """Compare each report with its reference.

    Raises:
        ValueError: the lists have different lengths.
    """
    if len(reports) != len(references):
        raise ValueError(f"{len(reports)} reports but {len(references)} references: give one of each per study")
    overlaps = _overlaps(reports, references)
    found = [_compare(*study, harms) for study in zip(reports, references, overlaps, strict=True)]
    counts = np.zeros((len(found), len(ERROR_KINDS)))
    for study, one in enumerate(found):
        for error in one.errors:
            counts[study, ERROR_KINDS.index(error.kind)] += 1
    return ErrorScores(
        scores=np.array([one.score for one in found]), harms=np.array([one.harm for one in found]), counts=counts
    )
