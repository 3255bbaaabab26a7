"""The file of predictions: JSON lines, one study per line, appended as soon as it is generated.

A truncated last line (after a kill) is dropped and its study is generated again. Any other error names the line.
"""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from vlm.schema.atomic import atomic_file
from vlm.schema.findings import (
    CHANGE_CODES,
    CHANGES,
    LABEL_CODES,
    NUM_FINDINGS,
    SEVERITIES,
    SEVERITY_CODES,
    UNKNOWN_CHANGES,
    UNKNOWN_SEVERITIES,
    UNLABELED_STUDY,
)
from vlm.schema.report_format import report_of
from vlm.schema.strict_json import formerly, from_dict

MAX_LINE_BYTES = 1_000_000

Line = TypeVar("Line")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """One report with everything that is needed to score it; only `study_id` and `report` are required."""

    study_id: str
    subject_id: str = ""
    report: str
    findings: str = ""
    impression: str = ""
    probabilities: tuple[float, ...] | None = None
    thresholds: tuple[float, ...] | None = None
    """Probability from which each finding is predicted positive."""
    severity_probabilities: tuple[tuple[float, ...], ...] | None = None
    """For each finding, the probabilities of SEVERITIES if it is present."""
    change_probabilities: tuple[tuple[float, ...], ...] | None = None
    """For each finding, the probabilities of CHANGES; None without a prior study."""
    peaks: tuple[tuple[float, ...], ...] | None = None
    """Attention peak of each finding: (view, x, y), with x and y as fractions of width and height."""
    boxes: tuple[tuple[float, ...], ...] = ()
    """Ground truth boxes: (finding, view, left, top, right, bottom), as fractions too."""
    reference: str = ""
    reference_labels: tuple[int, ...] = UNLABELED_STUDY
    reference_severities: tuple[int, ...] = UNKNOWN_SEVERITIES
    """Indices of SEVERITIES, or UNKNOWN_SEVERITY."""
    reference_changes: tuple[int, ...] = UNKNOWN_CHANGES
    """Indices of CHANGES, or UNKNOWN_CHANGE."""
    has_prior: bool = False
    """The model was given a prior study."""
    view_positions: tuple[str, ...] = ()
    source: str = ""
    mean_token_log_probability: float | None = None
    is_truncated: bool = False
    control: str = ""
    """Name of the control; "" for the model itself."""
    image_study_id: str = ""
    """The study whose images were used, if different."""
    prior_study_id: str = ""
    """The study whose prior study was given, if different."""
    neighbor_study_id: str = dataclasses.field(default="", metadata=formerly("neighbour_study_id"))
    """The study whose report was retrieved, with its `similarity`."""
    similarity: float | None = None

    def __post_init__(self):
        if len(self.reference_labels) != NUM_FINDINGS or not set(self.reference_labels) <= LABEL_CODES:
            raise ValueError(
                f"study {self.study_id}: reference_labels must be {NUM_FINDINGS} codes out of {sorted(LABEL_CODES)}, "
                f"got {self.reference_labels}"
            )
        for name, known in (("reference_severities", SEVERITY_CODES), ("reference_changes", CHANGE_CODES)):
            codes = getattr(self, name)
            if len(codes) != NUM_FINDINGS or not set(codes) <= known:
                raise ValueError(
                    f"study {self.study_id}: {name} must be {NUM_FINDINGS} codes out of {sorted(known)}, got {codes}"
                )
        for name in ("probabilities", "thresholds", "severity_probabilities", "change_probabilities", "peaks"):
            values = getattr(self, name)
            if values is not None and len(values) != NUM_FINDINGS:
                raise ValueError(
                    f"study {self.study_id}: needs {NUM_FINDINGS} {name}, one per finding, got {len(values)}"
                )
        for name, points, size in (
            ("peak", self.peaks or (), 3),
            ("box", self.boxes, 6),
            ("severity", self.severity_probabilities or (), len(SEVERITIES)),
            ("change", self.change_probabilities or (), len(CHANGES)),
        ):
            for point in points:
                if len(point) != size:
                    raise ValueError(f"study {self.study_id}: a {name} has {size} numbers, got {list(point)}")
        for finding, *_ in self.boxes:
            if finding not in range(NUM_FINDINGS):
                raise ValueError(
                    f"study {self.study_id}: a box has finding {finding}; findings are numbered 0 to {NUM_FINDINGS - 1}"
                )


DECIMALS = 4
"""Decimals of positions in an image; less than a tenth of a pixel."""


def boxes_of(study: dict[str, Any]) -> tuple[tuple[float, ...], ...]:
    """The boxes of a data set row in the format of a prediction."""
    return tuple(
        (box["finding"], box["view"], *(round(edge, DECIMALS) for edge in box["box"])) for box in study["boxes"]
    )


def truth_of(study: dict[str, Any]) -> dict[str, Any]:
    """The fields of a prediction that come from the row of the study in a data set."""
    return {
        "study_id": study["study_id"],
        "subject_id": study["subject_id"],
        "reference": report_of(study),
        "reference_labels": tuple(study["labels"]),
        "reference_severities": tuple(study.get("severities", UNKNOWN_SEVERITIES)),
        "reference_changes": tuple(study.get("changes", UNKNOWN_CHANGES)),
        "view_positions": tuple(study["view_positions"]),
        "source": study["source"],
    }


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rejection:
    """A study without a report, and the reason. `control` as in Prediction."""

    study_id: str
    reason: str
    control: str = ""


class AppendedLines:
    """Append lines to a file, flushing each one; a truncated last line is repaired first."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _repair_last_line(path)
        self._path, self._file = path, path.open("a", encoding="utf-8")

    def write(self, line: Prediction | Rejection):
        try:
            self._file.write(_encode(line))
            self._file.flush()
        except OSError as error:  # a full disk does not say which file
            raise OSError(error.errno, error.strerror, str(self._path)) from error

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._file.close()


def read_lines(path: Path, line_type: type[Line]) -> list[Line]:
    """Read the lines of a file, or none if it does not exist. Of a repeated study the last line counts.

    Raises:
        ValueError: a line is too long, is not JSON or has an unknown key; names file and line.
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
                raise ValueError(f"{path}, line {number}: is not JSON; delete the line, or the file to start again")
            line = from_dict(values, line_type, where=f"{path}, line {number}")
            lines[line.study_id] = line
    return list(lines.values())


def write_lines(path: Path, lines: Iterable[Prediction | Rejection]):
    """Write a whole file atomically."""
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(map(_encode, lines))


def _encode(line: Prediction | Rejection) -> str:
    return json.dumps(dataclasses.asdict(line), ensure_ascii=False) + "\n"


def _decode(text: bytes):
    try:
        return json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None


def _repair_last_line(path: Path):
    """End a complete last line, remove a truncated one."""
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
