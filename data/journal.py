"""A folder that is filled piece by piece and may be killed at any moment.

Its files only grow. What was appended since the last commit counts for nothing; a commit is a line of `journal.jsonl`
with what each file gained (its new length and a checksum) and the writer's state. Opening the folder again checks
every piece against its line, and cuts the files back to the last commit that is whole.
"""

import json
import zlib
from pathlib import Path
from typing import Any

import pyarrow

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
