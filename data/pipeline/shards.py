"""The files of a data set while they are written, in a folder that survives a kill at any moment.

`Journal`: files only grow. A commit adds one line to `journal.jsonl`: the new length of each file, a checksum of what
was appended, and the state of the writer. Opening the folder again checks every commit, and cuts the files back to the
last one that is complete and undamaged.

Rows are saved as shards that `datasets.load_from_disk` reads: Arrow streams. A stream is a schema followed by record
batches, so rows can be appended to a shard after it was cut back; the writer of `datasets` cannot do this.
"""

import hashlib
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
SHARD_BYTES = 500 * 2**20


class Journal:
    """Appends to files in `folder`. Other files in the folder are not touched.

    `state` is the state of the last commit, None before the first. `fingerprint` is a digest of all committed content.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.state: dict[str, Any] | None = None
        self.fingerprint = ""
        self.lengths: dict[str, int] = {}
        self._checksums: dict[str, int] = {}
        """Checksum of the bytes that were appended to each file since the last commit."""
        self._path = folder / JOURNAL_FILE
        self._recover()

    def append(self, name: str, content: bytes | pyarrow.Buffer) -> None:
        """Append to a file. Raises OSError if the disk is full."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        with path.open("ab" if name in self.lengths else "wb") as file:
            file.write(content)
        self.lengths[name] = self.lengths.get(name, 0) + len(content)
        self._checksums[name] = zlib.crc32(content, self._checksums.get(name, 0))

    def commit(self, state: dict[str, Any]) -> None:
        """Make everything appended so far permanent. Raises OSError if the disk is full."""
        appended = {name: [self.lengths[name], checksum] for name, checksum in self._checksums.items()}
        with self._path.open("ab") as file:
            file.write(json.dumps({"appended": appended, "state": state}).encode() + b"\n")
        self._checksums = {}
        self._accept(appended, state)

    def _accept(self, appended: dict[str, list[int]], state: dict[str, Any]) -> None:
        self.state = state
        self.lengths.update((name, length) for name, (length, _) in appended.items())
        self.fingerprint = hashlib.sha256(f"{self.fingerprint} {json.dumps(appended)}".encode()).hexdigest()[:32]

    def _recover(self) -> None:
        num_bytes = 0
        if self._path.exists():
            with self._path.open("rb") as file:
                for line in file:
                    if not self._redo(line):
                        break
                    num_bytes += len(line)
            _truncate(self._path, num_bytes)
        for name, length in self.lengths.items():
            _truncate(self.folder / name, length)

    def _redo(self, line: bytes) -> bool:
        """Accept a commit if its line is complete and the files hold what it says."""
        try:
            entry = json.loads(line) if line.endswith(b"\n") else {}
            appended, state = entry["appended"], entry["state"]
        except (ValueError, KeyError):
            return False
        for name, (length, checksum) in appended.items():
            if _checksum(self.folder / name, self.lengths.get(name, 0), length) != checksum:
                return False
        self._accept(appended, state)
        return True


def append_rows(journal: Journal, split: str, rows: list[dict[str, Any]]) -> None:
    """Append the rows as one batch to the last shard of the split, or to a new shard if that one is full."""
    names = shard_names(journal, split)
    if not names or journal.lengths[names[-1]] >= SHARD_BYTES:
        names.append(f"{split}/data-{len(names):05d}.arrow")
        journal.append(names[-1], FEATURES.arrow_schema.serialize())
    if rows:
        table = pyarrow.Table.from_pylist([FEATURES.encode_example(row) for row in rows], schema=FEATURES.arrow_schema)
        for batch in table.to_batches():
            journal.append(names[-1], batch.serialize())


def shard_names(journal: Journal, split: str) -> list[str]:
    """The shards of a split, in order."""
    return sorted(name for name in journal.lengths if name.startswith(f"{split}/"))


def write_metadata(journal: Journal, work: Path) -> None:
    """Write the files that `datasets` needs beside the shards, by saving empty splits and naming our shards in them."""
    folder = work / "metadata"
    shutil.rmtree(folder, ignore_errors=True)
    empty = pyarrow.Table.from_pylist([], schema=FEATURES.arrow_schema)
    splits = {}
    for split in SPLITS:
        fingerprint = f"{split}-{journal.fingerprint}"
        splits[split] = datasets.Dataset(empty, split=datasets.NamedSplit(split), fingerprint=fingerprint)
    datasets.DatasetDict(splits).save_to_disk(str(folder))
    for split in SPLITS:
        state_file = folder / split / "state.json"
        state = json.loads(state_file.read_text(encoding="utf-8"))
        state["_data_files"] = [{"filename": Path(name).name} for name in shard_names(journal, split)]
        state_file.write_text(json.dumps(state, indent=2, sort_keys=True), encoding="utf-8")
        for file in ("state.json", "dataset_info.json"):
            (folder / split / file).replace(journal.folder / split / file)
    (folder / "dataset_dict.json").replace(journal.folder / "dataset_dict.json")
    shutil.rmtree(folder)


def _checksum(path: Path, start: int, stop: int) -> int | None:
    """CRC-32 of the bytes from `start` to `stop`; None if the file is absent or too short."""
    if not path.is_file() or path.stat().st_size < stop:
        return None
    checksum = 0
    with path.open("rb") as file:
        file.seek(start)
        for offset in range(start, stop, CHUNK_BYTES):
            checksum = zlib.crc32(file.read(min(CHUNK_BYTES, stop - offset)), checksum)
    return checksum


def _truncate(path: Path, length: int) -> None:
    with path.open("r+b") as file:
        file.truncate(length)
