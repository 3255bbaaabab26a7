"""Writes what became of each study to a new data set folder; it appears whole or not at all, and a kill costs little.

- `dataset_dict.json` and a folder a split, as `datasets` saves them (`data.study.load_studies` reads them);
- `rejected.jsonl`: study_id, split, reason and files of every study that was not kept, one a line; and of images left
  out of a study that was kept, told apart by `"rejected": "image"` where studies have `"study"`;
- `warnings.jsonl`: what to know about a kept study: study_id, split, warning and the number of the view, from 1;
- `preparation.json`: options, counts and versions.

All is made in OUT.partial, whose journal lets the next run go on where one was broken off; the result is the same to
the byte.

Counts of a preparation: what was kept and rejected in each split, and what was changed in texts.
"""

import hashlib
import json
import platform
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from data.pipeline.raw_study import RawStudy, Rejection
from data.pipeline.row import PreparedRow
from data.pipeline.shards import Journal, append_rows, write_frame
from data.pipeline.staging import StagingFolder
from data.study import PREPARATION_FILE, REJECTED_FILE, SPLITS, check_disjoint
from vlm.schema.findings import FINDINGS, POSITIVE, UNLABELED


@dataclass(kw_only=True, slots=True)
class SplitStats:
    """What one split holds."""

    kept: int = 0
    rejected: int = 0
    images: int = 0
    rejected_images: int = 0
    """Images left out of studies that were kept."""
    warnings: int = 0
    reports: int = 0
    labelled: int = 0
    """Studies with at least one finding that somebody looked for."""
    positives: Counter = field(default_factory=Counter)
    """Studies in which each finding is positive."""

    def add(self, built: PreparedRow) -> None:
        self.kept += 1
        self.images += len(built.row["images"])
        self.rejected_images += len(built.rejected_images)
        self.warnings += len(built.warnings)
        self.reports += bool(built.row["findings"].strip() or built.row["impression"].strip())
        self.labelled += any(code != UNLABELED for code in built.row["labels"])
        codes = zip(FINDINGS, built.row["labels"], strict=True)
        self.positives.update(finding for finding, code in codes if code == POSITIVE)


