"""R2Gen's `annotation.json` of Open-i: the split that published systems are compared on, with texts and image paths.

Chen et al. 2020, "Generating Radiology Reports via Memory-driven Transformer": {"train": [{"id": "CXR12_IM-0001",
"report": "…", "image_path": ["CXR12_IM-0001/0.png", …]}, …], "val": […], "test": […]}.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from data.open_i_reports import OpenIReport, study_number
from data.splits import later_split

MAX_BYTES = 64 * 2**20
_SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotated:
    """What the annotation says of a study. `files` are paths below the folder of R2Gen's images."""

    split: str
    report: str
    files: tuple[str, ...]


def read_annotation(path: Path) -> dict[int, Annotated]:
    """By study number. A study that is in two splits counts to the one that must stay unlearned.

    Raises:
        ValueError: the file is absent, too large, no JSON or no annotation; says where.
    """
    if not path.is_file():
        raise ValueError(f"--annotation {path} is no file; name R2Gen's annotation.json")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"--annotation {path} has {path.stat().st_size} bytes; the limit is {MAX_BYTES}")
    try:
        splits = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"--annotation {path} is not JSON ({error}); download it again") from error
    if not isinstance(splits, dict) or not splits or not set(splits) <= set(_SPLITS):
        raise ValueError(f"--annotation {path} must be an object with the splits train, val and test")
    annotated = {}
    for name, entries in splits.items():
        for position, entry in enumerate(entries if isinstance(entries, list) else [entries]):
            try:
                number = study_number(entry["id"])
                files = tuple(map(str, entry["image_path"]))
                report = " ".join(str(entry["report"]).split())
            except (TypeError, KeyError, ValueError) as error:
                reason = f"lacks {error}" if isinstance(error, KeyError) else error
                raise ValueError(f"--annotation {path}: entry {position} of {name}: {reason}") from error
            split = _SPLITS[name]
            if number in annotated:
                split = later_split(split, annotated[number].split)
            annotated[number] = Annotated(split=split, report=report, files=files)
    return annotated


def annotated_reports(annotated: dict[int, Annotated], *, origin: str) -> list[OpenIReport]:
    """The annotation's own texts, where no other reports are: findings alone, as R2Gen took them."""
    return [
        OpenIReport(study_id=f"CXR{number}", origin=origin, findings=entry.report)
        for number, entry in annotated.items()
    ]
