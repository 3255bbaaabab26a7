"""Labels of a row of a table, from columns named after findings, from one column with mapped values, or as codes.

- Columns named after the 14 findings, in any spelling (pleural_effusion), have CheXpert's values: 1 positive,
  0 negative, -1 uncertain, blank not mentioned. A finding without a column is unlabeled; so is a row in which all of
  these columns are blank.
- One column with words, and a map from each word to findings: {"normal": {"No Finding": "positive",
  "Pneumonia": "negative"}, …}. States are words or CheXbert's codes; the other findings are unlabeled.
- A column "labels" with 14 codes, as in prepared data sets."""

import difflib
import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vlm.schema.findings import (
    BLANK,
    FINDING_INDEX,
    FINDINGS,
    LABEL_CODES,
    NEGATIVE,
    POSITIVE,
    UNCERTAIN,
    UNLABELED,
    UNLABELED_STUDY,
)

STATES = {"blank": BLANK, "positive": POSITIVE, "negative": NEGATIVE, "uncertain": UNCERTAIN}
_CHEXPERT = {1.0: POSITIVE, 0.0: NEGATIVE, -1.0: UNCERTAIN}


def is_blank(value: Any) -> bool:
    """Whether a cell is missing, empty, only spaces, or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or not str(value).strip()


def columns_of_findings(table: object, names: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The column of each finding that has one, from pairs of the name to compare with and the column. Upper case,
    spaces, hyphens and underscores make no difference.

    Raises:
        ValueError: two columns are of the same finding; names both.
    """
    columns: dict[str, str] = {}
    for name, column in names:
        finding = _FINDING_OF_NAME.get(_plain(name))
        if finding is None:
            continue
        if finding in columns:
            raise ValueError(
                f"{table}: the columns {columns[finding]!r} and {column!r} are both of the finding {finding}; keep one "
                "of them, or rename the other"
            )
        columns[finding] = column
    return {finding: columns[finding] for finding in FINDINGS if finding in columns}


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


_FINDING_OF_NAME = {_plain(finding): finding for finding in FINDINGS}


def labels_from_columns(values: dict[str, Any]) -> tuple[int, ...]:
    """The 14 codes of a row from its CheXpert values by finding.

    Raises:
        ValueError: a value is not 1, 0, -1 or blank.
    """
    if all(is_blank(values.get(finding)) for finding in FINDINGS):
        return UNLABELED_STUDY
    return tuple(_chexpert_code(finding, values[finding]) if finding in values else UNLABELED for finding in FINDINGS)


def labels_from_codes(value: Any) -> tuple[int, ...]:
    """The 14 codes in a cell; unlabeled if the cell is blank.

    Raises:
        ValueError: the cell has something else.
    """
    if is_blank(value):
        return UNLABELED_STUDY
    is_code = [isinstance(code, int) and code in LABEL_CODES for code in value] if isinstance(value, list) else []
    if len(is_code) != len(FINDINGS) or not all(is_code):
        raise ValueError(f"labels are {value!r}; give {len(FINDINGS)} codes from {sorted(LABEL_CODES)}")
    return tuple(value)


def labels_from_map(value: Any, label_map: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    """The 14 codes that the map has for a cell; unlabeled if the cell is blank.

    Raises:
        ValueError: the map does not have the word.
    """
    if is_blank(value):
        return UNLABELED_STUDY
    name = str(value).strip()
    if name not in label_map:
        raise ValueError(f"label {name!r} is not in --label-map, which has {', '.join(map(repr, label_map))}")
    return label_map[name]


def read_label_map(text: str) -> dict[str, tuple[int, ...]]:
    """The map of --label-map: JSON, or the name of a JSON file.

    Raises:
        ValueError: it is not a valid map; the message names the place.
    """
    where = "--label-map"
    if not text.lstrip().startswith("{"):
        where, path = f"--label-map {text}", Path(text)
        if not path.is_file():
            raise ValueError(f"--label-map {text!r} is neither JSON nor a file")
        text = path.read_text(encoding="utf-8")
    try:
        words = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f'{where} is not JSON ({error}); write {{"normal": {{"No Finding": "positive"}}}}') from error
    if not isinstance(words, dict) or not words or not all(isinstance(states, dict) for states in words.values()):
        raise ValueError(f'{where} must map each label to findings, as in {{"normal": {{"No Finding": "positive"}}}}')
    return {word: _codes(states, where=f"{where}: {word!r}") for word, states in words.items()}


def _codes(states: dict[str, Any], *, where: str) -> tuple[int, ...]:
    codes = list(UNLABELED_STUDY)
    for finding, state in states.items():
        if finding not in FINDING_INDEX:
            near = difflib.get_close_matches(finding, FINDINGS, n=1, cutoff=0)
            raise ValueError(f"{where}: {finding!r} is not a finding; did you mean {near[0]!r}?")
        code = STATES.get(state, state) if isinstance(state, str) else state
        if isinstance(code, bool) or code not in STATES.values():
            raise ValueError(f"{where}: {finding} is {state!r}; use {', '.join(STATES)} or CheXbert's codes 0 to 3")
        codes[FINDING_INDEX[finding]] = code
    return tuple(codes)


def _chexpert_code(finding: str, value: Any) -> int:
    if is_blank(value):
        return BLANK
    try:
        return _CHEXPERT[float(value)]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{finding} is {value!r}; use 1 (positive), 0 (negative), -1 (uncertain) or leave it blank"
        ) from error
