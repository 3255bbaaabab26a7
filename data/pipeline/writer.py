"""Write the outcome of each study to a new data set folder. The folder appears complete or not at all. It contains:

- `dataset_dict.json` and one folder per split, as `datasets` saves them (`data.study.load_studies` reads them);
- `rejected.jsonl`: study_id, split, reason and files of each study that was not kept (`"rejected": "study"`), and of
  each image that was left out of a kept study (`"rejected": "image"`);
- `warnings.jsonl`: study_id, split, warning and number of the view (from 1; 0: the report) for what to check in
  kept studies;
- `preparation.json`: options, counts and versions.

Everything is written in OUT.partial. If a run is interrupted, the next run with the same options resumes it, and the
result is the same, byte for byte.
"""

import errno
import json
import platform
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from data.pipeline.raw_study import RawStudy, Rejection, source_digest
from data.pipeline.rejected import first_reason, rejections
from data.pipeline.row import PreparedRow
from data.pipeline.shards import Journal, append_rows, write_metadata
from data.pipeline.staging import StagingFolder
from data.study import PREPARATION_FILE, REJECTED_FILE, SPLITS, WARNINGS_FILE, check_disjoint
from vlm.schema.atomic import write_atomically
from vlm.schema.findings import FINDINGS, POSITIVE, UNLABELED

COMMIT_STUDIES, COMMIT_BYTES = 64, 32 * 2**20
"""Rows are committed after this many studies or image bytes; a kill loses at most these."""
SHOWN_REASONS = 3
VERSIONED = ("datasets", "numpy", "opencv-python-headless", "pillow", "pydicom")
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


COUNTS = ("kept", "rejected", "images", "rejected_images", "warnings", "reports", "labeled", "priors")
"""Counts of each split: studies (with a prior study: "priors"), except images, rejected images of kept studies, and
images with warnings."""
KINDS = ("text_changes", "image_warnings", "reading_problems")
"""Counts of the whole data set by kind: changes to texts, warnings about images, and reports that the labeler may not
have understood."""


class Stats:
    """Counts of the whole data set. `entries` are those of an earlier run.

    The keys of `counts` are ("split", split, a name in COUNTS or a finding), (a name in KINDS, kind) and ("source",
    source, license). The split is "" for rejected studies without one.
    """

    def __init__(self, entries: Iterable[list[Any]] = ()):
        self.counts = Counter({tuple(key): count for *key, count in entries})

    def entries(self) -> list[list[Any]]:
        """The counts as JSON values."""
        return [[*key, count] for key, count in self.counts.items()]

    def add(self, split: str, outcome: PreparedRow | Rejection) -> None:
        if isinstance(outcome, Rejection):
            self.counts["split", split if split in SPLITS else "", "rejected"] += 1
            return
        row = outcome.row
        counts = {
            "kept": 1,
            "images": len(row["images"]),
            "rejected_images": len(outcome.rejected_images),
            "warnings": len({warning.view for warning in outcome.warnings if warning.view}),
            "reports": bool(row["findings"].strip() or row["impression"].strip()),
            "labeled": any(code != UNLABELED for code in row["labels"]),
            "priors": bool(row.get("prior_images")),
            **{finding: code == POSITIVE for finding, code in zip(FINDINGS, row["labels"], strict=True)},
        }
        self.counts.update({("split", split, name): int(count) for name, count in counts.items()})
        self.counts.update({("text_changes", kind): count for kind, count in outcome.text_changes.items()})
        self.counts.update(("image_warnings", warning.kind) for warning in outcome.warnings)
        self.counts.update(("reading_problems", problem) for problem in outcome.reading_problems)
        self.counts["source", row["source"], row["license"]] += 1

    def of_split(self, split: str, name: str) -> int:
        return self.counts["split", split, name]

    def total(self, name: str) -> int:
        return sum(self.of_split(split, name) for split in (*SPLITS, ""))

    def by_kind(self, group: str) -> dict[str, int]:
        """The counts of a group in KINDS, the most frequent kind first."""
        return {key[1]: count for key, count in self.counts.most_common() if key[0] == group}

    def as_json(self) -> dict[str, Any]:
        sources = sorted((*key[1:], count) for key, count in self.counts.items() if key[0] == "source")
        totals = {name: self.total(name) for name in ("kept", "rejected", "rejected_images", "warnings")}
        return {
            "given": totals["kept"] + totals["rejected"],
            **totals,
            **{group: dict(sorted(self.by_kind(group).items())) for group in KINDS},
            "sources": [{"source": name, "license": terms, "kept": count} for name, terms, count in sources],
            "splits": {
                split: {name: self.of_split(split, name) for name in COUNTS}
                | {"positives": {finding: self.of_split(split, finding) for finding in FINDINGS}}
                for split in SPLITS
            },
        }


