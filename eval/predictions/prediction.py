"""The file of predictions: JSON lines, one study a line, appended as soon as it is written and read back
after a kill.

A last line that was cut off is dropped and its study done again; any other fault is an error that names
the line. Read line by line, so memory is bounded by what is kept.
"""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from vlm.schema.findings import LABEL_CODES, NUM_FINDINGS, UNLABELED_STUDY
from vlm.schema.strict_json import from_dict

MAX_LINE_BYTES = 1_000_000

Line = TypeVar("Line")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """One study's report with all that is needed to score it; only `study_id` and `report` must be there."""

    study_id: str
    subject_id: str = ""
    report: str
    findings: str = ""
    impression: str = ""
    probabilities: tuple[float, ...] | None = None
    thresholds: tuple[float, ...] | None = None
    """From which probability on the classifier calls each finding present."""
    peaks: tuple[tuple[float, ...], ...] | None = None
    """Where each finding's attention is highest: (view, x, y), x and y as fractions of the view's width and height."""
    boxes: tuple[tuple[float, ...], ...] = ()
    """Where findings truly are: (finding, view, left, top, right, bottom), likewise."""
    reference: str = ""
    reference_labels: tuple[int, ...] = UNLABELED_STUDY
    view_positions: tuple[str, ...] = ()
    source: str = ""
    mean_token_log_probability: float | None = None
    is_truncated: bool = False
    control: str = ""
    """"" for the model itself."""
    image_study_id: str = ""
    """Whose images were shown, where they are another study's."""
    neighbour_study_id: str = ""
    """Whose report this is, where it was not written but found, at this similarity."""
    similarity: float | None = None

    def __post_init__(self):
        if len(self.reference_labels) != NUM_FINDINGS or not set(self.reference_labels) <= LABEL_CODES:
            raise ValueError(
                f"study {self.study_id}: reference_labels must be {NUM_FINDINGS} codes out of {sorted(LABEL_CODES)}, "
                f"got {self.reference_labels}"
            )
        for name in ("probabilities", "thresholds", "peaks"):
            values = getattr(self, name)
            if values is not None and len(values) != NUM_FINDINGS:
                raise ValueError(
                    f"study {self.study_id}: needs {NUM_FINDINGS} {name}, one a finding, got {len(values)}"
                )
        for name, points, size in (("peak", self.peaks or (), 3), ("box", self.boxes, 6)):
            for point in points:
                if len(point) != size:
                    raise ValueError(f"study {self.study_id}: a {name} has {size} numbers, got {list(point)}")
        for finding, *_ in self.boxes:
            if finding not in range(NUM_FINDINGS):
                raise ValueError(
                    f"study {self.study_id}: a box is of finding {finding}; findings are numbered 0 to "
                    f"{NUM_FINDINGS - 1}"
                )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rejection:
    """A study that got no report, and why. `control` as in Prediction."""

    study_id: str
    reason: str
    control: str = ""


class AppendedLines:
    """A file of lines that is added to, each on disk before the next; mends a last line that was cut off."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _mend_last_line(path)
        self._file = path.open("a", encoding="utf-8")

    def write(self, line: Prediction | Rejection):
        self._file.write(_encode(line))
        self._file.flush()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._file.close()


def read_lines(path: Path, line_type: type[Line]) -> list[Line]:
    """The lines of a file; none if it does not exist. A study that stands there twice counts once.

    Raises:
        ValueError: a line that is too long, no JSON or has an unknown key; names file and line.
    """
    if not path.is_file():
        return []
    lines: dict[str, Line] = {}
    with path.open("rb") as file:
        number = 0
        while text := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(text) > MAX_LINE_BYTES:
                raise ValueError(
                    f"{path}, line {number}: longer than {MAX_LINE_BYTES} bytes; no prediction is that long"
                )
            values = _decode(text)
            if values is None:
                if not text.endswith(b"\n"):
                    break
                raise ValueError(f"{path}, line {number}: is no JSON; delete the line, or the file to start anew")
            line = from_dict(values, line_type, where=f"{path}, line {number}")
            lines[line.study_id] = line
    return list(lines.values())


def write_lines(path: Path, lines: Iterable[Prediction | Rejection]):
    """A whole file at once: either the old one stands or the new one."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    with unfinished.open("w", encoding="utf-8") as file:
        file.writelines(map(_encode, lines))
    unfinished.replace(path)


def _encode(line: Prediction | Rejection) -> str:
    return json.dumps(dataclasses.asdict(line), ensure_ascii=False) + "\n"


def _decode(text: bytes):
    try:
        return json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None


def _mend_last_line(path: Path):
    """Ends a whole last line, cuts off a broken one."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        size = file.seek(0, 2)
        start = max(0, size - MAX_LINE_BYTES)
        file.seek(start)
        tail = file.read()
        if not tail or tail.endswith(b"\n"):
            return
        start_of_last = start + tail.rfind(b"\n") + 1
        if _decode(tail[start_of_last - start :]) is None:
            file.truncate(start_of_last)
        else:
            file.write(b"\n")
