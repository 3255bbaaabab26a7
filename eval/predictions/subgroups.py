"""Subgroups of studies by columns such as sex, age or manufacturer.

Values of a column go in, the name of the group of each study comes out. Each value is a group; a column with many
different numbers, such as ages (also as DICOM writes them: 063Y, 006M), is split into thirds.
"""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.predictions.columns import study_id_column
from eval.predictions.entries import cell_name
from eval.predictions.files import ReportFile
from vlm.schema.demographics import parse_age

NOT_GIVEN = "not given"
MAX_NUMBERS = 10
"""A column with more different numbers than this is split into thirds."""
_MISSING = frozenset({"", "nan", "none", "null", "na", "n/a", "<na>", "-"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Values:
    """Columns of a table or data set; `of(column)` gives the value of each study, by study id."""

    where: str
    columns: Sequence[str]
    of: Callable[[str], dict[str, Any]]


def table_values(file: ReportFile, id_column: str | None = None) -> Values:
    """The columns of a file, whose study ids are in `id_column` or in a column with a common name.

    Raises:
        ValueError: there is no column of study ids.
    """
    id_column = id_column or study_id_column(file)

    def of(column: str) -> dict[str, Any]:
        # Of a repeated study the first row counts, as for its report.
        rows = reversed([row.values for row in file.rows() if not row.error])
        return {cell_name(values.get(id_column)): values.get(column) for values in rows}

    return Values(where=str(file.path), columns=file.columns, of=of)


def subgroups_of(given: Sequence[Values], columns: Sequence[str], study_ids: Sequence[str]) -> dict[str, list[str]]:
    """The group of each study by column; a column is taken from the first that has it.

    Raises:
        ValueError: a column is missing, or its table has none of the studies; suggests the closest name.
    """
    found = {}
    for column in columns:
        one = next((one for one in given if column in one.columns), None)
        if one is None:
            available = list(dict.fromkeys(name for one in given for name in one.columns))
            near = difflib.get_close_matches(column, available, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            where = " and ".join(dict.fromkeys(one.where for one in given))
            raise ValueError(f"--subgroups {column}: {where} has no such column, only {', '.join(available)}{hint}")
        values = one.of(column)
        if not values.keys() & set(study_ids):
            example = next(iter(values), "")
            raise ValueError(
                f"--subgroups {column}: {one.where} has none of the {len(study_ids)} studies; its study ids are like "
                f"{example!r}, those of the studies like {study_ids[0]!r}"
            )
        found[column] = group_names([values.get(study_id) for study_id in study_ids])
    return found


def group_names(values: Sequence[Any]) -> list[str]:
    """The group of each study from the values of its column."""
    texts = [_text(value) for value in values]
    given = [text for text in texts if text]
    numbers = {text: number for text in given if (number := _number(text)) is not None}
    if len(numbers) < len(set(given)) or len(set(numbers.values())) <= MAX_NUMBERS:
        return [text or NOT_GIVEN for text in texts]
    low, high = np.percentile([numbers[text] for text in given], [100 / 3, 200 / 3], method="lower")
    names = (f"up to {low:g}", f"above {low:g} to {high:g}", f"above {high:g}")
    return [names[int(numbers[text] > low) + int(numbers[text] > high)] if text else NOT_GIVEN for text in texts]


def _text(value: Any) -> str:
    parts = value if isinstance(value, list | tuple) else [value]
    text = " and ".join(sorted({name for part in parts if (name := cell_name(part))}))
    return "" if text.lower() in _MISSING else text


def _number(text: str) -> float | None:
    """A number, or the years of an age ("063Y", "006M")."""
    try:
        number = float(text)
    except ValueError:
        try:
            return parse_age(text)
        except ValueError:
            return None
    return number if math.isfinite(number) else None


def described(subgroups: Mapping[str, Any]) -> list[str]:
    """A note for each column with groups that are too small."""
    return [
        f"subgroups by {column}: {sum(group['num_studies'] for group in one['rejected'])} studies in "
        f"{len(one['rejected'])} groups are not scored by group ({one['rejected'][0]['reason']}): "
        + ", ".join(f"{group['group']} ({group['num_studies']})" for group in one["rejected"][:10])
        for column, one in subgroups.items()
        if one["rejected"]
    ]