class DatasetWriter:
    """Collects the outcomes of a run, new or resumed: the first `num_done` studies were done by earlier runs. Use it as
    a context manager. If the block ends without `finish`, OUT.partial keeps what was committed.

    `options` are the options that determine the result; `saved_options` are saved with the data set (default: the
    same). `work` is a folder for the source.

    Raises:
        ValueError: as `StagingFolder`; or, at the end of the block, the disk is full.
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
        self._saved_options = saved_options if saved_options is not None else options
        self._versions = {"python": platform.python_version()} | {package: version(package) for package in VERSIONED}
        self._folder = StagingFolder(out, options=options | {"versions": self._versions}, overwrite=overwrite)
        self.work = self._folder.source_work
        self._journal = Journal(self._folder.path)
        state = self._journal.state or {"num_done": 0, "digest": "", "stats": []}
        self.num_done, self._digest, self.stats = state["num_done"], state["digest"], Stats(state["stats"])
        self.num_studies = 0
        """Number of studies that the source provides."""
        self._rows: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
        self._entries: dict[str, list[dict[str, Any]]] = {REJECTED_FILE: [], WARNINGS_FILE: []}
        self._num_pending = self._pending_bytes = 0
        self._subjects: dict[str, set[str]] = {split: set() for split in SPLITS}

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        try:
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                raise ValueError(self._disk_full_message()) from error
        finally:
            if self._folder.path.exists() and not self._journal.state:
                self._folder.discard()
            self._folder.release()

    def remaining(
        self, raw_studies: Iterable[RawStudy | Rejection], *, num_studies: int
    ) -> Iterator[RawStudy | Rejection]:
        """The raw studies that no earlier run has done.

        Raises:
            ValueError: the source no longer provides the same studies, texts, labels or image files.
        """
        self.num_studies = num_studies
        raw_studies, digest = map(self._note_subject, raw_studies), ""
        for raw_study in islice(raw_studies, self.num_done):
            digest = source_digest(digest, raw_study)
        if digest != self._digest:
            raise ValueError(
                f"the source has changed since {self._folder.path} was started (its studies, texts, labels or image "
                "files); delete that folder, and start again"
            )
        yield from raw_studies

    def add(self, raw_study: RawStudy | Rejection, outcome: PreparedRow | Rejection) -> None:
        """Add a raw study and its outcome, in the order of the source."""
        self.stats.add(raw_study.split, outcome)
        if isinstance(outcome, Rejection):
            self._entries[REJECTED_FILE].append(_rejection_entry("study", outcome))
        else:
            self._rows[raw_study.split].append(outcome.row)
            self._pending_bytes += sum(
                len(image["bytes"]) for name in ("images", "prior_images") for image in outcome.row.get(name, ())
            )
            self._entries[REJECTED_FILE] += [_rejection_entry("image", image) for image in outcome.rejected_images]
            ids = {"study_id": raw_study.study_id, "split": raw_study.split}
            self._entries[WARNINGS_FILE] += [
                ids | {"warning": warning.text, "view": warning.view} for warning in outcome.warnings
            ]
        self._digest = source_digest(self._digest, raw_study)
        self.num_done += 1
        self._num_pending += 1
        if self._num_pending >= COMMIT_STUDIES or self._pending_bytes >= COMMIT_BYTES:
            self._commit()

    def finish(self) -> None:
        """Save everything and rename the folder to `out`.

        Raises:
            ValueError: no study was kept, or a subject is in two splits; then the folder is deleted.
        """
        self._commit()
        try:
            self._check()
        except ValueError:
            self._folder.discard()
            raise
        write_metadata(self._journal, self._folder.work)
        preparation = {"options": self._saved_options, "counts": self.stats.as_json(), "versions": self._versions}
        content = json.dumps(preparation, indent=2, ensure_ascii=False) + "\n"
        write_atomically(self._folder.path / PREPARATION_FILE, content)
        self._folder.publish()

    def _check(self) -> None:
        if not self.stats.total("kept"):
            reasons = rejections(self._folder.path)["reasons"][:SHOWN_REASONS]
            raise ValueError(
                f"all {self.num_done} studies were rejected, so nothing was written to {self.out}; the most frequent "
                f"reasons: {'; '.join(first_reason(reason) for reason in reasons)}"
            )
        check_disjoint(self._subjects)

    def _disk_full_message(self) -> str:
        used, free = sum(self._journal.lengths.values()), shutil.disk_usage(self._folder.path).free
        share = (self.num_studies - self.num_done) / max(1, self.num_done)
        more = f", about {_size(used * share)} more are needed" if used and self.num_done else ""
        return (
            f"the disk of {self.out.parent} is full: {_size(used)} are written{more}, {_size(free)} are free. Nothing "
            "is lost: free some space and run the same command again; it resumes where it stopped"
        )

    def _note_subject(self, raw_study: RawStudy | Rejection) -> RawStudy | Rejection:
        if not isinstance(raw_study, Rejection):
            self._subjects[raw_study.split].add(raw_study.subject_id)
        return raw_study

    def _commit(self) -> None:
        for split, rows in self._rows.items():
            append_rows(self._journal, split, rows)
        for name, entries in self._entries.items():
            lines = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
            self._journal.append(name, lines.encode(errors="backslashreplace"))  # JSON escapes lone surrogates alike
        self._journal.commit({"num_done": self.num_done, "digest": self._digest, "stats": self.stats.entries()})
        for pending in (*self._rows.values(), *self._entries.values()):
            pending.clear()
        self._num_pending = self._pending_bytes = 0


def _rejection_entry(what: str, rejection: Rejection) -> dict[str, Any]:
    names = ("study_id", "split", "reason", "files")
    return {"rejected": what} | {name: getattr(rejection, name) for name in names}


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 2**30:.1f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.1f} MiB"
