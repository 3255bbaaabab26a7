"""A folder that is filled piece by piece and may be killed at any moment.

Its files only grow. What was appended since the last commit counts for nothing; a commit is a line of `journal.jsonl`
with what each file gained (its new length and a checksum) and the writer's state. Opening the folder again checks
every piece against its line, and cuts the files back to the last commit that is whole.

Rows of studies as shards that `datasets.load_from_disk` reads: Arrow streams that grow batch by batch.

An Arrow stream is its schema followed by batches, each a message of its own; so a shard can be cut after any batch and
gone on with, which `datasets`' own writer cannot.
"""

import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import datasets
import pyarrow

from data.study import FEATURES, SPLITS

JOURNAL_FILE = "journal.jsonl"
CHUNK_BYTES = 2**20


class Journal:
    """The files of `folder` that are named to `append`; anything else in it is left alone.

    `state` is what the last commit was given, None before the first.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.state: dict[str, Any] | None = None
        self.lengths: dict[str, int] = {}
        self._gained: dict[str, int] = {}
        """Checksum of what each file gained since the last commit."""
        self._path = folder / JOURNAL_FILE
        self._recover()

    def append(self, name: str, content: bytes | pyarrow.Buffer) -> None:
        """Adds to the end of a file below the folder. Raises OSError when there is no room."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        with path.open("ab" if name in self.lengths else "wb") as file:
            file.write(content)
        self.lengths[name] = self.lengths.get(name, 0) + len(content)
        self._gained[name] = zlib.crc32(content, self._gained.get(name, 0))

    def commit(self, state: dict[str, Any]) -> None:
        """From here on, what was appended stays. Raises OSError when there is no room."""
        gained = {name: [self.lengths[name], checksum] for name, checksum in self._gained.items()}
        with self._path.open("ab") as file:
            file.write(json.dumps({"gained": gained, "state": state}).encode() + b"\n")
        self.state, self._gained = state, {}

    def remove(self) -> None:
        """Ends the journal; the files stay."""
        self._path.unlink(missing_ok=True)

    def _recover(self) -> None:
        num_bytes = 0
        if self._path.exists():
            with self._path.open("rb") as file:
                for line in file:
                    if not self._is_whole(line):
                        break
                    num_bytes += len(line)
            _cut(self._path, num_bytes)
        for name, length in self.lengths.items():
            _cut(self.folder / name, length)

    def _is_whole(self, line: bytes) -> bool:
        """Whether a commit reached the disk with all its pieces; if so it counts."""
        try:
            entry = json.loads(line) if line.endswith(b"\n") else {}
            gained, state = entry["gained"], entry["state"]
        except (ValueError, KeyError):
            return False
        whole = all(
            _checksum(self.folder / name, self.lengths.get(name, 0), length) == checksum
            for name, (length, checksum) in gained.items()
        )
        if whole:
            self.state = state
            self.lengths.update((name, length) for name, (length, _) in gained.items())
        return whole


def _checksum(path: Path, start: int, stop: int) -> int | None:
    """Of the bytes from `start` to `stop`; None where the file does not reach so far."""
    if not path.is_file() or path.stat().st_size < stop:
        return None
    checksum = 0
    with path.open("rb") as file:
        file.seek(start)
        while start < stop:
            chunk = file.read(min(CHUNK_BYTES, stop - start))
            checksum = zlib.crc32(chunk, checksum)
            start += len(chunk)
    return checksum


def _cut(path: Path, length: int) -> None:
    with path.open("r+b") as file:
        file.truncate(length)


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
