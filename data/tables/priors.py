"""The prior study of each row of a table: the row it names, or the patient's last row with an earlier date."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time

from data.tables.parse import ParsedRow


@dataclass(frozen=True, kw_only=True, slots=True)
class PriorRow:
    """The row of the prior study and its distance in days (None: unknown), or why there is none."""

    row: ParsedRow | None = None
    interval_days: int | None = None
    problem: str = ""


def prior_rows(rows: Sequence[ParsedRow], *, are_named: bool) -> dict[int, PriorRow]:
    """The prior study of each row that has one, by row number. `are_named`: rows name it (`prior_study_id`); else the
    dates decide. Rows of the same moment are not prior to each other, nor those of the same day if one has no time."""
    return _named_priors(rows) if are_named else _dated_priors(rows)


def _named_priors(rows: Sequence[ParsedRow]) -> dict[int, PriorRow]:
    row_of: dict[str, ParsedRow] = {}
    for row in rows:
        row_of.setdefault(row.study_id, row)
    priors = {}
    for row in rows:
        if not row.prior_study_id:
            continue
        prior = row_of.get(row.prior_study_id)
        if prior is None:
            priors[row.number] = PriorRow(problem="the table has no study with the id that the row names")
        elif prior.study_id == row.study_id:
            priors[row.number] = PriorRow(problem="the row names the study itself")
        elif not prior.error and prior.subject_id != row.subject_id:
            priors[row.number] = PriorRow(problem="the row names a study of another patient")
        elif row.date and prior.date and _is_before(row.date, prior.date):
            priors[row.number] = PriorRow(problem="the row names a study of a later date")
        else:
            priors[row.number] = PriorRow(row=prior, interval_days=_days(prior, row))
    return priors


def _dated_priors(rows: Sequence[ParsedRow]) -> dict[int, PriorRow]:
    rows_of: dict[str, list[ParsedRow]] = defaultdict(list)
    for row in rows:
        if row.date and row.subject_id:
            rows_of[row.subject_id].append(row)
    priors = {}
    for own in rows_of.values():
        own.sort(key=lambda row: _moment(row.date))
        for number, row in enumerate(own):
            others = [other for other in own[:number] if other.study_id != row.study_id]
            earlier = [other for other in others if _is_before(other.date, row.date)]
            if earlier:
                priors[row.number] = PriorRow(row=earlier[-1], interval_days=_days(earlier[-1], row))
    return priors


def _is_before(one: date, other: date) -> bool:
    """Whether one is earlier for certain: a day without a time may be before or after any time of the same day."""
    if isinstance(one, datetime) and isinstance(other, datetime):
        return one < other
    return _day(one) < _day(other)


def _moment(day: date) -> datetime:
    return day if isinstance(day, datetime) else datetime.combine(day, time.min)


def _day(day: date) -> date:
    return day.date() if isinstance(day, datetime) else day


def _days(prior: ParsedRow, row: ParsedRow) -> int | None:
    return (_day(row.date) - _day(prior.date)).days if row.date and prior.date else None
