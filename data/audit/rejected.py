"""What `data.prepare` rejected and warned of, counted by reason from the files that it left in the data set."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.pipeline.writer import WARNINGS_FILE
from data.study import rejected_file

MAX_LINE = 2**20
NUM_EXAMPLES = 3
MAX_REASONS = 1000
OTHER_REASONS = "other reasons"


def rejections(folder: Path) -> dict[str, Any]:
    """Studies and single images rejected, with kinds of reasons, most frequent first, and a few examples of each."""
    counts, reasons, examples = Counter(), Counter(), {}
    for entry in _entries(rejected_file(folder)):
        if entry is None:
            counts["unreadable lines"] += 1
            continue
        what = "images" if entry.get("rejected", entry.get("refused")) == "image" else "studies"
        counts[what] += 1
        kind = _known((what, kind_of_reason(entry)), reasons)
        reasons[kind] += 1
        if len(known := examples.setdefault(kind, [])) < NUM_EXAMPLES:
            known.append({"study_id": str(entry.get("study_id", "")), "reason": str(entry.get("reason", ""))[:500]})
    return {
        "studies": counts["studies"],
        "images": counts["images"],
        "unreadable_lines": counts["unreadable lines"],
        "reasons": [
            {"rejected": what, "kind": kind, "count": count, "examples": examples[what, kind]}
            for (what, kind), count in reasons.most_common()
        ],
    }


def warnings(folder: Path) -> dict[str, int]:
    """How often the preparation warned of what."""
    kinds = Counter()
    for entry in filter(None, _entries(folder / WARNINGS_FILE)):
        kinds[_known(kind_of_reason({"reason": entry.get("warning", "")}), kinds)] += 1
    return dict(kinds.most_common())


def kind_of_reason(entry: dict[str, Any]) -> str:
    """The reason without what belongs to one study alone: its id, its files, numbers."""
    reason = str(entry.get("reason", ""))[:500]
    files = [str(file) for file in entry.get("files") or []]
    own = [*files, *(Path(file).name for file in files), str(entry.get("study_id", ""))]
    for name in sorted(filter(None, own), key=len, reverse=True):
        reason = reason.replace(name, "…")
    reason = re.sub(r"\S*/\S*…|…\S*/\S*", "…", reason)
    return re.sub(r"\d+(?:[.,]\d+)*", "#", reason)


def _known(kind: Any, kinds: Counter) -> Any:
    """The kind; one for all others, once there are too many."""
    if kind in kinds or len(kinds) < MAX_REASONS:
        return kind
    return (kind[0], OTHER_REASONS) if isinstance(kind, tuple) else OTHER_REASONS


def _entries(path: Path) -> Iterator[dict[str, Any] | None]:
    """The entries of a JSONL file that may be absent; None for a line that is no entry."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        while line := lines.readline(MAX_LINE):
            try:
                entry = json.loads(line)
            except (json.JSONDecodeError, RecursionError):
                entry = None
            yield entry if isinstance(entry, dict) else None
