"""Rows of studies as shards that `datasets.load_from_disk` reads: Arrow streams that grow batch by batch.

An Arrow stream is its schema followed by batches, each a message of its own; so a shard can be cut after any batch and
gone on with, which `datasets`' own writer cannot.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import pyarrow

from data.journal import Journal
from data.study import FEATURES, SPLITS

SHARD_BYTES = 500 * 2**20


def append_rows(journal: Journal, split: str, rows: list[dict[str, Any]]) -> None:
    """The rows as one batch at the end of the split's last shard, or of a new one where that is full."""
    names = shard_names(journal, split)
    if not names or journal.lengths[names[-1]] >= SHARD_BYTES:
        names.append(f"{split}/data-{len(names):05d}.arrow")
    name = names[-1]
    if name not in journal.lengths:
        journal.append(name, FEATURES.arrow_schema.serialize())
    if rows:
        table = pyarrow.Table.from_pylist([FEATURES.encode_example(row) for row in rows], schema=FEATURES.arrow_schema)
        for batch in table.to_batches():
            journal.append(name, batch.serialize())


def shard_names(journal: Journal, split: str) -> list[str]:
    """Of the shards of a split, in order."""
    return sorted(name for name in journal.lengths if name.startswith(f"{split}/"))


def write_frame(journal: Journal, work: Path, *, fingerprint: str) -> None:
    """What `datasets` wants beside the shards: it saves empty splits, whose shards are then replaced by ours.

    `fingerprint` names the content; `datasets` finds what it has cached by it.
    """
    frame = work / "frame"
    shutil.rmtree(frame, ignore_errors=True)
    empty = pyarrow.Table.from_pylist([], schema=FEATURES.arrow_schema)
    datasets.DatasetDict(
        {
            split: datasets.Dataset(empty, split=datasets.NamedSplit(split), fingerprint=f"{split}-{fingerprint}")
            for split in SPLITS
        }
    ).save_to_disk(str(frame))
    for split in SPLITS:
        state_file = frame / split / "state.json"
        state = json.loads(state_file.read_text(encoding="utf-8"))
        state["_data_files"] = [{"filename": Path(name).name} for name in shard_names(journal, split)]
        state_file.write_text(json.dumps(state, indent=2, sort_keys=True), encoding="utf-8")
        for file in ("state.json", "dataset_info.json"):
            (frame / split / file).replace(journal.folder / split / file)
    (frame / "dataset_dict.json").replace(journal.folder / "dataset_dict.json")
    shutil.rmtree(frame)
