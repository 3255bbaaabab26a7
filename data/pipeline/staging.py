"""OUT.partial, the folder in which a data set is written until it is complete. It contains:

- `lock`: held by the running process; the system releases it when the process ends;
- `run.json`: a hash of each option, to check whether a new run may resume this one (options may be private, so only
  hashes are stored);
- `work/`: temporary files; `work/source` is for the source, and only the user can read it.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from data.cli import check_writable
from data.pipeline.shards import JOURNAL_FILE
from data.study import PREPARATION_FILE
from vlm.schema.atomic import partial_path

RUN_FILE, LOCK_FILE, WORK_FOLDER = "run.json", "lock", "work"


class StagingFolder:
    """The locked folder: empty, or with the work of an interrupted run with the same options.

    Raises:
        ValueError: `out` is not empty, and `overwrite` is off or `out` is not a prepared data set; another run is
            writing to it; or the folder belongs to a run with other options and `overwrite` is off.
    """

    def __init__(self, out: Path, *, options: dict[str, Any], overwrite: bool):
        check_out(out, overwrite=overwrite)
        check_writable(out.parent, flag="--out")
        self.out, self.path = out, partial_path(out)
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.path / LOCK_FILE, timeout=0)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise ValueError(f"another run is writing to {out} (it holds {self.path}); wait for it to end") from error
        try:
            self._begin(_hashes(options), overwrite=overwrite)
        except BaseException:
            self._lock.release()
            raise
        self.work = self.path / WORK_FOLDER
        self.source_work = self.work / "source"
        self.source_work.mkdir(mode=0o700, parents=True, exist_ok=True)

    def publish(self) -> None:
        """Rename the folder to `out`. PREPARATION_FILE must be in it: it marks the data set as complete."""
        for name in (JOURNAL_FILE, RUN_FILE):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.path / WORK_FOLDER, ignore_errors=True)
        if self.out.exists():
            shutil.rmtree(self.out)
        (self.path / LOCK_FILE).unlink()
        self.path.rename(self.out)

    def discard(self) -> None:
        shutil.rmtree(self.path)

    def release(self) -> None:
        self._lock.release()

    def _begin(self, hashes: dict[str, str], *, overwrite: bool) -> None:
        if (self.path / PREPARATION_FILE).exists():  # a run was killed just before its last step
            self.publish()
            raise ValueError(f"an earlier run was killed at its last step; {self.out} is complete now")
        run_file = self.path / RUN_FILE
        if run_file.exists():
            earlier = json.loads(run_file.read_text(encoding="utf-8"))
            if earlier == hashes:
                return
            if not overwrite:
                other = sorted(name for name in earlier | hashes if earlier.get(name) != hashes.get(name))
                raise ValueError(
                    f"{self.path} holds an unfinished run with other options ({', '.join(other)}): use the same "
                    "options to resume it, or add --overwrite to start again"
                )
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != LOCK_FILE:
                path.unlink()
        run_file.write_text(json.dumps(hashes), encoding="utf-8")


def check_out(out: Path, *, overwrite: bool) -> None:
    """Raises ValueError if `out` must not be written to."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; name a folder")
    if out.is_dir() and any(out.iterdir()):
        if not overwrite:
            raise ValueError(f"--out {out} exists and is not empty; name another folder, or add --overwrite")
        if not (out / PREPARATION_FILE).is_file():
            raise ValueError(
                f"--out {out} is not a prepared data set (no {PREPARATION_FILE}), so --overwrite will not delete it; "
                "name another folder"
            )


def _hashes(options: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """A hash of each option by its dotted name."""
    hashes = {}
    for name, value in options.items():
        if isinstance(value, dict):
            hashes |= _hashes(value, f"{prefix}{name}.")
        else:
            hashes[prefix + name] = hashlib.sha256(repr(value).encode()).hexdigest()[:16]
    return hashes
