"""Parse rows of a table: cells in; ids, image paths, text and labels out, or the reason why a row cannot be used."""

import datetime
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

from data.images.read import UNKNOWN_VIEW
from data.reports.plain_text import is_placeholder, join_lines, plain_text
from data.reports.sections import split_sections
from data.tables.labels import is_blank, labels_from_codes, labels_from_columns, labels_from_map
from data.tables.rows import Row
from vlm.schema.demographics import NOTHING_KNOWN, Demographics, parse_age, parse_manufacturer, parse_sex
from vlm.schema.findings import UNLABELED_STUDY, view_index

MAX_VIEWS = 16
_SPLIT_OF_NAME = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "validate", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_REPORT_ROLES = ("findings", "impression", "report")
_SPREADSHEET_ERROR = re.compile(r"#[^\s#]{1,20}[!?]|#N/A|#N/D|#NV", re.IGNORECASE)
"""Like #REF! and #NAME?, in any language (#BEZUG!, #NOMBRE?); #N/A has other letters in some."""
_NO_VIEW = frozenset({"", "?", "NAN", "NONE", "NULL", "UNKNOWN"})


@dataclass(frozen=True, kw_only=True, slots=True)
class TableSpec:
    """The column of each role, and where labels come from."""

    columns: dict[str, str]
    image_root: Path = Path()
    image_separator: str | None = None
    label_map: dict[str, tuple[int, ...]] | None = None
    finding_columns: dict[str, str] = field(default_factory=dict)
    """The column of each finding that has one."""

    @property
    def has_text(self) -> bool:
        return any(role in self.columns for role in ("findings", "impression", "report"))

    @property
    def has_labels(self) -> bool:
        return bool(self.label_map or self.finding_columns or "labels" in self.columns)


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedRow:
    """A parsed row. `error` says why it cannot be used; then only the ids and paths are valid. `labels` is None if they
    must be read from the report; `view_positions` is empty if the row has none."""

    number: int
    study_id: str = ""
    subject_id: str = ""
    split: str = ""
    images: tuple[str, ...] = ()
    view_positions: tuple[str, ...] = ()
    indication: str = ""
    findings: str = ""
    impression: str = ""
    labels: tuple[int, ...] | None = None
    demographics: Demographics = NOTHING_KNOWN
    unreadable: tuple[str, ...] = ()
    """Messages about values of sex, age, date and view position that cannot be read; they count as unknown."""
    prior_study_id: str = ""
    date: datetime.date | None = None
    """A datetime if the time is known."""
    source: str = ""
    license: str = ""
    error: str = ""
    digest: int = 0
    """Hash of everything in which the rows of one study must agree."""


def parse_row(row: Row, spec: TableSpec) -> ParsedRow:
    """Parse a row; a problem goes into `error`."""
    if row.error:
        return ParsedRow(number=row.number, error=row.error)
    cells = {role: row.values.get(column) for role, column in spec.columns.items()}
    parsed = ParsedRow(number=row.number)
    try:
        study_id = _text(_without_fraction(cells.get("study_id")), "study_id")
        _check_no_spreadsheet_error(spec, study_id=[study_id])
        parsed = replace(parsed, study_id=study_id)
        images = _several(cells["image"], spec.image_separator)
        _check_no_spreadsheet_error(spec, image=images)
        # A study without an id is named after its first image.
        study_id = parsed.study_id or (_without_root(images[0], spec.image_root) if images else "")
        if not _is_valid(study_id):
            parsed = replace(parsed, study_id="")
            raise ValueError(f"row {row.number}: its study id has an invalid character (a lone surrogate)")
        parsed = replace(parsed, study_id=study_id, images=images)
        if not images:
            raise ValueError(f"row {row.number} names no image")
        if len(images) > MAX_VIEWS:
            raise ValueError(f"row {row.number} names {len(images)} images; the limit is {MAX_VIEWS}")
        return _complete(parsed, cells, row, spec)
    except ValueError as error:
        return replace(parsed, error=str(error))


