"""Facts about each of many studies, in a temporary file: memory does not grow with their number."""

import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt


class Records:
    """A list of records, each with the same fields of a fixed size. A context manager, which deletes the file."""

    def __init__(self, fields: npt.DTypeLike):
        """`fields`: a list of (name, type), or (name, type, shape)."""
        self._type = np.dtype(fields)
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        self._number = 0

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._file.close()

    def add(self, *values: Any) -> None:
        """Add a record: the value of each field."""
        self._file.write(np.array([values], dtype=self._type).tobytes())
        self._number += 1

    def array(self) -> np.ndarray:
        """All records [records]; a field is `array()[name]`. They are read from the file when they are used."""
        if not self._number:
            return np.empty(0, dtype=self._type)
        self._file.flush()
        return np.memmap(self._file, dtype=self._type, mode="r", shape=(self._number,))


def groups_of_equal(keys: np.ndarray) -> tuple[np.ndarray, list[list[int]]]:
    """The first index of each different key; and the indices of each key that occurs more than once. Both are in order
    of the first index."""
    order = np.argsort(keys, kind="stable")
    if not len(order):
        return order, []
    is_first = np.append(True, keys[order[1:]] != keys[order[:-1]])
    starts = np.flatnonzero(is_first)
    sizes = np.diff(starts, append=len(order))
    groups = [order[start : start + size].tolist() for start, size in zip(starts, sizes, strict=True) if size > 1]
    return np.sort(order[starts]), sorted(groups)
