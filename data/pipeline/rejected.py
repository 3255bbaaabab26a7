"""Counts of what `data.prepare` rejected and warned about, by kind of reason, from the files in the data set."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.study import WARNINGS_FILE, rejected_file

MAX_LINE = 2**20
NUM_EXAMPLES = 3
MAX_KINDS = 1000
OTHER_KINDS = "other reasons"


def rejections(folder: Path) -> dict[str, Any]:
    """Number of rejected studies and images, and the kinds of reasons, most frequent first, with a few examples."""
    counts, kinds, examples = Counter(), Counter(), {}
    for entry in _entries(rejected_file(folder)):
        if entry is None:
            counts["unreadable_lines"] += 1
            continue
        # Before version 0.2.0 the key was "refused".
        rejected = "images" if entry.get("rejected", entry.get("refused")) == "image" else "studies"
        counts[rejected] += 1
        kind = (rejected, kind_of_reason(entry))
        if kind not in kinds and len(kinds) >= MAX_KINDS:
            kind = (rejected, OTHER_KINDS)
        kinds[kind] += 1
        if len(shown := examples.setdefault(kind, [])) < NUM_EXAMPLES:
            shown.append({"study_id": str(entry.get("study_id", "")), "reason": str(entry.get("reason", ""))[:500]})
    return {name: counts[name] for name in ("studies", "images", "unreadable_lines")} | {
        "reasons": [
            {"rejected": rejected, "kind": kind, "count": count, "examples": examples[rejected, kind]}
            for (rejected, kind), count in kinds.most_common()
        ],
    }


def first_reason(kind: dict[str, Any]) -> str:
    """The first reason of a kind, with their number."""
    of_all = f" (the first of {kind['count']:,})" if kind["count"] > 1 else ""
    return kind["examples"][0]["reason"] + of_all


def warnings(folder: Path) -> dict[str, int]:
    """Number of warnings of `data.prepare`, by kind."""
    kinds = Counter()
    for entry in filter(None, _entries(folder / WARNINGS_FILE)):
        kind = kind_of_reason({"reason": entry.get("warning", "")})
        kinds[kind if kind in kinds or len(kinds) < MAX_KINDS else OTHER_KINDS] += 1
    return dict(kinds.most_common())


def kind_of_reason(entry: dict[str, Any]) -> str:
    """The reason without details of one study: its id and files become "…", numbers become "#"."""
    reason = str(entry.get("reason", ""))[:500]
    files = [str(file) for file in entry.get("files") or []]
    names = [*files, *(Path(file).name for file in files), str(entry.get("study_id", ""))]
    for name in sorted(filter(None, names), key=len, reverse=True):
        reason = reason.replace(name, "…")
    reason = re.sub(r"\S*/\S*…|…\S*/\S*", "…", reason)
    return re.sub(r"\d+(?:[.,]\d+)*", "#", reason)


def _entries(path: Path) -> Iterator[dict[str, Any] | None]:
    """The entries of a JSONL file, if it exists; None for an invalid line."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        while line := lines.readline(MAX_LINE):
            try:
                entry = json.loads(line)
            except (json.JSONDecodeError, RecursionError):
                entry = None
            yield entry if isinstance(entry, dict) else None
