"""Writes rows and refusals to a new data set folder, in bounded memory; the folder appears whole or not at all.

Everything goes to OUT.partial, which is renamed to OUT at the end:

- `dataset_dict.json` and a folder a split, as `datasets` saves them (`data.study.load_studies` reads them);
- `refused.jsonl`: study_id, split, reason and files of every study that was not kept, one a line;
- `preparation.json`: options, counts and versions.
"""

import json
import platform
import shutil
from collections import Counter
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import datasets
from datasets.arrow_writer import ArrowWriter

from data.draft import Refusal
from data.splits import check_disjoint
from data.study import FEATURES, PREPARATION_FILE, SPLITS
from vlm.findings import FINDINGS, POSITIVE, UNLABELED

REFUSED_FILE = "refused.jsonl"
BUFFERED_ROWS = 16
SHOWN_REFUSALS = 3
SHARD_BYTES = 500 * 2**20
VERSIONED = ("datasets", "numpy", "opencv-python-headless", "pillow", "pydicom")


@dataclass(kw_only=True, slots=True)
class SplitCounts:
    """What one split holds."""

    kept: int = 0
    refused: int = 0
    images: int = 0
    reports: int = 0
    labelled: int = 0
    """Studies with at least one finding that somebody looked for."""
    positives: Counter = field(default_factory=Counter)
    """Studies in which each finding is positive."""

    def add(self, row: dict[str, Any]) -> None:
        self.kept += 1
        self.images += len(row["images"])
        self.reports += bool(row["findings"].strip() or row["impression"].strip())
        self.labelled += any(code != UNLABELED for code in row["labels"])
        self.positives.update(
            finding for finding, code in zip(FINDINGS, row["labels"], strict=True) if code == POSITIVE
        )


class DatasetWriter:
    """Collects the rows of one run. Use as a context manager: leaving it without `finish` removes what was begun.

    Raises:
        ValueError: `out` exists and is not empty, and `overwrite` was not asked for or would delete something else
            than a prepared data set.
    """

    def __init__(self, out: Path, *, overwrite: bool = False):
        check_out(out, overwrite=overwrite)
        self.out, self.partial = out, out.with_name(out.name + ".partial")
        if self.partial.exists():
            shutil.rmtree(self.partial)  # of an earlier run that was killed
        self.partial.mkdir(parents=True)
        self._work = self.partial / "work"
        self._work.mkdir()
        self.work = self._work / "source"
        self.work.mkdir(mode=0o700)
        self._writers = {
            split: ArrowWriter(
                features=FEATURES, path=str(self._work / f"{split}.arrow"), writer_batch_size=BUFFERED_ROWS
            )
            for split in SPLITS
        }
        self._refused = (self.partial / REFUSED_FILE).open("w", encoding="utf-8")
        self.counts = {split: SplitCounts() for split in SPLITS}
        self.num_kept = self.num_refused = 0
        self.first_refusals: list[Refusal] = []
        self._subjects = {split: set() for split in SPLITS}

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._close()
        if self.partial.exists():
            shutil.rmtree(self.partial)

    def keep(self, row: dict[str, Any], split: str) -> None:
        self._writers[split].write(row)
        self.counts[split].add(row)
        self._subjects[split].add(row["subject_id"])
        self.num_kept += 1

    def refuse(self, refusal: Refusal) -> None:
        entry = {
            "study_id": refusal.study_id,
            "split": refusal.split,
            "reason": refusal.reason,
            "files": list(refusal.files),
        }
        self._refused.write(json.dumps(entry, ensure_ascii=False) + "\n")
        if refusal.split in self.counts:
            self.counts[refusal.split].refused += 1
        self.num_refused += 1
        if len(self.first_refusals) < SHOWN_REFUSALS:
            self.first_refusals.append(refusal)

    def finish(self, *, options: dict[str, Any], num_given: int) -> None:
        """Save what was kept and give the folder its name.

        Raises:
            ValueError: nothing was kept, or a subject is in two splits.
        """
        assert num_given == self.num_kept + self.num_refused, (num_given, self.num_kept, self.num_refused)
        if not self.num_kept:
            reasons = "; ".join(refusal.reason for refusal in self.first_refusals)
            raise ValueError(
                f"no study was kept of {num_given}, so nothing was written to {self.out}; the first were refused "
                f"because: {reasons}"
            )
        check_disjoint(self._subjects)
        self._close()
        files = {split: self._work / f"{split}.arrow" for split in SPLITS}
        studies = datasets.DatasetDict(
            {split: datasets.Dataset.from_file(str(file), split=split) for split, file in files.items()}
        )
        # Named, because `datasets` would give an empty split no shard at all, and then fail to load it.
        num_shards = {split: 1 + file.stat().st_size // SHARD_BYTES for split, file in files.items()}
        studies.save_to_disk(str(self.partial), num_shards=num_shards)
        del studies
        shutil.rmtree(self._work)
        preparation = {"options": options, "counts": self._counts(num_given), "versions": _versions()}
        text = json.dumps(preparation, indent=2, ensure_ascii=False) + "\n"
        (self.partial / PREPARATION_FILE).write_text(text, encoding="utf-8")
        if self.out.exists():
            shutil.rmtree(self.out)
        self.partial.rename(self.out)

    def _counts(self, num_given: int) -> dict[str, Any]:
        splits = {
            split: {
                "kept": counts.kept,
                "refused": counts.refused,
                "images": counts.images,
                "reports": counts.reports,
                "labelled": counts.labelled,
                "positives": {finding: counts.positives[finding] for finding in FINDINGS},
            }
            for split, counts in self.counts.items()
        }
        return {"given": num_given, "kept": self.num_kept, "refused": self.num_refused, "splits": splits}

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.finalize()
        self._writers = {}
        self._refused.close()


def check_out(out: Path, *, overwrite: bool) -> None:
    """Raises ValueError when `out` may not be written to."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; name a folder")
    if out.is_dir() and any(out.iterdir()):
        if not overwrite:
            raise ValueError(f"--out {out} exists and is not empty; name another folder, or add --overwrite")
        if not (out / PREPARATION_FILE).is_file():
            raise ValueError(
                f"--out {out} holds something else than a prepared data set (no {PREPARATION_FILE}), "
                "which --overwrite will not delete; name another folder"
            )


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {package: version(package) for package in VERSIONED}
