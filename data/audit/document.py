"""The findings of an audit, as a document for `audit.json`. `data.audit.verdict` judges it, `data.audit.page` shows it.

Lists of studies and images have a full count and at most MAX_LISTED entries.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from data.audit.collect import (
    AuditContext,
    LabelAgreement,
    Place,
    SplitCounts,
    StudyTraits,
    Track,
    read_report,
    read_traits,
)
from data.audit.duplicates import Copies, ImageIndex
from data.images.duplicates import ALIKE_BOUND, SAME_BOUND
from data.pipeline.rejected import rejections, warnings
from data.reports.near_duplicates import MIN_WORDS, near_report_pairs
from data.study import load_studies

FORMAT = 2
MAX_LISTED = 1000
MIN_PARALLEL = 201
"""Number of studies from which worker processes are started."""
RELATIONS = ("across splits", "different patients", "same patient", "same study")
"""How copies are related, the worst first."""


def audit(folder: Path, *, num_workers: int, track: Track) -> dict[str, Any]:
    """The document without the verdict.

    Raises:
        ValueError: `folder` is not a prepared data set.
    """
    splits = {split: len(rows) for split, rows in load_studies(folder).items()}
    places = [(split, row) for split, number in splits.items() for row in range(number)]
    context = AuditContext(folder=str(folder), places=places, num_workers=num_workers, track=track)
    with ImageIndex() as images:
        collection = _Collection(context, list(splits), images)
        for place, traits in context.map(
            partial(read_traits, folder=context.folder),
            places,
            total=len(places),
            description="Reading studies",
            min_parallel=MIN_PARALLEL,
            if_lost=lambda _: None,
        ):
            collection.add(place, traits)
        return collection.document()


def _listing(entries: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The number of entries, and the first MAX_LISTED of them."""
    entries = list(entries)
    return {"count": len(entries), "listed": entries[:MAX_LISTED]}