def _is_valid(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _without_root(image: str, root: Path) -> str:
    """A path as an id: an absolute one loses the image folder, or all folders, which may name a person or machine."""
    path = PureWindowsPath(image) if "\\" in image else PurePath(image)
    if not path.is_absolute():
        return image
    folder = root.absolute()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else path.name


def join(study: ParsedRow, row: ParsedRow) -> ParsedRow:
    """Add a row to a study. Rows that differ, or too many images, are an error of the study."""
    images = study.images + row.images
    error = study.error or row.error
    if not error and study.digest != row.digest:
        what = "patient, split, text, labels, sex or age"
        error = f"row {row.number} differs from row {study.number} of the same study in {what}"
    if not error and len(images) > MAX_VIEWS:
        error = f"the rows of the study name {len(images)} images; the limit is {MAX_VIEWS}"
    positions = ()
    if study.view_positions or row.view_positions:
        positions = sum((part.view_positions or (UNKNOWN_VIEW,) * len(part.images) for part in (study, row)), ())
    return replace(study, images=images[: MAX_VIEWS + 1], view_positions=positions[: MAX_VIEWS + 1], error=error)


def without_text(parsed: ParsedRow) -> ParsedRow:
    """The row without its text, to save memory."""
    return replace(parsed, indication="", findings="", impression="")


def _complete(parsed: ParsedRow, cells: dict[str, Any], row: Row, spec: TableSpec) -> ParsedRow:
    cells = cells | {role: _without_fraction(cells.get(role)) for role in ("subject_id", "prior_study_id")}
    texts = {
        role: _text(cells.get(role), spec.columns.get(role, role))
        for role in ("subject_id", "split", "indication", "findings", "impression", "report", "source", "license")
    }
    _check_no_spreadsheet_error(spec, **{role: [text] for role, text in texts.items()})
    prior_study_id = _text(cells.get("prior_study_id"), "prior_study_id")
    if not _is_missing(texts["report"]) and _is_missing(texts["findings"]) and _is_missing(texts["impression"]):
        # With its line breaks, which separate headings from sentences.
        sections = split_sections(plain_text(str(cells["report"])))
        texts |= {"findings": join_lines(sections.findings), "impression": join_lines(sections.impression)}
        texts["indication"] = texts["indication"] or join_lines(sections.indication)
    if not _is_valid(texts["subject_id"]):
        raise ValueError(f"row {row.number}: its patient id has an invalid character (a lone surrogate)")
    split = texts["split"].lower()
    if "split" in spec.columns and split not in _SPLIT_OF_NAME:
        raise ValueError(f"split {texts['split']!r} is not one of {', '.join(_SPLIT_OF_NAME)}")
    labels = UNLABELED_STUDY
    if spec.label_map:
        labels = labels_from_map(cells.get("label"), spec.label_map)
    elif spec.finding_columns:
        given = {finding: column for finding, column in spec.finding_columns.items() if column in row.values}
        labels = labels_from_columns({finding: row.values[column] for finding, column in given.items()})
    elif "labels" in spec.columns:
        labels = labels_from_codes(cells["labels"])
    demographics, unreadable = demographics_of(cells)
    day, problems = _date(cells.get("date"))
    view_positions = _view_positions(parsed, cells.get("view_position"), spec.image_separator)
    problems += _unknown_views(view_positions)
    has_report = not (_is_missing(texts["findings"]) and _is_missing(texts["impression"]))
    if not has_report and labels == UNLABELED_STUDY and (spec.has_text or spec.has_labels):
        given = next((f" (its text is {texts[role]!r})" for role in _REPORT_ROLES if texts[role]), "")
        raise ValueError(f"has neither a report nor labels{given}")
    parsed = replace(
        parsed,
        subject_id=texts["subject_id"] or parsed.study_id,
        split=_SPLIT_OF_NAME.get(split, ""),
        view_positions=view_positions,
        labels=None if labels == UNLABELED_STUDY else labels,
        demographics=demographics,
        unreadable=unreadable + problems,
        prior_study_id=prior_study_id,
        date=day,
        **{name: texts[name] for name in ("indication", "findings", "impression", "source", "license")},
    )
    return replace(parsed, digest=hash((*texts.values(), labels, demographics.sex, demographics.age)))


def demographics_of(cells: Mapping[str, Any]) -> tuple[Demographics, tuple[str, ...]]:
    """Sex, age and manufacturer from the cells of these roles, and messages about values that cannot be read."""
    values, unreadable = {}, []
    for role, parse in (("sex", parse_sex), ("age", parse_age), ("manufacturer", parse_manufacturer)):
        try:
            values[role] = parse(cells.get(role))
        except ValueError as error:
            unreadable.append(str(error))
    return Demographics(**values), tuple(unreadable)


def _date(value: Any) -> tuple[datetime.date | None, tuple[str, ...]]:
    """A date, or a datetime if there is a time, from an ISO 8601 text or as Parquet stores it; None and a message if it
    cannot be read."""
    if is_blank(value):
        return None, ()
    text = str(value).strip()
    with suppress(ValueError):
        return datetime.date.fromisoformat(text), ()
    with suppress(ValueError):
        return datetime.datetime.fromisoformat(text).replace(tzinfo=None), ()
    return None, (f"date {text[:40]!r} is not like 2021-12-31 or 2021-12-31 09:30",)


def _view_positions(parsed: ParsedRow, value: Any, separator: str | None) -> tuple[str, ...]:
    named = [position.upper() for position in _several(value, separator, keep_blank=True)]
    positions = tuple(UNKNOWN_VIEW if position in _NO_VIEW else position for position in named)
    if set(positions) <= {UNKNOWN_VIEW}:
        return ()
    if len(positions) != len(parsed.images):
        raise ValueError(f"row {parsed.number} names {len(parsed.images)} images but {len(positions)} view positions")
    return positions


def _unknown_views(positions: tuple[str, ...]) -> tuple[str, ...]:
    """A message for each name that the model does not know. Such a view counts as frontal."""
    unknown = (position for position in positions if position != UNKNOWN_VIEW and not view_index(position))
    return tuple(f"view position {position[:40]!r} is not one of PA, AP and LATERAL" for position in unknown)


def _several(value: Any, separator: str | None, *, keep_blank: bool = False) -> tuple[str, ...]:
    """The texts of a cell as a tuple."""
    if isinstance(value, str) and separator:
        value = value.split(separator)
    values = value if isinstance(value, list) else [] if is_blank(value) else [value]
    if wrong := next((part for part in values if isinstance(part, bytes | dict | list)), None):
        kind = type(wrong).__name__
        raise ValueError(f"has {kind} in its image or view position column; give paths, or a Hugging Face data set")
    texts = ["" if part is None else str(part).strip() for part in values]
    return tuple(text for text in texts if text or keep_blank)


def _without_fraction(value: Any) -> Any:
    """An id that is stored as a number: 7.0 is 7. A column of whole numbers with blanks is stored so."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _text(value: Any, column: str) -> str:
    """A cell as one line of text."""
    if is_blank(value):
        return ""
    if isinstance(value, list | dict | bytes):
        raise ValueError(f"column {column!r} has a {type(value).__name__}, not a text")
    return join_lines(plain_text(str(value)))


def _check_no_spreadsheet_error(spec: TableSpec, **texts: Iterable[str]) -> None:
    """Raises ValueError if a text of one of these roles is what a spreadsheet shows for a formula that failed."""
    for role, values in texts.items():
        for text in values:
            if _SPREADSHEET_ERROR.fullmatch(text):
                raise ValueError(
                    f"column {spec.columns[role]!r} has {text!r}, an error of a spreadsheet; correct the cell there "
                    "and save the table again"
                )


def _is_missing(text: str) -> bool:
    return not text or is_placeholder(text)
