"""Counts of a preparation: what was kept and refused in each split, and what was changed in texts."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from data.draft import Refusal
from data.row import Built
from data.study import SPLITS
from vlm.schema.findings import FINDINGS, POSITIVE, UNLABELED


@dataclass(kw_only=True, slots=True)
class SplitTally:
    """What one split holds."""

    kept: int = 0
    refused: int = 0
    images: int = 0
    refused_images: int = 0
    """Pictures left out of studies that were kept."""
    warnings: int = 0
    reports: int = 0
    labelled: int = 0
    """Studies with at least one finding that somebody looked for."""
    positives: Counter = field(default_factory=Counter)
    """Studies in which each finding is positive."""

    def add(self, built: Built) -> None:
        self.kept += 1
        self.images += len(built.row["images"])
        self.refused_images += len(built.refused_images)
        self.warnings += len(built.warnings)
        self.reports += bool(built.row["findings"].strip() or built.row["impression"].strip())
        self.labelled += any(code != UNLABELED for code in built.row["labels"])
        codes = zip(FINDINGS, built.row["labels"], strict=True)
        self.positives.update(finding for finding, code in codes if code == POSITIVE)


class Tally:
    """The counts of all splits; `refused` also counts what never had a split."""

    def __init__(self):
        self.splits = {split: SplitTally() for split in SPLITS}
        self.refused = 0
        self.text_changes: Counter = Counter()
        """How often each kind of change was made to a text."""
        self.sources: Counter = Counter()
        """Kept studies by (source, licence)."""

    @property
    def kept(self) -> int:
        return self._total("kept")

    @property
    def refused_images(self) -> int:
        return self._total("refused_images")

    @property
    def warnings(self) -> int:
        return self._total("warnings")

    def add(self, split: str, outcome: Built | Refusal) -> None:
        if isinstance(outcome, Refusal):
            self.refused += 1
            if split in self.splits:
                self.splits[split].refused += 1
        else:
            self.splits[split].add(outcome)
            self.text_changes.update(outcome.text_changes)
            self.sources[outcome.row["source"], outcome.row["license"]] += 1

    def as_json(self) -> dict[str, Any]:
        splits = {
            split: asdict(counts) | {"positives": {finding: counts.positives[finding] for finding in FINDINGS}}
            for split, counts in self.splits.items()
        }
        totals = {name: getattr(self, name) for name in ("kept", "refused", "refused_images", "warnings")}
        changes = dict(sorted(self.text_changes.items()))
        sources = [
            {"source": source, "license": license_name, "kept": count}
            for (source, license_name), count in sorted(self.sources.items())
        ]
        return {
            "given": self.kept + self.refused,
            **totals,
            "text_changes": changes,
            "sources": sources,
            "splits": splits,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Tally":
        tally = cls()
        tally.refused = values["refused"]
        tally.text_changes.update(values["text_changes"])
        tally.sources.update({(entry["source"], entry["license"]): entry["kept"] for entry in values["sources"]})
        for split, counts in values["splits"].items():
            tally.splits[split] = SplitTally(**counts | {"positives": Counter(counts["positives"])})
        return tally

    def _total(self, name: str) -> int:
        return sum(getattr(counts, name) for counts in self.splits.values())
