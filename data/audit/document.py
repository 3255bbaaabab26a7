"""What an audit finds in a prepared data set, as a document that JSON can hold (`audit.json`); `data.audit.verdict`
judges it and `data.audit.page` shows it.

Lists of studies and images are cut at MAX_LISTED entries, beside the full count.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from data.audit.collect import LabelAgreement, SplitCounts, StudyTraits, look_at_study, read_report
from data.audit.duplicates import Copies, ImageIndex
from data.audit.rejected import rejections, warnings
from data.images.duplicates import ALIKE_BOUND, SAME_BOUND
from data.pipeline.workers import map_in_order
from data.reports.near_duplicates import MIN_WORDS, near_report_pairs
from data.study import load_studies

FORMAT = 1
MAX_LISTED = 1000
FEW = 200
"""Studies that are not worth the start of worker processes."""
ACROSS_SPLITS, OTHER_PATIENTS, SAME_PATIENT, SAME_STUDY = (
    "across splits",
    "different patients",
    "same patient",
    "same study",
)
RELATIONS = (ACROSS_SPLITS, OTHER_PATIENTS, SAME_PATIENT, SAME_STUDY)
"""How those that are alike belong together, the worst first."""

Track = Callable[[int, str], Callable[[int], None]]
"""`track(total, description)` starts a display and returns what advances it."""


def audit(folder: Path, *, num_workers: int, track: Track) -> dict[str, Any]:
    """The document, without verdict.

    Raises:
        ValueError: `folder` is no prepared data set.
    """
    splits = {split: len(rows) for split, rows in load_studies(folder).items()}
    places = [(split, row) for split, number in splits.items() for row in range(number)]
    with ImageIndex() as images:
        collection = _Collection(folder, places, list(splits), images)
        advance = track(len(places), "Looking at studies")
        look = partial(look_at_study, folder=str(folder))
        workers = num_workers if len(places) > FEW else 1
        for place, traits in map_in_order(look, places, num_workers=workers, if_lost=lambda _: None):
            collection.add(place, traits)
            advance(1)
        return collection.document(num_workers=num_workers, track=track)


class _Collection:
    """What is noted of all studies, in their order."""

    def __init__(self, folder: Path, places: Sequence[tuple[str, int]], splits: Sequence[str], images: ImageIndex):
        self._folder, self._places = folder, places
        self._splits = {split: SplitCounts() for split in splits}
        self._agreement = LabelAgreement()
        self._sources: dict[tuple[str, str], Counter] = defaultdict(Counter)
        self._study_ids: list[str] = []
        self._subject_ids: list[str] = []
        self._images = images
        self._damaged, self._flat, self._burned_in = _Listed(), _Listed(), _Listed()
        self._identities, self._identity_kinds = _Listed(), Counter()
        self._reports: dict[bytes, list[int]] = defaultdict(list)
        self._signatures: dict[bytes, Any] = {}

    def add(self, place: tuple[str, int], traits: StudyTraits | None) -> None:
        number = len(self._study_ids)
        self._study_ids.append(traits.study_id if traits else f"row {place[1]}")
        self._subject_ids.append(traits.subject_id if traits else "")
        if traits is None:
            self._damaged.add(self._named(number) | {"view": 1, "reason": "the process that read it died"})
            return
        self._splits[place[0]].add(traits)
        self._sources[traits.source, traits.license][place[0]] += 1
        self._agreement.add(traits)
        for view, image in enumerate(traits.images):
            shown = self._named(number) | {"view": view + 1}
            if image.damage:
                self._damaged.add(shown | {"reason": image.damage})
            elif image.is_flat:
                self._flat.add(shown)
            else:
                self._images.add(number, view, image)
            if image.burned_in:
                self._burned_in.add(shown | {"seen": image.burned_in})
        if traits.identities:
            self._identities.add(self._named(number) | {"kinds": dict(traits.identities)})
            self._identity_kinds.update(traits.identities)
        if traits.report:
            self._reports[traits.report.digest].append(number)
            if traits.report.signature is not None:
                self._signatures[traits.report.digest] = traits.report.signature

    def document(self, *, num_workers: int, track: Track) -> dict[str, Any]:
        copies = self._images.copies(str(self._folder), self._places, num_workers=num_workers, track=track)
        return {
            "format": FORMAT,
            "dataset": str(self._folder),
            "splits": {split: counts.as_json() for split, counts in self._splits.items()},
            "sources": [
                {"source": source, "license": license_name, "studies": dict(counts)}
                for (source, license_name), counts in sorted(self._sources.items())
            ],
            "subjects_across_splits": self._subjects_across_splits(),
            "repeated_study_ids": _listing(
                [{"study_id": study_id, "times": times} for study_id, times in _repeated(self._study_ids)]
            ),
            "images": {
                "damaged": self._damaged.as_json(),
                "flat": self._flat.as_json(),
                "burned_in": self._burned_in.as_json(),
                **self._copies(copies),
            },
            "reports": self._equal_reports() | {"near": self._near_reports()},
            "identities": self._identities.as_json() | {"kinds": dict(self._identity_kinds.most_common())},
            "labels_against_reports": self._agreement.as_json(),
            "rejected": rejections(self._folder),
            "warnings": warnings(self._folder),
        }

    def _subjects_across_splits(self) -> dict[str, Any]:
        splits_of: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for number, subject in enumerate(self._subject_ids):
            if subject:
                splits_of[subject][self._places[number][0]].append(self._study_ids[number])
        return _listing(
            [
                {"subject_id": subject, "studies": dict(splits)}
                for subject, splits in splits_of.items()
                if len(splits) > 1
            ]
        )

    def _copies(self, copies: Copies) -> dict[str, Any]:
        owners = self._images.owners
        identical = [
            {
                "relation": self._relation([owners[number][0] for number in group]),
                "images": [self._named(owners[n][0]) | {"view": owners[n][1] + 1} for n in self._spread(group)],
                "count": len(group),
            }
            for group in copies.identical
        ]
        altered = [
            {
                "relation": self._relation([owners[one][0], owners[other][0]]),
                "images": [self._named(owners[n][0]) | {"view": owners[n][1] + 1} for n in (one, other)],
                "similarity": similarity,
            }
            for one, other, similarity in copies.altered
        ]
        return {
            "identical": _related(identical),
            "altered": _related([pair for pair in altered if pair["similarity"] >= SAME_BOUND]),
            "alike": _related([pair for pair in altered if pair["similarity"] < SAME_BOUND]),
            "search": copies.search | {"same_from": SAME_BOUND, "alike_from": ALIKE_BOUND},
        }

    def _equal_reports(self) -> dict[str, Any]:
        """Groups of equal reports; `equal` lists only those long enough to be copies."""
        groups = {digest: numbers for digest, numbers in self._reports.items() if len(numbers) > 1}
        long = [
            {"relation": self._relation(group), "studies": [self._named(n) for n in group[:10]], "count": len(group)}
            for digest, group in groups.items()
            if digest in self._signatures
        ]
        return {
            "different": len(self._reports),
            "in_equal_groups": sum(map(len, groups.values())),
            "equal_groups": len(groups),
            "copy_from_words": MIN_WORDS,
            "equal": _related(long),
        }

    def _near_reports(self) -> dict[str, Any]:
        digests = list(self._signatures)
        first = [self._reports[digest][0] for digest in digests]

        def text_of(number: int) -> str:
            return read_report(str(self._folder), *self._places[first[number]])

        pairs = near_report_pairs([self._signatures[digest] for digest in digests], text_of) if digests else []
        return _related(
            [
                {
                    "relation": self._relation([first[one], first[other]]),
                    "studies": [self._named(first[one]), self._named(first[other])],
                    "similarity": round(similarity, 3),
                }
                for one, other, similarity in pairs
            ]
        )

    def _named(self, number: int) -> dict[str, Any]:
        split, row = self._places[number]
        return {
            "split": split,
            "row": row,
            "study_id": self._study_ids[number],
            "subject_id": self._subject_ids[number],
        }

    def _relation(self, studies: Sequence[int]) -> str:
        if len({self._places[study][0] for study in studies}) > 1:
            return ACROSS_SPLITS
        if len({self._subject_ids[study] for study in studies}) > 1:
            return OTHER_PATIENTS
        return SAME_PATIENT if len(set(studies)) > 1 else SAME_STUDY

    def _spread(self, group: Sequence[int]) -> list[int]:
        """Up to ten images of a group, of as many splits as it has."""
        split_of = [self._places[self._images.owners[number][0]][0] for number in group]
        firsts = sorted(split_of.index(split) for split in set(split_of))
        return [group[place] for place in (firsts + [n for n in range(len(group)) if n not in firsts])[:10]]


class _Listed:
    """Entries, of which only the first are kept, and their number."""

    def __init__(self):
        self.count, self._entries = 0, []

    def add(self, entry: dict[str, Any]) -> None:
        self.count += 1
        if len(self._entries) < MAX_LISTED:
            self._entries.append(entry)

    def as_json(self) -> dict[str, Any]:
        return {"count": self.count, "listed": self._entries}


def _listing(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"count": len(entries), "listed": list(entries[:MAX_LISTED])}


def _related(entries: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Entries counted by relation, the worst relation first."""
    entries = sorted(entries, key=lambda entry: RELATIONS.index(entry["relation"]))
    counts = Counter(entry["relation"] for entry in entries)
    return {"count": {relation: counts[relation] for relation in RELATIONS}, "listed": entries[:MAX_LISTED]}


def _repeated(names: Iterable[str]) -> list[tuple[str, int]]:
    return [(name, times) for name, times in Counter(names).items() if times > 1]