class Stats:
    """The counts of all splits; `rejected` also counts what never had a split."""

    def __init__(self):
        self.splits = {split: SplitStats() for split in SPLITS}
        self.rejected = 0
        self.text_changes: Counter = Counter()
        """How often each kind of change was made to a text."""
        self.sources: Counter = Counter()
        """Kept studies by (source, licence)."""

    @property
    def kept(self) -> int:
        return self._total("kept")

    @property
    def rejected_images(self) -> int:
        return self._total("rejected_images")

    @property
    def warnings(self) -> int:
        return self._total("warnings")

    def add(self, split: str, outcome: PreparedRow | Rejection) -> None:
        if isinstance(outcome, Rejection):
            self.rejected += 1
            if split in self.splits:
                self.splits[split].rejected += 1
        else:
            self.splits[split].add(outcome)
            self.text_changes.update(outcome.text_changes)
            self.sources[outcome.row["source"], outcome.row["license"]] += 1

    def as_json(self) -> dict[str, Any]:
        splits = {
            split: asdict(counts) | {"positives": {finding: counts.positives[finding] for finding in FINDINGS}}
            for split, counts in self.splits.items()
        }
        totals = {name: getattr(self, name) for name in ("kept", "rejected", "rejected_images", "warnings")}
        changes = dict(sorted(self.text_changes.items()))
        sources = [
            {"source": source, "license": license_name, "kept": count}
            for (source, license_name), count in sorted(self.sources.items())
        ]
        return {
            "given": self.kept + self.rejected,
            **totals,
            "text_changes": changes,
            "sources": sources,
            "splits": splits,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Stats":
        stats = cls()
        stats.rejected = values["rejected"]
        stats.text_changes.update(values["text_changes"])
        stats.sources.update({(entry["source"], entry["license"]): entry["kept"] for entry in values["sources"]})
        for split, counts in values["splits"].items():
            stats.splits[split] = SplitStats(**counts | {"positives": Counter(counts["positives"])})
        return stats

    def _total(self, name: str) -> int:
        return sum(getattr(counts, name) for counts in self.splits.values())


WARNINGS_FILE = "warnings.jsonl"
COMMIT_STUDIES, COMMIT_BYTES = 64, 32 * 2**20
"""So many studies, or so much of their images, are held in memory, and are lost by a kill."""
SHOWN_REJECTIONS = 3
VERSIONED = ("datasets", "numpy", "opencv-python-headless", "pillow", "pydicom")


class DatasetWriter:
    """Collects the outcome of one run, or of one that was broken off: `num_done` studies are done already. Use as a
    context manager: leaving it without `finish` keeps what was committed in OUT.partial.

    `options` are those that decide what comes out; `saved_options` is what the data set tells of them, by default all.
    `work` is the source's.

    Raises:
        ValueError: as `StagingFolder`.
    """

    def __init__(
        self,
        out: Path,
        *,
        options: dict[str, Any],
        saved_options: dict[str, Any] | None = None,
        overwrite: bool = False,
    ):
        self.out = out
        self._saved_options, self._versions = saved_options if saved_options is not None else options, _versions()
        self._folder = StagingFolder(out, options=options | {"versions": self._versions}, overwrite=overwrite)
        self.work = self._folder.source_work
        self._journal = Journal(self._folder.path)
        state = self._journal.state or {"num_done": 0, "digest": "", "stats": Stats().as_json()}
        self.num_done, self._digest, self.stats = state["num_done"], state["digest"], Stats.from_json(state["stats"])
        self.first_rejections: list[Rejection] = []
        self._rows: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
        self._entries: dict[str, list[dict[str, Any]]] = {REJECTED_FILE: [], WARNINGS_FILE: []}
        self._num_pending = self._pending_bytes = 0
        self._subjects: dict[str, set[str]] = {split: set() for split in SPLITS}

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self._folder.path.exists() and not self._journal.state:
            self._folder.discard()
        self._folder.release()

    def remaining(self, raw_studies: Iterable[RawStudy | Rejection]) -> Iterator[RawStudy | Rejection]:
        """The raw studies that no earlier run has done.

        Raises:
            ValueError: those that it has done are no longer the same.
        """
        raw_studies, digest = iter(raw_studies), ""
        for raw_study in islice(raw_studies, self.num_done):
            self._note_subject(raw_study)
            digest = _chained(digest, raw_study)
        if digest != self._digest:
            raise ValueError(
                f"what the source gives has changed since {self._folder.path} was begun; delete that folder, and begin "
                "anew"
            )
        for raw_study in raw_studies:
            self._note_subject(raw_study)
            yield raw_study

    def add(self, raw_study: RawStudy | Rejection, outcome: PreparedRow | Rejection) -> None:
        """A raw study and what became of it; in the order of the raw studies."""
        self.stats.add(raw_study.split, outcome)
        if isinstance(outcome, Rejection):
            self._entries[REJECTED_FILE].append(_rejection_entry("study", outcome))
            if len(self.first_rejections) < SHOWN_REJECTIONS:
                self.first_rejections.append(outcome)
        else:
            self._rows[raw_study.split].append(outcome.row)
            self._pending_bytes += sum(len(image["bytes"]) for image in outcome.row["images"])
            self._entries[REJECTED_FILE] += [
                _rejection_entry("image", rejection) for rejection in outcome.rejected_images
            ]
            self._entries[WARNINGS_FILE] += [
                {
                    "study_id": raw_study.study_id,
                    "split": raw_study.split,
                    "warning": warning.text,
                    "view": warning.view,
                }
                for warning in outcome.warnings
            ]
        self._digest = _chained(self._digest, raw_study)
        self.num_done += 1
        self._num_pending += 1
        if self._num_pending >= COMMIT_STUDIES or self._pending_bytes >= COMMIT_BYTES:
            self._commit()

    def finish(self) -> None:
        """Save what was kept and give the folder its name.

        Raises:
            ValueError: nothing was kept, or a subject is in two splits; then the folder is removed.
        """
        self._commit()
        try:
            self._check()
        except ValueError:
            self._folder.discard()
            raise
        write_frame(self._journal, self._folder.work, fingerprint=self._digest)
        preparation = {"options": self._saved_options, "counts": self.stats.as_json(), "versions": self._versions}
        written = self._folder.work / PREPARATION_FILE
        written.write_text(json.dumps(preparation, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        written.replace(self._folder.path / PREPARATION_FILE)
        self._folder.publish()

    def room_wanted(self, num_given: int) -> str:
        """What to tell when the disk is full."""
        used, free = sum(self._journal.lengths.values()), shutil.disk_usage(self._folder.path).free
        more = ""
        if used and self.num_done:
            more = f", about {_size(used * (num_given - self.num_done) / self.num_done)} more are needed"
        return (
            f"there is no room left in {self.out.parent}: {_size(used)} are written{more}, and {_size(free)} are free. "
            "Nothing is lost: make room and give the same command again; it goes on where it stopped"
        )

    def _check(self) -> None:
        if not self.stats.kept:
            reasons = "; ".join(rejection.reason for rejection in self.first_rejections)
            raise ValueError(
                f"no study was kept of {self.num_done}, so nothing was written to {self.out}; the first were rejected "
                f"because: {reasons}"
            )
        check_disjoint(self._subjects)

    def _note_subject(self, raw_study: RawStudy | Rejection) -> None:
        if not isinstance(raw_study, Rejection):
            self._subjects[raw_study.split].add(raw_study.subject_id)

    def _commit(self) -> None:
        for split, rows in self._rows.items():
            append_rows(self._journal, split, rows)
        for name, entries in self._entries.items():
            lines = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
            self._journal.append(name, lines.encode(errors="backslashreplace"))  # as JSON writes half a character
        self._journal.commit({"num_done": self.num_done, "digest": self._digest, "stats": self.stats.as_json()})
        for pending in (*self._rows.values(), *self._entries.values()):
            pending.clear()
        self._num_pending = self._pending_bytes = 0


def _rejection_entry(what: str, rejection: Rejection) -> dict[str, Any]:
    return {
        "rejected": what,
        "study_id": rejection.study_id,
        "split": rejection.split,
        "reason": rejection.reason,
        "files": list(rejection.files),
    }


def _chained(digest: str, raw_study: RawStudy | Rejection) -> str:
    """A digest of all raw studies so far and this one."""
    subject_id = "" if isinstance(raw_study, Rejection) else raw_study.subject_id
    told = json.dumps([digest, raw_study.study_id, subject_id, raw_study.split, *raw_study.files])
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 2**30:.1f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.1f} MiB"


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {package: version(package) for package in VERSIONED}
