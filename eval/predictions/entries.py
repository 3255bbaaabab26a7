"""Parse rows of a file of reports: ids, clean text, labels and probabilities, or the error of a row."""

import json
import math
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from data.reports.plain_text import is_placeholder, plain_text
from data.tables.labels import labels_from_columns
from data.tables.rows import Row
from eval.predictions.columns import Columns
from eval.predictions.files import ReportFile
from vlm.schema.findings import FINDINGS, LABEL_CODES, NUM_FINDINGS
from vlm.schema.report_format import compose_report

MAX_REPORT_CHARACTERS = 50_000
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportEntry:
    """A parsed row. `labels` None: to be read from the report; NaN in `probabilities`: not given.

    `thresholds`, `peaks`, `boxes` and `has_prior` as in `eval.predictions.prediction.Prediction`.
    """

    number: int
    study_id: str = ""
    report: str = ""
    subject_id: str = ""
    source: str = ""
    view_positions: tuple[str, ...] = ()
    labels: tuple[int, ...] | None = None
    probabilities: tuple[float, ...] | None = None
    thresholds: tuple[float, ...] | None = None
    peaks: tuple[tuple[float, ...], ...] | None = None
    boxes: tuple[tuple[float, ...], ...] = ()
    has_prior: bool = False
    error: str = ""


def read_entries(file: ReportFile, columns: Columns) -> Iterator[ReportEntry]:
    """Parse each row, in order; `error` says why a row cannot be used.

    Raises:
        ValueError: a label or a probability is invalid, since it would change all figures.
    """
    for row in file.rows():
        yield _read_entry(file, row, columns)


def _read_entry(file: ReportFile, row: Row, columns: Columns) -> ReportEntry:
    if row.error:
        return ReportEntry(number=row.number, error=row.error)
    values, where = row.values, f"{file.path}, row {row.number}"
    study_id = cell_name(values.get(columns["study_id"]))
    try:
        if not study_id:
            raise ValueError(f"row {row.number} has no study id")
        texts = {name: _text(values.get(columns[name]), row.number) for name in ("text", "findings", "impression")}
        report = texts.pop("text") or compose_report(**texts)
    except ValueError as error:
        return ReportEntry(number=row.number, study_id=study_id, error=str(error))
    return ReportEntry(
        number=row.number,
        study_id=study_id,
        report=report,
        subject_id=cell_name(values.get(columns["subject_id"])),
        source=cell_name(values.get(columns["source"])),
        view_positions=_views(values.get(columns["view"])),
        labels=_labels(values, columns["labels"], where),
        probabilities=_probabilities(values, columns["probabilities"], f"{where} (study {study_id})"),
        thresholds=_numbers(values, "thresholds", where),
        peaks=_numbers(values, "peaks", where, are_lists=True),
        boxes=_numbers(values, "boxes", where, count=None, are_lists=True) or (),
        has_prior=str(values.get("has_prior")).lower() in ("true", "1"),
    )


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def cell_name(value: Any) -> str:
    """A cell as an id or name; 50414267 and 50414267.0 are the same study."""
    if _is_missing(value) or isinstance(value, list | dict):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return _clean(str(value)).strip()


def _text(value: Any, number: int) -> str:
    if isinstance(value, list) and len(value) == 1:
        # pycocoevalcap's format: a list of texts, or of objects before it splits them into words.
        value = value[0].get("caption") if isinstance(value[0], dict) else value[0]
    if isinstance(value, list):
        raise ValueError(f"row {number}: {len(value)} texts for one study; give one report per study")
    if _is_missing(value):
        return ""
    if not isinstance(value, str):
        raise ValueError(f"row {number}: the report is a {type(value).__name__}, not a text")
    if len(value) > MAX_REPORT_CHARACTERS:
        raise ValueError(
            f"row {number}: the report has {len(value):,} characters; the limit is {MAX_REPORT_CHARACTERS:,}"
        )
    text = plain_text(_clean(value))
    return "" if is_placeholder(text) else text


def _clean(text: str) -> str:
    """Remove control characters and lone surrogates, which cannot be written to a file."""
    text = _CONTROL.sub(" ", text)
    return unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode("utf-8"))


def _views(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list | tuple) else [value]
    return tuple(name for name in map(cell_name, values) if name)


def _labels(values: Mapping[str, Any], columns: Mapping[str, str], where: str) -> tuple[int, ...] | None:
    if not columns:
        return None
    if "" not in columns:
        try:
            return labels_from_columns({finding: values.get(column) for finding, column in columns.items()})
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    codes = _list_of(values.get(columns[""]))
    if codes is None:
        return None
    if len(codes) != NUM_FINDINGS or not all(isinstance(code, int) and code in LABEL_CODES for code in codes):
        raise ValueError(f"{where}: labels must be {NUM_FINDINGS} codes out of {sorted(LABEL_CODES)}, got {codes}")
    return tuple(codes)


def _probabilities(values: Mapping[str, Any], columns: Mapping[str, str], where: str) -> tuple[float, ...] | None:
    if not columns:
        return None
    if "" in columns:
        given = values.get(columns[""])
        given = given if isinstance(given, dict) else _list_of(given)
        if given is None:
            return (math.nan,) * NUM_FINDINGS
        if isinstance(given, list):
            if len(given) != NUM_FINDINGS:
                raise ValueError(f"{where}: needs {NUM_FINDINGS} probabilities, one per finding, got {len(given)}")
            given = dict(zip(FINDINGS, given, strict=True))
        elif unknown := set(given) - set(FINDINGS):
            raise ValueError(f"{where}: {sorted(unknown)[0]!r} is not a finding; known are {', '.join(FINDINGS)}")
    else:
        given = {finding: values.get(column) for finding, column in columns.items()}
    return tuple(_probability(given.get(finding), finding, where) for finding in FINDINGS)


def _probability(value: Any, finding: str, where: str) -> float:
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan
    try:
        probability = float(value)
    except (TypeError, ValueError, OverflowError):
        probability = math.inf
    if isinstance(value, bool) or not (0 <= probability <= 1 or math.isnan(probability)):
        raise ValueError(f"{where}: probability of {finding} is {_shown(value)}; give a number from 0 to 1")
    return probability


def _numbers(
    values: Mapping[str, Any], name: str, where: str, *, count: int | None = NUM_FINDINGS, are_lists: bool = False
) -> tuple | None:
    """The numbers, or lists of numbers, that `eval/batch.py` writes; optional in other files."""
    given = _list_of(values.get(name))
    if given is None:
        return None
    points = given if are_lists else [given]
    if not all(isinstance(point, list | tuple) and all(map(_is_number, point)) for point in points):
        what = "lists of numbers" if are_lists else "numbers"
        raise ValueError(f"{where}: {name} must be a list of {what}, got {_shown(given)}")
    if count is not None and len(given) != count:
        raise ValueError(f"{where}: needs {count} {name}, one per finding, got {len(given)}")
    return tuple(map(tuple, given)) if are_lists else tuple(given)


def _shown(value: Any) -> str:
    """A value in a message, shortened."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _list_of(value: Any) -> list | None:
    """A list, also if written as JSON text in a table; None if empty."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return [value]
    if _is_missing(value) or isinstance(value, str):
        return None
    return list(value) if isinstance(value, list | tuple) else [value]