class _Collection:
    """Facts about all studies. A study's number is its index in the places."""

    def __init__(self, context: AuditContext, splits: Sequence[str], images: ImageIndex):
        self._context, self._images = context, images
        self._splits = {split: SplitCounts() for split in splits}
        self._agreement = LabelAgreement()
        self._sources: dict[tuple[str, str], Counter] = defaultdict(Counter)
        self._study_ids: list[str] = []
        self._subject_ids: list[str] = []
        self._image_problems: dict[str, list] = {kind: [] for kind in ("damaged", "blank", "burned_in")}
        self._splits_of_image: dict[bytes, set[str]] = defaultdict(set)
        self._prior_images: list[tuple[int, bytes, bool]] = []
        """Study, digest of a prior image, and whether it is also an image of the study."""
        self._identifiers, self._identifier_kinds = [], Counter()
        self._reports: dict[bytes, list[int]] = defaultdict(list)
        self._signatures: dict[bytes, Any] = {}

    def add(self, place: Place, traits: StudyTraits | None) -> None:
        """Add a study; None if the process that read it crashed."""
        number = len(self._study_ids)
        self._study_ids.append(traits.study_id if traits else f"row {place[1]}")
        self._subject_ids.append(traits.subject_id if traits else "")
        problems = self._image_problems
        if traits is None:
            problems["damaged"].append(self._named(number, view=1) | {"reason": "the process that read it crashed"})
            return
        self._splits[place[0]].add(traits)
        self._sources[traits.source, traits.license][place[0]] += 1
        self._agreement.add(traits)
        for view, image in enumerate(traits.images):
            named = self._named(number, view=view + 1)
            if image.error:
                problems["damaged"].append(named | {"reason": image.error})
            elif image.is_blank:
                problems["blank"].append(named)
            else:
                self._images.add(number, view, image)
                self._splits_of_image[image.digest].add(place[0])
            if image.burned_in:
                problems["burned_in"].append(named | {"text": image.burned_in})
        own = {image.digest for image in traits.images if not image.error}
        for view, image in enumerate(traits.prior.images if traits.prior else (), start=len(traits.images) + 1):
            if image.error:
                problems["damaged"].append(self._named(number, view=view) | {"reason": f"prior study: {image.error}"})
            elif not image.is_blank:
                self._prior_images.append((number, image.digest, image.digest in own))
            if image.burned_in:
                problems["burned_in"].append(
                    self._named(number, view=view) | {"text": f"prior study: {image.burned_in}"}
                )
        if traits.identifiers:
            self._identifiers.append(self._named(number) | {"kinds": dict(traits.identifiers)})
            self._identifier_kinds.update(traits.identifiers)
        if traits.report:
            self._reports[traits.report.digest].append(number)
            if traits.report.signature is not None:
                self._signatures[traits.report.digest] = traits.report.signature

    def document(self) -> dict[str, Any]:
        folder = Path(self._context.folder)
        image_problems = {kind: _listing(images) for kind, images in self._image_problems.items()}
        repeated = ((study_id, count) for study_id, count in Counter(self._study_ids).items() if count > 1)
        return {
            "format": FORMAT,
            "dataset": self._context.folder,
            "splits": {split: counts.as_json() for split, counts in self._splits.items()},
            "sources": [
                {"source": source, "license": license_name, "studies": dict(counts)}
                for (source, license_name), counts in sorted(self._sources.items())
            ],
            "subjects_across_splits": self._subjects_across_splits(),
            "repeated_study_ids": _listing({"study_id": name, "count": count} for name, count in repeated),
            "images": image_problems | self._copies(self._images.find_copies(self._context)),
            "priors": self._priors(),
            "reports": self._equal_reports() | {"near": self._near_reports()},
            "identifiers": _listing(self._identifiers) | {"kinds": dict(self._identifier_kinds.most_common())},
            "label_agreement": self._agreement.as_json(),
            "rejected": rejections(folder),
            "warnings": warnings(folder),
        }

    def _subjects_across_splits(self) -> dict[str, Any]:
        splits_of: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for (split, _), subject, study_id in zip(self._context.places, self._subject_ids, self._study_ids, strict=True):
            if subject:
                splits_of[subject][split].append(study_id)
        crossing = {subject: dict(splits) for subject, splits in splits_of.items() if len(splits) > 1}
        return _listing({"subject_id": subject, "studies": studies} for subject, studies in crossing.items())

    def _priors(self) -> dict[str, Any]:
        """Studies with a prior study that shows an image of another split, or an image of the study itself."""
        same = dict.fromkeys(number for number, _, is_own in self._prior_images if is_own)
        across = dict.fromkeys(
            number
            for number, digest, _ in self._prior_images
            if self._splits_of_image.get(digest, set()) - {self._context.places[number][0]}
        )
        return {
            "same_image": _listing(self._named(number) for number in same),
            "across_splits": _listing(self._named(number) for number in across),
        }

    def _copies(self, copies: Copies) -> dict[str, Any]:
        owners = self._images.owners

        def entry(group: Sequence[int], shown: Sequence[int], **more: Any) -> dict[str, Any]:
            images = [self._named(study, view=view + 1) for study, view in (owners[number] for number in shown)]
            return {"relation": self._relation([owners[number][0] for number in group]), "images": images, **more}

        identical = [entry(group, self._spread(group), count=len(group)) for group in copies.identical]
        altered = [entry(pair, pair, similarity=similarity) for *pair, similarity in copies.altered]
        return {
            "identical": _by_relation(identical),
            "altered": _by_relation(pair for pair in altered if pair["similarity"] >= SAME_BOUND),
            "similar": _by_relation(pair for pair in altered if pair["similarity"] < SAME_BOUND),
            "search": copies.search | {"altered_from": SAME_BOUND, "similar_from": ALIKE_BOUND},
        }

    def _equal_reports(self) -> dict[str, Any]:
        """Groups of equal reports; `equal` lists only those that are long enough to be copies."""
        groups = {digest: numbers for digest, numbers in self._reports.items() if len(numbers) > 1}
        long = [group for digest, group in groups.items() if digest in self._signatures]
        return {
            "different": len(self._reports),
            "in_equal_groups": sum(map(len, groups.values())),
            "equal_groups": len(groups),
            "copy_from_words": MIN_WORDS,
            "equal": _by_relation(self._study_entry(group, group[:10], count=len(group)) for group in long),
        }

    def _near_reports(self) -> dict[str, Any]:
        """Pairs of long reports with nearly the same words."""
        first = [self._reports[digest][0] for digest in self._signatures]

        def text_of(index: int) -> str:
            return read_report(self._context.folder, self._context.places[first[index]])

        pairs = near_report_pairs(list(self._signatures.values()), text_of) if first else []
        studies = [(first[one], first[other], round(similarity, 3)) for one, other, similarity in pairs]
        return _by_relation(self._study_entry(pair, pair, similarity=similarity) for *pair, similarity in studies)

    def _study_entry(self, group: Sequence[int], shown: Sequence[int], **more: Any) -> dict[str, Any]:
        return {"relation": self._relation(group), "studies": [self._named(study) for study in shown], **more}

    def _named(self, number: int, **more: Any) -> dict[str, Any]:
        split, row = self._context.places[number]
        study_id, subject_id = self._study_ids[number], self._subject_ids[number]
        return {"split": split, "row": row, "study_id": study_id, "subject_id": subject_id, **more}

    def _relation(self, studies: Sequence[int]) -> str:
        splits = {self._context.places[study][0] for study in studies}
        subjects = {self._subject_ids[study] for study in studies}
        differ = [len(values) > 1 for values in (splits, subjects, set(studies))]
        return RELATIONS[[*differ, True].index(True)]

    def _spread(self, group: Sequence[int]) -> list[int]:
        """Up to ten images of a group, the first one of each split first."""
        split_of = [self._context.places[self._images.owners[number][0]][0] for number in group]
        firsts = sorted(split_of.index(split) for split in set(split_of))
        return [group[index] for index in (firsts + [n for n in range(len(group)) if n not in firsts])[:10]]


def _by_relation(entries: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The number of entries with each relation, and the first entries, the worst relation first."""
    entries = sorted(entries, key=lambda entry: RELATIONS.index(entry["relation"]))
    counts = Counter(entry["relation"] for entry in entries)
    return {"count": {relation: counts[relation] for relation in RELATIONS}, "listed": entries[:MAX_LISTED]}
